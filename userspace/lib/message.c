/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "message.h"

static void *reserve(struct datagram_writer *datagram, size_t length)
{
	size_t used = datagram->length + datagram->message;

	if (datagram->overflow || length > datagram->size - used) {
		datagram->overflow = true;
		return NULL;
	}
	datagram->message += length;
	return memset(datagram->data + used, 0, length);
}

void *message_begin(struct datagram_writer *datagram, enum ktlsd_message_type type, size_t body_size, uint64_t cookie)
{
	struct ktlsd_msg_header *header;

	datagram->message = 0;
	datagram->overflow = false;
	header = reserve(datagram, KTLSD_ALIGN(body_size));
	if (!header)
		return NULL;
	header->type = type;
	header->cookie = cookie;
	return header;
}

void message_attribute(struct datagram_writer *datagram, enum ktlsd_attribute_type type, const void *value,
		       size_t length)
{
	struct ktlsd_attribute *attribute;

	if (length > UINT16_MAX - sizeof(*attribute)) {
		datagram->overflow = true;
		return;
	}
	attribute = reserve(datagram, KTLSD_ALIGN(sizeof(*attribute) + length));
	if (!attribute)
		return;
	attribute->type = type;
	attribute->length = sizeof(*attribute) + length;
	memcpy(attribute + 1, value, length);
}

void message_text(struct datagram_writer *datagram, enum ktlsd_attribute_type type, const char *text)
{
	if (text && *text)
		message_attribute(datagram, type, text, strlen(text));
}

bool message_end(struct datagram_writer *datagram)
{
	struct ktlsd_msg_header *header = (void *)(datagram->data + datagram->length);

	if (datagram->overflow)
		return false;
	header->length = datagram->message;
	datagram->length += datagram->message;
	return true;
}

const struct ktlsd_msg_header *message_next(struct datagram_reader *datagram)
{
	size_t left = datagram->length - datagram->offset;
	const struct ktlsd_msg_header *header = (const void *)(datagram->data + datagram->offset);

	if (left < sizeof(*header) || header->length < sizeof(*header) || header->length > left ||
	    header->length % KTLSD_ALIGNMENT != 0)
		return NULL;
	datagram->offset += header->length;
	return header;
}

bool attributes_begin(struct attribute_reader *reader, const struct ktlsd_msg_header *message, size_t body_size)
{
	if (message->length < body_size)
		return false;
	reader->next = (const uint8_t *)message + KTLSD_ALIGN(body_size);
	reader->end = (const uint8_t *)message + message->length;
	reader->malformed = false;
	return true;
}

bool attributes_next(struct attribute_reader *reader, struct attribute *attribute)
{
	const struct ktlsd_attribute *header = (const void *)reader->next;
	size_t left = reader->end - reader->next;

	if (left == 0 || reader->malformed)
		return false;
	if (left < sizeof(*header) || header->length < sizeof(*header) || KTLSD_ALIGN(header->length) > left) {
		reader->malformed = true;
		return false;
	}
	attribute->type = header->type;
	attribute->length = header->length - sizeof(*header);
	attribute->value = (const uint8_t *)(header + 1);
	reader->next += KTLSD_ALIGN(header->length);
	return true;
}

bool attribute_text(const struct attribute *attribute, char *text, size_t size)
{
	if (attribute->length >= size || memchr(attribute->value, '\0', attribute->length))
		return false;
	memcpy(text, attribute->value, attribute->length);
	text[attribute->length] = '\0';
	return true;
}
