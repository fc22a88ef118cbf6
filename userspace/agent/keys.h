/* SPDX-License-Identifier: MIT */
/*
 * What the agent seals with: keys for session tickets and for rekey tokens, in generations that follow each other every
 * KEYS_LIFETIME seconds. They belong to the agent, not to a configuration, so they outlive a reload; in a small file on a
 * tmpfs they outlive a restart, and are gone with the machine, as its connections are.
 */
#ifndef AGENT_KEYS_H
#define AGENT_KEYS_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define KEYS_LIFETIME 43200 /* seconds that a generation is the one to seal with */
#define KEYS_TICKETS_OPEN 2 /* generations that open tickets: a ticket is good for KEYS_LIFETIME at least */
#define KEYS_TOKENS_OPEN 3  /* generations that open tokens: a token is good for twice that */
#define KEYS_NAME_LENGTH 16

struct key_generation {
	int64_t created; /* seconds since 1970 */
	struct ticket_key {
		uint8_t name[KEYS_NAME_LENGTH];
		uint8_t aes[32];
		uint8_t hmac[32];
	} ticket;
	struct token_key {
		uint8_t name[KEYS_NAME_LENGTH];
		uint8_t aes[32];
	} token;
};

/* New keys, in this process only. False if there are no random numbers. */
bool keys_init(void);

/*
 * Before the first handshake: takes the keys that the file holds, or if there are none, or something is wrong with them,
 * leaves ours in it. From then on the file follows each rotation, through the descriptor that is open now. Whatever
 * happens is logged; the agent can do without.
 */
void keys_keep_in(const char *path, time_t now);

/* Whether it is time for the next generation; and to make it, on one thread. False: no random numbers, the old ones stay. */
bool keys_due(time_t now);
bool keys_rotate(time_t now);

/* The generation to seal with is keys_newest(); those before it, by number, open. Any thread. */
unsigned int keys_newest(void);
const struct key_generation *keys_of(unsigned int generation);

#endif
