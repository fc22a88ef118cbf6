/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "arrival.h"

void arrivals_begin(struct arrivals *arrivals, const struct settings *settings, unsigned int thread, int64_t now,
		    bool measuring)
{
	double gap_ns = 1e9 / settings->rate;
	uint64_t count = settings->count ? settings->count : ceil(settings->duration_s * settings->rate);

	*arrivals = (struct arrivals){
		.interval_ns = gap_ns * settings->threads,
		.origin = now + thread * gap_ns,
		.measuring = measuring,
	};
	if (!measuring)
		return;
	arrivals->measured = share_of(count, settings->threads, thread);
	arrivals->window_end = now + count * gap_ns;
}

int64_t arrivals_next(const struct arrivals *arrivals)
{
	return arrivals->origin + (int64_t)(arrivals->taken * arrivals->interval_ns);
}

bool arrivals_measured(const struct arrivals *arrivals)
{
	return arrivals->measuring && arrivals->taken >= arrivals->measured;
}

bool arrivals_take(struct arrivals *arrivals, struct arrival_tally *tally, int64_t now)
{
	int64_t delay = now - arrivals_next(arrivals);

	if (arrivals->taken++ >= arrivals->measured)
		return false;
	tally->arrivals++;
	tally->late += delay > LATE_NS;
	histogram_add(&tally->delay, delay);
	return true;
}

void arrivals_give_up(struct arrivals *arrivals, struct arrival_tally *tally, struct histogram *latency, int64_t now)
{
	for (; arrivals->taken < arrivals->measured && arrivals_next(arrivals) <= now; arrivals->taken++) {
		tally->arrivals++;
		tally->unstarted++;
		histogram_add(latency, now - arrivals_next(arrivals));
	}
	arrivals->measured = arrivals->taken;
}
