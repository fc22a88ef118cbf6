/* SPDX-License-Identifier: MIT */
/*
 * The next keys of a connection (RFC 8446 §7.2): KTLSD_MSG_REKEY in, with the token and the socket, KTLSD_MSG_REKEY out,
 * with the keys and the next token. The agent only derives: whoever holds the socket could read its keys from the kernel
 * anyway, and sets the new ones itself, together with the KeyUpdate that it sends or has received.
 */
#ifndef AGENT_REKEY_H
#define AGENT_REKEY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "../lib/message.h"
#include "secrets.h"
#include "token.h"

struct caller;

struct rekey_request {
	unsigned int directions; /* enum ktlsd_direction; 0: only a fresh token */
	const uint8_t *token;	 /* in the message */
	size_t token_length;
};

struct rekey { /* an answer */
	TAILQ_ENTRY(rekey) entry;
	uint64_t cookie;
	unsigned int directions;
	int error; /* 0 or positive errno */
	const char *why;
	struct crypto_info tx, rx; /* where asked for */
	uint8_t token[TOKEN_LENGTH];
	unsigned int lifetime; /* of the token, seconds */
};

TAILQ_HEAD(rekey_list, rekey);

/* Reads a message. 0 or a positive errno with *why. Pure. */
int rekey_parse(struct rekey_request *request, const struct ktlsd_msg_header *message, const char **why);

/* Takes over fd, and queues the answer with the caller. */
void rekey_take(struct caller *caller, const struct ktlsd_msg_header *message, int fd);

/* False if it does not fit behind what is in the datagram already. The caller wipes the datagram once it is sent. */
bool rekey_write(const struct rekey *rekey, struct datagram_writer *datagram);

/* Wipes it. */
void rekey_free(struct rekey *rekey);

#endif
