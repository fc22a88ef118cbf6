/* SPDX-License-Identifier: MIT */
/*
 * A worker: a thread with a ring, the handshakes that run on it and the callers that came to it. Nothing of it is shared
 * but its counters and its ring's descriptor, through which other threads post.
 */
#ifndef AGENT_WORKER_H
#define AGENT_WORKER_H

#include <liburing.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "config.h"
#include "ring.h"
#include "stats.h"

#define WORKER_SWEEP_MS 100 /* how exactly deadlines are kept */

struct handshake;

TAILQ_HEAD(handshake_list, handshake);

struct worker {
	struct completion posted; /* from other threads: enum worker_post */
	unsigned int id;
	pthread_t thread;
	sem_t started;
	_Atomic bool ended; /* nothing but the thread itself is left */
	struct io_uring ring;
	struct ring_buffers buffers;
	struct config *config;
	struct config *_Atomic next_config; /* put there by the main thread */
	uint64_t config_number;		    /* how many it has had: addresses come again */
	struct handshake_list active;
	_Atomic unsigned int active_count; /* read by workers that look for the least busy one */
	int64_t now;			   /* CLOCK_MONOTONIC, milliseconds; as of this turn */
	time_t time;			   /* seconds since 1970, of a second ago at the most */
	int64_t time_due;		   /* when to look again */
	int64_t next_sweep;
	uint64_t next_connection_id;
	bool sweep_due; /* a handshake was canceled */
	bool draining, stopping;
	bool alone;	/* draining, and what it had for other workers is out */
	bool last_look; /* all are, so no more can come from others than is there already */
	struct stats stats;
};

enum worker_post {
	WORKER_RECONFIGURE, /* next_config is there */
	WORKER_SWEEP,	    /* a handshake was canceled */
	WORKER_DRAIN,	    /* no new work; stop when the rest is done */
	WORKER_STOP,	    /* give up what runs, then stop */
	WORKER_POST_FAILED,
};

#define WORKERS_MAX 255

/* All workers, set before the first starts. */
extern struct worker **workers;
extern unsigned int worker_count;

/* Takes over the caller's reference of config. NULL with a logged reason. */
struct worker *worker_new(unsigned int id, struct config *config);
bool worker_start(struct worker *worker); /* returns when it serves */
void worker_free(struct worker *worker);

/* Posts to a worker from the thread that owns ring. */
void worker_post(struct io_uring *ring, struct worker *target, enum worker_post post);

/* Has canceled handshakes noticed, on all workers, once in this turn. */
void worker_request_sweep(struct worker *worker);

/* The worker to run a handshake on: the one it came to, unless another has clearly less to do. */
struct worker *worker_least_busy(struct worker *here);

uint64_t worker_connection_id(struct worker *worker);

#endif
