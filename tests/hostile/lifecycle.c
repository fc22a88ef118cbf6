// SPDX-License-Identifier: MIT
/* The agent is killed, drained, and used for long. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../receive.h"
#include "hostile.h"

#define CROWD 100

/* killed: with handoffs open. The script starts another agent meanwhile. */
void killed(int argc, char **argv)
{
	struct ktlsd *agent = open_agent();
	struct pair pairs[CROWD];
	unsigned int resets = 0, i;
	struct ended ended;
	struct ktlsd_handoff *handoff;
	int64_t begin;
	int error;

	(void)argc, (void)argv;
	for (i = 0; i < CROWD; i++) {
		pairs[i] = tcp_pair();
		hand_over(agent, pairs[i].server, "web", 0, i);
	}
	usleep(100000);
	kill(agent_pid(), SIGKILL);
	for (i = 0; i < CROWD; i++) {
		ended = wait_ended(agent, 5000, NULL);
		resets += ended.error == ECONNRESET && !(ended.flags & KTLSD_RESULT_REFUSED);
	}
	report(resets == CROWD, "the agent killed with %d handoffs open: %u times ECONNRESET", CROWD, resets);
	report(wait_ended(agent, 100, NULL).error == ENODATA, "and no more answers");
	for (i = 0; i < CROWD; i++)
		close_pair(pairs[i]);
	pairs[0] = tcp_pair();
	handoff = ktlsd_get_handoff(agent);
	ktlsd_prep_server(handoff, pairs[0].server, "web");
	error = ktlsd_submit(agent);
	report(error == -ECONNREFUSED || error == -ENOENT || error == 1, "without an agent, submit says %s",
	       name_of(error < 0 ? -error : 0));
	for (begin = now_ms(); error < 0 && now_ms() < begin + 20000; usleep(20000))
		error = ktlsd_submit(agent);
	hand_over(agent, pairs[0].client, "client", 0, 0);
	report(error == 1 && wait_ended(agent, 5000, NULL).error == 0 && wait_ended(agent, 5000, NULL).error == 0,
	       "the same handle goes on with the next agent");
	close_pair(pairs[0]);
	ktlsd_close(agent);
}

/* drain HANDOFFS AGAIN: SIGTERM with so many in flight that will not end; AGAIN: a second one 300 ms later. */
void drain(int argc, char **argv)
{
	unsigned int count = argc > 0 ? atoi(argv[0]) : 0, dead = 0, told = 0, i;
	struct ktlsd *agent = open_agent();
	struct pair pairs[64], late = tcp_pair();
	struct answer answer = {0};
	uint8_t datagram[64] __attribute__((aligned(8)));
	struct wire wire;
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	int64_t begin, begun;
	int again = argc > 1 ? atoi(argv[1]) : 0;

	wire_greet(&wire);
	for (i = 0; i < count; i++) {
		pairs[i] = tcp_pair();
		hand_over(agent, pairs[i].server, "web", 0, i);
	}
	usleep(50000);
	begin = now_ms();
	kill(agent_pid(), SIGTERM);
	usleep(100000);
	if (count > 0) {
		wire_send(&wire, datagram, put_handoff(datagram, 7, "web"), &late.server, 1);
		i = wire_answer(&wire, 1000, &answer);
		report(i == 1 && answer.error == ESHUTDOWN && answer.flags == KTLSD_RESULT_REFUSED &&
			       passes_plaintext(late),
		       "a draining agent refuses new work: %s (%s)", name_of(answer.error), answer.why);
	}
	if (count > 0) {
		begun = now_ms();
		i = ktlsd_listen(listener, "web", 0, 0, answer.why, sizeof(answer.why));
		report((int)i == -ESHUTDOWN && now_ms() - begun < 500, "who comes now with a listener is told, too: %s",
		       answer.why);
	}
	if (again) {
		usleep(200000);
		kill(agent_pid(), SIGTERM);
		begin = now_ms();
	}
	for (i = 0; i < count; i++) {
		struct ended ended = wait_ended(agent, 6000, NULL);

		told += ended.error && ended.error != ETIME && ended.error != ENODATA;
		if (i == 0)
			note("%s (%s) after %d ms", name_of(ended.error), ended.why, (int)(now_ms() - begin));
	}
	while (kill(agent_pid(), 0) == 0 && now_ms() < begin + 6000)
		usleep(10000);
	/* drain_timeout is 2 seconds (lib.sh) */
	report(now_ms() - begin < (again || count == 0 ? 600 : 2800), "the agent is gone after %d ms",
	       (int)(now_ms() - begin));
	for (i = 0; i < count; i++)
		dead += is_dead(pairs[i].server);
	report(told == count && dead == count, "of %u handoffs in flight, %u are told and %u sockets are dead", count,
	       told, dead);
	wire_close(&wire);
	close(listener);
	ktlsd_close(agent);
}

/* ---- use ---- */

#define DEPTH 64

/* Whether each end has the keys of the other, and not those of a handshake beside it. */
static bool belong_together(struct pair pair)
{
	char data[8] = "";

	return send(pair.client, "there", 5, MSG_NOSIGNAL) == 5 && receive_once(pair.server, data, 8, 0) == 5 &&
	       send(pair.server, "back", 4, MSG_NOSIGNAL) == 4 && receive_once(pair.client, data, 8, 0) == 4;
}

/* Both ends of DEPTH connections at a time; they stay open if open is not NULL. */
static void handshakes(struct ktlsd *agent, unsigned int count, struct pair *open_pairs)
{
	struct pair pairs[DEPTH];
	unsigned int done, i;

	for (done = 0; done < count; done += DEPTH) {
		for (i = 0; i < DEPTH; i++) {
			pairs[i] = tcp_pair();
			hand_over(agent, pairs[i].server, "web", 0, 0);
			hand_over(agent, pairs[i].client, "client", 0, 0);
		}
		for (i = 0; i < 2 * DEPTH; i++) {
			struct ended ended = wait_ended(agent, 10000, NULL);

			if (ended.error == 0)
				continue;
			report(false, "handshake %u: %s (%s)", done + i, name_of(ended.error), ended.why);
			exit(EXIT_FAILURE);
		}
		for (i = 0; i < DEPTH; i++) {
			if (!belong_together(pairs[i])) {
				report(false, "handshake %u was good, but no data pass: %s", done + i, strerror(errno));
				exit(EXIT_FAILURE);
			}
			if (open_pairs)
				open_pairs[done + i] = pairs[i];
			else
				close_pair(pairs[i]);
		}
	}
}

/* many CONNECTIONS OPEN: the agent has not grown behind them; the first OPEN of them stay open. */
void many(int argc, char **argv)
{
	unsigned int count = argc > 0 ? atoi(argv[0]) : 5000, open_count = argc > 1 ? atoi(argv[1]) : 0;
	struct pair *pairs = calloc(open_count + DEPTH, sizeof(*pairs));
	struct ktlsd *agent = open_agent();
	unsigned int descriptors_before, descriptors_after;
	long before, after;

	handshakes(agent, count / 2, NULL); /* until its pools are full */
	descriptors_before = agent_descriptors();
	before = agent_rss_kib();
	if (open_count)
		handshakes(agent, open_count, pairs);
	handshakes(agent, count - open_count, NULL);
	usleep(300000);
	after = agent_rss_kib();
	descriptors_after = agent_descriptors();
	report(after - before <= 2048, "%u handshakes later, with %u connections open, VmRSS is %ld KiB, was %ld KiB",
	       2 * count, open_count, after, before);
	report(descriptors_after <= descriptors_before, "open descriptors: %u, were %u", descriptors_after,
	       descriptors_before);
	ktlsd_close(agent);
	free(pairs);
}
