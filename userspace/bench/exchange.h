/* SPDX-License-Identifier: MIT */
/* A connection's chain of operations, and OpenSSL between them: for connection.c, which has its beginning and its end. */
#ifndef BENCH_EXCHANGE_H
#define BENCH_EXCHANGE_H

#include "connection.h"

/* Of a socket that is not connected yet. False if the connection has failed. */
bool exchange_begin(struct connection *connection);

void exchange_go_on(struct connection *connection, enum next next);
void exchange_complete(struct connection *connection, unsigned int operation, int result);

/* What it waits for ends with an error. */
void exchange_cancel(struct connection *connection);

/* Whose failures count, the connection's lines, its end: connection.c. */
bool connection_counts(const struct connection *connection);
void connection_move(struct connection *connection, struct line *line);
void connection_closed(struct connection *connection);
void connection_broken(struct connection *connection, int error, const char *doing);

#endif
