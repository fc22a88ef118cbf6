/* SPDX-License-Identifier: MIT */
/* A handshake that came over the handoff socket, and its two messages: KTLSD_MSG_HANDOFF in, KTLSD_MSG_RESULT out. */
#ifndef AGENT_HANDOFF_H
#define AGENT_HANDOFF_H

#include "../lib/message.h"
#include "handshake.h"

struct caller;

struct handoff {
	struct handshake handshake; /* first: a handshake's address is its handoff's */
	struct caller *caller;
	uint64_t cookie;
	char service[64];
	TAILQ_ENTRY(handoff) entry; /* in the caller's open ones, then in its answers */
};

TAILQ_HEAD(handoff_list, handoff);

/* Reads a message into the door's half of the handshake. 0 or a positive errno with *why. */
int handoff_parse(struct handoff *handoff, const struct ktlsd_msg_header *message, const char **why);

#define KNOWN_WANTS (KTLSD_WANT_CHAIN | KTLSD_WANT_CHANNEL_BINDING | KTLSD_WANT_TOKEN)

/*
 * Writes how a handshake ended, as a message of this type, with the chain before it where that was asked for (*chain_fd, else
 * -1). False if it does not fit behind what is in the datagram already, which is then unchanged.
 */
bool handoff_write_result(const struct handshake *handshake, enum ktlsd_message_type type, uint64_t cookie,
			  struct datagram_writer *datagram, int *chain_fd);

#endif
