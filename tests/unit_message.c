// SPDX-License-Identifier: MIT
/* The reader and writer of the handoff protocol's messages: what they write they read, and nothing else. */
#include "message.h"
#include "unit.h"

struct datagram {
	_Alignas(8) uint8_t data[512];
	size_t length;
};

#define NAMES "services/"

/* HELLO, then a HANDOFF with attributes of all the lengths around the alignment. False: no room. */
static bool write_all(struct datagram_writer *writer)
{
	struct ktlsd_msg_hello *hello = message_begin(writer, KTLSD_MSG_HELLO, sizeof(*hello), 0);
	struct ktlsd_msg_handoff *handoff;

	if (hello)
		hello->version = 7;
	if (!message_end(writer))
		return false;
	handoff = message_begin(writer, KTLSD_MSG_HANDOFF, sizeof(*handoff), 0x1122334455667788);
	if (handoff)
		handoff->role = KTLSD_CLIENT;
	for (size_t length = 0; length <= strlen(NAMES); length++)
		message_attribute(writer, 100 + length, NAMES, length);
	message_text(writer, KTLSD_ATTR_SERVICE, "web");
	message_text(writer, KTLSD_ATTR_ALPN, NULL);
	message_text(writer, KTLSD_ATTR_ALPN, "");
	return message_end(writer);
}

static struct datagram whole(void)
{
	struct datagram d = {0};
	struct datagram_writer writer = {.data = d.data, .size = sizeof(d.data)};

	must(write_all(&writer));
	d.length = writer.length;
	return d;
}

static void test_round_trip(void)
{
	struct datagram d = whole();
	struct datagram_reader reader = {.data = d.data, .length = d.length};
	const struct ktlsd_msg_header *message = message_next(&reader);
	struct attribute_reader attributes;
	struct attribute attribute;
	char text[4];

	check(message && message->type == KTLSD_MSG_HELLO && message->cookie == 0 &&
		      ((const struct ktlsd_msg_hello *)message)->version == 7,
	      "HELLO comes back");
	must(attributes_begin(&attributes, message, sizeof(struct ktlsd_msg_hello)));
	check(!attributes_next(&attributes, &attribute) && !attributes.malformed, "HELLO has no attributes");
	message = message_next(&reader);
	check(message && message->type == KTLSD_MSG_HANDOFF && message->cookie == 0x1122334455667788,
	      "HANDOFF comes back");
	must(attributes_begin(&attributes, message, sizeof(struct ktlsd_msg_handoff)));
	for (size_t length = 0; length <= strlen(NAMES); length++)
		check(attributes_next(&attributes, &attribute) && attribute.type == 100 + length &&
			      attribute.length == length && memcmp(attribute.value, NAMES, length) == 0,
		      "an attribute of %zu bytes", length);
	check(attributes_next(&attributes, &attribute) && attribute_text(&attribute, text, sizeof(text)) &&
		      strcmp(text, "web") == 0,
	      "a text that just fits");
	check(!attribute_text(&attribute, text, 3), "a text that does not fit");
	check(!attributes_next(&attributes, &attribute) && !attributes.malformed, "empty texts are left out");
	check(!message_next(&reader) && reader.offset == reader.length, "the end");
}

static void test_no_room(void)
{
	struct datagram full = whole();
	bool good = true;

	for (size_t size = 0; size <= full.length; size++) {
		struct datagram d;
		struct datagram_writer writer = {.data = d.data, .size = size};

		memset(d.data, 0xa5, sizeof(d.data));
		if (write_all(&writer) != (size == full.length) || writer.length > size || d.data[size] != 0xa5 ||
		    (size < full.length && writer.length != 0 && writer.length != sizeof(struct ktlsd_msg_hello)))
			good = check(false, "a writer with room for %zu bytes", size);
	}
	check(good, "a writer with too little room, at every size: complete messages or nothing");
}

/* Reads all of it, the attributes too. The number of messages, with *sound whether there was nothing wrong. */
static unsigned int read_all(const uint8_t *data, size_t length, bool *sound)
{
	struct datagram_reader reader = {.data = data, .length = length};
	const struct ktlsd_msg_header *message;
	unsigned int messages = 0;

	*sound = true;
	while ((message = message_next(&reader))) {
		size_t body = message->type == KTLSD_MSG_HELLO ? sizeof(struct ktlsd_msg_hello)
							       : sizeof(struct ktlsd_msg_handoff);
		struct attribute_reader attributes;
		struct attribute attribute;

		messages++;
		if (!attributes_begin(&attributes, message, body)) {
			*sound = false;
			continue;
		}
		while (attributes_next(&attributes, &attribute))
			must(attribute.value + attribute.length <= data + length);
		*sound &= !attributes.malformed;
	}
	*sound &= reader.offset == reader.length;
	return messages;
}

/* A copy of exactly this size, so that the sanitizer sees a byte too much. */
static unsigned int read_copy(const struct datagram *d, size_t length, bool *sound)
{
	uint8_t *copy = malloc(length ? length : 1);
	unsigned int messages;

	memcpy(copy, d->data, length);
	messages = read_all(copy, length, sound);
	free(copy);
	return messages;
}

static void test_truncated(void)
{
	struct datagram d = whole();
	bool good = true, sound;

	for (size_t length = 0; length <= d.length; length++) {
		size_t hello = sizeof(struct ktlsd_msg_hello);
		unsigned int wanted = length == d.length ? 2 : length >= hello;
		unsigned int messages = read_copy(&d, length, &sound);
		bool whole_messages = length == 0 || length == hello || length == d.length;

		if (messages != wanted || sound != whole_messages)
			good = check(false, "cut to %zu bytes: %u messages, %s", length, messages,
				     sound ? "sound" : "not sound");
	}
	check(good, "cut at every length: whole messages are read, a part of one is not");
}

/* One field of the HANDOFF set to something wrong. */
static void test_bad_lengths(void)
{
	struct datagram original = whole();
	const uint32_t handoff = sizeof(struct ktlsd_msg_hello), all = original.length - handoff;
	const uint32_t message_lengths[] = {0, 1, 8, 15, all - 1, all + 1, all + 8, 0x7ffffff8, 0xfffffff8, UINT32_MAX};
	const uint32_t attribute_lengths[] = {0, 1, 3, all, 0x7ff8, UINT16_MAX};
	bool sound;

	for (size_t i = 0; i < COUNT(message_lengths); i++) {
		struct datagram d = original;

		((struct ktlsd_msg_header *)(d.data + handoff))->length = message_lengths[i];
		check(read_copy(&d, d.length, &sound) == 1 && !sound, "a message that says it has %u bytes",
		      message_lengths[i]);
	}
	for (size_t i = 0; i < COUNT(attribute_lengths); i++) {
		struct datagram d = original;

		((struct ktlsd_attribute *)(d.data + handoff + sizeof(struct ktlsd_msg_handoff)))->length =
			attribute_lengths[i];
		check(read_copy(&d, d.length, &sound) == 2 && !sound, "an attribute that says it has %u bytes",
		      attribute_lengths[i]);
	}
}

/* A message shorter than its body, and one that ends in the middle of an attribute's head. */
static void test_short_bodies(void)
{
	struct datagram original = whole();
	const uint32_t handoff = sizeof(struct ktlsd_msg_hello), body = sizeof(struct ktlsd_msg_handoff);
	bool sound;

	for (uint32_t length = sizeof(struct ktlsd_msg_header); length < body; length += KTLSD_ALIGNMENT) {
		struct datagram d = original;

		((struct ktlsd_msg_header *)(d.data + handoff))->length = length;
		check(read_copy(&d, handoff + length, &sound) == 2 && !sound, "a HANDOFF of %u bytes", length);
	}
}

static void test_nul(void)
{
	static const uint8_t value[] = {'a', 0, 'b'};
	const struct attribute attribute = {.length = sizeof(value), .value = value};
	char text[8];

	check(!attribute_text(&attribute, text, sizeof(text)), "a text with a NUL inside is none");
}

static void test_overlong_value(void)
{
	static uint8_t value[UINT16_MAX];
	static _Alignas(8) uint8_t data[2 * UINT16_MAX];
	struct datagram_writer writer = {.data = data, .size = sizeof(data)};

	message_begin(&writer, KTLSD_MSG_HANDOFF, sizeof(struct ktlsd_msg_handoff), 1);
	message_attribute(&writer, KTLSD_ATTR_SERVICE, value, UINT16_MAX - 3);
	check(!message_end(&writer) && writer.length == 0, "a value longer than an attribute's length can say");
	message_begin(&writer, KTLSD_MSG_HANDOFF, sizeof(struct ktlsd_msg_handoff), 1);
	message_attribute(&writer, KTLSD_ATTR_SERVICE, value, UINT16_MAX - 4);
	check(message_end(&writer), "the longest that it can");
}

/* Random changes: nothing may be read outside (the sanitizer and must() watch). */
static void test_noise(void)
{
	struct datagram original = whole();
	bool sound;

	srand(1);
	for (int round = 0; round < 20000; round++) {
		struct datagram d = original;

		for (int i = 0; i <= rand() % 4; i++)
			d.data[rand() % d.length] = rand();
		read_copy(&d, rand() % (d.length + 1), &sound);
	}
	check(true, "20,000 damaged datagrams");
}

int main(void)
{
	test_round_trip();
	test_no_room();
	test_truncated();
	test_bad_lengths();
	test_short_bodies();
	test_nul();
	test_overlong_value();
	test_noise();
	return finish();
}
