/* SPDX-License-Identifier: MIT */
/*
 * A connection whose ends both went through the agent. One end is what the tests are about: a stream, read in one of
 * several ways. The other is its peer, which sends whatever records a test likes: through the kernel by itself, and
 * where its keys have to be replaced through a stream of its own.
 */
#ifndef STREAM_CONNECTION_H
#define STREAM_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ktlsd.h"

#define PATIENCE_MS 5000
#define COUNT(array) (sizeof(array) / sizeof(*(array)))

enum way {
	BLOCKING,	     /* a blocking socket, a stream without a struct ktlsd */
	BLOCKING_WITH_AGENT, /* one with it */
	POLLING,	     /* a non-blocking socket: one receive for each POLLIN of a level-triggered poll() */
	POLLING_ALONE,	     /* likewise, without a struct ktlsd */
	EDGES,		     /* edge-triggered epoll: receives until there is nothing */
	RING,		     /* io_uring, one recvmsg after the other */
	RING_NONBLOCKING,    /* likewise, on a non-blocking socket */
	MULTISHOT,	     /* one recvmsg for all, with provided buffers that have room for a record */
	MULTISHOT_SMALL,     /* with smaller ones */
};

struct setup {
	const char *service;  /* of the server's end */
	enum ktlsd_role role; /* of the stream */
	enum way way;
	bool without_token;
	struct ktlsd_stream_limits limits;
};

struct connection {
	enum way way;
	enum ktlsd_role role;
	uint16_t version;
	bool can_rekey;
	struct ktlsd *agent; /* the stream's; NULL: it has none */
	struct ktlsd_stream *stream;
	int fd;
	struct ktlsd_stream *peer;
	int peer_fd;
	int epoll_fd;
	struct ring_reader *ring;
	size_t read_size;		   /* the most at once; 65536 */
	uint64_t sent, received;	   /* by the peer; by the stream */
	uint64_t sent_back, received_back; /* by the stream; by the peer */
};

/* Says why on a line of the test's output; returns false. */
bool fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

bool kernel_can_rekey(void);
int64_t now_ms(void);

bool connection_open(struct connection *connection, const struct setup *setup);
void connection_close(struct connection *connection);

/* What is sent each way is one long sequence, so that a byte says where it belongs. */
void fill(uint8_t *data, size_t length, uint64_t offset);
bool is_filled(const uint8_t *data, size_t length, uint64_t offset);

/* ---- the stream: reader.c ---- */

/* Receives in the connection's way: as ktlsd_stream_recv(), but waits; -ETIME: PATIENCE_MS were not enough. */
ssize_t stream_receive(struct connection *connection, void *data, size_t size);

/* Receives the sequence up to there. */
bool stream_reads_until(struct connection *connection, uint64_t offset);

/* Takes in what the agent answered; waits up to timeout_ms for it. */
void agent_turn(struct connection *connection, int timeout_ms);

/* Until the keys that the stream wants to send with are in, or PATIENCE_MS are over. */
bool stream_rekeyed(struct connection *connection, uint64_t tx_rekeys);

/* The next length bytes of the sequence back. */
bool stream_sends(struct connection *connection, size_t length);

bool reader_open(struct connection *connection);
void reader_close(struct connection *connection);

/* ---- the peer: peer.c ---- */

bool peer_sends(struct connection *connection, size_t length);
bool peer_sends_record(struct connection *connection, uint8_t type, const void *data, size_t length);

/* Replaces its key if that can be; else sends a KeyUpdate all the same. */
bool peer_updates(struct connection *connection, bool request);

/* Reads the sequence back up to there. */
bool peer_reads_until(struct connection *connection, uint64_t offset);

enum seen {
	SEES_ALERT = 0x1000, /* level << 8 | description on top of it */
	SEES_DATA = 1,
	SEES_FIN = 2, /* without an alert before it */
	SEES_RESET = 3,
	SEES_NOTHING = 4,
	SEES_ODD = 5,
};

/* What comes next for the peer. KeyUpdates and tickets are taken in. */
int peer_sees(struct connection *connection);

#define WARNING(description) (SEES_ALERT | 1 << 8 | (description))
#define FATAL(description) (SEES_ALERT | 2 << 8 | (description))

#endif
