/* SPDX-License-Identifier: MIT */
/* The inside of struct ktlsd: the connection to the agent, what waits to be sent, and what came back. */
#ifndef KTLSD_CONNECTION_H
#define KTLSD_CONNECTION_H

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include <sys/un.h>

#include "ktlsd.h"
#include "message.h"
#include "slots.h"

#define QUEUE_LENGTH 256

/* A datagram from the agent, read message by message, and the descriptors that came with it. */
struct inbound {
	struct datagram_reader reader;
	int fds[KTLSD_DATAGRAM_DESCRIPTORS];
	unsigned int fd_count;
	unsigned int fd_next;
	alignas(8) uint8_t data[KTLSD_DATAGRAM_MAX];
};

struct ktlsd {
	uint64_t magic;	  /* reads zero in a child: the whole struct is MADV_WIPEONFORK */
	int fd;		  /* to the agent; -1: not connected */
	int epoll_fd;	  /* has fd in it, and outlives it: what the caller polls */
	uint32_t watched; /* events of fd that epoll_fd waits for */
	bool blocked;	  /* the agent's socket had no room for the queue */
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];

	struct ktlsd_handoff queue[QUEUE_LENGTH];
	unsigned int queue_head;
	unsigned int queued;
	struct slots slots;
	alignas(8) uint8_t outbound[KTLSD_DATAGRAM_MAX];

	struct inbound inbound;
	int64_t received_ns; /* when it came, CLOCK_MONOTONIC */
	struct ktlsd_result result;
	bool shown; /* result is the caller's until seen */
	struct ktlsd_peer peer;
	char text[KTLSD_DATAGRAM_MAX]; /* what the result points to; no message has more */

	/* streams.c: streams ask for keys over this connection, from any thread. */
	pthread_mutex_t lock; /* of the next three, and of replacing fd */
	uint64_t rekey_count;
	TAILQ_HEAD(, ktlsd_stream) asking;
	_Atomic int64_t timer_due; /* CLOCK_MONOTONIC, ns; 0: timer_fd is not armed */
	int timer_fd;		   /* in epoll_fd; -1: not needed so far */
	TAILQ_HEAD(stream_list, ktlsd_stream) streams;
	TAILQ_HEAD(, ktlsd_stream) suspects;
	int64_t suspects_due; /* CLOCK_MONOTONIC, ns */
};

/* False in a child of the process that opened it. */
bool connection_is_ours(const struct ktlsd *agent);

/* path as ktlsd_open() takes it, resolved. */
const char *connection_path(const char *path);

/* As ktlsd_open(). flags: SOCK_NONBLOCK: connecting does not wait. */
int connection_make(struct ktlsd **agent, const char *path, int flags);

/* Connects and says hello; nobody else sends before that. flags: SOCK_NONBLOCK or 0. 0 or -errno. */
int connection_establish(struct ktlsd *agent, int flags);

/* Gives the connection up: every open handoff ends with ECONNRESET. */
void connection_lost(struct ktlsd *agent);

/* Makes epoll_fd readable if the library itself has something for the caller to do. */
void connection_update_watch(struct ktlsd *agent);

/* ktlsd_listen(), for who waits no longer than that for the answer. */
int connection_listen(int listener, const char *service, unsigned int backlog, unsigned int want, int answer_ms,
		      char *why, size_t why_size);

/* ktlsd_accept(), close-on-exec only with MSG_CMSG_CLOEXEC. */
int connection_accept(int receiver, struct ktlsd_ready *ready, int flags);

/* Sends one datagram with descriptors, without blocking. 0 or -errno. */
int connection_send(struct ktlsd *agent, const struct datagram_writer *datagram, const int *fds, unsigned int fd_count);

/* Receives the next datagram into inbound. 1, 0 at the end of the connection, or -errno. */
int connection_receive(struct ktlsd *agent);

/* For who waits: the first message with this cookie, but for HELLO. NULL: none came in time, or the agent went away. */
const struct ktlsd_msg_header *connection_answer(struct ktlsd *agent, uint64_t cookie, int timeout_ms);

/* The error that an answer gives, and its words (why may be NULL). The answer is as long as a struct ktlsd_msg_result. */
int connection_refusal(const struct ktlsd_msg_header *answer, char *why, size_t why_size);

/* A chain that came in a memfd; NULL if it is not safe to read. The descriptor stays the caller's. */
const uint8_t *chain_map(int fd, size_t length);

/* The next descriptor of the datagram in inbound, now the caller's; -1 if there is none. */
int inbound_take_fd(struct inbound *inbound);

#endif
