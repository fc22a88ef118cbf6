/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stddef.h>

#include "histogram.h"

#define LINEAR (UINT64_C(1) << HISTOGRAM_LINEAR_BITS)

/* Values below LINEAR have a bucket each; above, the leading bit chooses the octave and the next bits the bucket. */
static size_t bucket_of(uint64_t value)
{
	unsigned int octave;

	if (value < LINEAR)
		return value;
	octave = 63 - __builtin_clzll(value) - HISTOGRAM_LINEAR_BITS;
	return (octave + 1) * LINEAR + (value >> octave) - LINEAR;
}

static uint64_t last_of(size_t bucket)
{
	unsigned int octave;

	if (bucket < LINEAR)
		return bucket;
	octave = bucket / LINEAR - 1;
	return ((LINEAR + bucket % LINEAR + 1) << octave) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
	if (histogram->count++ == 0 || value < histogram->min)
		histogram->min = value;
	if (value > histogram->max)
		histogram->max = value;
	histogram->buckets[bucket_of(value)]++;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
	size_t i;

	if (from->count == 0)
		return;
	if (into->count == 0 || from->min < into->min)
		into->min = from->min;
	if (from->max > into->max)
		into->max = from->max;
	into->count += from->count;
	for (i = 0; i < HISTOGRAM_BUCKETS; i++)
		into->buckets[i] += from->buckets[i];
}

uint64_t histogram_percentile(const struct histogram *histogram, double percent)
{
	uint64_t wanted = ceil(histogram->count * percent / 100), seen = 0;
	size_t i;

	for (i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += histogram->buckets[i];
		if (seen > 0 && seen >= wanted)
			return last_of(i) < histogram->max ? last_of(i) : histogram->max;
	}
	return 0;
}
