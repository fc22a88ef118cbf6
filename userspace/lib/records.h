/* SPDX-License-Identifier: MIT */
/*
 * What the control records of an established connection mean: alerts (RFC 8446 §6, RFC 5246 §7.2) and handshake messages
 * (RFC 8446 §4.6, RFC 5246 §7.4), which may be spread over records and share them. Pure: bytes in, one event a record out.
 */
#ifndef KTLSD_RECORDS_H
#define KTLSD_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* RFC 8446 §5.1 */
enum record_type {
	RECORD_CHANGE_CIPHER_SPEC = 20,
	RECORD_ALERT = 21,
	RECORD_HANDSHAKE = 22,
	RECORD_APPLICATION_DATA = 23,
};

#define HANDSHAKE_KEY_UPDATE 24 /* RFC 8446 §4; the other messages concern records.c alone */

enum alert_level { ALERT_WARNING = 1, ALERT_FATAL = 2 };

/* RFC 8446 §6; no_renegotiation: RFC 5246 §7.2 */
enum alert_description {
	ALERT_CLOSE_NOTIFY = 0,
	ALERT_UNEXPECTED_MESSAGE = 10,
	ALERT_BAD_RECORD_MAC = 20,
	ALERT_ILLEGAL_PARAMETER = 47,
	ALERT_DECODE_ERROR = 50,
	ALERT_INTERNAL_ERROR = 80,
	ALERT_USER_CANCELED = 90,
	ALERT_NO_RENEGOTIATION = 100,
};

enum event {
	EVENT_NOTHING,		    /* nothing that matters: a ticket, a warning, a part of a message */
	EVENT_END,		    /* close_notify */
	EVENT_ALERT,		    /* a fatal alert: records->alert */
	EVENT_KEY_UPDATE,	    /* what follows is under the peer's next keys */
	EVENT_KEY_UPDATE_REQUESTED, /* likewise, and ours are to follow */
	EVENT_RENEGOTIATION,	    /* TLS 1.2: to be declined with no_renegotiation */
	EVENT_VIOLATION, /* the connection is over: records->alert is for the peer, records->why for people */
};

struct records {
	uint16_t version; /* 0x0304, 0x0303 */
	uint8_t role;	  /* enum ktlsd_role of ours; 0: not known, then either is taken to be it */
	uint8_t alert;
	const char *why;
	bool misleading; /* a part of a message began like a KeyUpdate, which is all that the kernel looks at */

	enum event event;	  /* of the record under way */
	size_t taken;		  /* of its bytes */
	uint8_t head[4];	  /* of the message, or the alert, under way */
	unsigned int head_length; /* 0: between messages */
	uint32_t left;		  /* of the message's body */
	bool first;		  /* the message began with its record */
};

/* Whether data may come now: not in the middle of a message (RFC 8446 §5.1). */
static inline bool records_between_messages(const struct records *records)
{
	return records->head_length == 0;
}

/*
 * The next length bytes of a control record, in parts; end: the record is complete. The event is that of the whole record,
 * EVENT_NOTHING before its end.
 */
enum event records_take(struct records *records, uint8_t type, const struct iovec *parts, size_t length, bool end);

#endif
