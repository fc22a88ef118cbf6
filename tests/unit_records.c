// SPDX-License-Identifier: MIT
/* What libktlsd makes of control records: every rule of records.h, with the bytes in one piece, one by one, and in parts. */
#include <sys/uio.h>

#include "ktlsd.h"
#include "records.h"
#include "unit.h"

#define TLS13 0x0304
#define TLS12 0x0303
#define ANY 0

/* What a record carries; a row is at most four. The event of the last is checked, those before bring nothing. */
struct record {
	uint8_t type;
	uint8_t length;
	const char *bytes;
};

#define RECORD(type, bytes)                                                                                            \
	{                                                                                                              \
		type, sizeof(bytes) - 1, bytes                                                                         \
	}
#define HANDSHAKE(bytes) RECORD(22, bytes)
#define ALERT(bytes) RECORD(21, bytes)

#define TICKET "\4\0\0\3abc"
#define UPDATE "\x18\0\0\1\0"
#define UPDATE_REQUESTED "\x18\0\0\1\1"
#define CLIENT_HELLO "\1\0\0\5hello"

static const struct {
	const char *what;
	uint16_t version; /* 0: both */
	uint8_t role;	  /* ours; 0: both, and unknown */
	struct record records[4];
	enum event event;
	uint8_t alert;
} rows[] = {
	{"close_notify", ANY, 0, {ALERT("\1\0")}, EVENT_END, 0},
	{"close_notify that calls itself fatal", ANY, 0, {ALERT("\2\0")}, EVENT_END, 0},
	{"user_canceled", TLS13, 0, {ALERT("\1\x5a")}, EVENT_NOTHING, 0},
	{"user_canceled, then close_notify", ANY, 0, {ALERT("\1\x5a"), ALERT("\1\0")}, EVENT_END, 0},
	{"bad_record_mac", ANY, 0, {ALERT("\2\x14")}, EVENT_ALERT, 20},
	{"an unknown alert", ANY, 0, {ALERT("\2\xfe")}, EVENT_ALERT, 254},
	{"a warning, which TLS 1.3 does not know", TLS13, 0, {ALERT("\1\x64")}, EVENT_ALERT, 100},
	{"a warning", TLS12, 0, {ALERT("\1\x64")}, EVENT_NOTHING, 0},
	{"an alert of no level", ANY, 0, {ALERT("\3\0")}, EVENT_VIOLATION, 50},
	{"an alert of one byte", ANY, 0, {ALERT("\2")}, EVENT_VIOLATION, 50},
	{"an alert of three bytes", ANY, 0, {ALERT("\1\0\0")}, EVENT_VIOLATION, 50},
	{"two alerts in a record", ANY, 0, {ALERT("\1\0\1\0")}, EVENT_VIOLATION, 50},
	{"an empty alert", ANY, 0, {ALERT("")}, EVENT_VIOLATION, 50},
	{"a ticket", TLS13, KTLSD_CLIENT, {HANDSHAKE(TICKET)}, EVENT_NOTHING, 0},
	{"two tickets in a record", TLS13, KTLSD_CLIENT, {HANDSHAKE(TICKET TICKET)}, EVENT_NOTHING, 0},
	{"a ticket over three records",
	 TLS13,
	 KTLSD_CLIENT,
	 {HANDSHAKE("\4\0"), HANDSHAKE("\0\3a"), HANDSHAKE("bc")},
	 EVENT_NOTHING,
	 0},
	{"a ticket and a half, and the rest with another",
	 TLS13,
	 KTLSD_CLIENT,
	 {HANDSHAKE(TICKET "\4"), HANDSHAKE("\0\0\3abc" TICKET), ALERT("\1\0")},
	 EVENT_END,
	 0},
	{"a ticket whose second part begins like a KeyUpdate",
	 TLS13,
	 KTLSD_CLIENT,
	 {HANDSHAKE("\4\0\0\7a"), HANDSHAKE("\x18\0\0\1\0b"), ALERT("\1\0")},
	 EVENT_END,
	 0},
	{"a ticket from a client", TLS13, KTLSD_SERVER, {HANDSHAKE(TICKET)}, EVENT_VIOLATION, 10},
	{"a ticket in TLS 1.2", TLS12, 0, {HANDSHAKE(TICKET)}, EVENT_VIOLATION, 10},
	{"a ticket larger than one can be", TLS13, KTLSD_CLIENT, {HANDSHAKE("\4\x10\0\0")}, EVENT_VIOLATION, 50},
	{"a ticket that is broken off by an alert",
	 TLS13,
	 KTLSD_CLIENT,
	 {HANDSHAKE("\4\0\0\3a"), ALERT("\1\0")},
	 EVENT_VIOLATION,
	 10},
	{"KeyUpdate", TLS13, 0, {HANDSHAKE(UPDATE)}, EVENT_KEY_UPDATE, 0},
	{"KeyUpdate, ours requested", TLS13, 0, {HANDSHAKE(UPDATE_REQUESTED)}, EVENT_KEY_UPDATE_REQUESTED, 0},
	{"KeyUpdate behind a ticket", TLS13, KTLSD_CLIENT, {HANDSHAKE(TICKET), HANDSHAKE(UPDATE)}, EVENT_KEY_UPDATE, 0},
	{"KeyUpdate behind a ticket in one record",
	 TLS13,
	 KTLSD_CLIENT,
	 {HANDSHAKE(TICKET UPDATE)},
	 EVENT_VIOLATION,
	 80},
	{"KeyUpdate behind the end of a ticket in one record",
	 TLS13,
	 KTLSD_CLIENT,
	 {HANDSHAKE("\4\0\0\3a"), HANDSHAKE("bc" UPDATE)},
	 EVENT_VIOLATION,
	 80},
	{"a ticket behind KeyUpdate in one record",
	 TLS13,
	 KTLSD_CLIENT,
	 {HANDSHAKE(UPDATE TICKET)},
	 EVENT_VIOLATION,
	 10},
	{"two KeyUpdates in one record", TLS13, 0, {HANDSHAKE(UPDATE UPDATE)}, EVENT_VIOLATION, 10},
	{"half a KeyUpdate", TLS13, 0, {HANDSHAKE("\x18\0\0")}, EVENT_VIOLATION, 80},
	{"KeyUpdate without its last byte", TLS13, 0, {HANDSHAKE("\x18\0\0\1")}, EVENT_VIOLATION, 80},
	{"KeyUpdate of two bytes", TLS13, 0, {HANDSHAKE("\x18\0\0\2\0\0")}, EVENT_VIOLATION, 50},
	{"KeyUpdate of no byte", TLS13, 0, {HANDSHAKE("\x18\0\0\0")}, EVENT_VIOLATION, 50},
	{"KeyUpdate of an unknown kind", TLS13, 0, {HANDSHAKE("\x18\0\0\1\2")}, EVENT_VIOLATION, 47},
	{"KeyUpdate in TLS 1.2", TLS12, 0, {HANDSHAKE(UPDATE)}, EVENT_VIOLATION, 10},
	{"CertificateRequest", TLS13, 0, {HANDSHAKE("\xd\0\0\1x")}, EVENT_VIOLATION, 10},
	{"ClientHello in TLS 1.3", TLS13, 0, {HANDSHAKE(CLIENT_HELLO)}, EVENT_VIOLATION, 10},
	{"ClientHello", TLS12, KTLSD_SERVER, {HANDSHAKE(CLIENT_HELLO)}, EVENT_RENEGOTIATION, 0},
	{"ClientHello in parts",
	 TLS12,
	 KTLSD_SERVER,
	 {HANDSHAKE("\1\0\0\5"), HANDSHAKE("hel"), HANDSHAKE("lo")},
	 EVENT_RENEGOTIATION,
	 0},
	{"ClientHello from a server", TLS12, KTLSD_CLIENT, {HANDSHAKE(CLIENT_HELLO)}, EVENT_VIOLATION, 10},
	{"HelloRequest", TLS12, KTLSD_CLIENT, {HANDSHAKE("\0\0\0\0")}, EVENT_RENEGOTIATION, 0},
	{"HelloRequest from a client", TLS12, KTLSD_SERVER, {HANDSHAKE("\0\0\0\0")}, EVENT_VIOLATION, 10},
	{"HelloRequest with a body", TLS12, KTLSD_CLIENT, {HANDSHAKE("\0\0\0\1x")}, EVENT_VIOLATION, 10},
	{"an unknown handshake message", ANY, 0, {HANDSHAKE("\x63\0\0\0")}, EVENT_VIOLATION, 10},
	{"an empty handshake record", ANY, 0, {HANDSHAKE("")}, EVENT_VIOLATION, 10},
	{"ChangeCipherSpec", ANY, 0, {RECORD(20, "\1")}, EVENT_VIOLATION, 10},
	{"a record of an unknown type", ANY, 0, {RECORD(99, "xx")}, EVENT_VIOLATION, 10},
	{"data in the middle of a ticket",
	 TLS13,
	 KTLSD_CLIENT,
	 {HANDSHAKE("\4\0\0\3a"), RECORD(23, "x")},
	 EVENT_VIOLATION,
	 10},
};

/* How the bytes come: that many at a time, 0: all; in how many parts of memory. */
static const struct {
	size_t step;
	int parts;
} ways[] = {{0, 1}, {1, 1}, {3, 1}, {0, 2}, {0, 3}};

static enum event take_piece(struct records *state, const struct record *record, size_t at, size_t length, int parts,
			     bool end)
{
	struct iovec iov[3] = {0};
	size_t left = length, part;

	for (int i = 0; i < parts; i++) {
		part = i == parts - 1 ? left : left / 2;
		iov[i] = (struct iovec){(void *)(record->bytes + at + length - left), part};
		left -= part;
	}
	/* Memory behind the received bytes is none of its business. */
	iov[parts - 1].iov_len += 1000;
	return records_take(state, record->type, iov, length, end);
}

static enum event take_record(struct records *state, const struct record *record, size_t step, int parts)
{
	enum event event = EVENT_NOTHING;
	size_t at = 0, length;

	do {
		length = step && step < record->length - at ? step : record->length - at;
		event = take_piece(state, record, at, length, parts, at + length == record->length);
		at += length;
	} while (at < record->length && event == EVENT_NOTHING);
	return event;
}

static bool try_row(size_t row, size_t way, uint16_t version, uint8_t role)
{
	struct records state = {.version = version, .role = role};
	enum event event = EVENT_NOTHING;

	for (int i = 0; i < 4 && rows[row].records[i].bytes; i++) {
		if (event != EVENT_NOTHING)
			return false;
		event = take_record(&state, &rows[row].records[i], ways[way].step, ways[way].parts);
	}
	return event == rows[row].event &&
	       (event != EVENT_VIOLATION || (state.why && state.alert == rows[row].alert)) &&
	       (event != EVENT_ALERT || state.alert == rows[row].alert);
}

static bool try_roles(size_t row, size_t way, uint16_t version)
{
	bool good = true;

	if (rows[row].role)
		return try_row(row, way, version, rows[row].role);
	for (uint8_t role = 0; role <= KTLSD_CLIENT; role++)
		good &= try_row(row, way, version, role);
	return good;
}

int main(void)
{
	for (size_t row = 0; row < COUNT(rows); row++) {
		for (size_t way = 0; way < COUNT(ways); way++) {
			bool good = true;

			if (rows[row].version != TLS12)
				good &= try_roles(row, way, TLS13);
			if (rows[row].version != TLS13)
				good &= try_roles(row, way, TLS12);
			check(good, "%s, %zu bytes at a time in %d parts", rows[row].what, ways[way].step,
			      ways[way].parts);
		}
	}
	return finish();
}
