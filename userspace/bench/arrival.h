/* SPDX-License-Identifier: MIT */
/*
 * Open loop: when the handshakes or requests of one thread have to begin. The times are fixed in advance, evenly spaced; who
 * can't begin in time begins late, and its latency counts from when it had to. Those of the measurement lie in a window; before
 * and behind it the load is the same and is not measured.
 */
#ifndef BENCH_ARRIVAL_H
#define BENCH_ARRIVAL_H

#include <stdbool.h>
#include <stdint.h>

#include "bench.h"
#include "histogram.h"

#define LATE_NS 1000000

struct arrivals {
	double interval_ns; /* 0: closed loop, there are none */
	int64_t origin;	    /* of the first */
	int64_t window_end;
	uint64_t taken, measured; /* since the origin; measured: how many of them can be in the window */
	bool measuring;
};

/* What became of the window's arrivals. */
struct arrival_tally {
	uint64_t arrivals, late, unstarted;
	struct histogram delay; /* of beginnings, in nanoseconds */
};

/* The thread's share of the settings' rate, from now on. */
void arrivals_begin(struct arrivals *arrivals, const struct settings *settings, unsigned int thread, int64_t now,
		    bool measuring);

/* When the next has to begin. */
int64_t arrivals_next(const struct arrivals *arrivals);

/* Takes it. True if it is one of the window's. */
bool arrivals_take(struct arrivals *arrivals, struct arrival_tally *tally, int64_t now);

/* Whether all of the window's have been taken. */
bool arrivals_measured(const struct arrivals *arrivals);

/*
 * Gives up what the window still has once it is over: it was asked for and could not be. What such a one has waited until now
 * goes into latency, or the worst would be left out.
 */
void arrivals_give_up(struct arrivals *arrivals, struct arrival_tally *tally, struct histogram *latency, int64_t now);

#endif
