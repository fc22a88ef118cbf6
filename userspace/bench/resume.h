/* SPDX-License-Identifier: MIT */
/* Which connections resume a session, and where sessions come from. */
#ifndef BENCH_RESUME_H
#define BENCH_RESUME_H

#include "connection.h"

/* Before the handshake: the share of resumptions is kept exactly, and evenly. Without a session the handshake is a full one. */
void resume_begin(struct connection *connection);

/* After it. */
void resume_keep(struct connection *connection);

/* An SSL_CTX_sess_set_new_cb: one session of each connection goes into its pool. */
int resume_new_session(SSL *ssl, SSL_SESSION *session);

#endif
