// SPDX-License-Identifier: MIT
/* Next keys that the agent must give, each once: whatever a writer or another caller does, and after a restart. */
#include <errno.h>
#include <fcntl.h>
#include <linux/tls.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../receive.h"
#include "session.h"

static bool passes(int from, int to)
{
	char text[16] = "";

	return send(from, "under new keys", 14, MSG_NOSIGNAL) == 14 && receive_once(to, text, sizeof(text), 0) == 14 &&
	       memcmp(text, "under new keys", 14) == 0;
}

/* A good caller at both ends: what it gets fits together, and each token is good for one step. */
static void steps(void)
{
	struct session session = shake_hands("web");
	unsigned int before = agent_descriptors();
	int server = session.pair.server, client = session.pair.client;
	struct next ours, theirs, again;

	report(session.server.lifetime == 86400, "a token says how long it lives");
	report(passes(server, client), "data passes behind the session tickets, under the first keys");
	for (int round = 1; round <= 3; round++) {
		struct token used = session.server;

		ours = ask(server, KTLSD_TX, &session.server);
		theirs = ask(client, KTLSD_RX, &session.client);
		report(granted(&ours, KTLSD_TX) && granted(&theirs, KTLSD_RX), "step %d: next keys for one direction",
		       round);
		again = ask(server, KTLSD_TX, &session.server);
		report(granted(&again, KTLSD_TX) && again.tx.length == ours.tx.length &&
			       memcmp(again.tx.bytes, ours.tx.bytes, ours.tx.length) == 0,
		       "asked again before they are set: the same keys");
		again = ask(server, KTLSD_TX, &ours.token);
		report(refused(&again, ESTALE, "does not belong"), "the step behind it before they are set: ESTALE");
		report(set_keys(server, TLS_TX, &ours.tx) && set_keys(client, TLS_RX, &theirs.rx),
		       "the kernel takes them");
		report(passes(server, client) && passes(client, server), "data passes both ways");
		again = ask(server, KTLSD_TX, &used);
		report(refused(&again, ESTALE, "used already"), "the same step again: ESTALE");
		again = ask(server, 0, &used);
		report(refused(&again, ESTALE, "used already"), "nor is the old token renewed: ESTALE");
		session.server = ours.token;
		session.client = theirs.token;
	}
	ours = ask(server, 0, &session.server);
	theirs = ask(client, 0, &session.client);
	report(granted(&ours, 0) && granted(&theirs, 0), "fresh tokens without keys");
	ours = ask(server, KTLSD_TX | KTLSD_RX, &ours.token);
	theirs = ask(client, KTLSD_TX | KTLSD_RX, &theirs.token);
	report(granted(&ours, KTLSD_TX | KTLSD_RX) && granted(&theirs, KTLSD_TX | KTLSD_RX),
	       "next keys for both directions");
	report(set_keys(server, TLS_TX, &ours.tx) && set_keys(server, TLS_RX, &ours.rx) &&
		       set_keys(client, TLS_TX, &theirs.tx) && set_keys(client, TLS_RX, &theirs.rx) &&
		       passes(server, client) && passes(client, server),
	       "data passes both ways under them");
	end_session(&session, before, "good rekeys");
}

/* A writer that is stuck, and a caller that is: neither holds up the agent. */
static void blocked_writer(void)
{
	static const char megabyte[1 << 20];
	struct session session = shake_hands("web");
	unsigned int before = agent_descriptors();
	pid_t writer = fork();
	struct next next;
	int64_t began;

	if (writer == 0) {
		while (send(session.pair.server, megabyte, sizeof(megabyte), MSG_NOSIGNAL) > 0)
			;
		_exit(0);
	}
	poll(NULL, 0, 300);
	began = now_ms();
	next = ask(session.pair.server, KTLSD_TX | KTLSD_RX, &session.server);
	report(granted(&next, KTLSD_TX | KTLSD_RX) && now_ms() - began < 1000, "next keys while a writer is stuck");
	kill(writer, SIGKILL);
	waitpid(writer, NULL, 0);
	end_session(&session, before, "a writer that is stuck");
}

static void deaf_caller(void)
{
	static uint8_t data[ROOM] __attribute__((aligned(8)));
	struct datagram_writer datagram = {.data = data, .size = sizeof(data)};
	struct session session = shake_hands("web");
	unsigned int before = agent_descriptors(), sent = 0, answered = 0;
	int fds[KTLSD_DATAGRAM_DESCRIPTORS];
	struct next next;
	struct wire wire;

	for (size_t i = 0; i < COUNT(fds); i++) {
		fds[i] = session.pair.server;
		put_rekey(&datagram, KTLSD_TX | KTLSD_RX, session.server.bytes, session.server.length);
	}
	wire_greet(&wire);
	fcntl(wire.fd, F_SETFL, O_NONBLOCK);
	for (int patience = 0; patience < 20 && sent < 100000; patience++) {
		while (wire_send(&wire, data, datagram.length, fds, COUNT(fds)) == 0) {
			sent += COUNT(fds);
			patience = 0;
		}
		poll(NULL, 0, 20);
	}
	report(sent < 100000, "who does not read the answers is not read from any more (%u rekeys)", sent);
	report(good_handshake(), "others don't notice");
	while (answered < sent && receive_next(&wire, &next))
		answered += granted(&next, KTLSD_TX | KTLSD_RX);
	report(answered == sent, "all are answered when it reads");
	wire_close(&wire);
	end_session(&session, before, "a caller that does not read");
}

void rekey_lapsed(void)
{
	struct session session = shake_hands("web");
	unsigned int before = agent_descriptors();
	struct next next, fresh;

	report(session.server.lifetime == 1, "a token of one second says so");
	fresh = ask(session.pair.server, 0, &session.server);
	report(fresh.error == 0 && fresh.token.length, "it is good at once");
	poll(NULL, 0, 2100);
	next = ask(session.pair.server, KTLSD_TX, &session.server);
	report(refused(&next, EKEYEXPIRED, "has lapsed"), "and lapses: EKEYEXPIRED");
	next = ask(session.pair.server, 0, &fresh.token);
	report(refused(&next, EKEYEXPIRED, "has lapsed"), "so does the one it was exchanged for");
	end_session(&session, before, "lapsed tokens");
}

/* Stops the agent; a script starts the next. */
void rekey_across_restart(void)
{
	struct session session = shake_hands("web");
	int server = session.pair.server, client = session.pair.client;
	pid_t agent = agent_pid();
	struct next ours, theirs;
	struct ktlsd *next_agent;

	passes(server, client);
	kill(agent, SIGTERM);
	while (kill(agent, 0) == 0 || ktlsd_open(&next_agent, NULL) != 0)
		poll(NULL, 0, 20);
	ktlsd_close(next_agent);
	ours = ask(server, KTLSD_TX, &session.server);
	theirs = ask(client, KTLSD_RX, &session.client);
	report(granted(&ours, KTLSD_TX) && granted(&theirs, KTLSD_RX),
	       "the next agent knows the tokens of the one before");
	report(set_keys(server, TLS_TX, &ours.tx) && set_keys(client, TLS_RX, &theirs.rx) && passes(server, client),
	       "data passes under the keys that it gives");
	close_pair(session.pair);
}

/* command: takes the service away. */
void rekey_without_service(const char *command)
{
	struct session session = shake_hands("small");
	unsigned int before = agent_descriptors();
	struct next next;

	if (system(command) != 0)
		die(command);
	next = ask(session.pair.server, KTLSD_TX, &session.server);
	report(refused(&next, ENOENT, "no longer in the agent's configuration"),
	       "a token of a service that is gone: ENOENT");
	next = ask(session.pair.client, KTLSD_TX, &session.client);
	report(granted(&next, KTLSD_TX), "one of another service is good");
	end_session(&session, before, "a service that is gone");
}

void rekey_steps(void)
{
	steps();
	blocked_writer();
	deaf_caller();
}
