/* SPDX-License-Identifier: MIT */
/*
 * What session tickets are sealed with: keys from files that several machines share, as nginx's ssl_session_ticket_key has
 * them, or without those the agent's own (keys.h). A set from files is immutable and belongs to the configurations that
 * were loaded with it; the last that goes wipes it.
 */
#ifndef AGENT_TICKET_KEYS_H
#define AGENT_TICKET_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "complaint.h"
#include "keys.h"
#include "settings.h"
#include "source.h"

#define TICKET_KEYS_MAX 16
#define TICKET_KEY_LENGTH 80	   /* name, HMAC, AES-256 */
#define TICKET_KEY_LENGTH_SHORT 48 /* name, AES-128, HMAC */

struct ticket_keys {
	unsigned int holders; /* configurations, all of them the main thread's to make and to free */
	time_t loaded;	      /* seconds since 1970 */
	size_t count;
	struct shared_key {
		struct ticket_key key;
		bool aes_128;
		bool next; /* other machines may seal with it already */
		char *file;
	} keys[TICKET_KEYS_MAX]; /* the first is the one to seal with */
	struct watched files;
};

/* NULL: with complaints, or because there are no paths. */
struct ticket_keys *ticket_keys_load(const struct setting_list *paths, struct complaints *complaints);
struct ticket_keys *ticket_keys_get(struct ticket_keys *keys);
void ticket_keys_put(struct ticket_keys *keys);

/* A file's content. False: of a wrong length, or not random. Pure. */
bool ticket_key_parse(struct shared_key *parsed, const uint8_t *bytes, size_t length);

/*
 * What counts from now on; NULL: the agent's own. The sets before must outlive each worker's turn that began before: no
 * configuration is freed while a worker has not gone over to the newest one.
 */
void ticket_keys_use(const struct ticket_keys *keys);

/* Of those in use; any worker. */
struct ticket_key_choice {
	const struct ticket_key *key; /* NULL: none has that name */
	bool aes_128;
	bool renew; /* good, but the client is to get a new ticket */
};

struct ticket_key_choice ticket_key_to_seal(void);
struct ticket_key_choice ticket_key_to_open(const uint8_t name[static KEYS_NAME_LENGTH]);

/* What a key is called where people read of it: the first bytes of its name, which each of its tickets shows anyway. */
#define TICKET_KEY_TEXT 9
const char *ticket_key_text(const struct ticket_key *key, char text[static TICKET_KEY_TEXT]);

#endif
