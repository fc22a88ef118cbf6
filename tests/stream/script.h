/* SPDX-License-Identifier: MIT */
/* What a peer does, in words: "data:100 ticket update! data:5 close". */
#ifndef STREAM_SCRIPT_H
#define STREAM_SCRIPT_H

#include "connection.h"

enum kind {
	TLS12 = 1,
	TLS13 = 2, /* where keys can be replaced */
	FIXED = 4, /* TLS 1.3 where they can't */
	ANY13 = TLS13 | FIXED,
	ANY = TLS12 | ANY13,
};

/* The stream's, or-ed. */
enum roles { SERVER = 1 << KTLSD_SERVER, CLIENT = 1 << KTLSD_CLIENT, BOTH = SERVER | CLIENT };

enum kind connection_kind(const struct connection *connection);

enum pace { AT_ONCE, IN_STEP, UNREAD };

/*
 * Plays it. What comes behind "|" is not expected to reach the stream as data. The stream reads
 * when all is sent, or after each piece of data, or not yet.
 */
bool play(struct connection *connection, const char *script, enum pace pace);

/* A script of harmless steps with data, as seed and kind have it. */
void make_script(char *script, size_t size, unsigned int seed, enum kind kind, enum ktlsd_role role);

#endif
