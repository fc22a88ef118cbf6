/* SPDX-License-Identifier: MIT */
/*
 * Sessions to resume, of one thread and one target. The newest is taken first: an old one may have expired. Each is used
 * once; only TLS 1.2, where a server need not issue a new ticket in a resumption, has them put back.
 */
#ifndef BENCH_POOL_H
#define BENCH_POOL_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "bench.h"

struct pool {
	SSL_SESSION **sessions;
	unsigned int count, room;
};

void pool_open(struct pool *pool, unsigned int room);

/* The pool owns the session if it returns true; false if there are enough. */
bool pool_put(struct pool *pool, SSL_SESSION *session);

/* The caller's to free. NULL if there is none. */
SSL_SESSION *pool_take(struct pool *pool);

void pool_close(struct pool *pool);

#endif
