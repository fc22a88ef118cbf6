// SPDX-License-Identifier: MIT
#include <string.h>
#include <sys/socket.h>

#include "session.h"

/* ---- the messages ---- */

static void take(const struct attribute *attribute, void *bytes, size_t room, size_t *length)
{
	if (attribute->length > room)
		die("an attribute is longer than it may be");
	memcpy(bytes, attribute->value, attribute->length);
	*length = attribute->length;
}

static void take_token(struct token *token, const struct attribute *attribute)
{
	size_t length;

	if (attribute->type == KTLSD_ATTR_REKEY_TOKEN)
		take(attribute, token->bytes, sizeof(token->bytes), &token->length);
	else if (attribute->type == KTLSD_ATTR_TOKEN_LIFETIME)
		take(attribute, &token->lifetime, sizeof(token->lifetime), &length);
}

static size_t put_client(void *at, uint64_t cookie, unsigned int want)
{
	struct datagram_writer datagram = {.data = at, .size = KTLSD_DATAGRAM_MAX};
	struct ktlsd_msg_handoff *message = message_begin(&datagram, KTLSD_MSG_HANDOFF, sizeof(*message), cookie);

	message->role = KTLSD_CLIENT;
	message->want = want;
	message_text(&datagram, KTLSD_ATTR_SERVICE, "client");
	message_text(&datagram, KTLSD_ATTR_SERVER_NAME, "localhost");
	message_end(&datagram);
	return datagram.length;
}

struct session shake_hands(const char *service)
{
	static uint8_t datagram[KTLSD_DATAGRAM_MAX] __attribute__((aligned(8)));
	struct session session = {.pair = tcp_pair()};
	size_t length = put_handoff(datagram, 0, service);
	struct answer answer;
	struct wire wire;

	((struct ktlsd_msg_handoff *)datagram)->want = KTLSD_WANT_TOKEN;
	length += put_client(datagram + length, 1, KTLSD_WANT_TOKEN);
	wire_greet(&wire);
	if (wire_send(&wire, datagram, length, (int[]){session.pair.server, session.pair.client}, 2) != 0)
		die("two handoffs");
	for (int i = 0; i < 2; i++) {
		struct attribute_reader reader;
		struct attribute attribute;

		if (wire_answer(&wire, 10000, &answer) != 1 || answer.error != 0)
			die("a handshake");
		attributes_begin(&reader, answer.message, sizeof(struct ktlsd_msg_result));
		while (attributes_next(&reader, &attribute))
			take_token(answer.cookie ? &session.client : &session.server, &attribute);
	}
	wire_close(&wire);
	return session;
}

void put_rekey(struct datagram_writer *datagram, unsigned int directions, const void *token, size_t length)
{
	struct ktlsd_msg_rekey *message = message_begin(datagram, KTLSD_MSG_REKEY, sizeof(*message), COOKIE);

	message->directions = directions;
	message_attribute(datagram, KTLSD_ATTR_REKEY_TOKEN, token, length);
	message_end(datagram);
}

bool receive_next(struct wire *wire, struct next *next)
{
	struct attribute_reader reader;
	struct attribute attribute;
	struct answer answer;

	memset(next, 0, sizeof(*next));
	if (wire_answer(wire, 5000, &answer) != 1)
		return false;
	next->type = answer.type;
	next->error = answer.error;
	next->cookie = answer.cookie;
	memcpy(next->why, answer.why, sizeof(next->why));
	if (answer.type != KTLSD_MSG_REKEY ||
	    !attributes_begin(&reader, answer.message, sizeof(struct ktlsd_msg_rekey)))
		return true;
	while (attributes_next(&reader, &attribute)) {
		take_token(&next->token, &attribute);
		if (attribute.type == KTLSD_ATTR_TX_KEYS)
			take(&attribute, next->tx.bytes, sizeof(next->tx.bytes), &next->tx.length);
		else if (attribute.type == KTLSD_ATTR_RX_KEYS)
			take(&attribute, next->rx.bytes, sizeof(next->rx.bytes), &next->rx.length);
	}
	return true;
}

struct next ask(int fd, unsigned int directions, const struct token *token)
{
	static uint8_t data[ROOM] __attribute__((aligned(8)));
	struct datagram_writer datagram = {.data = data, .size = sizeof(data)};
	struct next next;
	struct wire wire;

	put_rekey(&datagram, directions, token->bytes, token->length);
	wire_greet(&wire);
	if (wire_send(&wire, data, datagram.length, &fd, 1) != 0 || !receive_next(&wire, &next))
		die("a rekey");
	wire_close(&wire);
	return next;
}

/* ---- what is expected ---- */

bool refused(const struct next *next, unsigned int error, const char *why)
{
	bool good = next->type == KTLSD_MSG_REKEY && next->error == error && next->cookie == COOKIE &&
		    strstr(next->why, why) && !next->token.length && !next->tx.length && !next->rx.length;

	if (!good)
		note("type %u, %s (%s), a token of %zu, keys of %zu and %zu bytes; expected %s (%s)", next->type,
		     name_of(next->error), next->why, next->token.length, next->tx.length, next->rx.length,
		     name_of(error), why);
	return good;
}

bool granted(const struct next *next, unsigned int directions)
{
	bool good = next->type == KTLSD_MSG_REKEY && next->error == 0 && next->cookie == COOKIE && next->token.length &&
		    next->token.lifetime == 86400 && !next->tx.length == !(directions & KTLSD_TX) &&
		    !next->rx.length == !(directions & KTLSD_RX);

	if (!good)
		note("type %u, %s (%s), a token of %zu bytes for %u s, keys of %zu and %zu bytes", next->type,
		     name_of(next->error), next->why, next->token.length, next->token.lifetime, next->tx.length,
		     next->rx.length);
	return good;
}

bool set_keys(int fd, int option, const struct keys *keys)
{
	return setsockopt(fd, SOL_TLS, option, keys->bytes, keys->length) == 0;
}

void end_session(struct session *session, unsigned int descriptors, const char *what)
{
	close_pair(session->pair);
	report(agent_settles(descriptors), "%s: no descriptor stays behind", what);
}
