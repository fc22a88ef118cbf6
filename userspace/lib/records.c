/* SPDX-License-Identifier: MIT */
#include <ktlsd/protocol.h>

#include "records.h"

#define TLS13 0x0304

#define HANDSHAKE_HELLO_REQUEST 0
#define HANDSHAKE_CLIENT_HELLO 1
#define HANDSHAKE_NEW_SESSION_TICKET 4
#define HANDSHAKE_CERTIFICATE_REQUEST 13

#define MESSAGE_MAX (256 * 1024) /* a ticket with extensions has at most 2 * 64 KiB (RFC 8446 §4.6.1) */

static void violation(struct records *records, enum alert_description alert, const char *why)
{
	if (records->event == EVENT_VIOLATION)
		return;
	records->event = EVENT_VIOLATION;
	records->alert = alert;
	records->why = why;
}

static bool may_be(const struct records *records, enum ktlsd_role role)
{
	return records->role == 0 || records->role == role;
}

static uint32_t body_length(const struct records *records)
{
	return records->head[1] << 16 | records->head[2] << 8 | records->head[3];
}

static void begin_key_update(struct records *records)
{
	if (!records->first)
		violation(
			records, ALERT_INTERNAL_ERROR,
			"the peer put a KeyUpdate behind another message in one record, where the kernel can't see it");
	else if (body_length(records) != 1)
		violation(records, ALERT_DECODE_ERROR, "the peer sent a KeyUpdate of a wrong length");
}

static void begin_message_tls13(struct records *records)
{
	switch (records->head[0]) {
	case HANDSHAKE_NEW_SESSION_TICKET:
		if (!may_be(records, KTLSD_CLIENT))
			violation(records, ALERT_UNEXPECTED_MESSAGE, "a client sent a session ticket");
		return;
	case HANDSHAKE_KEY_UPDATE:
		begin_key_update(records);
		return;
	case HANDSHAKE_CERTIFICATE_REQUEST:
		violation(records, ALERT_UNEXPECTED_MESSAGE,
			  "the peer asked for a certificate after the handshake, which was not offered to it");
		return;
	}
	violation(records, ALERT_UNEXPECTED_MESSAGE, "the peer sent a handshake message that has no place here");
}

static void begin_message_tls12(struct records *records)
{
	uint8_t type = records->head[0];

	if ((type == HANDSHAKE_HELLO_REQUEST && may_be(records, KTLSD_CLIENT) && body_length(records) == 0) ||
	    (type == HANDSHAKE_CLIENT_HELLO && may_be(records, KTLSD_SERVER)))
		return;
	violation(records, ALERT_UNEXPECTED_MESSAGE, "the peer sent a handshake message that has no place here");
}

static void begin_message(struct records *records)
{
	records->left = body_length(records);
	if (records->left > MESSAGE_MAX)
		violation(records, ALERT_DECODE_ERROR, "the peer sent a handshake message that is too long");
	else if (records->version == TLS13)
		begin_message_tls13(records);
	else
		begin_message_tls12(records);
}

static void end_message(struct records *records, uint8_t last)
{
	records->head_length = 0;
	if (records->version != TLS13)
		records->event = EVENT_RENEGOTIATION;
	else if (records->head[0] != HANDSHAKE_KEY_UPDATE)
		return;
	else if (last > 1)
		violation(records, ALERT_ILLEGAL_PARAMETER, "the peer sent a KeyUpdate of an unknown kind");
	else
		records->event = last ? EVENT_KEY_UPDATE_REQUESTED : EVENT_KEY_UPDATE;
}

static bool was_key_update(const struct records *records)
{
	return records->event == EVENT_KEY_UPDATE || records->event == EVENT_KEY_UPDATE_REQUESTED;
}

/* The header of a message, byte by byte. */
static void take_head(struct records *records, uint8_t byte)
{
	if (was_key_update(records)) {
		violation(records, ALERT_UNEXPECTED_MESSAGE,
			  "the peer put something behind a KeyUpdate into the same record");
		return;
	}
	if (records->head_length == 0)
		records->first = records->taken == 0;
	records->head[records->head_length++] = byte;
	if (records->head_length < sizeof(records->head))
		return;
	begin_message(records);
	if (records->left == 0 && records->event != EVENT_VIOLATION)
		end_message(records, 0);
}

static void take_messages(struct records *records, const uint8_t *bytes, size_t length)
{
	size_t part;

	if (length > 0 && records->taken == 0 && !records_between_messages(records) && *bytes == HANDSHAKE_KEY_UPDATE &&
	    records->version == TLS13)
		records->misleading = true;
	while (length > 0 && records->event != EVENT_VIOLATION) {
		part = 1;
		if (records->head_length < sizeof(records->head)) {
			take_head(records, *bytes);
		} else {
			part = length < records->left ? length : records->left;
			records->left -= part;
			if (records->left == 0)
				end_message(records, bytes[part - 1]);
		}
		records->taken += part;
		bytes += part;
		length -= part;
	}
}

static void take_alert(struct records *records, const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (records->taken < 2)
			records->head[records->taken] = bytes[i];
		records->taken++;
	}
}

static void end_alert(struct records *records)
{
	uint8_t level = records->head[0], description = records->head[1];

	if (records->taken != 2 || (level != ALERT_WARNING && level != ALERT_FATAL)) {
		violation(records, ALERT_DECODE_ERROR, "the peer sent a malformed alert");
	} else if (description == ALERT_CLOSE_NOTIFY) {
		records->event = EVENT_END;
	} else if (records->version == TLS13 ? description != ALERT_USER_CANCELED : level == ALERT_FATAL) {
		records->event = EVENT_ALERT; /* TLS 1.3 knows no other warnings (RFC 8446 §6) */
		records->alert = description;
	}
}

static void end_handshake_record(struct records *records)
{
	if (records->taken == 0)
		violation(records, ALERT_UNEXPECTED_MESSAGE, "the peer sent an empty handshake record");
	else if (records->head_length > 0 && records->head[0] == HANDSHAKE_KEY_UPDATE && records->version == TLS13)
		violation(records, ALERT_INTERNAL_ERROR,
			  "the peer spread a KeyUpdate over records, which the kernel can't put together");
}

static void take_part(struct records *records, uint8_t type, const uint8_t *bytes, size_t length)
{
	if (type == RECORD_HANDSHAKE) {
		take_messages(records, bytes, length);
		return;
	}
	if (!records_between_messages(records))
		violation(records, ALERT_UNEXPECTED_MESSAGE, "the peer broke off a handshake message");
	else if (type == RECORD_ALERT)
		take_alert(records, bytes, length);
	else
		violation(records, ALERT_UNEXPECTED_MESSAGE, "the peer sent a record of a type that has no place here");
}

enum event records_take(struct records *records, uint8_t type, const struct iovec *parts, size_t length, bool end)
{
	enum event event;

	do {
		size_t part = length < parts->iov_len ? length : parts->iov_len;

		take_part(records, type, parts->iov_base, part);
		length -= part;
		parts++;
	} while (length > 0);
	if (!end)
		return EVENT_NOTHING;
	if (records->event != EVENT_VIOLATION && type == RECORD_ALERT)
		end_alert(records);
	else if (records->event != EVENT_VIOLATION && type == RECORD_HANDSHAKE)
		end_handshake_record(records);
	event = records->event;
	records->event = EVENT_NOTHING;
	records->taken = 0;
	return event;
}
