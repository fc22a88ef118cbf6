/* SPDX-License-Identifier: MIT */
/*
 * Session tickets (RFC 5077, RFC 8446 §4.6.1), server role. Their keys are the agent's (ticket_keys.h), so tickets outlive
 * a reload, and a restart where the keys do; what binds a ticket to its service and trust is the session id context
 * (context.c).
 */
#ifndef AGENT_TICKET_H
#define AGENT_TICKET_H

#include <openssl/ssl.h>

struct policy;

void tickets_use(SSL_CTX *context, const struct policy *policy);

#endif
