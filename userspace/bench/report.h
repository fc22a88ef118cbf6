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
	double seconds;
	uint64_t handshakes; /* completed by the client; connections: in every respect */
	struct tally tally;
	double waited; /* 0 to 1: the part of its time that the first of the client's threads waited */
	double client_cpu_s;
	struct machine_usage machine_before, machine_after;
	struct server_usage before[SERVERS_MAX], open[SERVERS_MAX], after[SERVERS_MAX];
};

void report_handshake(const struct settings *settings, const struct run *run);
void report_idle(const struct settings *settings, const struct run *run);
void report_floor(const struct settings *settings, uint64_t handshakes, int64_t server_ns,
		  const struct histogram *batches);

#endif
