// SPDX-License-Identifier: MIT
/* Messages that break the protocol. The caller is told why, and no descriptor stays behind. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hostile.h"

#define HANDOFF_LENGTH 40 /* header, body, and the attribute SERVICE with three letters */
#define SERVICE_AT sizeof(struct ktlsd_msg_handoff)
#define LOGGED 8 /* cases whose log line is looked for: the agent limits how many it writes in a few seconds */

/* What a datagram has to bring about. */
struct expected {
	int error;
	const char *why;
	bool thrown_out; /* the answer has cookie 0, then the connection ends */
};

static bool answered(struct wire *wire, const struct expected *expected, uint64_t cookie)
{
	struct answer answer;
	int got = wire_answer(wire, 3000, &answer);
	bool good = got == 1 && answer.type == KTLSD_MSG_RESULT && answer.error == (unsigned int)expected->error &&
		    strstr(answer.why, expected->why) && answer.flags == KTLSD_RESULT_REFUSED &&
		    answer.cookie == (expected->thrown_out ? 0 : cookie);

	if (!good)
		note("answer %d: %s (%s), cookie %lu, flags %#x; expected %s (%s)", got, name_of(answer.error),
		     answer.why, (unsigned long)answer.cookie, answer.flags, name_of(expected->error), expected->why);
	if (good && expected->thrown_out && wire_answer(wire, 3000, &answer) != 0) {
		note("the connection stays open");
		return false;
	}
	return good;
}

/* Sends it behind HELLO, with descriptors of a connected socket; all is as before afterwards. */
static bool provokes(const void *datagram, size_t length, size_t count, const struct expected *expected)
{
	unsigned int before = agent_descriptors();
	struct pair pair = tcp_pair();
	struct wire wire;
	int fds[253];
	bool good;

	for (size_t i = 0; i < count; i++)
		fds[i] = pair.server;
	wire_greet(&wire);
	good = wire_send(&wire, datagram, length, fds, count) == 0 && answered(&wire, expected, 7);
	wire_close(&wire);
	good = agent_settles(before) && good;
	if (!passes_plaintext(pair)) {
		note("the socket was touched");
		good = false;
	}
	close_pair(pair);
	return good;
}

/* ---- one field of a good handoff is wrong ---- */

#define FIELD(member) offsetof(struct ktlsd_msg_handoff, member), sizeof(((struct ktlsd_msg_handoff *)0)->member)
#define ATTRIBUTE(member) SERVICE_AT + offsetof(struct ktlsd_attribute, member), 2
#define NOT_EQUAL "not equal in number"
#define UNSOUND "length does not fit its datagram"

static const struct {
	const char *name;
	size_t at, width;
	uint32_t value;
	size_t descriptors;
	struct expected expected;
} fields[] = {
	{"a reserved field of the header", FIELD(header.reserved), 1, 1, {EINVAL, "reserved", false}},
	{"a reserved field of the body", FIELD(reserved), 1, 1, {EINVAL, "reserved", false}},
	{"an unknown want", FIELD(want), 8, 1, {EINVAL, "unknown is wanted", false}},
	{"role 0", FIELD(role), 0, 1, {EINVAL, "role", false}},
	{"role client without a name", FIELD(role), KTLSD_CLIENT, 1, {EINVAL, "server's name", false}},
	{"an attribute of length 3", ATTRIBUTE(length), 3, 1, {EINVAL, "attribute's length", false}},
	{"an unknown attribute", ATTRIBUTE(type), 99, 1, {EINVAL, "does not know", false}},
	{"message type 0", FIELD(header.type), 0, 0, {EPROTO, "type is unknown", true}},
	{"another unknown want", FIELD(want), 0x80000000, 1, {EINVAL, "unknown is wanted", false}},
	{"role 3", FIELD(role), 3, 1, {EINVAL, "role", false}},
	{"role -1", FIELD(role), ~0u, 1, {EINVAL, "role", false}},
	{"an attribute of length 0", ATTRIBUTE(length), 0, 1, {EINVAL, "attribute's length", false}},
	{"an attribute of length 9", ATTRIBUTE(length), 9, 1, {EINVAL, "attribute's length", false}},
	{"an attribute of length 65535", ATTRIBUTE(length), 65535, 1, {EINVAL, "attribute's length", false}},
	{"an attribute of the result", ATTRIBUTE(type), KTLSD_ATTR_PEER_SHA256, 1, {EINVAL, "does not know", false}},
	{"message type RESULT", FIELD(header.type), KTLSD_MSG_RESULT, 0, {EPROTO, "type is unknown", true}},
	{"message type 65535", FIELD(header.type), 65535, 0, {EPROTO, "type is unknown", true}},
	{"an unknown type with a descriptor", FIELD(header.type), 99, 1, {EBADMSG, NOT_EQUAL, true}},
	{"message length 0", FIELD(header.length), 0, 0, {EBADMSG, UNSOUND, true}},
	{"message length 8", FIELD(header.length), 8, 0, {EBADMSG, UNSOUND, true}},
	{"message length 17", FIELD(header.length), 17, 0, {EBADMSG, UNSOUND, true}},
	{"message length 48 of 40", FIELD(header.length), 48, 0, {EBADMSG, UNSOUND, true}},
	{"message length -8", FIELD(header.length), -8, 0, {EBADMSG, UNSOUND, true}},
	{"message length 16 of 40", FIELD(header.length), 16, 1, {EINVAL, "too short", false}},
};

static void wrong_fields(void)
{
	uint8_t datagram[HANDOFF_LENGTH] __attribute__((aligned(8)));

	for (size_t i = 0; i < COUNT(fields); i++) {
		size_t length = put_handoff(datagram, 7, "web");
		long log = agent_log_length();
		bool good;

		memcpy(datagram + fields[i].at, &fields[i].value, fields[i].width);
		/* The rest of the datagram is then no message. */
		if (fields[i].value == 16 && fields[i].at == 0)
			length = 16;
		good = provokes(datagram, length, fields[i].descriptors, &fields[i].expected);
		if (i < LOGGED && !agent_logged(log, "is refused", fields[i].expected.why)) {
			note("the log does not say \"%s\"", fields[i].expected.why);
			good = false;
		}
		report(good, "%s: %s", fields[i].name, name_of(fields[i].expected.error));
	}
}

/* ---- attributes ---- */

static void wrong_attributes(void)
{
	static const struct {
		const char *name;
		unsigned int type;
		const char *value;
		size_t length;
		struct expected expected;
	} attributes[] = {
		{"a service's name of 63 bytes", KTLSD_ATTR_SERVICE, NULL, 63, {ENOENT, "no such service", false}},
		{"a service's name of 64 bytes", KTLSD_ATTR_SERVICE, NULL, 64, {EINVAL, "longer than 63", false}},
		{"a service's name of 8000 bytes", KTLSD_ATTR_SERVICE, NULL, 8000, {EINVAL, "longer than 63", false}},
		{"a NUL in the service's name", KTLSD_ATTR_SERVICE, "we\0b", 4, {EINVAL, "has a NUL", false}},
		{"an empty service's name", KTLSD_ATTR_SERVICE, "", 0, {ENOENT, "no such service", false}},
		{"a server's name of 256 bytes", KTLSD_ATTR_SERVER_NAME, NULL, 256, {EINVAL, "longer than 255", false}},
		{"ALPN with an empty name", KTLSD_ATTR_ALPN, "\2h2\0", 4, {EINVAL, "ALPN", false}},
		{"ALPN that ends in a name", KTLSD_ATTR_ALPN, "\2h2\x8http", 8, {EINVAL, "ALPN", false}},
		{"ALPN of 300 bytes", KTLSD_ATTR_ALPN, NULL, 300, {EINVAL, "ALPN", false}},
	};
	static uint8_t data[KTLSD_DATAGRAM_MAX] __attribute__((aligned(8)));
	char ones[8000];

	memset(ones, 1, sizeof(ones));
	for (size_t i = 0; i < COUNT(attributes); i++) {
		struct datagram_writer datagram = {.data = data, .size = sizeof(data)};
		struct ktlsd_msg_handoff *handoff = message_begin(&datagram, KTLSD_MSG_HANDOFF, sizeof(*handoff), 7);

		handoff->role = KTLSD_SERVER;
		message_attribute(&datagram, attributes[i].type, attributes[i].value ? attributes[i].value : ones,
				  attributes[i].length);
		message_end(&datagram);
		report(provokes(data, datagram.length, 1, &attributes[i].expected), "%s: %s", attributes[i].name,
		       name_of(attributes[i].expected.error));
	}
}

/* ---- truncated at every length ---- */

static void truncated(void)
{
	const struct expected broken = {EBADMSG, "", true};
	uint8_t datagram[HANDOFF_LENGTH] __attribute__((aligned(8)));
	unsigned int good = 0;
	size_t length;

	put_handoff(datagram, 7, "web");
	for (length = 1; length < HANDOFF_LENGTH; length++)
		good += provokes(datagram, length, length % 3, &broken);
	report(good == HANDOFF_LENGTH - 1, "a handoff cut at each of %d lengths: EBADMSG", HANDOFF_LENGTH - 1);
}

/* ---- numbers of descriptors and bytes ---- */

static void wrong_numbers(void)
{
	static const struct {
		const char *name;
		size_t handoffs, descriptors, length; /* 0: as long as the handoffs are */
		struct expected expected;
	} numbers[] = {
		{"a handoff without descriptor", 1, 0, 0, {EBADMSG, NOT_EQUAL, true}},
		{"a handoff with two descriptors", 1, 2, 0, {EBADMSG, NOT_EQUAL, true}},
		{"32 handoffs with 31 descriptors", 32, 31, 0, {EBADMSG, NOT_EQUAL, true}},
		{"33 handoffs", 33, 33, 0, {EMSGSIZE, "DESCRIPTORS", true}},
		{"253 descriptors", 1, 253, 0, {EMSGSIZE, "DESCRIPTORS", true}},
		{"a datagram of 16384 zeroes", 0, 0, 16384, {EBADMSG, UNSOUND, true}},
		{"a datagram of 16385 bytes", 32, 32, 16385, {EMSGSIZE, "DATAGRAM_MAX", true}},
		{"a datagram of 100000 bytes", 32, 32, 100000, {EMSGSIZE, "DATAGRAM_MAX", true}},
	};
	static uint8_t datagram[100000] __attribute__((aligned(8)));

	for (size_t i = 0; i < COUNT(numbers); i++) {
		size_t length = 0, n;

		memset(datagram, 0, sizeof(datagram));
		for (n = 0; n < numbers[i].handoffs; n++)
			length += put_handoff(datagram + length, 7, "none");
		if (numbers[i].length)
			length = numbers[i].length;
		report(provokes(datagram, length, numbers[i].descriptors, &numbers[i].expected), "%s: %s",
		       numbers[i].name, name_of(numbers[i].expected.error));
	}
}

/* A datagram of no bytes reads like the end of the connection, but can carry descriptors. */
static void empty_datagrams(void)
{
	unsigned int before = agent_descriptors();
	struct pair pair = tcp_pair();
	struct answer answer;
	struct wire wire;
	int fds[32], i;
	bool ended = true;

	for (i = 0; i < 32; i++)
		fds[i] = pair.server;
	for (i = 0; i < 5; i++) {
		wire_greet(&wire);
		wire_send(&wire, "", 0, fds, 32);
		ended = wire_answer(&wire, 3000, &answer) == 0 && ended;
		wire_close(&wire);
	}
	report(ended, "a datagram of no bytes ends the connection");
	report(agent_settles(before), "its descriptors are closed");
	close_pair(pair);
}

/* ---- HELLO ---- */

static void hellos(void)
{
	static const struct {
		const char *name;
		unsigned int version;
		size_t length;
		unsigned int type;
		struct expected expected;
	} greetings[] = {
		{"HELLO of version 0",
		 0,
		 sizeof(struct ktlsd_msg_hello),
		 KTLSD_MSG_HELLO,
		 {EPROTONOSUPPORT, "another version", true}},
		{"HELLO of version 2",
		 2,
		 sizeof(struct ktlsd_msg_hello),
		 KTLSD_MSG_HELLO,
		 {EPROTONOSUPPORT, "another version", true}},
		{"HELLO without its body",
		 0,
		 sizeof(struct ktlsd_msg_header),
		 KTLSD_MSG_HELLO,
		 {EPROTONOSUPPORT, "another version", true}},
		{"CANCEL before HELLO",
		 0,
		 sizeof(struct ktlsd_msg_header),
		 KTLSD_MSG_CANCEL,
		 {EPROTO, "not HELLO", true}},
	};

	for (size_t i = 0; i < COUNT(greetings); i++) {
		unsigned int before = agent_descriptors();
		struct ktlsd_msg_hello hello = {0};
		struct answer answer;
		struct wire wire;
		bool good;

		put_message(&hello, greetings[i].type, greetings[i].length, 0);
		if (greetings[i].length == sizeof(hello))
			hello.version = greetings[i].version;
		wire_open(&wire);
		wire_send(&wire, &hello, greetings[i].length, NULL, 0);
		/* The agent's own HELLO says which version it speaks. */
		good = greetings[i].type != KTLSD_MSG_HELLO ||
		       (wire_answer(&wire, 3000, &answer) == 1 && answer.type == KTLSD_MSG_HELLO);
		good = answered(&wire, &greetings[i].expected, 0) && good;
		wire_close(&wire);
		report(agent_settles(before) && good, "%s: %s", greetings[i].name,
		       name_of(greetings[i].expected.error));
	}
}

static void handoff_before_hello(void)
{
	const struct expected expected = {EPROTO, "not HELLO", true};
	uint8_t datagram[HANDOFF_LENGTH] __attribute__((aligned(8)));
	unsigned int before = agent_descriptors();
	struct pair pair = tcp_pair();
	struct wire wire;
	bool good;

	wire_open(&wire);
	wire_send(&wire, datagram, put_handoff(datagram, 7, "web"), &pair.server, 1);
	good = answered(&wire, &expected, 0);
	wire_close(&wire);
	good = agent_settles(before) && good;
	report(passes_plaintext(pair) && good, "a handoff before HELLO: EPROTO, the socket untouched");
	close_pair(pair);
}

static void unknown_cancel(void)
{
	uint8_t datagram[64] __attribute__((aligned(8)));
	const struct expected unknown = {ENOENT, "no such service", false};
	struct pair pair = tcp_pair();
	struct wire wire;

	wire_greet(&wire);
	wire_send(&wire, datagram, put_message(datagram, KTLSD_MSG_CANCEL, 16, 12345), NULL, 0);
	wire_send(&wire, datagram, put_handoff(datagram, 7, "none"), &pair.server, 1);
	report(answered(&wire, &unknown, 7), "CANCEL of a handoff that is not there is not answered");
	wire_close(&wire);
	close_pair(pair);
}

/* ---- garbage ---- */

static void garbage(void)
{
	static uint8_t datagram[KTLSD_DATAGRAM_MAX + 64] __attribute__((aligned(8)));
	unsigned int before = agent_descriptors(), seed = 20240607, round;
	struct pair pair = tcp_pair();
	struct wire wire;
	int fds[4] = {pair.server, pair.client, pair.server, pair.client};

	for (round = 0; round < 1500; round++) {
		size_t length = rand_r(&seed) % (round % 8 ? 256 : sizeof(datagram)), i;

		wire_greet(&wire);
		put_handoff(datagram, 7, "none");
		for (i = round % 3 ? HANDOFF_LENGTH : 0; i < length; i++)
			datagram[i] = rand_r(&seed);
		for (i = rand_r(&seed) % 4; i > 0; i--)
			datagram[rand_r(&seed) % HANDOFF_LENGTH] = rand_r(&seed);
		wire_send(&wire, datagram, length, fds, rand_r(&seed) % 4);
		wire_close(&wire);
	}
	report(agent_settles(before), "1500 datagrams of garbage leave no descriptor behind");
	close_pair(pair);
}

void messages(int argc, char **argv)
{
	(void)argc, (void)argv;
	wrong_fields();
	wrong_attributes();
	truncated();
	wrong_numbers();
	empty_datagrams();
	hellos();
	handoff_before_hello();
	unknown_cancel();
	garbage();
	report(good_handshake(), "the next handshake is unharmed");
}
