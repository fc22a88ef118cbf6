/* SPDX-License-Identifier: MIT */
#include "resume.h"

static struct pool *pool_of(struct connection *c)
{
	return &c->loop->pools[c->target - c->loop->settings->targets];
}

int resume_new_session(SSL *ssl, SSL_SESSION *session)
{
	struct connection *c = SSL_get_app_data(ssl);

	if (c->fed || !pool_put(pool_of(c), session))
		return 0;
	c->fed = true;
	c->loop->pooled++;
	return 1;
}

void resume_begin(struct connection *c)
{
	struct loop *loop = c->loop;
	SSL_SESSION *session;

	SSL_set_app_data(c->ssl, c);
	loop->resumption += loop->settings->resume;
	if (loop->resumption < 100)
		return;
	loop->resumption -= 100;
	c->to_resume = true;
	session = pool_take(pool_of(c));
	if (!session)
		return;
	loop->pooled--;
	SSL_set_session(c->ssl, session);
	SSL_SESSION_free(session);
}

/* OpenSSL announces no session when one of TLS 1.2 was resumed. */
void resume_keep(struct connection *c)
{
	SSL_SESSION *session;

	if (c->loop->settings->version != TLS1_2_VERSION || !SSL_session_reused(c->ssl))
		return;
	session = SSL_get1_session(c->ssl);
	if (!resume_new_session(c->ssl, session))
		SSL_SESSION_free(session);
}
