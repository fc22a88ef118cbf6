/* SPDX-License-Identifier: MIT */
/* What was measured, as text for a person or as one JSON object, on standard output. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "bench.h"
#include "connection.h"
#include "histogram.h"
#include "server.h"

/* A run against servers. Usage: before and after what was measured; between: with all connections open (idle). */
struct run {
	const struct settings *settings;
	const struct use *use;
	double seconds;
	struct tally tally;
	unsigned int open_at_end; /* connections in flight when the measurement ended */
	double waited;		  /* 0 to 1: the part of its time that the first of the client's threads waited */
	double client_cpu_s;
	const char *no_syscalls; /* why they are not counted, or NULL */
	struct machine_usage machine_before, machine_after;
	struct server_usage before[SERVERS_MAX], open[SERVERS_MAX], after[SERVERS_MAX];
};

/* What a connection or a request cost, or with a stream a GB. */
struct cost {
	double cpu_us, voluntary, involuntary, syscalls;
};

extern const struct percentile {
	const char *name;
	double percent;
} percentiles[];

#define PERCENTILES 5

double run_achieved_rate(const struct run *run);
const char *run_unit(const struct run *run);
struct cost run_cost(const struct run *run, unsigned int server);

/* Of all servers; the client's own. */
double run_server_cpu_us(const struct run *run);
double run_client_cpu_us(const struct run *run);

/* 0 to 1 */
double run_machine_idle(const struct run *run);

/* idle: what a connection adds to the server. */
double run_rss_bytes(const struct run *run, unsigned int server);

void report(const struct run *run);
void report_json(const struct run *run);
void report_floor(const struct settings *settings, uint64_t handshakes, int64_t server_ns,
		  const struct histogram *batches);
void report_floor_json(const struct settings *settings, uint64_t handshakes, double us,
		       const struct histogram *batches);

#endif
