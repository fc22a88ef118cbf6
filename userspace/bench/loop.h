/* SPDX-License-Identifier: MIT */
/* A thread of the load: its ring, its connections, and what it has counted. crew.c has the course of a run. */
#ifndef BENCH_LOOP_H
#define BENCH_LOOP_H

#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "arrival.h"
#include "bench.h"
#include "failure.h"
#include "histogram.h"
#include "pool.h"

#define LOOP_PLAIN 16384 /* a record's worth */

/* What has been counted while the measurement lasted. */
struct tally {
	uint64_t completed;				   /* connections, requests or transfers, as the mode has it */
	uint64_t full, resumed, to_resume;		   /* handshakes; to_resume: those that should have been */
	uint64_t kernel_send, kernel_receive;		   /* connections with their keys in the kernel */
	uint64_t reopened;				   /* connections that the server closed between two requests */
	uint64_t bytes;					   /* stream, rr: of plaintext, in the measured direction */
	uint64_t opened, closed, reset, answered, alerted; /* slow */
	struct failures failed;
	struct histogram handshake, response; /* nanoseconds */
	struct arrival_tally arrivals;
};

struct connection;
TAILQ_HEAD(connection_list, connection);

struct line {
	struct connection_list list;
	unsigned int count;
};

struct loop {
	const struct settings *settings;
	const struct use *use;
	SSL_CTX *context;
	pthread_t thread;
	struct io_uring ring;
	unsigned int index;		      /* of this thread */
	unsigned int limit;		      /* connections at once */
	uint64_t share, share_of_bytes;	      /* after which it has done its part; 0: none */
	struct line in_flight, resting, held; /* in_flight: the one that has waited longest comes first */
	unsigned int next;		      /* of targets and source addresses */
	unsigned int resumption;	      /* sum of percentages; one is due for each hundred */
	struct pool pools[TARGETS_MAX];
	struct arrivals arrivals;
	unsigned int measured;	/* open loop: operations of the window that have begun and not ended */
	int64_t now;		/* when this turn began */
	int64_t measured_until; /* 0: not yet */
	bool counting;		/* what ends now is part of the measurement */
	bool stopping;
	bool holding; /* idle: connections stay open once their response is there */
	char request[1024];
	size_t request_length;
	char plain[LOOP_PLAIN];
	struct tally tally;

	/* for the main thread while this one runs */
	_Atomic uint64_t completed, failed, bytes;
	_Atomic unsigned int busy, over, pooled; /* connections in flight, ended, sessions in its pools */
	_Atomic bool ready;			 /* its part is done */
	uint64_t waited, passed;		 /* cycles, while measuring */
};

enum phase { PHASE_LOAD, PHASE_MEASURE, PHASE_STOP };

/* Set by the main thread, for all. */
extern _Atomic enum phase phase;

/* pthread_create's: runs until PHASE_STOP, and until its connections have ended. */
void *loop_run(void *loop);

#endif
