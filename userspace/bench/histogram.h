/* SPDX-License-Identifier: MIT */
/* Counts of durations in log-linear buckets, 64 to an octave: what is read back is at most 1.6 % off. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_LINEAR_BITS 6
#define HISTOGRAM_BUCKETS ((64 - HISTOGRAM_LINEAR_BITS + 1) << HISTOGRAM_LINEAR_BITS)

struct histogram {
	uint64_t count, min, max;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value);
void histogram_merge(struct histogram *into, const struct histogram *from);

/* The smallest recorded value, within the buckets' precision, that percent of all do not exceed. 0 if there is none. */
uint64_t histogram_percentile(const struct histogram *histogram, double percent);

#endif
