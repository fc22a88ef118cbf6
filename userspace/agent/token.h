/* SPDX-License-Identifier: MIT */
/*
 * Rekey tokens: what it takes to make the next keys of a TLS 1.3 connection, sealed with keys that only the agent has
 * (keys.h) and kept by the connection's owner, so that the agent keeps nothing. Pure but for random numbers: the time is
 * the caller's. The caller wipes what it passed in and what it got.
 */
#ifndef AGENT_TOKEN_H
#define AGENT_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "keys.h"
#include "secrets.h"

#define TOKEN_LENGTH 252 /* sealed */

struct token {
	const struct cipher_suite *suite;
	unsigned int role; /* ours, enum ktlsd_role */
	char service[64];
	uint64_t connection_id;
	int64_t expires; /* seconds since 1970 */
	struct traffic {
		uint64_t generation; /* of the keys in force: 0 after the handshake */
		uint8_t secret[SECRET_MAX];
	} client, server; /* as sent by */
};

/* Of a token that is good for lifetime seconds at least: the second that is running has begun already. */
static inline int64_t token_expiry(int64_t now, unsigned int lifetime)
{
	return now + lifetime + 1;
}

/* Fetches the algorithm; false if OpenSSL has it not. */
bool token_init(void);

/* False if there are no random numbers. */
bool token_seal(const struct token *token, uint8_t sealed[static TOKEN_LENGTH]);

/*
 * 0 or a positive errno with *why: EBADMSG: not ours, no longer ours (its key is gone), or altered; EKEYEXPIRED: lapsed.
 * The token holds no secrets then.
 */
int token_open(struct token *token, const uint8_t *sealed, size_t length, int64_t now, const char **why);

#endif
