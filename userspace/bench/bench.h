/* SPDX-License-Identifier: MIT */
/*
 * ktls-bench: loads TLS servers, and says what that cost them. A mode is a function with a struct settings; main.c has the
 * table of modes, options.c reads the command line.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define TARGETS_MAX 16
#define SERVERS_MAX 16

struct target {
	const char *name; /* as the command line has it */
	char host[256];
	struct sockaddr_storage address;
	socklen_t length;
};

/* What a server's cost is taken from: a process with its descendants, or a control group. */
struct server {
	int pid;
	const char *cgroup; /* NULL: it is a process */
};

struct settings {
	int version; /* TLS1_3_VERSION or TLS1_2_VERSION */
	const char *group, *cipher;
	const char *certificate, *key; /* the client's; floor: the server's */
	const char *ca, *name;	       /* what the server has to show; NULL: it is not looked at */
	const char *path;	       /* NULL: no HTTP in modes that can do without */
	unsigned int resume;	       /* per cent of the handshakes */
	bool kernel_tls, bare, upload, exclusive, json;
	unsigned int connections, threads;
	unsigned int opening;	     /* idle: handshakes in flight meanwhile */
	unsigned int size;	     /* rr: of a message */
	unsigned int part;	     /* slow: of the ClientHello's bytes; 0: all but the last */
	unsigned int tickets, batch; /* floor */
	uint64_t count, bytes;	     /* 0: for so long */
	double rate;		     /* per second; 0: closed loop */
	double duration_s, warmup_s, timeout_s, interval_s;
	struct target targets[TARGETS_MAX];
	unsigned int target_count;
	struct server servers[SERVERS_MAX];
	unsigned int server_count;
};

/* They return the exit status: 0, or 1 if something failed. */
int mode_handshake(const struct settings *settings);
int mode_stream(const struct settings *settings);
int mode_rr(const struct settings *settings);
int mode_idle(const struct settings *settings);
int mode_slow(const struct settings *settings);
int mode_floor(const struct settings *settings);
int mode_diff(const char *a, const char *b);

/* CLOCK_MONOTONIC in nanoseconds. A system call in some test machines: read it seldom. */
int64_t now_ns(void);

/* What falls to one of so many. */
static inline uint64_t share_of(uint64_t whole, unsigned int parts, unsigned int i)
{
	return whole / parts + (i < whole % parts);
}

#endif
