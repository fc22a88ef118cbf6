/* SPDX-License-Identifier: MIT */
/*
 * Where ready sockets go: our end of a SEQPACKET connection. Whoever holds the other end receives them; when nobody does any
 * more, the outlet hears of it. The kernel does not say how many datagrams wait to be received, but how much memory they take
 * (SIOCOUTQ), and they leave in the order in which they came: so what each took is remembered.
 */
#ifndef AGENT_LISTENER_RECEIVER_H
#define AGENT_LISTENER_RECEIVER_H

#include <stdbool.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "../owner.h"
#include "../ring.h"

struct outlet;

/*
 * What is sent: a datagram and its descriptors, all of which stay in place until it went out or came back. The first descriptor, the
 * connection, is closed as soon as it is sent, before whoever receives it can make that close a slow one (SO_LINGER).
 */
struct parcel {
	struct completion completion;
	struct receiver *receiver;
	struct msghdr message;
	struct iovec part;
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} control;
	int descriptors[2];
	unsigned int descriptor_count;
	bool closes_at_once;
};

struct receiver {
	struct completion completion;
	struct outlet *outlet;
	TAILQ_ENTRY(receiver) entry;
	int fd;
	struct owner owner;
	bool counted;	      /* as a listener, by admission */
	bool watched;	      /* for its end */
	bool awaited;	      /* for room */
	bool full;	      /* the last parcel came back */
	bool resting;	      /* a parcel failed for want of something: until the next sweep */
	bool lost;	      /* nobody receives any more */
	unsigned int sending; /* parcels in the ring */
	uint64_t turn;	      /* its last one, of the outlet's */
	unsigned int most, first, count;
	uint64_t bytes;	  /* that those took */
	uint32_t costs[]; /* a ring of `most`; the oldest is `first` */
};

/* owner: whose descriptors may come back with it. Its groups are taken over. */
struct receiver *receiver_new(struct outlet *outlet, int fd, const struct owner *owner);
void receiver_free(struct receiver *receiver); /* its descriptor is closed */

/* How much memory takes what waits at the other end of a socket. */
uint64_t receiver_queued_bytes(int fd);

/* How many ready sockets wait in it. */
unsigned int receiver_unread(struct receiver *receiver);

/* Whether a parcel may be sent now. */
bool receiver_takes(const struct receiver *receiver);
void receiver_send(struct receiver *receiver, struct parcel *parcel);

/* Watches for its end, and, if so, for room. */
void receiver_watch(struct receiver *receiver, bool room);

/* Nothing of it is in the ring. */
bool receiver_idle(const struct receiver *receiver);

void receiver_close(struct receiver *receiver);

#endif
