// SPDX-License-Identifier: MIT
/* Callers that die, do not read, fork, or come all at once. */
#include <errno.h>
#include <fcntl.h>
#include <linux/net_tstamp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile.h"

#define CROWD 100

/* ---- a caller that dies with handoffs open ---- */

static bool comes_to_its_end(int fd)
{
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	char data[4096];
	ssize_t n = 1;

	while (n > 0 && poll(&readable, 1, 3000) == 1)
		n = recv(fd, data, sizeof(data), 0);
	return n <= 0;
}

static void caller_dies(void)
{
	unsigned int before = agent_descriptors(), ends = 0, i;
	struct pair pairs[CROWD];
	int ready[2], status;
	pid_t child;
	char byte;

	if (pipe(ready) != 0)
		die("pipe");
	for (i = 0; i < CROWD; i++)
		pairs[i] = tcp_pair();
	child = fork();
	if (child == 0) {
		struct ktlsd *agent = open_agent();

		for (i = 0; i < CROWD; i++)
			hand_over(agent, pairs[i].server, "web", 0, i);
		write(ready[1], "", 1);
		pause();
	}
	for (i = 0; i < CROWD; i++)
		close(pairs[i].server);
	if (read(ready[0], &byte, 1) != 1)
		die("the caller");
	report(agent_reaches(before + CROWD), "%d handoffs of a caller are open", CROWD);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	for (i = 0; i < CROWD; i++)
		ends += comes_to_its_end(pairs[i].client);
	report(ends == CROWD, "when it dies, their peers learn it (%u)", ends);
	report(agent_settles(before), "and no descriptor stays behind");
	for (i = 0; i < CROWD; i++)
		close(pairs[i].client);
	close(ready[0]);
	close(ready[1]);
}

/* ---- a caller that never reads ---- */

static void never_reads(void)
{
	static uint8_t datagram[KTLSD_DATAGRAM_MAX] __attribute__((aligned(8)));
	unsigned int before = agent_descriptors(), i, datagrams = 0;
	struct pair pair = tcp_pair();
	int fds[KTLSD_DATAGRAM_DESCRIPTORS];
	struct answer answer;
	int64_t alone, beside;
	size_t length = 0;
	struct wire wire;
	long rss;

	for (i = 0; i < KTLSD_DATAGRAM_DESCRIPTORS; i++) {
		length += put_handoff(datagram + length, i, "none");
		fds[i] = pair.server;
	}
	handshakes_ms(5);
	alone = handshakes_ms(50);
	wire_greet(&wire);
	fcntl(wire.fd, F_SETFL, O_NONBLOCK);
	rss = agent_rss_kib();
	for (i = 0; i < 2000; i++) {
		if (wire_send(&wire, datagram, length, fds, KTLSD_DATAGRAM_DESCRIPTORS) == 0)
			datagrams++;
		else
			usleep(1000);
	}
	beside = handshakes_ms(50);
	report(datagrams >= 32 && datagrams < 1500,
	       "a caller that never reads is held back at some time (%u handoffs went out)", datagrams * 32);
	report(alone > 0 && beside > 0 && beside < 5 * alone + 300,
	       "other callers are unharmed: 50 handshakes in %d ms, %d ms alone", (int)beside, (int)alone);
	report(agent_rss_kib() < rss + 20 * 1024, "the agent grew by %ld KiB", agent_rss_kib() - rss);
	fcntl(wire.fd, F_SETFL, 0);
	for (i = 0; wire_answer(&wire, 1000, &answer) == 1 && answer.error == ENOENT; i++)
		;
	report(i == datagrams * KTLSD_DATAGRAM_DESCRIPTORS && wire.datagrams < i / 8,
	       "it gets all its answers when it reads: %u, in %u datagrams", i, wire.datagrams);
	wire_close(&wire);
	report(agent_settles(before), "and no descriptor stays behind");
	close_pair(pair);
}

/* Datagrams full of CANCELs, each of which the agent has to look for. */
static void cancels_without_end(void)
{
	static uint8_t datagram[KTLSD_DATAGRAM_MAX] __attribute__((aligned(8)));
	int64_t alone = handshakes_ms(30), beside;
	uint8_t handoff[64] __attribute__((aligned(8)));
	size_t length = 0;
	pid_t child;
	int status;

	while (length < sizeof(datagram))
		length += put_message(datagram + length, KTLSD_MSG_CANCEL, 16, 999999);
	child = fork();
	if (child == 0) {
		struct wire wire;

		wire_greet(&wire);
		for (int i = 0; i < 500; i++) {
			struct pair pair = tcp_pair();

			wire_send(&wire, handoff, put_handoff(handoff, i, "web"), &pair.server, 1);
		}
		for (;;)
			wire_send(&wire, datagram, length, NULL, 0);
	}
	usleep(300000);
	beside = handshakes_ms(30);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	/* It has half of the processor at least, and may have half of the agent. */
	report(beside > 0 && beside < 8 * alone + 200, "beside a caller that cancels without end: %d ms, %d ms alone",
	       (int)beside, (int)alone);
}

/* ---- two at once ---- */

static void together(void)
{
	unsigned int good = 0, i;
	pid_t children[4];
	int status;

	for (i = 0; i < COUNT(children); i++) {
		children[i] = fork();
		if (children[i] == 0)
			_exit(handshakes_ms(40) < 0);
	}
	for (i = 0; i < COUNT(children); i++)
		good += waitpid(children[i], &status, 0) == children[i] && status == 0;
	report(good == COUNT(children), "%zu callers at once, 40 handshakes each", COUNT(children));
}

/* ---- many in one datagram ---- */

static void batch(void)
{
	struct pair pairs[KTLSD_DATAGRAM_DESCRIPTORS];
	struct ktlsd *agent = open_agent();
	unsigned int good = 0, i;
	uint64_t cookies = 0, cookie;

	for (i = 0; i < KTLSD_DATAGRAM_DESCRIPTORS; i++) {
		struct ktlsd_handoff *handoff = ktlsd_get_handoff(agent);

		pairs[i] = tcp_pair();
		ktlsd_prep_server(handoff, pairs[i].server, "web");
		handoff->cookie = 7; /* all the same */
	}
	if (ktlsd_submit(agent) != KTLSD_DATAGRAM_DESCRIPTORS)
		die("submit");
	for (i = 0; i < KTLSD_DATAGRAM_DESCRIPTORS; i++)
		hand_over(agent, pairs[i].client, "client", 0, 8);
	for (i = 0; i < 2 * KTLSD_DATAGRAM_DESCRIPTORS; i++) {
		good += wait_ended(agent, 10000, &cookie).error == 0;
		cookies += cookie;
	}
	report(good == 64 && cookies == 32 * (7 + 8), "32 handoffs in a datagram, with the same cookie: %u ends good",
	       good);
	for (i = 0; i < KTLSD_DATAGRAM_DESCRIPTORS; i++)
		close_pair(pairs[i]);
	ktlsd_close(agent);
}

/* Two handoffs of one socket: one of them has it. */
static void twice(void)
{
	uint8_t datagram[128] __attribute__((aligned(8)));
	size_t length = put_handoff(datagram, 1, "web");
	struct pair pair = tcp_pair();
	struct ktlsd *agent = open_agent();
	int fds[2] = {pair.server, pair.server};
	struct answer first = {0}, second = {0};
	struct wire wire;

	length += put_handoff(datagram + length, 2, "web");
	wire_greet(&wire);
	wire_send(&wire, datagram, length, fds, 2);
	hand_over(agent, pair.client, "client", 0, 0);
	wire_answer(&wire, 3000, &first);
	wire_answer(&wire, 3000, &second);
	report(first.error == EEXIST && first.flags == KTLSD_RESULT_REFUSED && second.error == 0,
	       "a socket twice in a datagram: %s, %s", name_of(first.error), name_of(second.error));
	report(wait_ended(agent, 3000, NULL).error == 0, "and its peer has a good handshake");
	wire_close(&wire);
	ktlsd_close(agent);
	close_pair(pair);
}

/* ---- fork ---- */

static bool child_is_kept_out(struct ktlsd *agent)
{
	struct ktlsd_result *result;

	return ktlsd_fd(agent) == -EOWNERDEAD && !ktlsd_get_handoff(agent) && ktlsd_submit(agent) == -EOWNERDEAD &&
	       ktlsd_peek_result(agent, &result) == -EOWNERDEAD &&
	       ktlsd_wait_result(agent, &result, 0) == -EOWNERDEAD && ktlsd_cancel(agent, 1) == -EOWNERDEAD;
}

static void forks(void)
{
	struct ktlsd *agent = open_agent();
	struct pair pair = tcp_pair();
	int status;
	pid_t child;

	hand_over(agent, pair.server, "web", 0, 0);
	child = fork();
	if (child == 0) {
		bool kept_out = child_is_kept_out(agent);

		ktlsd_result_seen(agent);
		ktlsd_close(agent);
		_exit(!(kept_out && good_handshake()));
	}
	report(waitpid(child, &status, 0) == child && status == 0, "a child gets EOWNERDEAD, and can open its own");
	hand_over(agent, pair.client, "client", 0, 0);
	report(wait_ended(agent, 3000, NULL).error == 0 && wait_ended(agent, 3000, NULL).error == 0,
	       "its parent's handoff is unharmed");
	ktlsd_close(agent);
	close_pair(pair);
}

/* ---- a socket that lingers, with data that its peer never takes ---- */

/* Its server's end has data that the client never takes: who closes it last waits, if it lingers. */
static struct pair lingering_pair(void)
{
	static const char full[65536];
	struct pair pair = tcp_pair();

	while (send(pair.server, full, sizeof(full), MSG_DONTWAIT) > 0)
		;
	return pair;
}

static void set_linger(int fd)
{
	const struct linger ten_seconds = {.l_onoff = 1, .l_linger = 10};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &ten_seconds, sizeof(ten_seconds));
}

static bool handshake_within(int ms)
{
	int64_t begin = now_ms();

	return good_handshake() && now_ms() - begin < ms;
}

/* when: whether SO_LINGER is set before or behind the handoff, when the agent has looked already. */
static void lingers(bool before_handoff)
{
	unsigned int before = agent_descriptors();
	struct ktlsd *agent = open_agent();
	struct pair pair = lingering_pair();
	struct ended ended;
	int64_t begin, took;

	if (before_handoff)
		set_linger(pair.server);
	hand_over(agent, pair.server, "web", 300, 0);
	usleep(50000);
	set_linger(pair.server);
	/* Now the agent has the last descriptor; a child closes ours, because that may take its ten seconds. */
	if (fork() == 0) {
		close(pair.client);
		close(pair.server);
		_exit(0);
	}
	close(pair.server);
	begin = now_ms();
	ended = wait_ended(agent, 5000, NULL);
	took = now_ms() - begin;
	report(ended.error == ETIMEDOUT && took < 800 && handshake_within(2000),
	       "a lingering socket whose owner is gone (SO_LINGER set %s the handoff) holds up nobody: %s after %d ms",
	       before_handoff ? "before" : "behind", name_of(ended.error), (int)took);
	close(pair.client);
	ktlsd_close(agent);
	agent_settles(before);
}

/* What the agent throws out with a caller it has never received: the first datagram breaks the protocol. */
static void lingers_unread(void)
{
	unsigned int before = agent_descriptors();
	uint8_t datagram[64] __attribute__((aligned(8)));
	struct pair pair = lingering_pair();
	struct answer answer = {0};
	struct wire wire;

	set_linger(pair.server);
	wire_open(&wire);
	kill(agent_pid(), SIGSTOP);
	wire_send(&wire, datagram, put_message(datagram, 99, sizeof(struct ktlsd_msg_header), 0), NULL, 0);
	wire_send(&wire, datagram, put_handoff(datagram, 0, "web"), &pair.server, 1);
	close(pair.server); /* not the last: that lies in the agent's queue */
	kill(agent_pid(), SIGCONT);
	wire_answer(&wire, 3000, &answer);
	report(answer.error == EPROTO, "a lingering socket behind what breaks the protocol: %s", name_of(answer.error));
	report(handshake_within(2000), "what nobody received of it holds up nobody");
	wire_close(&wire);
	close(pair.client);
	agent_settles(before);
}

/* Behind more descriptors than the protocol allows. */
static void lingers_among_many(void)
{
	unsigned int before = agent_descriptors();
	uint8_t datagram[64] __attribute__((aligned(8)));
	struct pair pair = lingering_pair();
	struct answer answer = {0};
	int fds[100];
	struct wire wire;

	for (size_t i = 0; i < COUNT(fds); i++)
		fds[i] = 0;
	fds[COUNT(fds) - 1] = pair.server;
	set_linger(pair.server);
	wire_greet(&wire);
	kill(agent_pid(), SIGSTOP);
	wire_send(&wire, datagram, put_handoff(datagram, 1, "web"), fds, COUNT(fds));
	close(pair.server); /* not the last: that lies in the agent's queue */
	kill(agent_pid(), SIGCONT);
	wire_answer(&wire, 3000, &answer);
	report(answer.error == EMSGSIZE, "a lingering socket behind %zu descriptors: %s", COUNT(fds) - 1,
	       name_of(answer.error));
	report(handshake_within(2000), "it holds up nobody");
	wire_close(&wire);
	close(pair.client);
	agent_settles(before);
}

/* ---- sockets that poll readable for ever, with nothing to be received ---- */

/* What was sent, with the time at which, lies in the socket's error queue. */
static void stamped(void)
{
	const unsigned int stamps = SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_TX_ACK |
				    SOF_TIMESTAMPING_OPT_TSONLY;
	unsigned int before = agent_descriptors();
	struct pair pairs[100]; /* more than the agent has buffers for what it receives */
	struct ktlsd *agent = open_agent();
	long cpu;

	for (size_t i = 0; i < COUNT(pairs); i++) {
		pairs[i] = tcp_pair();
		if (setsockopt(pairs[i].client, SOL_SOCKET, SO_TIMESTAMPING, &stamps, sizeof(stamps)) < 0)
			die("SO_TIMESTAMPING");
		hand_over(agent, pairs[i].client, "client", 8000, i + 1);
	}
	usleep(300000);
	cpu = agent_cpu_ms();
	report(handshake_within(1500), "%zu sockets with SO_TIMESTAMPING whose peers say nothing hold up nobody",
	       COUNT(pairs));
	usleep(500000);
	cpu = agent_cpu_ms() - cpu;
	report(cpu < 300, "nor does the agent work for them, %ld ms", cpu);
	ktlsd_close(agent);
	for (size_t i = 0; i < COUNT(pairs); i++)
		close_pair(pairs[i]);
	agent_settles(before);
}

void callers(int argc, char **argv)
{
	(void)argc, (void)argv;
	signal(SIGCHLD, SIG_DFL);
	caller_dies();
	never_reads();
	cancels_without_end();
	together();
	batch();
	twice();
	forks();
	lingers(true);
	lingers(false);
	lingers_unread();
	lingers_among_many();
	stamped();
	report(good_handshake(), "the next handshake is unharmed");
}

/* ---- the peer's chain ---- */

static bool begins_with_file(const struct ktlsd_result *result, const char *path)
{
	const uint8_t *der;
	size_t offset = 0, length, size;
	uint8_t file[8192];
	FILE *stream = fopen(path, "r");

	if (!stream)
		die(path);
	size = fread(file, 1, sizeof(file), stream);
	fclose(stream);
	return ktlsd_chain_next(result, &offset, &der, &length) && length == size && memcmp(der, file, size) == 0;
}

static unsigned int count_certificates(const struct ktlsd_result *result)
{
	size_t offset = 0, length;
	unsigned int count = 0;
	const uint8_t *der;

	while (ktlsd_chain_next(result, &offset, &der, &length))
		count++;
	return count;
}

/* chain SERVER.DER CLIENT.DER: both sides want each other's chain, leaf first. */
void chain(int argc, char **argv)
{
	static const char *const services[] = {"mutual", "mutual12"};
	unsigned int before = agent_descriptors(), i, end;

	if (argc != 2)
		die("usage: chain SERVER.DER CLIENT.DER");
	for (i = 0; i < COUNT(services); i++) {
		struct ktlsd *agent = open_agent();
		struct pair pair = tcp_pair();
		struct ktlsd_handoff *handoff;
		struct ktlsd_result *result;

		handoff = ktlsd_get_handoff(agent);
		ktlsd_prep_server(handoff, pair.server, services[i]);
		handoff->cookie = 1;
		handoff->want = KTLSD_WANT_CHAIN;
		handoff = ktlsd_get_handoff(agent);
		ktlsd_prep_client(handoff, pair.client, "client-mutual", "localhost");
		handoff->want = KTLSD_WANT_CHAIN;
		ktlsd_submit(agent);
		for (end = 0; end < 2; end++) {
			if (ktlsd_wait_result(agent, &result, 5000) != 0)
				die("a result");
			report(result->error == 0 && result->peer && begins_with_file(result, argv[result->cookie]),
			       "the chain of the %s, service %s, begins with its certificate: %s",
			       result->cookie ? "client" : "server", services[i], result->error_text);
			report(count_certificates(result) == 2, "and goes on with the intermediate (%u in all)",
			       count_certificates(result));
			ktlsd_result_seen(agent);
		}
		close_pair(pair);
		ktlsd_close(agent);
	}
	report(agent_settles(before), "no descriptor stays behind");
}
