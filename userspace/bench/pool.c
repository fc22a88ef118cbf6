/* SPDX-License-Identifier: MIT */
#include <err.h>
#include <stdlib.h>

#include "pool.h"

void pool_open(struct pool *pool, unsigned int room)
{
	*pool = (struct pool){.room = room, .sessions = calloc(room, sizeof(SSL_SESSION *))};
	if (!pool->sessions)
		err(1, NULL);
}

bool pool_put(struct pool *pool, SSL_SESSION *session)
{
	if (pool->count == pool->room || !SSL_SESSION_is_resumable(session))
		return false;
	pool->sessions[pool->count++] = session;
	return true;
}

SSL_SESSION *pool_take(struct pool *pool)
{
	return pool->count ? pool->sessions[--pool->count] : NULL;
}

void pool_close(struct pool *pool)
{
	while (pool->count)
		SSL_SESSION_free(pool_take(pool));
	free(pool->sessions);
}
