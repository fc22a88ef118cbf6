// SPDX-License-Identifier: MIT
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "records.h"
#include "script.h"

enum kind connection_kind(const struct connection *connection)
{
	return connection->version != 0x0304 ? TLS12 : connection->can_rekey ? TLS13 : FIXED;
}

/* ---- steps that are records ---- */

#define RECORD(step, number, text)                                                                                     \
	{                                                                                                              \
		.name = step, .type = number, .bytes = text, .length = sizeof(text) - 1,                               \
	}

/* RFC 8446 §4.6.1: lifetime, age_add, nonce, ticket, no extensions */
#define TICKET                                                                                                         \
	"\4\0\0\x15\0\0\x1c\x20"                                                                                       \
	"AGES"                                                                                                         \
	"\1N"                                                                                                          \
	"\0\7tickets"                                                                                                  \
	"\0\0" /* 4 + 21 */
#define UPDATE "\x18\0\0\1\0"

/*
 * The kernel sends no empty records. But a record of type 0 is what RFC 8446 §5.4 pads others with: its last byte that
 * is not zero is what the receiver takes for the type.
 */
static const struct {
	const char *name;
	uint8_t type;
	const char *bytes;
	size_t length;
} records[] = {
	RECORD("empty", 0, "\x17"),
	RECORD("empty_padded", 0, "\x17\0\0\0\0\0"),
	RECORD("empty_handshake", 0, "\x16"),
	RECORD("empty_alert", 0, "\x15"),
	RECORD("ticket", 22, TICKET),
	RECORD("tickets", 22, TICKET TICKET),
	RECORD("ticket_1", 22, "\4\0"),
	RECORD("ticket_2", 22,
	       "\0\x15\0\0\x1c\x20"
	       "AGE"),
	RECORD("ticket_3", 22,
	       "S"
	       "\1N"
	       "\0\7tickets"
	       "\0\0"),
	RECORD("ticket_head", 22, "\4\0\0"),
	RECORD("ticket_body", 22,
	       "\x18\0\0\x1c\x20"
	       "AGES"
	       "\1N"
	       "\0\12tickets..."
	       "\0\0"),
	RECORD("ticket_3_and_1", 22,
	       "S"
	       "\1N"
	       "\0\7tickets"
	       "\0\0"
	       "\4\0"),
	RECORD("long_ticket", 22, "\4\7\0\0"),
	RECORD("raw_update", 22, UPDATE),
	RECORD("ticket_update", 22, TICKET UPDATE),
	RECORD("update_ticket", 22, UPDATE TICKET),
	RECORD("update_update", 22, UPDATE UPDATE),
	RECORD("update_2_bytes", 22, "\x18\0\0\2\0\0"),
	RECORD("update_0_bytes", 22, "\x18\0\0\0"),
	RECORD("update_2", 22, "\x18\0\0\1\2"),
	RECORD("update_part", 22, "\x18\0\0"),
	RECORD("update_rest", 22, "\1\0"),
	RECORD("certificate_request", 22, "\x0d\0\0\3\0\0\0"),
	RECORD("client_hello", 22, "\1\0\0\4\3\3\0\0"),
	RECORD("client_hello_1", 22, "\1\0\0"),
	RECORD("client_hello_2", 22, "\4\3\3\0\0"),
	RECORD("hello_request", 22, "\0\0\0\0"),
	RECORD("full_hello_request", 22, "\0\0\0\1x"),
	RECORD("finished", 22, "\x14\0\0\4abcd"),
	RECORD("key_exchange", 22, "\x10\0\0\1x"),
	RECORD("canceled", 21, "\1\x5a"),
	RECORD("warning", 21, "\1\x64"),
	RECORD("unknown_warning", 21, "\1\xfa"),
	RECORD("close", 21, "\1\0"),
	RECORD("fatal_close", 21, "\2\0"),
	RECORD("fatal", 21, "\2\x28"),
	RECORD("unknown_fatal", 21, "\2\xfa"),
	RECORD("third_level", 21, "\3\0"),
	RECORD("alert_of_1", 21, "\1"),
	RECORD("alert_of_3", 21, "\1\0\0"),
	RECORD("change_cipher_spec", 20, "\1"),
	RECORD("heartbeat", 24, "\1\0\0"),
	RECORD("unknown", 99, "xyz"),
};

static bool record(struct connection *connection, const char *name)
{
	for (size_t i = 0; i < COUNT(records); i++)
		if (strcmp(records[i].name, name) == 0)
			return peer_sends_record(connection, records[i].type, records[i].bytes, records[i].length);
	return fail("what is \"%s\"?", name);
}

/* ---- the others ---- */

static bool padded(struct connection *connection, size_t length)
{
	uint8_t inner[300] = {0};

	fill(inner, length, connection->sent);
	connection->sent += length;
	inner[length] = RECORD_APPLICATION_DATA;
	return peer_sends_record(connection, 0, inner, length + 1 + length % 64);
}

static bool reset(struct connection *connection)
{
	struct linger none = {.l_onoff = 1};

	setsockopt(connection->peer_fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	ktlsd_stream_free(connection->peer);
	close(connection->peer_fd);
	connection->peer = NULL;
	connection->peer_fd = -1;
	return true;
}

static bool step(struct connection *connection, const char *word)
{
	size_t length;

	if (sscanf(word, "data:%zu", &length) == 1)
		return peer_sends(connection, length);
	if (sscanf(word, "padded:%zu", &length) == 1)
		return padded(connection, length);
	if (strcmp(word, "update") == 0)
		return peer_updates(connection, false);
	if (strcmp(word, "update!") == 0)
		return peer_updates(connection, true);
	if (strcmp(word, "pause") == 0)
		return usleep(20000) == 0;
	if (strcmp(word, "fin") == 0)
		return shutdown(connection->peer_fd, SHUT_WR) == 0;
	if (strcmp(word, "reset") == 0)
		return reset(connection);
	return record(connection, word);
}

bool play(struct connection *connection, const char *script, enum pace pace)
{
	char words[2000], *word, *rest;
	uint64_t expected = UINT64_MAX;
	bool good = true;

	snprintf(words, sizeof(words), "%s", script);
	for (word = strtok_r(words, " ", &rest); word && good; word = strtok_r(NULL, " ", &rest)) {
		if (strcmp(word, "|") == 0) {
			expected = connection->sent;
			continue;
		}
		good = step(connection, word);
		if (pace == IN_STEP && expected == UINT64_MAX && good)
			good = stream_reads_until(connection, connection->sent);
	}
	if (expected == UINT64_MAX)
		expected = connection->sent;
	return good && (pace == UNREAD || stream_reads_until(connection, expected));
}

/* ---- at random ---- */

static const struct {
	const char *words;
	enum kind kind;
	unsigned int roles;
} harmless[] = {
	{"data:1", ANY, BOTH},
	{"data:100", ANY, BOTH},
	{"data:16384", ANY, BOTH},
	{"data:16385", ANY, BOTH},
	{"data:30000", ANY, BOTH},
	{"padded:200", ANY13, BOTH},
	{"empty", ANY13, BOTH},
	{"canceled", ANY, BOTH},
	{"warning", TLS12, BOTH},
	{"unknown_warning", TLS12, BOTH},
	{"ticket", ANY13, CLIENT},
	{"tickets", ANY13, CLIENT},
	{"ticket_1 ticket_2 ticket_3", ANY13, CLIENT},
	{"ticket_1 ticket_2 ticket_3_and_1 ticket_2 ticket_3", ANY13, CLIENT},
	{"hello_request", TLS12, CLIENT},
	{"client_hello", TLS12, SERVER},
	{"client_hello_1 client_hello_2", TLS12, SERVER},
	{"update", TLS13, BOTH},
	{"update!", TLS13, BOTH},
};

void make_script(char *script, size_t size, unsigned int seed, enum kind kind, enum ktlsd_role role)
{
	unsigned int left = 20;
	size_t length = 0;

	while (left > 0) {
		size_t i = rand_r(&seed) % COUNT(harmless);

		if (!(harmless[i].kind & kind) || !(harmless[i].roles & 1 << role))
			continue;
		length += snprintf(script + length, size - length, "%s ", harmless[i].words);
		left--;
	}
}
