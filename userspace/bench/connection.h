/* SPDX-License-Identifier: MIT */
/*
 * One connection of the load: connect, handshake, full or resumed, one request with its response, orderly close. It has one chain of
 * operations in its loop's ring at a time:
 *
 *	connect -> send ClientHello -> receive
 *	(send -> receive)* until the handshake is done; the request leaves with the client's Finished
 *	receive until the response is complete
 *	send close_notify -> shutdown -> receive until the server has closed, too
 *
 * The response proves that the server has its keys in place, the wait for the close that it is through with the connection.
 * With loop->hold a connection stays open once the response is there.
 */
#ifndef BENCH_CONNECTION_H
#define BENCH_CONNECTION_H

#include <liburing.h>
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "bench.h"
#include "histogram.h"
#include "pool.h"

#define CONNECTION_INPUT 4096
#define CONNECTION_HEADER_MAX 2048

enum failure {
	FAILED_LOCALLY, /* no descriptor, no port, no memory */
	FAILED_TO_CONNECT,
	FAILED_BY_RESET,
	FAILED_BY_CLOSE, /* the server closed too early */
	FAILED_BY_TIMEOUT,
	FAILED_IN_TLS,
	FAILED_IN_HTTP,
	FAILURES,
};

extern const char *const failure_names[FAILURES];

struct tally {
	uint64_t completed;
	uint64_t full, resumed, to_resume; /* handshakes; to_resume: those that should have been */
	uint64_t failed[FAILURES];
	char first_failure[160];
	struct histogram handshake, response; /* nanoseconds since the connect() */
};

enum connection_state {
	CONNECTION_HANDSHAKE,
	CONNECTION_RESPONSE,
	CONNECTION_CLOSE,
	CONNECTION_HELD,
};

TAILQ_HEAD(connection_list, connection);

struct connection {
	TAILQ_ENTRY(connection) entry;
	struct loop *loop;
	const struct target *target;
	enum connection_state state;
	int fd;
	bool late;
	bool to_resume, fed; /* fed: the pool has a session of this connection */
	int64_t began;
	SSL *ssl;
	BIO *in, *out; /* ssl's */
	char header[CONNECTION_HEADER_MAX];
	size_t header_length;
	uint64_t body_left;
	bool in_body;
	uint8_t input[CONNECTION_INPUT];
};

/* What a thread works with; load.c runs it. */
struct loop {
	const struct settings *settings;
	SSL_CTX *context;
	struct io_uring ring;
	struct connection_list in_flight, held;
	unsigned int in_flight_count, held_count;
	unsigned int next;	 /* of targets and source addresses */
	unsigned int resumption; /* sum of percentages; one is due for each hundred */
	struct pool pools[TARGETS_MAX];
	_Atomic unsigned int pooled;
	_Atomic unsigned int over; /* connections, counted or not */
	bool hold;
	bool counting; /* what ends now is part of the measurement */
	char request[1024];
	size_t request_length;
	struct tally tally;
};

/* An SSL_CTX_sess_set_new_cb: one session of each connection goes into its pool. */
int connection_new_session(SSL *ssl, SSL_SESSION *session);

/* False if it failed at once, which is tallied like any other failure. */
bool connection_start(struct loop *loop);

/* For each completion with its user_data. */
void connection_complete(struct connection *connection, unsigned int operation, int result);

#define CONNECTION_OPERATION_MASK UINT64_C(15)

/* Gives up those that have been in flight for too long. */
void connections_expire(struct loop *loop);

/* Ends those that are held. */
void connections_release(struct loop *loop);

#endif
