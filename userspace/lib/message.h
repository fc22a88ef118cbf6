/* SPDX-License-Identifier: MIT */
/*
 * Reads and writes the messages of <ktlsd/protocol.h>. Pure: no I/O, no allocation; every length is checked against the
 * datagram before anything behind it is looked at. The library and the agent share it.
 */
#ifndef KTLSD_MESSAGE_H
#define KTLSD_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ktlsd/protocol.h>

/* A datagram that is being written. data is aligned to 8 bytes. */
struct datagram_writer {
	uint8_t *data;
	size_t size;	/* room */
	size_t length;	/* complete messages so far, bytes */
	size_t message; /* bytes of the message under way */
	bool overflow;	/* that message did not fit */
};

/* Begins a message with a zeroed body; body_size counts the header too. NULL if even that does not fit. */
void *message_begin(struct datagram_writer *datagram, enum ktlsd_message_type type, size_t body_size, uint64_t cookie);
void message_attribute(struct datagram_writer *datagram, enum ktlsd_attribute_type type, const void *value,
		       size_t length);
void message_text(struct datagram_writer *datagram, enum ktlsd_attribute_type type, const char *text);
/* Ends it. False: it did not fit, and the datagram is as it was before message_begin(). */
bool message_end(struct datagram_writer *datagram);

/* A datagram that is being read. */
struct datagram_reader {
	const uint8_t *data; /* aligned to 8 bytes */
	size_t length;
	size_t offset;
};

/* The next message whose header and length are sound; NULL at the end or at the first that is not (offset < length then). */
const struct ktlsd_msg_header *message_next(struct datagram_reader *datagram);

/* Attributes of a message, behind a body of body_size bytes (header included). */
struct attribute_reader {
	const uint8_t *next;
	const uint8_t *end;
	bool malformed;
};

bool attributes_begin(struct attribute_reader *reader, const struct ktlsd_msg_header *message, size_t body_size);

struct attribute {
	uint16_t type;
	size_t length;
	const uint8_t *value; /* aligned to 4 bytes, not terminated */
};

/* False at the end, or when the rest is malformed (reader->malformed). */
bool attributes_next(struct attribute_reader *reader, struct attribute *attribute);

/* Copies a text attribute with a NUL behind it. False if it does not fit or has a NUL inside. */
bool attribute_text(const struct attribute *attribute, char *text, size_t size);

#endif
