// SPDX-License-Identifier: MIT
/* Challenges that must not get a proof: malformed, of strangers, too many at once; and callers that leave or do not read. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile.h"

#define COOKIE 7
#define PROVER "prover" /* the service that names root */
#define WAITING_MAX 16	/* CHALLENGES_MAX of the agent */

static const uint8_t ones[8000] = {[0 ... 7999] = 1};

static size_t put_challenge(void *at, size_t size, uint64_t cookie, const char *service)
{
	struct datagram_writer datagram = {.data = at, .size = size};

	message_begin(&datagram, KTLSD_MSG_CHALLENGE, sizeof(struct ktlsd_msg_challenge), cookie);
	message_text(&datagram, KTLSD_ATTR_SERVICE, service);
	message_attribute(&datagram, KTLSD_ATTR_NONCE, ones, 32);
	message_end(&datagram);
	return datagram.length;
}

/* A whole datagram of them. How many. */
static unsigned int fill(uint8_t datagram[static KTLSD_DATAGRAM_MAX], size_t *length)
{
	unsigned int count = 0;
	size_t one;

	for (*length = 0; (one = put_challenge(datagram + *length, KTLSD_DATAGRAM_MAX - *length, count, PROVER));
	     *length += one)
		count++;
	return count;
}

static bool is_refused(const struct answer *answer, unsigned int error, const char *why)
{
	bool good = answer->type == KTLSD_MSG_CHALLENGE && answer->error == error && answer->cookie == COOKIE &&
		    strstr(answer->why, why);

	if (!good)
		note("type %u, %s (%s); expected %s (%s)", answer->type, name_of(answer->error), answer->why,
		     name_of(error), why);
	return good;
}

/* The chain comes in front. */
static bool is_proved(struct wire *wire)
{
	struct answer answer;

	return wire_answer(wire, 3000, &answer) == 1 && answer.type == KTLSD_MSG_CHAIN &&
	       wire_answer(wire, 3000, &answer) == 1 && answer.type == KTLSD_MSG_CHALLENGE && answer.error == 0;
}

/* ---- malformed ---- */

static void attributes(void)
{
	static const struct {
		const char *name, *service;
		size_t service_length, nonces, nonce_length;
		unsigned int further; /* type of one more attribute */
		const char *why;
	} faults[] = {
		{"a nonce of 15 bytes", PROVER, 6, 1, 15, 0, "one nonce, of 16 to 64"},
		{"a nonce of 65 bytes", PROVER, 6, 1, 65, 0, "one nonce, of 16 to 64"},
		{"a nonce of no bytes", PROVER, 6, 1, 0, 0, "one nonce, of 16 to 64"},
		{"a nonce of 8000 bytes", PROVER, 6, 1, 8000, 0, "one nonce, of 16 to 64"},
		{"no nonce", PROVER, 6, 0, 0, 0, "one nonce, of 16 to 64"},
		{"two nonces", PROVER, 6, 2, 32, 0, "one nonce, of 16 to 64"},
		{"no service", NULL, 0, 1, 32, 0, "name one service"},
		{"an empty service", "", 0, 1, 32, 0, "name one service"},
		{"two services", PROVER, 6, 1, 32, KTLSD_ATTR_SERVICE, "name one service"},
		{"a service of 64 bytes", (const char *)ones, 64, 1, 32, 0, "name one service"},
		{"a NUL in the service", "pro\0er", 6, 1, 32, 0, "name one service"},
		{"an unknown attribute", PROVER, 6, 1, 32, 99, "does not know"},
		{"a signature", PROVER, 6, 1, 32, KTLSD_ATTR_SIGNATURE, "does not know"},
		{"a token", PROVER, 6, 1, 32, KTLSD_ATTR_REKEY_TOKEN, "does not know"},
	};
	static uint8_t data[KTLSD_DATAGRAM_MAX] __attribute__((aligned(8)));
	struct answer answer;
	struct wire wire;

	wire_greet(&wire);
	for (size_t i = 0; i < COUNT(faults); i++) {
		struct datagram_writer datagram = {.data = data, .size = sizeof(data)};

		message_begin(&datagram, KTLSD_MSG_CHALLENGE, sizeof(struct ktlsd_msg_challenge), COOKIE);
		if (faults[i].service)
			message_attribute(&datagram, KTLSD_ATTR_SERVICE, faults[i].service, faults[i].service_length);
		for (size_t n = 0; n < faults[i].nonces; n++)
			message_attribute(&datagram, KTLSD_ATTR_NONCE, ones, faults[i].nonce_length);
		if (faults[i].further)
			message_attribute(&datagram, faults[i].further, ones, 6);
		message_end(&datagram);
		report(wire_send(&wire, data, datagram.length, NULL, 0) == 0 &&
			       wire_answer(&wire, 3000, &answer) == 1 && is_refused(&answer, EINVAL, faults[i].why),
		       "challenge with %s: EINVAL", faults[i].name);
	}
	wire_close(&wire);
}

static void fields(void)
{
	static const struct {
		const char *name;
		size_t at, length; /* length: of the message, if it is another one */
		uint8_t value;
		const char *why;
	} faults[] = {
		{"an error", offsetof(struct ktlsd_msg_challenge, error), 0, 1, "reserved"},
		{"a scheme", offsetof(struct ktlsd_msg_challenge, scheme), 0, 4, "reserved"},
		{"a reserved field", offsetof(struct ktlsd_msg_challenge, reserved), 0, 1, "reserved"},
		{"no body", 0, sizeof(struct ktlsd_msg_header), sizeof(struct ktlsd_msg_header), "too short"},
		{"an attribute of length 3", sizeof(struct ktlsd_msg_challenge), 0, 3, "attribute's length"},
		{"an attribute of length 200", sizeof(struct ktlsd_msg_challenge), 0, 200, "attribute's length"},
	};
	uint8_t datagram[128] __attribute__((aligned(8)));
	struct answer answer;
	struct wire wire;

	wire_greet(&wire);
	for (size_t i = 0; i < COUNT(faults); i++) {
		size_t length = put_challenge(datagram, sizeof(datagram), COOKIE, PROVER);

		datagram[faults[i].at] = faults[i].value;
		if (faults[i].length)
			length = faults[i].length;
		report(wire_send(&wire, datagram, length, NULL, 0) == 0 && wire_answer(&wire, 3000, &answer) == 1 &&
			       is_refused(&answer, EINVAL, faults[i].why),
		       "challenge with %s: EINVAL", faults[i].name);
	}
	wire_close(&wire);
}

static bool is_thrown_out(struct wire *wire, unsigned int error, const char *why)
{
	struct answer answer;

	return wire_answer(wire, 3000, &answer) == 1 && answer.type == KTLSD_MSG_RESULT && answer.error == error &&
	       answer.cookie == 0 && strstr(answer.why, why) && wire_answer(wire, 3000, &answer) == 0;
}

static void breaks_off(void)
{
	uint8_t datagram[128] __attribute__((aligned(8)));
	size_t length = put_challenge(datagram, sizeof(datagram), COOKIE, PROVER);
	unsigned int before = agent_descriptors();
	struct pair pair = tcp_pair();
	int fds[2] = {pair.server, pair.client};
	struct wire wire;

	for (size_t count = 1; count <= COUNT(fds); count++) {
		wire_greet(&wire);
		wire_send(&wire, datagram, length, fds, count);
		report(is_thrown_out(&wire, EBADMSG, "not equal in number"), "challenge with %zu descriptors: EBADMSG",
		       count);
		wire_close(&wire);
	}
	wire_open(&wire);
	wire_send(&wire, datagram, length, NULL, 0);
	report(is_thrown_out(&wire, EPROTO, "not HELLO"), "challenge before HELLO: EPROTO");
	wire_close(&wire);
	wire_greet(&wire);
	((struct ktlsd_msg_header *)datagram)->reserved = 1;
	wire_send(&wire, datagram, length, NULL, 0);
	report(is_thrown_out(&wire, EPROTO, "reserved field"), "challenge with a reserved field in its header: EPROTO");
	wire_close(&wire);
	report(passes_plaintext(pair), "the sockets that came along were not touched");
	close_pair(pair);
	report(agent_settles(before), "challenges that break off: no descriptor stays behind");
}

/* ---- authority ---- */

static bool gets(const char *service, unsigned int error, const char *why)
{
	uint8_t datagram[128] __attribute__((aligned(8)));
	struct answer answer;
	struct wire wire;
	bool good;

	wire_greet(&wire);
	wire_send(&wire, datagram, put_challenge(datagram, sizeof(datagram), COOKIE, service), NULL, 0);
	good = error ? wire_answer(&wire, 3000, &answer) == 1 && is_refused(&answer, error, why) : is_proved(&wire);
	wire_close(&wire);
	return good;
}

static void strangers(void)
{
	pid_t child;
	int status;

	report(gets(PROVER, 0, NULL), "a user that the service names: a proof");
	report(gets("web", EACCES, "allow_challenge"), "root, whom the service does not name: EACCES");
	report(gets("none", ENOENT, "no such service"), "no such service: ENOENT");
	child = fork();
	if (child == 0) {
		if (setresgid(65533, 65533, 65533) != 0 || setresuid(65533, 65533, 65533) != 0)
			_exit(2);
		_exit(!(gets(PROVER, EACCES, "allow_challenge") && gets("web", EACCES, "allow_challenge")));
	}
	waitpid(child, &status, 0);
	report(status == 0, "a user whom neither names, not even the one that is for everyone: EACCES");
}

/* ---- too many ---- */

/* Every challenge is answered, in order of their cookies where it is a proof. */
static void flood(void)
{
	static uint8_t datagram[KTLSD_DATAGRAM_MAX] __attribute__((aligned(8)));
	unsigned int before = agent_descriptors(), proofs = 0, chains = 0, busy = 0, count;
	struct answer answer;
	struct wire wire;
	size_t length;

	count = fill(datagram, &length);
	wire_greet(&wire);
	wire_send(&wire, datagram, length, NULL, 0);
	while (proofs + busy < count && wire_answer(&wire, 3000, &answer) == 1) {
		chains += answer.type == KTLSD_MSG_CHAIN && answer.cookie == proofs;
		if (answer.type != KTLSD_MSG_CHALLENGE)
			continue;
		if (answer.error == 0 && answer.cookie == proofs)
			proofs++;
		busy += answer.error == EBUSY && strstr(answer.why, "wait for their turn");
	}
	report(proofs == WAITING_MAX && chains == proofs && busy == count - proofs,
	       "%u challenges in a datagram: %u proofs, each behind its chain, %u times EBUSY", count, proofs, busy);
	wire_close(&wire);
	report(agent_settles(before), "no descriptor stays behind");
}

static void asks_without_end(void)
{
	static uint8_t datagram[KTLSD_DATAGRAM_MAX] __attribute__((aligned(8)));
	struct answer answer;
	struct wire wire;
	size_t length;

	fill(datagram, &length);
	for (wire_greet(&wire);;) {
		wire_send(&wire, datagram, length, NULL, 0);
		while (wire_answer(&wire, 0, &answer) == 1)
			;
	}
}

static void beside_handshakes(void)
{
	int64_t alone, beside;
	pid_t children[8];
	int status;

	handshakes_ms(5);
	alone = handshakes_ms(30);
	for (size_t i = 0; i < COUNT(children); i++) {
		children[i] = fork();
		if (children[i] == 0)
			asks_without_end();
	}
	usleep(300000);
	beside = handshakes_ms(30);
	for (size_t i = 0; i < COUNT(children); i++) {
		kill(children[i], SIGKILL);
		waitpid(children[i], &status, 0);
	}
	/* One signature, with an RSA key, may come before each of the some ten steps of a handshake. */
	report(alone > 0 && beside > 0 && beside < 10 * alone + 300,
	       "beside %zu callers that challenge without end: 30 handshakes in %d ms, %d ms alone", COUNT(children),
	       (int)beside, (int)alone);
}

/* ---- callers that leave, or do not read ---- */

static void leaves(void)
{
	static uint8_t datagram[KTLSD_DATAGRAM_MAX] __attribute__((aligned(8)));
	unsigned int before = agent_descriptors();
	struct wire wire;
	size_t length;

	fill(datagram, &length);
	for (int i = 0; i < 50; i++) {
		wire_greet(&wire);
		wire_send(&wire, datagram, length, NULL, 0);
		if (i % 2)
			wire_send(&wire, datagram, 4, NULL, 0); /* and breaks the protocol */
		wire_close(&wire);
	}
	report(gets(PROVER, 0, NULL), "callers that leave with challenges open: the next one gets its proof");
	report(agent_settles(before), "no descriptor stays behind");
}

static void never_reads(void)
{
	static uint8_t datagram[KTLSD_DATAGRAM_MAX] __attribute__((aligned(8)));
	unsigned int before = agent_descriptors(), datagrams = 0, count, answers = 0;
	long rss = agent_rss_kib();
	struct answer answer;
	struct wire wire;
	size_t length;

	count = fill(datagram, &length);
	wire_greet(&wire);
	fcntl(wire.fd, F_SETFL, O_NONBLOCK);
	for (int i = 0; i < 500; i++) {
		if (wire_send(&wire, datagram, length, NULL, 0) == 0)
			datagrams++;
		else
			usleep(1000);
	}
	report(datagrams > 0 && datagrams < 400,
	       "a caller that reads no proofs is held back at some time (%u datagrams)", datagrams);
	report(agent_descriptors() <= before + 1 + KTLSD_DATAGRAM_DESCRIPTORS, "with %u descriptors of the agent",
	       agent_descriptors() - before);
	report(agent_rss_kib() < rss + 20 * 1024, "the agent grew by %ld KiB", agent_rss_kib() - rss);
	fcntl(wire.fd, F_SETFL, 0);
	while (answers < datagrams * count && wire_answer(&wire, 3000, &answer) == 1)
		answers += answer.type == KTLSD_MSG_CHALLENGE;
	report(answers == datagrams * count, "it gets all its answers when it reads: %u", answers);
	wire_close(&wire);
	report(agent_settles(before), "no descriptor stays behind");
}

void challenges(int argc, char **argv)
{
	(void)argc, (void)argv;
	attributes();
	fields();
	breaks_off();
	strangers();
	flood();
	beside_handshakes();
	leaves();
	never_reads();
	report(good_handshake(), "the next handshake is unharmed");
}
