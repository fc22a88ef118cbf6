/* SPDX-License-Identifier: MIT */
/* For the cases about next keys: connections with keys at both ends, and what is asked for them, byte by byte. */
#ifndef HOSTILE_SESSION_H
#define HOSTILE_SESSION_H

#include "hostile.h"

#ifndef SOL_TLS
#define SOL_TLS 282
#endif
#define COOKIE 7
#define ROOM 12288 /* for messages that are put together */

struct token {
	uint8_t bytes[KTLSD_TOKEN_MAX];
	size_t length; /* 0: none came */
	uint32_t lifetime;
};

struct next {
	unsigned int type, error;
	uint64_t cookie;
	char why[256];
	struct token token;
	struct keys {
		uint8_t bytes[64];
		size_t length; /* 0: none came */
	} tx, rx;
};

/* A connection with keys at both ends, and a token for each. */
struct session {
	struct pair pair;
	struct token server, client;
};

/* The agent does both ends, and gives a token for each. */
struct session shake_hands(const char *service);
void put_rekey(struct datagram_writer *datagram, unsigned int directions, const void *token, size_t length);
bool receive_next(struct wire *wire, struct next *next);
/* Over a connection of its own to the agent. */
struct next ask(int fd, unsigned int directions, const struct token *token);
bool refused(const struct next *next, unsigned int error, const char *why);
bool granted(const struct next *next, unsigned int directions);
/* As the library would; but without KeyUpdate records, which these kernels don't insist on. */
bool set_keys(int fd, int option, const struct keys *keys);
/* The agent has no descriptor more than before. */
void end_session(struct session *session, unsigned int descriptors, const char *what);

/* Sets of cases: rekey_steps.c */
void rekey_steps(void);
void rekey_lapsed(void);
void rekey_across_restart(void);
void rekey_without_service(const char *command);

#endif
