/* SPDX-License-Identifier: MIT */
/*
 * One connection of the load: connect, handshake, full or resumed, what the mode does with it, orderly close. It has one chain
 * of operations in its loop's ring at a time, or none:
 *
 *	connect -> send ClientHello -> receive
 *	(send -> receive)* until the handshake is done; what the mode sends first leaves with the client's Finished
 *	(send -> receive)* or (send)* as the mode goes on
 *	send close_notify -> shutdown -> receive until the server has closed, too
 *
 * The wait for the server's close is the proof that it is through with the connection. With kernel TLS OpenSSL has the
 * socket itself, and the ring tells when it is ready.
 */
#ifndef BENCH_CONNECTION_H
#define BENCH_CONNECTION_H

#include <openssl/ssl.h>

#include "http.h"
#include "loop.h"

/* How a connection goes on. */
enum next {
	NEXT_RECEIVE, /* what has been written is sent, and there is something to come */
	NEXT_SEND,    /* what has been written is sent, and the mode's sent() called */
	NEXT_REST,    /* until connection_wake() */
	NEXT_HOLD,    /* until the run's end */
	NEXT_CLOSE,
	NEXT_GONE, /* connection_fail() was called */
};

struct connection;

/* What a mode does with its connections. */
struct use {
	const char *name, *operation; /* in results */
	size_t input;		      /* bytes to receive at once */
	bool keeps;	 /* more than one operation of the load on a connection; arrivals need one that rests */
	bool abandons;	 /* at the run's end it is cut off, not waited for */
	bool holds;	 /* idle */
	bool streams;	 /* what counts is bytes */
	bool handshakes; /* a connection is an operation: its handshake's latency counts from its arrival */
	enum next (*established)(struct connection *connection);
	enum next (*received)(struct connection *connection, const char *data, size_t length);
	enum next (*sent)(struct connection *connection);
	/* The server's close_notify. */
	enum next (*ended)(struct connection *connection);
	/* keeps: an arrival for a connection that rests. */
	enum next (*arrived)(struct connection *connection);
	/* Without TLS: in place of all the above. result: bytes in input, 0, or an error. */
	void (*connected)(struct connection *connection);
	void (*heard)(struct connection *connection, int result);
	/* Once in a turn of the loop; may be NULL. */
	void (*turn)(struct loop *loop);
};

enum connection_state {
	CONNECTION_HANDSHAKE,
	CONNECTION_OPEN,
	CONNECTION_CLOSE,
};

struct connection {
	TAILQ_ENTRY(connection) entry;
	struct loop *loop;
	struct line *line;
	const struct target *target;
	enum connection_state state;
	int fd;
	bool late;	     /* its operations are being canceled */
	bool silent;	     /* and that is no failure */
	bool to_resume, fed; /* fed: the pool has a session of this connection */
	bool measured;	     /* open loop: the present operation is one of the window's */
	bool heard;	     /* anything from the server */
	bool has_operation;  /* or it is open and has none yet */
	bool reused;	     /* there was one before the present one */
	bool wants_sent;
	int64_t began;	   /* the present operation, or when it should have: what latency counts from */
	int64_t connected; /* when that began */
	int64_t since;	   /* what the timeout counts from */
	int64_t due;	   /* slow: the next byte */
	SSL *ssl;
	BIO *in, *out;	   /* ssl's; NULL with kernel TLS */
	const char *plain; /* to be sent; stays where it is until then */
	size_t plain_left;
	uint64_t got; /* bytes of the present operation */
	struct http http;
	uint8_t input[];
};

/* When an operation has to begin, and whether it is one of the window's. */
struct begin {
	int64_t at;
	bool measured;
};

/* begin is NULL in a closed loop. False if it failed at once, which is tallied like any other failure. */
bool connection_start(struct loop *loop, const struct begin *begin);

/* For each completion with its user_data. */
void connection_complete(struct connection *connection, unsigned int operation, int result);

#define CONNECTION_OPERATION_MASK UINT64_C(15)

/* For a mode's functions. What is to be written stays where it is until it is sent. */
void connection_write(struct connection *connection, const char *data, size_t length);
void connection_wake(struct connection *connection, const struct begin *begin);
enum next connection_fail(struct connection *connection, enum failure failure, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* An operation has come to its end: the latency is counted, and so is the operation, but for those that end with their close. */
void connection_latency(struct connection *connection);
void connection_completed(struct connection *connection);
void connection_end(struct connection *connection);
/* An operation on a connection that has ended one, or has just been opened. */
void connection_begin(struct connection *connection, const struct begin *begin);
/* The timeout counts from now on. */
void connection_progress(struct connection *connection);
/* The server has closed, and was not to. */
enum next connection_cut(struct connection *connection);
void connection_receive(struct connection *connection);

/* Gives up those that have been in flight for too long. */
void connections_expire(struct loop *loop);

/* Ends those that are held or rest, and with a mode that abandons them, those in flight. */
void connections_release(struct loop *loop);

#endif
