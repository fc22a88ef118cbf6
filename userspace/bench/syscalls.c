/* SPDX-License-Identifier: MIT */
/* System calls of the servers, by the tracepoint of all of them: perf_event_open(2). Children inherit the counter. */
#include <err.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "server.h"

struct counters {
	int *fds;
	size_t count;
	int error; /* of the first that could not be had */
	unsigned long long tracepoint;
};

static struct counters counters[SERVERS_MAX];

static bool find_tracepoint(unsigned long long *id)
{
	static const char *const paths[] = {"/sys/kernel/tracing/events/raw_syscalls/sys_enter/id",
					    "/sys/kernel/debug/tracing/events/raw_syscalls/sys_enter/id"};
	bool found = false;
	size_t i;

	for (i = 0; i < sizeof(paths) / sizeof(*paths) && !found; i++) {
		FILE *file = fopen(paths[i], "re");

		found = file && fscanf(file, "%llu", id) == 1;
		if (file)
			fclose(file);
	}
	return found;
}

static void watch_thread(int tid, void *argument)
{
	struct counters *these = argument;
	struct perf_event_attr attributes = {
		.type = PERF_TYPE_TRACEPOINT,
		.size = sizeof(attributes),
		.config = these->tracepoint,
		.inherit = 1,
	};
	int fd = syscall(SYS_perf_event_open, &attributes, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);

	if (fd < 0) {
		if (!these->error && errno != ESRCH)
			these->error = errno;
		return;
	}
	these->fds = reallocarray(these->fds, these->count + 1, sizeof(*these->fds));
	if (!these->fds)
		err(1, NULL);
	these->fds[these->count++] = fd;
}

const char *syscalls_watch(const struct settings *settings)
{
	unsigned long long tracepoint;
	unsigned int i;

	if (!find_tracepoint(&tracepoint))
		return "this kernel has no tracepoint raw_syscalls:sys_enter, or tracefs can't be read";
	for (i = 0; i < settings->server_count; i++) {
		counters[i].tracepoint = tracepoint;
		server_each_thread(settings, i, watch_thread, &counters[i]);
		if (counters[i].error)
			return strerror(counters[i].error);
	}
	return NULL;
}

uint64_t syscalls_read(unsigned int server)
{
	uint64_t sum = 0, count;
	size_t i;

	for (i = 0; i < counters[server].count; i++) {
		if (read(counters[server].fds[i], &count, sizeof(count)) == sizeof(count))
			sum += count;
	}
	return sum;
}
