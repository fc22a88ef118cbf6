// SPDX-License-Identifier: MIT
/*
 * Limits: the agent of hostile_limits.sh has small ones. One beyond a limit is refused at once with the limit's name, and
 * let in when another is over.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hostile.h"

#define MOST_CALLERS 16
#define PATIENCE 2000 /* ms until the agent has let all of a crowd in */

/* Handshakes that stay in flight, because their peers say nothing. */
struct crowd {
	struct wire callers[MOST_CALLERS];
	struct pair pairs[128];
	unsigned int caller_count, count;
	unsigned int descriptors_before;
};

static struct crowd crowd;

static void begin(void)
{
	memset(&crowd, 0, sizeof(crowd));
	crowd.descriptors_before = agent_descriptors();
}

static void add_caller(void)
{
	wire_greet(&crowd.callers[crowd.caller_count++]);
}

static struct pair add_pair(const char *address)
{
	return crowd.pairs[crowd.count++] = tcp_pair_from(address);
}

/* Hands one more over; whether an answer came, and which. */
static int add(unsigned int caller, const char *service, const char *address, struct answer *answer)
{
	uint8_t datagram[64] __attribute__((aligned(8)));
	struct pair pair = add_pair(address);

	wire_send(&crowd.callers[caller], datagram, put_handoff(datagram, crowd.count, service), &pair.server, 1);
	return wire_answer(&crowd.callers[caller], answer ? 1000 : 0, answer ? answer : &(struct answer){0});
}

/* The agent attaches the ULP once a handshake has been counted. */
static bool is_in(struct pair pair)
{
	char ulp[16] = "";
	socklen_t length = sizeof(ulp) - 1;

	return getsockopt(pair.server, IPPROTO_TCP, TCP_ULP, ulp, &length) == 0 && strcmp(ulp, "tls") == 0;
}

/* What comes through one caller may overtake what went out before through another. */
static void wait_till_all_are_in(void)
{
	int64_t deadline = now_ms() + PATIENCE;
	unsigned int in = 0;

	while (in < crowd.count) {
		if (is_in(crowd.pairs[in])) {
			in++;
		} else if (now_ms() < deadline) {
			usleep(1000);
		} else {
			note("after %d ms %u of a crowd of %u are in", PATIENCE, in, crowd.count);
			errno = ETIME;
			die("a crowd that has to be let in");
		}
	}
}

static void end(void)
{
	while (crowd.count > 0)
		close_pair(crowd.pairs[--crowd.count]);
	while (crowd.caller_count > 0)
		wire_close(&crowd.callers[--crowd.caller_count]);
	agent_settles(crowd.descriptors_before);
}

/* One more is too much; when the first is over, one more is let in. */
static void one_too_much(unsigned int caller, const char *service, const char *address, const char *limit)
{
	struct answer answer = {0};
	int64_t begin_ms, took;
	int got, kept;
	bool good;

	wait_till_all_are_in();
	begin_ms = now_ms();
	got = add(caller, service, address, &answer);
	took = now_ms() - begin_ms;
	good = got == 1 && answer.error == EBUSY && answer.flags == KTLSD_RESULT_REFUSED && strstr(answer.why, limit);
	kept = crowd.count;
	if (!good)
		note("answer %d: %s (%s)", got, name_of(answer.error), answer.why);
	report(good && took < 200 && passes_plaintext(crowd.pairs[kept - 1]), "one beyond %s: %s (%s) after %d ms",
	       limit, name_of(answer.error), answer.why, (int)took);
	shutdown(crowd.pairs[0].client, SHUT_RDWR);
	usleep(150000);
	got = add(caller, service, address, NULL);
	got = wire_answer(&crowd.callers[caller], 200, &answer);
	/* The one that is over may be this caller's own. */
	report(got != 1 || answer.error == ECONNABORTED, "one more after the first of them is over");
}

static void of_caller(unsigned int limit)
{
	unsigned int i;

	begin();
	add_caller();
	for (i = 0; i < limit; i++)
		add(0, "web", "127.0.0.1", NULL);
	one_too_much(0, "web", "127.0.0.1", "max_handshakes_per_caller");
	end();
}

static void of_service(unsigned int limit)
{
	unsigned int i;

	begin();
	add_caller();
	for (i = 0; i < limit; i++)
		add(0, "small", "127.0.0.1", NULL);
	one_too_much(0, "small", "127.0.0.1", "service's max_handshakes");
	end();
}

static void of_peer(unsigned int limit, unsigned int limit_of_caller)
{
	unsigned int i;

	begin();
	for (i = 0; i < limit; i++) {
		if (i % limit_of_caller == 0)
			add_caller();
		add(i / limit_of_caller, "web", "127.0.0.1", NULL);
	}
	one_too_much(crowd.caller_count - 1, "web", "127.0.0.1", "max_handshakes_per_peer");
	report(wire_answer(&crowd.callers[0], 0, &(struct answer){0}) != 0 &&
		       add(crowd.caller_count - 1, "web", "127.0.0.2", NULL) != 1,
	       "another peer is let in");
	end();
}

/* A crowd of one user in a child; the child ends when the pipe does. */
static void of_user(unsigned int limit, unsigned int limit_of_caller, uid_t user, const char *expected)
{
	char address[32];
	unsigned int i;

	begin();
	if (setresuid(user, user, user) != 0)
		die("setresuid");
	for (i = 0; i < limit; i++) {
		if (i % limit_of_caller == 0)
			add_caller();
		snprintf(address, sizeof(address), "127.0.1.%u", 1 + i % 200);
		add(i / limit_of_caller, "web", address, NULL);
	}
	if (expected) {
		add_caller();
		one_too_much(crowd.caller_count - 1, "web", "127.0.2.1", expected);
	} else {
		wait_till_all_are_in();
	}
}

static pid_t in_child(void (*run)(unsigned int, unsigned int, uid_t, const char *), unsigned int limit,
		      unsigned int limit_of_caller, uid_t user, const char *expected, bool stay)
{
	int ready[2];
	char byte;
	pid_t child;

	if (pipe(ready) != 0)
		die("pipe");
	child = fork();
	if (child == 0) {
		run(limit, limit_of_caller, user, expected);
		write(ready[1], "", 1);
		if (stay)
			pause();
		_exit(0);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		die("a crowd");
	close(ready[0]);
	return child;
}

/* A crowd goes, and the agent has noticed when it has as many descriptors as before it came. */
static void leave(pid_t child, unsigned int descriptors)
{
	int status;

	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	agent_settles(descriptors);
}

/* limits PER_CALLER PER_SERVICE PER_PEER PER_USER ALL CALLERS */
void limits(int argc, char **argv)
{
	unsigned int before = agent_descriptors(), most[6], i;
	struct answer answer;
	struct wire wires[MOST_CALLERS + 2];
	pid_t first, second;

	for (i = 0; i < COUNT(most) && i < (unsigned int)argc; i++)
		most[i] = atoi(argv[i]);
	if (i < COUNT(most))
		die("usage: limits PER_CALLER PER_SERVICE PER_PEER PER_USER ALL CALLERS");
	of_caller(most[0]);
	of_service(most[1]);
	of_peer(most[2], most[0]);
	leave(in_child(of_user, most[3], most[0], 1001, "max_handshakes_per_user", true), before);
	first = in_child(of_user, most[3], most[0], 1002, NULL, true);
	second = in_child(of_user, most[4] - most[3], most[0], 1003, "max_handshakes are", true);
	kill(first, SIGKILL);
	leave(second, before);
	waitpid(first, NULL, 0);
	report(agent_settles(before), "no descriptor stays behind");
	for (i = 0; i < most[5]; i++)
		wire_greet(&wires[i]);
	wire_open(&wires[i]);
	i = wire_answer(&wires[i], 1000, &answer);
	report(i == 1 && answer.error == EBUSY && strstr(answer.why, "max_callers"), "one beyond max_callers: %s (%s)",
	       i == 1 ? name_of(answer.error) : "the connection ends", i == 1 ? answer.why : "");
	for (i = 0; i <= most[5]; i++)
		wire_close(&wires[i]);
	report(agent_settles(before) && good_handshake(), "the next handshake is unharmed");
}

/* ---- slow ones ---- */

static int compare(const void *a, const void *b)
{
	return *(const int64_t *)a < *(const int64_t *)b ? -1 : *(const int64_t *)a > *(const int64_t *)b;
}

static int64_t median_us(unsigned int rounds)
{
	int64_t times[100];
	unsigned int i;

	for (i = 0; i < rounds; i++) {
		struct timespec begin, now;

		clock_gettime(CLOCK_MONOTONIC, &begin);
		if (!good_handshake())
			return 0;
		clock_gettime(CLOCK_MONOTONIC, &now);
		times[i] = (now.tv_sec - begin.tv_sec) * 1000000 + (now.tv_nsec - begin.tv_nsec) / 1000;
	}
	qsort(times, rounds, sizeof(*times), compare);
	return times[rounds / 2];
}

/* slow COUNT: so many handshakes whose peers say nothing do not delay others. */
void slow(int argc, char **argv)
{
	unsigned int count = argc == 1 ? atoi(argv[0]) : 1000, before = agent_descriptors(), i;
	struct pair *pairs = calloc(count, sizeof(*pairs));
	struct ktlsd *agent = open_agent();
	int64_t alone, beside;

	median_us(20);
	alone = median_us(60);
	for (i = 0; i < count; i++) {
		pairs[i] = tcp_pair();
		hand_over(agent, pairs[i].server, "web", 0, i);
	}
	usleep(300000);
	beside = median_us(60);
	/* One that waited for a slow one would take its 100 ms, and then some; below that, other work of the machine decides. */
	report(alone > 0 && beside > 0 && beside < alone * 2 + 20000,
	       "beside %u slow handshakes one takes %.1f ms, %.1f ms alone", count, beside / 1000.0, alone / 1000.0);
	report(agent_descriptors() >= before + count, "they are in flight");
	ktlsd_close(agent);
	for (i = 0; i < count; i++)
		close_pair(pairs[i]);
	report(agent_settles(before), "no descriptor stays behind");
	free(pairs);
}
