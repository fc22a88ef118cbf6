/* SPDX-License-Identifier: MIT */
/*
 * Hostile and unlucky input for the real agent. hostile_client runs one set of cases against an agent that its script
 * has started, and prints a line "ok NAME" or "not ok NAME" for each. There is no TLS in here: where a case needs a real
 * handshake, the agent does both ends of it, and a relay between them does the harm.
 */
#ifndef HOSTILE_H
#define HOSTILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <ktlsd.h>

#include "../../userspace/lib/message.h"

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* ---- what is said: hostile_client.c ---- */

void report(bool good, const char *format, ...) __attribute__((format(printf, 2, 3)));
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void die(const char *what) __attribute__((noreturn)); /* this program can't go on: errno says why */
int64_t now_ms(void);
const char *name_of(int error); /* "EBUSY"; "success" */

/* ---- the agent: agent.c, by AGENT_PID and AGENT_LOG ---- */

pid_t agent_pid(void);
unsigned int agent_descriptors(void);
long agent_rss_kib(void);
long agent_cpu_ms(void);
/* Whether it comes down to this many open descriptors within three seconds. */
bool agent_settles(unsigned int descriptors);
/* Up to this many. */
bool agent_reaches(unsigned int descriptors);
long agent_log_length(void);
/* Whether a line with both texts was logged behind this length; waits a second for it. */
bool agent_logged(long since, const char *text, const char *other);

/* ---- the handoff socket, byte by byte: wire.c ---- */

struct wire {
	int fd;
	uint8_t data[KTLSD_DATAGRAM_MAX] __attribute__((aligned(8)));
	struct datagram_reader reader;
	unsigned int datagrams; /* received */
};

struct answer {
	unsigned int type, error, flags;
	uint64_t cookie;
	char why[256];
	const struct ktlsd_msg_header *message; /* until the next one */
};

void wire_open(struct wire *wire);  /* connects */
void wire_greet(struct wire *wire); /* connects, and both say HELLO */
void wire_close(struct wire *wire);
/* 0 or errno */
int wire_send(struct wire *wire, const void *data, size_t length, const int *fds, size_t count);
/* The next message: 1, 0 at the end of the connection, -1 if neither comes in time. */
int wire_answer(struct wire *wire, int timeout_ms, struct answer *answer);
/* Writes a handoff for the server role, or another message; returns its length. */
size_t put_handoff(void *at, uint64_t cookie, const char *service);
size_t put_message(void *at, unsigned int type, size_t length, uint64_t cookie);

/* ---- TCP: tcp.c ---- */

struct pair {
	int server, client;
};

struct ended {
	int error;
	unsigned int flags;
	uint8_t alert_sent, alert_received;
	char why[256];
	int64_t ms; /* until it was known */
};

struct pair tcp_pair(void);
struct pair tcp_pair_from(const char *client_address);
void close_pair(struct pair pair);
/* Whether bytes written at one end arrive at the other. */
bool passes_plaintext(struct pair pair);
/* Whether nothing can be written to it any more. */
bool is_dead(int fd);

struct ktlsd *open_agent(void);
void hand_over(struct ktlsd *agent, int fd, const char *service, unsigned int timeout_ms, uint64_t cookie);
struct ended wait_ended(struct ktlsd *agent, int timeout_ms, uint64_t *cookie);
/* The server role on this socket, to its end. */
struct ended serve(int fd, const char *service, unsigned int timeout_ms);
/* Both ends of a new connection through the agent, and data both ways. */
bool good_handshake(void);
/* So many of them, one after the other; -1 if one failed. */
int64_t handshakes_ms(unsigned int count);

/* ---- sets of cases ---- */

typedef void cases(int argc, char **argv);
cases messages, rekeys, challenges, descriptors, hang, authority, peers, relays, options, callers, chain, killed,
	limits, slow, drain, held, many;

#endif
