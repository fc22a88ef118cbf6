/* SPDX-License-Identifier: MIT */
/* What the servers under load have used: processes or control groups named on the command line, each with all below it. */
#ifndef BENCH_SERVER_H
#define BENCH_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench.h"

/* A thread's context switches, since it started. */
struct task {
	int tid;
	uint64_t voluntary, involuntary;
};

struct server_usage {
	char name[32];
	double cpu_s; /* user and system; of processes the kernel counts in ticks of 1/sysconf(_SC_CLK_TCK) s */
	long rss_kb;
	uint64_t syscalls; /* since syscalls_watch() */
	bool gone;
	struct task *tasks; /* ordered by tid */
	size_t task_count;
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

void servers_free(struct server_usage usage[static SERVERS_MAX]);

/* Between two measurements; what threads that have ended in between did is not known. */
struct task server_switches(const struct server_usage *before, const struct server_usage *after);

/* NULL if the directory is a control group of version 2, or what is wrong with it. */
const char *cgroup_check(const char *path);

/*
 * Has the kernel count system calls of all threads that the servers have now, and of those that these start. NULL, or why that
 * can't be done here. syscalls_read: of one server, so far.
 */
const char *syscalls_watch(const struct settings *settings);
uint64_t syscalls_read(unsigned int server);

/* For each thread that a server has. */
void server_each_thread(const struct settings *settings, unsigned int server, void (*take)(int tid, void *argument),
			void *argument);

#endif
