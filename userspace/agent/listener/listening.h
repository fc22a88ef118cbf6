/* SPDX-License-Identifier: MIT */
/*
 * A listening socket of an outlet. As many accepts wait in the ring as its queue needs, and never more than the outlet has
 * appetite for: a multishot accept empties the queue before it can be stopped.
 */
#ifndef AGENT_LISTENER_LISTENING_H
#define AGENT_LISTENER_LISTENING_H

#include <sys/queue.h>

#include "../ring.h"

struct outlet;

struct listening {
	struct completion completion;
	struct outlet *outlet;
	TAILQ_ENTRY(listening) entry;
	int fd;		      /* -1: let go */
	unsigned int accepts; /* in the ring */
	bool more;	      /* the queue was not empty after the last one */
	bool nonblocking;     /* O_NONBLOCK is set: the ring does not wait by itself */
	bool resting;	      /* there was no descriptor or no memory: until the next sweep */
};

struct listening *listening_new(struct outlet *outlet, int fd);

/* Accepts up to so many more connections. */
void listening_arm(struct listening *listening, unsigned int appetite);

/* Accepts nothing more; what was accepted in the same moment still comes. */
void listening_stop(struct listening *listening);

/* And lets the socket go. */
void listening_close(struct listening *listening);

#endif
