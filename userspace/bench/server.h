/* SPDX-License-Identifier: MIT */
/* What the servers under load have used: processes named on the command line, each with all its threads and descendants. */
#ifndef BENCH_SERVER_H
#define BENCH_SERVER_H

#include <stdbool.h>

#include "bench.h"

struct server_usage {
	char name[16];
	double cpu_s; /* user and system; the kernel counts in ticks of 1/sysconf(_SC_CLK_TCK) s */
	long rss_kb;
	bool gone;
};

/*
 * The part of its time since it started that the machine was idle and not, in ticks. Ticks are samples where the kernel has no
 * finer clock, and work that timers start right after a tick is never seen by one: on a machine that idles they tell nothing.
 */
struct machine_usage {
	unsigned long long idle, busy;
};

void machine_measure(struct machine_usage *usage);

/* One entry for each of settings->servers. A process below two of them counts for the first. */
void servers_measure(const struct settings *settings, struct server_usage usage[static SERVERS_MAX]);

#endif
