/* SPDX-License-Identifier: MIT */
/* Who the peer is, as attributes of a result. */
#ifndef AGENT_PEER_H
#define AGENT_PEER_H

#include <openssl/x509.h>

#include "../lib/message.h"

void peer_describe(X509 *peer, struct datagram_writer *datagram);

/* The chain as (__u32 length, DER)* in a sealed memfd; -1 if there is no memory for it. *bytes: its size. */
int peer_chain(const STACK_OF(X509) *chain, size_t *bytes);

#endif
