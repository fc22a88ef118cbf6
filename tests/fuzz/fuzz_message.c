/* SPDX-License-Identifier: MIT */
/* A datagram from a caller: messages, attributes, and handoffs, rekeys and challenges as the agent reads them. */
#include <stdlib.h>
#include <string.h>

#include "../../userspace/agent/challenge.h"
#include "../../userspace/agent/handoff.h"
#include "../../userspace/agent/rekey.h"
#include "fuzz.h"

static void read_attributes(const struct ktlsd_msg_header *message, size_t body)
{
	struct attribute_reader reader;
	struct attribute attribute;
	char text[64];

	if (!attributes_begin(&reader, message, body))
		return;
	while (attributes_next(&reader, &attribute))
		attribute_text(&attribute, text, sizeof(text));
}

/* A token that was taken lies in its message, all of it. */
static void read_rekey(const struct ktlsd_msg_header *message)
{
	const uint8_t *end = (const uint8_t *)message + message->length;
	struct rekey_request request;
	const char *why;

	if (rekey_parse(&request, message, &why) == 0 &&
	    (request.token_length > KTLSD_TOKEN_MAX || request.token + request.token_length > end))
		abort();
}

/* One that was taken has a name and a nonce of lengths that are allowed. */
static void read_challenge(const struct ktlsd_msg_header *message)
{
	struct challenge challenge = {.error = 0};
	const char *why;

	if (challenge_parse(&challenge, message, &why) == 0 &&
	    (!*challenge.service_name || strlen(challenge.service_name) >= sizeof(challenge.service_name) ||
	     challenge.nonce_length < KTLSD_NONCE_MIN || challenge.nonce_length > KTLSD_NONCE_MAX))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t aligned[FUZZ_INPUT_MAX] __attribute__((aligned(8)));
	static struct handoff handoff;
	struct datagram_reader datagram = {.data = aligned};
	const struct ktlsd_msg_header *message;
	const char *why;

	/* At the end of the buffer, as far as alignment lets it, so that reading behind it is noticed. */
	datagram.length = size < sizeof(aligned) ? size : sizeof(aligned);
	datagram.data = aligned + (sizeof(aligned) - datagram.length) / 8 * 8;
	memcpy((uint8_t *)datagram.data, data, datagram.length);
	while ((message = message_next(&datagram))) {
		read_attributes(message, sizeof(struct ktlsd_msg_result));
		read_attributes(message, sizeof(struct ktlsd_msg_hello));
		memset(&handoff, 0, sizeof(handoff));
		handoff_parse(&handoff, message, &why);
		read_rekey(message);
		read_challenge(message);
	}
	return 0;
}

size_t fuzz_seed(unsigned int number, uint8_t data[static FUZZ_INPUT_MAX])
{
	static uint8_t aligned[FUZZ_INPUT_MAX] __attribute__((aligned(8)));
	struct datagram_writer datagram = {.data = aligned, .size = sizeof(aligned)};
	static const uint8_t token[TOKEN_LENGTH];
	struct ktlsd_msg_handoff *handoff;
	struct ktlsd_msg_rekey *rekey;
	struct ktlsd_msg_hello *hello;

	if (number > 3)
		return 0;
	hello = message_begin(&datagram, KTLSD_MSG_HELLO, sizeof(*hello), 0);
	hello->version = KTLSD_PROTOCOL_VERSION;
	message_end(&datagram);
	while (number-- > 0) {
		handoff = message_begin(&datagram, KTLSD_MSG_HANDOFF, sizeof(*handoff), number);
		handoff->role = number % 2 ? KTLSD_SERVER : KTLSD_CLIENT;
		message_text(&datagram, KTLSD_ATTR_SERVICE, "web");
		message_text(&datagram, KTLSD_ATTR_SERVER_NAME, "a.example");
		message_attribute(&datagram, KTLSD_ATTR_ALPN, "\2h2\10http/1.1", 12);
		message_end(&datagram);
		rekey = message_begin(&datagram, KTLSD_MSG_REKEY, sizeof(*rekey), number);
		rekey->directions = number;
		message_attribute(&datagram, KTLSD_ATTR_REKEY_TOKEN, token, sizeof(token));
		message_end(&datagram);
		message_begin(&datagram, KTLSD_MSG_CHALLENGE, sizeof(struct ktlsd_msg_challenge), number);
		message_text(&datagram, KTLSD_ATTR_SERVICE, "web");
		message_attribute(&datagram, KTLSD_ATTR_NONCE, token, KTLSD_NONCE_MIN << number);
		message_end(&datagram);
		message_begin(&datagram, KTLSD_MSG_CANCEL, sizeof(struct ktlsd_msg_header), number);
		message_end(&datagram);
	}
	memcpy(data, aligned, datagram.length);
	return datagram.length;
}
