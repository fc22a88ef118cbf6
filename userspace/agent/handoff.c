/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "handoff.h"
#include "peer.h"

/* (length, name)* with no empty name (RFC 7301 §3.1). */
static bool take_alpn(struct handshake *hs, const struct attribute *attribute)
{
	size_t at = 0;

	while (at < attribute->length && attribute->value[at] > 0)
		at += 1 + attribute->value[at];
	if (at != attribute->length || attribute->length > sizeof(hs->alpn))
		return false;
	memcpy(hs->alpn, attribute->value, attribute->length);
	hs->alpn_length = attribute->length;
	return true;
}

static int take_attribute(struct handoff *handoff, const struct attribute *attribute, const char **why)
{
	struct handshake *hs = &handoff->handshake;

	switch (attribute->type) {
	case KTLSD_ATTR_SERVICE:
		*why = "the service's name is longer than 63 bytes or has a NUL in it";
		return attribute_text(attribute, handoff->service, sizeof(handoff->service)) ? 0 : EINVAL;
	case KTLSD_ATTR_SERVER_NAME:
		*why = "the server's name is longer than 255 bytes or has a NUL in it";
		return attribute_text(attribute, hs->server_name, sizeof(hs->server_name)) ? 0 : EINVAL;
	case KTLSD_ATTR_ALPN:
		*why = "the ALPN list is not (length, name)* of at most 256 bytes";
		return take_alpn(hs, attribute) ? 0 : EINVAL;
	}
	*why = "the handoff has an attribute that this agent does not know";
	return EINVAL;
}

int handoff_parse(struct handoff *handoff, const struct ktlsd_msg_header *message, const char **why)
{
	const struct ktlsd_msg_handoff *body = (const void *)message;
	struct handshake *hs = &handoff->handshake;
	struct attribute_reader reader;
	struct attribute attribute;
	int error;

	if (!attributes_begin(&reader, message, sizeof(*body))) {
		*why = "the handoff message is too short";
		return EINVAL;
	}
	hs->role = body->role;
	hs->want = body->want;
	hs->timeout_ms = body->timeout_ms;
	strcpy(handoff->service, "default");
	while (attributes_next(&reader, &attribute)) {
		error = take_attribute(handoff, &attribute, why);
		if (error)
			return error;
	}
	if (reader.malformed) {
		*why = "an attribute's length does not fit its message";
	} else if (body->reserved || message->reserved || body->want & ~KNOWN_WANTS) {
		*why = "a reserved field is not zero, or something unknown is wanted";
	} else if (body->role != KTLSD_SERVER && body->role != KTLSD_CLIENT) {
		*why = "the role is neither server nor client";
	} else if (body->role == KTLSD_SERVER && (*hs->server_name || hs->alpn_length)) {
		*why = "a server's name or ALPN protocols are for the client role";
	} else if (body->role == KTLSD_CLIENT && !*hs->server_name) {
		*why = "the client role needs the server's name";
	} else {
		*why = NULL;
		return 0;
	}
	return EINVAL;
}

static void write_token(const struct handshake *hs, struct datagram_writer *datagram)
{
	const uint32_t lifetime = hs->config->settings->token_lifetime;

	message_attribute(datagram, KTLSD_ATTR_REKEY_TOKEN, hs->token, sizeof(hs->token));
	message_attribute(datagram, KTLSD_ATTR_TOKEN_LIFETIME, &lifetime, sizeof(lifetime));
}

static void write_outcome(const struct handshake *hs, struct datagram_writer *datagram)
{
	const struct outcome *outcome = &hs->outcome;

	message_text(datagram, KTLSD_ATTR_SERVER_NAME, outcome->server_name);
	if (outcome->alpn_length)
		message_attribute(datagram, KTLSD_ATTR_ALPN, outcome->alpn, outcome->alpn_length);
	if (outcome->peer)
		peer_describe(outcome->peer, datagram);
	message_text(datagram, KTLSD_ATTR_PEER_NAME, outcome->peer_name);
	if (hs->want & KTLSD_WANT_CHANNEL_BINDING && hs->error == 0)
		message_attribute(datagram, KTLSD_ATTR_CHANNEL_BINDING, outcome->channel_binding,
				  sizeof(outcome->channel_binding));
	if (hs->has_token && hs->error == 0)
		write_token(hs, datagram);
}

bool handoff_write_result(const struct handshake *hs, enum ktlsd_message_type type, uint64_t cookie,
			  struct datagram_writer *datagram, int *chain_fd)
{
	struct datagram_writer before = *datagram;
	struct ktlsd_msg_result *message;

	*chain_fd = -1;
	if (hs->outcome.chain)
		*chain_fd = peer_write_chain(hs->outcome.chain, cookie, datagram);
	message = message_begin(datagram, type, sizeof(*message), cookie);
	if (message) {
		message->connection_id = hs->connection_id;
		message->error = hs->error;
		message->flags = hs->outcome.flags | (hs->refused ? KTLSD_RESULT_REFUSED : 0);
		message->version = hs->outcome.version;
		message->cipher = hs->outcome.cipher;
		message->group = hs->outcome.group;
		message->alert_sent = hs->engine.alert_sent;
		message->alert_received = hs->engine.alert_received;
		if (hs->error)
			message_text(datagram, KTLSD_ATTR_ERROR, hs->engine.why);
		write_outcome(hs, datagram);
	}
	if (message_end(datagram))
		return true;
	if (*chain_fd >= 0)
		close(*chain_fd);
	*chain_fd = -1;
	*datagram = before;
	return false;
}
