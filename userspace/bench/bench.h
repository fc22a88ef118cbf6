/* SPDX-License-Identifier: MIT */
/*
 * ktls-bench: loads TLS servers, and says what that cost them. A mode is a function with a struct settings; main.c has the
 * table of modes and reads the command line.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define TARGETS_MAX 16
#define SERVERS_MAX 16

struct target {
	struct sockaddr_storage address;
	socklen_t length;
};

struct settings {
	int version; /* TLS1_3_VERSION or TLS1_2_VERSION */
	const char *group, *cipher;
	const char *path; /* of the one request that a connection makes */
	unsigned int connections;
	unsigned int opening; /* idle: handshakes in flight meanwhile */
	unsigned int threads;
	unsigned int resume;	       /* per cent of the handshakes */
	unsigned int tickets, batch;   /* floor */
	const char *certificate, *key; /* the client's; floor: the server's */
	uint64_t count;
	double duration_s, warmup_s, timeout_s;
	bool exclusive, json;
	struct target targets[TARGETS_MAX];
	const char *target_names[TARGETS_MAX];
	unsigned int target_count;
	int servers[SERVERS_MAX];
	unsigned int server_count;
};

/* They return the exit status: 0, or 1 if something failed. */
int mode_handshake(const struct settings *settings);
int mode_idle(const struct settings *settings);
int mode_floor(const struct settings *settings);

/* CLOCK_MONOTONIC in nanoseconds. A system call in some test machines: read it seldom. */
int64_t now_ns(void);

#endif
