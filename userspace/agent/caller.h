/* SPDX-License-Identifier: MIT */
/* One connection to the handoff socket: who it is, what it has open, what is to be said to it. */
#ifndef AGENT_CALLER_H
#define AGENT_CALLER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "challenge.h"
#include "handoff.h"
#include "owner.h"
#include "rekey.h"

#define CALLER_ANSWERS_MAX 1024 /* beyond these, nothing more is received until the caller has read some */
#define POOL_MAX 64		/* handoffs kept for reuse, per worker */

/*
 * SCM_MAX_FD, all that a datagram can bring: the kernel closes what there is no room for on the thread that receives, which
 * stands still if that hangs.
 */
#define CALLER_DESCRIPTORS_MAX 253

struct caller {
	struct completion completion;
	struct door_state *door;
	TAILQ_ENTRY(caller) entry;
	int fd;
	struct owner owner;
	bool touched;	/* something came or is to be said: the door gives it a turn */
	bool greeted;	/* HELLO was there */
	bool hello_due; /* ours is to be sent */
	bool gone;	/* it left, or was thrown out */
	bool leaving;	/* it broke the protocol: it gets its answers, then it is thrown out */
	bool receiving, sending;
	bool keys_in_out; /* session keys: to be wiped once they are sent */
	unsigned int open_count /* handoffs and waiting challenges */, challenge_count /* of them */;
	unsigned int answer_count; /* of all kinds */
	bool brings_hanging;	   /* it handed over a descriptor whose closing may hang */
	struct handoff_list open, answers;
	struct rekey_list rekeys;     /* answers, too */
	struct challenge_list proofs; /* likewise */
	struct msghdr received, sent;
	struct iovec received_part, sent_part;
	int sent_descriptors[KTLSD_DATAGRAM_DESCRIPTORS];
	unsigned int sent_descriptor_count;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * CALLER_DESCRIPTORS_MAX)];
	} received_control;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * KTLSD_DATAGRAM_DESCRIPTORS)];
	} sent_control;
	uint8_t in[KTLSD_DATAGRAM_MAX] __attribute__((aligned(8)));
	uint8_t out[KTLSD_DATAGRAM_MAX] __attribute__((aligned(8)));
};

/* What door_unix keeps on each worker. */
struct door_state {
	struct completion completion; /* of accept */
	struct worker *worker;
	bool accepting, draining;
	TAILQ_HEAD(, caller) callers;
	struct handoff_list pool;
	unsigned int pooled;
	struct challenges challenges;
};

/* Tells somebody at the other end of a UNIX socket why there is no place for it, as far as that goes without waiting. */
void caller_turn_away(int fd, int error, const char *why);

/* Takes over fd. False: there is no place for it; it was told and is closed. */
bool caller_new(struct door_state *door, int fd);

/* Sends what is to be said and receives again. False: it was gone, and is freed. */
bool caller_turn(struct caller *caller);

/* A handshake of its caller is over. */
void caller_answer(struct handoff *handoff);

/* When the agent ends: the caller learns it now, however long the process takes to go. */
void caller_hang_up(struct caller *caller);

/* Nothing open, nothing to be said. */
bool caller_idle(const struct caller *caller);

#endif
