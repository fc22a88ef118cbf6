/* SPDX-License-Identifier: MIT */
/*
 * Session tickets (RFC 5077, RFC 8446 §4.6.1), server role. The keys belong to the process, not to a configuration, so
 * that tickets outlive a reload; what binds a ticket to its service and trust is the session id context (service.c).
 */
#ifndef AGENT_TICKET_H
#define AGENT_TICKET_H

#include <openssl/ssl.h>
#include <stdbool.h>

#define TICKET_KEY_LIFETIME 43200 /* seconds; a ticket is good for this long at least, and twice at the most */

bool tickets_init(void);

/* New keys, the current ones become the previous ones. From one thread, not more often than TICKET_KEY_LIFETIME. */
bool tickets_rotate(void);

void tickets_use(SSL_CTX *context);

#endif
