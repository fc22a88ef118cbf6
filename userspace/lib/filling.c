/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "filling.h"

/* A copy with a NUL behind it; "" if the attribute is no text. */
static const char *keep_text(struct filling *filling, const struct attribute *attribute)
{
	char *text = filling->room + filling->used;

	if (!attribute_text(attribute, text, filling->size - filling->used))
		return "";
	filling->used += attribute->length + 1;
	return text;
}

static const uint8_t *keep_bytes(struct filling *filling, const struct attribute *attribute)
{
	char *bytes = filling->room + filling->used;

	if (attribute->length > filling->size - filling->used)
		return NULL;
	memcpy(bytes, attribute->value, attribute->length);
	filling->used += attribute->length;
	return (const uint8_t *)bytes;
}

static bool keep_number(void *to, size_t size, const struct attribute *attribute)
{
	if (attribute->length != size)
		return false;
	memcpy(to, attribute->value, size);
	return true;
}

static void keep_peer_attribute(struct filling *filling, const struct attribute *attribute)
{
	struct ktlsd_peer *peer = filling->peer;

	switch (attribute->type) {
	case KTLSD_ATTR_PEER_SUBJECT:
		peer->subject = keep_text(filling, attribute);
		break;
	case KTLSD_ATTR_PEER_ISSUER:
		peer->issuer = keep_text(filling, attribute);
		break;
	case KTLSD_ATTR_PEER_NAMES:
		peer->names = keep_text(filling, attribute);
		break;
	case KTLSD_ATTR_PEER_NAME:
		peer->name = keep_text(filling, attribute);
		break;
	case KTLSD_ATTR_PEER_SERIAL:
		peer->serial = keep_text(filling, attribute);
		break;
	case KTLSD_ATTR_PEER_NOT_BEFORE:
		keep_number(&peer->not_before, sizeof(peer->not_before), attribute);
		break;
	case KTLSD_ATTR_PEER_NOT_AFTER:
		keep_number(&peer->not_after, sizeof(peer->not_after), attribute);
		break;
	case KTLSD_ATTR_PEER_SHA256:
		/* Every certificate has a fingerprint: where there is one, there was a certificate. */
		if (keep_number(peer->sha256, sizeof(peer->sha256), attribute))
			filling->result->peer = peer;
		break;
	}
}

static void keep_attribute(struct filling *filling, const struct attribute *attribute)
{
	struct ktlsd_result *result = filling->result;

	switch (attribute->type) {
	case KTLSD_ATTR_ERROR:
		result->error_text = keep_text(filling, attribute);
		break;
	case KTLSD_ATTR_SERVER_NAME:
		result->server_name = keep_text(filling, attribute);
		break;
	case KTLSD_ATTR_ALPN:
		result->alpn = keep_text(filling, attribute);
		break;
	case KTLSD_ATTR_CHANNEL_BINDING:
		if (attribute->length == 32)
			result->channel_binding = keep_bytes(filling, attribute);
		break;
	case KTLSD_ATTR_REKEY_TOKEN:
		if (attribute->length <= KTLSD_TOKEN_MAX)
			result->token = keep_bytes(filling, attribute);
		result->token_length = result->token ? attribute->length : 0;
		break;
	case KTLSD_ATTR_TOKEN_LIFETIME:
		keep_number(&result->token_lifetime_s, sizeof(result->token_lifetime_s), attribute);
		break;
	default:
		keep_peer_attribute(filling, attribute);
		break;
	}
}

void filling_begin(struct filling *filling)
{
	filling->used = 0;
	*filling->peer = (struct ktlsd_peer){.subject = "", .issuer = "", .names = "", .name = "", .serial = ""};
	*filling->result = (struct ktlsd_result){.fd = -1,
						 .error_text = "",
						 .server_name = "",
						 .alpn = "",
						 .alert_sent = KTLSD_NO_ALERT,
						 .alert_received = KTLSD_NO_ALERT};
}

bool filling_take(struct filling *filling, const struct ktlsd_msg_header *header)
{
	const struct ktlsd_msg_result *message = (const void *)header;
	struct ktlsd_result *result = filling->result;
	struct attribute_reader reader;
	struct attribute attribute;

	if (!attributes_begin(&reader, header, sizeof(*message)))
		return false;
	result->error = message->error;
	result->flags = message->flags;
	result->connection_id = message->connection_id;
	result->version = message->version;
	result->cipher = message->cipher;
	result->group = message->group;
	result->alert_sent = message->alert_sent;
	result->alert_received = message->alert_received;
	while (attributes_next(&reader, &attribute))
		keep_attribute(filling, &attribute);
	return true;
}
