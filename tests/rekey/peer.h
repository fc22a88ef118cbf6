/* SPDX-License-Identifier: MIT */
/* The other end: OpenSSL, which sends, receives, replaces its key and asks for ours. */
#ifndef REKEY_PEER_H
#define REKEY_PEER_H

#include <openssl/ssl.h>

#include "flow.h"

struct peer {
	struct end end;
	int fd;
	SSL *ssl;
	BIO *in, *out; /* OpenSSL does not take a request for its key while a write of its own waits */
	uint8_t scratch[CHUNK_MAX];
	uint64_t updates_sent, updates_received;
};

void read_pki(const char *directory);
void forget_pki(void);

/* It has its socket. */
void set_up_peer(struct peer *peer, bool server, const char *suite);

/* Of a thread: sends and receives what its flows have, and ends. */
void *be_peer(void *peer);

/* Sends it right behind Finished and a KeyUpdate that asks for another. False: it, and then the end, do not come back. */
bool peer_gets_back(struct peer *peer, const char *greeting);

void peer_ends(struct peer *peer);

#endif
