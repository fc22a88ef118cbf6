/* SPDX-License-Identifier: MIT */
/* Who the peer is, as attributes of a result; and chains, the peer's or ours, as messages. */
#ifndef AGENT_PEER_H
#define AGENT_PEER_H

#include <openssl/x509.h>

#include "../lib/message.h"

void peer_describe(X509 *peer, struct datagram_writer *datagram);

/*
 * Writes KTLSD_MSG_CHAIN. Returns the sealed memfd that goes with it; -1: there is no memory for it, or no room for the
 * message, and the datagram is as it was.
 */
int peer_write_chain(const STACK_OF(X509) *chain, uint64_t cookie, struct datagram_writer *datagram);

#endif
