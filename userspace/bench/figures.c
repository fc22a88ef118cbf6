/* SPDX-License-Identifier: MIT */
/* From what was counted to what is said. */
#include <math.h>

#include "report.h"

const struct percentile percentiles[PERCENTILES] = {
	{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99.9", 99.9}, {"p99.99", 99.99}};

/*
 * With a fixed number, the time of the last one's own latency is no delay of the others: the median is taken off, but not
 * below the time that the arrivals take by themselves.
 */
double run_achieved_rate(const struct run *run)
{
	const struct settings *settings = run->settings;
	const struct histogram *latency = run->tally.response.count ? &run->tally.response : &run->tally.handshake;
	double seconds = run->seconds;

	if (settings->count && settings->rate > 0)
		seconds = fmax(seconds - histogram_percentile(latency, 50) / 1e9, settings->count / settings->rate);
	if (seconds <= 0)
		return 0;
	/* what had piled up before the measurement may complete within it */
	return settings->rate > 0 ? fmin(run->tally.completed / seconds, settings->rate)
				  : run->tally.completed / seconds;
}

const char *run_unit(const struct run *run)
{
	return run->use->streams ? "GB" : run->use->operation;
}

static double per_unit(const struct run *run, double value)
{
	double units = run->use->streams ? run->tally.bytes / 1e9 : run->tally.completed;

	return units > 0 ? value / units : 0;
}

struct cost run_cost(const struct run *run, unsigned int server)
{
	const struct server_usage *before = &run->before[server], *after = &run->after[server];
	struct task switches = server_switches(before, after);

	return (struct cost){
		.cpu_us = per_unit(run, (after->cpu_s - before->cpu_s) * 1e6),
		.voluntary = per_unit(run, switches.voluntary),
		.involuntary = per_unit(run, switches.involuntary),
		.syscalls = per_unit(run, after->syscalls - before->syscalls),
	};
}

double run_server_cpu_us(const struct run *run)
{
	double sum = 0;
	unsigned int i;

	if (run->settings->exclusive)
		return per_unit(run, run->waited * run->seconds * 1e6);
	for (i = 0; i < run->settings->server_count; i++)
		sum += run_cost(run, i).cpu_us;
	return sum;
}

double run_client_cpu_us(const struct run *run)
{
	return per_unit(run, run->client_cpu_s * 1e6);
}

double run_machine_idle(const struct run *run)
{
	double idle = run->machine_after.idle - run->machine_before.idle;
	double busy = run->machine_after.busy - run->machine_before.busy;

	return idle + busy > 0 ? idle / (idle + busy) : 0;
}

double run_rss_bytes(const struct run *run, unsigned int server)
{
	double added = (run->open[server].rss_kb - run->before[server].rss_kb) * 1024.0;

	return run->tally.completed ? added / run->tally.completed : 0;
}
