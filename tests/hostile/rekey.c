// SPDX-License-Identifier: MIT
/*
 * Orders for next keys that the agent must refuse: malformed, with a token that is none, or somebody else's, or used
 * already, with a socket that is not the connection's. And those that it must not.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../userspace/lib/probe.h"
#include "session.h"

/* ---- messages ---- */

static void put_malformed(struct datagram_writer *datagram, unsigned int which)
{
	static const uint8_t ones[8000] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
	struct ktlsd_msg_rekey *message = message_begin(datagram, KTLSD_MSG_REKEY, sizeof(*message), COOKIE);
	static const size_t lengths[] = {0, 252, 252, 252, 513, 8000, 252, 252, 252, 252};

	message->directions = which == 6 ? 4 : which == 7 ? ~0u : KTLSD_TX;
	message->error = which == 8;
	message->header.reserved = which == 9;
	if (which > 0)
		message_attribute(datagram, KTLSD_ATTR_REKEY_TOKEN, ones, lengths[which]);
	if (which == 1)
		message_attribute(datagram, KTLSD_ATTR_REKEY_TOKEN, ones, 252);
	if (which == 2)
		message_text(datagram, KTLSD_ATTR_SERVICE, "web");
	if (which == 3)
		message_attribute(datagram, 99, ones, 4);
	message_end(datagram);
}

static void malformed(void)
{
	static const struct {
		const char *name, *why;
	} faults[] = {
		{"no token", "one token and nothing else"},
		{"two tokens", "one token and nothing else"},
		{"a token and a service", "one token and nothing else"},
		{"a token and an unknown attribute", "one token and nothing else"},
		{"a token of 513 bytes", "one token and nothing else"},
		{"a token of 8000 bytes", "one token and nothing else"},
		{"an unknown direction", "direction is unknown"},
		{"all directions there could be", "direction is unknown"},
		{"an error", "reserved field is not zero"},
		{"a reserved field", "reserved field is not zero"},
	};
	static uint8_t data[ROOM] __attribute__((aligned(8)));
	unsigned int before = agent_descriptors();
	struct pair pair = tcp_pair();
	struct wire wire;
	struct next next;

	wire_greet(&wire);
	for (unsigned int i = 0; i < COUNT(faults); i++) {
		struct datagram_writer datagram = {.data = data, .size = sizeof(data)};

		put_malformed(&datagram, i);
		report(wire_send(&wire, data, datagram.length, &pair.server, 1) == 0 && receive_next(&wire, &next) &&
			       refused(&next, EINVAL, faults[i].why),
		       "rekey with %s: EINVAL", faults[i].name);
	}
	put_message(data, KTLSD_MSG_REKEY, sizeof(struct ktlsd_msg_header), COOKIE);
	report(wire_send(&wire, data, sizeof(struct ktlsd_msg_header), &pair.server, 1) == 0 &&
		       receive_next(&wire, &next) && refused(&next, EINVAL, "too short"),
	       "rekey without a body: EINVAL");
	wire_close(&wire);
	report(passes_plaintext(pair), "the socket was not touched");
	close_pair(pair);
	report(agent_settles(before), "malformed rekeys: no descriptor stays behind");
}

static bool is_thrown_out(struct wire *wire, unsigned int error, const char *why)
{
	struct answer answer;

	return wire_answer(wire, 3000, &answer) == 1 && answer.type == KTLSD_MSG_RESULT && answer.error == error &&
	       answer.cookie == 0 && strstr(answer.why, why) && wire_answer(wire, 3000, &answer) == 0;
}

static void wrong_numbers(void)
{
	static uint8_t data[ROOM] __attribute__((aligned(8)));
	struct datagram_writer datagram = {.data = data, .size = sizeof(data)};
	unsigned int before = agent_descriptors();
	struct pair pair = tcp_pair();
	int fds[3] = {pair.server, pair.client, pair.server};
	struct wire wire;

	put_rekey(&datagram, KTLSD_TX, "none", 4);
	for (size_t count = 0; count < 4; count += count ? 1 : 2) {
		wire_greet(&wire);
		wire_send(&wire, data, datagram.length, fds, count);
		report(is_thrown_out(&wire, EBADMSG, "not equal in number"), "rekey with %zu descriptors: EBADMSG",
		       count);
		wire_close(&wire);
	}
	wire_greet(&wire);
	datagram.length += put_handoff(data + datagram.length, COOKIE, "web");
	wire_send(&wire, data, datagram.length, fds, 1);
	report(is_thrown_out(&wire, EBADMSG, "not equal in number"), "rekey and handoff with one descriptor: EBADMSG");
	wire_close(&wire);
	wire_open(&wire);
	wire_send(&wire, data, datagram.length, fds, 2);
	report(is_thrown_out(&wire, EPROTO, "not HELLO"), "rekey before HELLO: EPROTO");
	wire_close(&wire);
	report(passes_plaintext(pair), "the socket was not touched");
	close_pair(pair);
	report(agent_settles(before), "rekeys that break off: no descriptor stays behind");
}

/* ---- tokens ---- */

static void wrong_tokens(void)
{
	struct session session = shake_hands("web");
	unsigned int before = agent_descriptors(), seed = 20240608, good = 0;
	struct token token = {.length = 252};
	struct next next;

	next = ask(session.pair.server, KTLSD_TX, &token);
	report(refused(&next, EBADMSG, "none of this agent's"), "a token of zeroes: EBADMSG");
	token.bytes[0] = 1; /* its format */
	next = ask(session.pair.server, KTLSD_TX, &token);
	report(refused(&next, EBADMSG, "a key that the agent does not have"), "of another agent: EBADMSG");
	token.length = 0;
	next = ask(session.pair.server, KTLSD_TX, &token);
	report(refused(&next, EBADMSG, "none of this agent's"), "of no bytes: EBADMSG");
	for (int round = 0; round < 200; round++) {
		token.length = rand_r(&seed) % (round % 2 ? sizeof(token.bytes) : 253);
		for (size_t i = 0; i < token.length; i++)
			token.bytes[i] = round % 3 ? rand_r(&seed) : session.server.bytes[i];
		if (session.server.length && token.length > 30)
			memcpy(token.bytes, session.server.bytes, 24); /* format and key are right */
		next = ask(session.pair.server, rand_r(&seed) % 4, &token);
		good += refused(&next, EBADMSG, "");
	}
	report(good == 200, "200 tokens of garbage: EBADMSG");
	end_session(&session, before, "garbage for tokens");
}

static void altered_token(void)
{
	struct session session = shake_hands("web");
	unsigned int before = agent_descriptors(), good = 0;
	struct next next;

	for (size_t i = 0; i < session.server.length; i++) {
		session.server.bytes[i] ^= 1;
		next = ask(session.pair.server, KTLSD_TX, &session.server);
		good += refused(&next, EBADMSG, "");
		session.server.bytes[i] ^= 1;
	}
	report(good == session.server.length, "each of a token's bytes altered: EBADMSG");
	next = ask(session.pair.server, KTLSD_TX, &session.server);
	report(granted(&next, KTLSD_TX), "as it was, it is good");
	end_session(&session, before, "altered tokens");
}

/* ---- sockets ---- */

static int a_pipe(void)
{
	int ends[2];

	if (pipe(ends) != 0)
		die("pipe");
	close(ends[0]);
	return ends[1];
}

static int a_udp_socket(void)
{
	return socket(AF_INET, SOCK_DGRAM, 0);
}

static int an_unconnected_socket(void)
{
	return socket(AF_INET, SOCK_STREAM, 0);
}

static int a_plain_connection(void)
{
	struct pair pair = tcp_pair();

	close(pair.client);
	return pair.server;
}

static int one_without_keys(void)
{
	struct pair pair = tcp_pair();

	if (setsockopt(pair.server, IPPROTO_TCP, 31 /* TCP_ULP */, "tls", sizeof("tls")) != 0)
		die("TCP_ULP");
	close(pair.client);
	return pair.server;
}

static void wrong_sockets(void)
{
	static const struct {
		const char *name;
		int (*make)(void);
		unsigned int error;
		const char *why;
	} sockets[] = {
		{"a pipe", a_pipe, ENOTSOCK, "not a socket"},
		{"a UDP socket", a_udp_socket, EPROTONOSUPPORT, "not TCP"},
		{"an unconnected socket", an_unconnected_socket, ENOTCONN, "not connected"},
		{"a socket without TLS", a_plain_connection, ESTALE, "does not belong to the keys"},
		{"a socket without keys", one_without_keys, ESTALE, "does not belong to the keys"},
	};
	struct session session = shake_hands("web");
	unsigned int before = agent_descriptors();
	struct next next;

	for (size_t i = 0; i < COUNT(sockets); i++) {
		int fd = sockets[i].make();

		next = ask(fd, KTLSD_TX | KTLSD_RX, &session.server);
		report(refused(&next, sockets[i].error, sockets[i].why), "a good token with %s: %s", sockets[i].name,
		       name_of(sockets[i].error));
		close(fd);
	}
	end_session(&session, before, "a good token with other descriptors");
}

static void foreign_tokens(void)
{
	struct session session = shake_hands("web"), other = shake_hands("web");
	unsigned int before = agent_descriptors();
	struct next next;

	for (unsigned int directions = 0; directions < 4; directions++) {
		next = ask(session.pair.server, directions, &other.server);
		report(refused(&next, ESTALE, "another connection's"),
		       "another connection's token, directions %u: ESTALE", directions);
		next = ask(session.pair.server, directions, &session.client);
		report(refused(&next, ESTALE, "does not belong"), "the other end's, directions %u: ESTALE", directions);
	}
	close_pair(other.pair);
	end_session(&session, before, "others' tokens");
}

/* ---- authority and versions ---- */

static void stranger(void)
{
	struct session session = shake_hands("root"), open = shake_hands("web");
	unsigned int before = agent_descriptors();
	pid_t child = fork();
	struct next next;
	int status;

	if (child == 0) {
		if (setresgid(65533, 65533, 65533) != 0 || setresuid(65533, 65533, 65533) != 0)
			_exit(2);
		next = ask(session.pair.server, KTLSD_TX, &session.server);
		if (!refused(&next, EACCES, "may not use the service"))
			_exit(1);
		next = ask(open.pair.server, KTLSD_TX, &open.server);
		_exit(!granted(&next, KTLSD_TX));
	}
	waitpid(child, &status, 0);
	report(status == 0, "a token for a service that the caller may not use: EACCES");
	close_pair(open.pair);
	end_session(&session, before, "a stranger's rekey");
}

static void without_tokens(void)
{
	struct session session = shake_hands("web");

	report(!session.server.length && !session.client.length, "this kernel can't replace keys: there are no tokens");
	close_pair(session.pair);
}

static void only_tls13(void)
{
	struct session session = shake_hands("web12");

	report(!session.server.length && !session.client.length, "TLS 1.2 has no tokens");
	close_pair(session.pair);
}

static void bad_orders(void)
{
	malformed();
	wrong_numbers();
	wrong_tokens();
	only_tls13();
	if (!ktls_probe_rekey()) {
		without_tokens();
		return;
	}
	altered_token();
	wrong_sockets();
	foreign_tokens();
	stranger();
	rekey_steps();
}

/* rekeys [lapse|restart|gone COMMAND]: what needs an agent of its own. */
void rekeys(int argc, char **argv)
{
	const char *set = argc > 0 ? argv[0] : "";

	if (!ktls_probe_rekey() && argc > 0) {
		without_tokens();
		if (strcmp(set, "restart") == 0)
			kill(agent_pid(), SIGTERM); /* the script waits for it */
	} else if (strcmp(set, "lapse") == 0) {
		rekey_lapsed();
	} else if (strcmp(set, "restart") == 0) {
		rekey_across_restart();
	} else if (strcmp(set, "gone") == 0) {
		rekey_without_service(argv[1]);
	} else {
		bad_orders();
		report(good_handshake(), "the next handshake is unharmed");
	}
}
