/* SPDX-License-Identifier: MIT */
/* From the agent to the caller. Nothing of a datagram is believed before it is checked. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "connection.h"
#include "stream.h"

#define CHAIN_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

/* A copy with a NUL behind it, in the agent's room for text; "" if the attribute is no text. */
static const char *keep_text(struct ktlsd *agent, const struct attribute *attribute)
{
	char *text = agent->text + agent->text_used;

	if (!attribute_text(attribute, text, sizeof(agent->text) - agent->text_used))
		return "";
	agent->text_used += attribute->length + 1;
	return text;
}

static bool keep_bytes(void *to, size_t size, const struct attribute *attribute)
{
	if (attribute->length != size)
		return false;
	memcpy(to, attribute->value, size);
	return true;
}

static void keep_peer_attribute(struct ktlsd *agent, const struct attribute *attribute)
{
	struct ktlsd_peer *peer = &agent->peer;

	switch (attribute->type) {
	case KTLSD_ATTR_PEER_SUBJECT:
		peer->subject = keep_text(agent, attribute);
		break;
	case KTLSD_ATTR_PEER_ISSUER:
		peer->issuer = keep_text(agent, attribute);
		break;
	case KTLSD_ATTR_PEER_NAMES:
		peer->names = keep_text(agent, attribute);
		break;
	case KTLSD_ATTR_PEER_NAME:
		peer->name = keep_text(agent, attribute);
		break;
	case KTLSD_ATTR_PEER_SERIAL:
		peer->serial = keep_text(agent, attribute);
		break;
	case KTLSD_ATTR_PEER_NOT_BEFORE:
		keep_bytes(&peer->not_before, sizeof(peer->not_before), attribute);
		break;
	case KTLSD_ATTR_PEER_NOT_AFTER:
		keep_bytes(&peer->not_after, sizeof(peer->not_after), attribute);
		break;
	case KTLSD_ATTR_PEER_SHA256:
		/* Every certificate has a fingerprint: where there is one, there was a certificate. */
		if (keep_bytes(peer->sha256, sizeof(peer->sha256), attribute))
			agent->result.peer = peer;
		break;
	}
}

static void keep_attribute(struct ktlsd *agent, const struct attribute *attribute)
{
	struct ktlsd_result *result = &agent->result;

	switch (attribute->type) {
	case KTLSD_ATTR_ERROR:
		result->error_text = keep_text(agent, attribute);
		break;
	case KTLSD_ATTR_SERVER_NAME:
		result->server_name = keep_text(agent, attribute);
		break;
	case KTLSD_ATTR_ALPN:
		result->alpn = keep_text(agent, attribute);
		break;
	case KTLSD_ATTR_CHANNEL_BINDING:
		if (keep_bytes(agent->channel_binding, sizeof(agent->channel_binding), attribute))
			result->channel_binding = agent->channel_binding;
		break;
	case KTLSD_ATTR_REKEY_TOKEN:
		if (attribute->length <= sizeof(agent->token)) {
			memcpy(agent->token, attribute->value, attribute->length);
			result->token = agent->token;
			result->token_length = attribute->length;
		}
		break;
	case KTLSD_ATTR_TOKEN_LIFETIME:
		keep_bytes(&result->token_lifetime_s, sizeof(result->token_lifetime_s), attribute);
		break;
	default:
		keep_peer_attribute(agent, attribute);
		break;
	}
}

static void show(struct ktlsd *agent, uint32_t slot)
{
	agent->text_used = 0;
	agent->peer = (struct ktlsd_peer){.subject = "", .issuer = "", .names = "", .name = "", .serial = ""};
	agent->result = (struct ktlsd_result){.cookie = agent->slots.slot[slot].cookie,
					      .role = agent->slots.slot[slot].role,
					      .fd = agent->slots.slot[slot].fd,
					      .error_text = "",
					      .server_name = "",
					      .alpn = "",
					      .alert_sent = KTLSD_NO_ALERT,
					      .alert_received = KTLSD_NO_ALERT};
	agent->shown = true;
	slot_release(&agent->slots, slot);
}

static int read_result(struct ktlsd *agent, const struct ktlsd_msg_header *header)
{
	const struct ktlsd_msg_result *message = (const void *)header;
	struct ktlsd_result *result = &agent->result;
	struct attribute_reader reader;
	struct attribute attribute;

	if (!attributes_begin(&reader, header, sizeof(*message)) || !slot_is_open(&agent->slots, header->cookie))
		return -EBADMSG;
	show(agent, header->cookie);
	result->error = message->error;
	result->flags = message->flags;
	result->connection_id = message->connection_id;
	result->version = message->version;
	result->cipher = message->cipher;
	result->group = message->group;
	result->alert_sent = message->alert_sent;
	result->alert_received = message->alert_received;
	while (attributes_next(&reader, &attribute))
		keep_attribute(agent, &attribute);
	return 0;
}

/* Only a sealed memfd is safe to map: the length of anything else could change under the reader. */
const uint8_t *chain_map(int fd, size_t length)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat status;
	void *chain;

	if (seals < 0 || (seals & CHAIN_SEALS) != CHAIN_SEALS || fstat(fd, &status) < 0 || length == 0 ||
	    (uint64_t)status.st_size < length)
		return NULL;
	chain = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, 0);
	return chain == MAP_FAILED ? NULL : chain;
}

/* A chain belongs to the result right behind it. Without it the result stands, too: the chain is merely missing. */
static int read_chain_and_result(struct ktlsd *agent, const struct ktlsd_msg_header *header)
{
	const struct ktlsd_msg_chain *chain = (const void *)header;
	const struct ktlsd_msg_header *next = message_next(&agent->inbound.reader);
	int fd = inbound_take_fd(&agent->inbound);
	int err = -EBADMSG;

	if (header->length >= sizeof(*chain) && next && next->type == KTLSD_MSG_RESULT &&
	    next->cookie == header->cookie)
		err = read_result(agent, next);
	if (err == 0 && fd >= 0) {
		agent->result.chain = chain_map(fd, chain->bytes);
		agent->result.chain_length = agent->result.chain ? chain->bytes : 0;
	}
	if (fd >= 0)
		close(fd);
	return err;
}

static int read_hello(const struct ktlsd_msg_header *header)
{
	const struct ktlsd_msg_hello *hello = (const void *)header;

	return header->length >= sizeof(*hello) && hello->version == KTLSD_PROTOCOL_VERSION ? 0 : -EPROTONOSUPPORT;
}

/* Reads on in the datagram, up to the next result. 0: at its end, or a result is shown. */
static int read_messages(struct ktlsd *agent)
{
	struct datagram_reader *reader = &agent->inbound.reader;
	const struct ktlsd_msg_header *header;
	int err = 0;

	while (!agent->shown && err == 0 && (header = message_next(reader))) {
		switch (header->type) {
		case KTLSD_MSG_HELLO:
			err = read_hello(header);
			break;
		case KTLSD_MSG_RESULT:
			err = read_result(agent, header);
			break;
		case KTLSD_MSG_CHAIN:
			err = read_chain_and_result(agent, header);
			break;
		case KTLSD_MSG_REKEY:
			streams_answered(agent, header);
			break;
		}
	}
	if (err == 0 && !agent->shown && reader->offset < reader->length)
		err = -EBADMSG;
	return err;
}

static const char *why_ended(int error)
{
	switch (error) {
	case ECONNRESET:
		return "the agent went away";
	case EMSGSIZE:
		return "the names of the handoff are too long";
	case EBADF:
		return "the handoff has no open descriptor";
	case EDESTADDRREQ:
		return "the client role needs the server's name";
	default:
		return "the handoff is malformed: its role, or its ALPN list";
	}
}

static bool show_ended(struct ktlsd *agent)
{
	uint32_t number = slots_next_ended(&agent->slots);
	struct slot ended;

	if (number == NO_SLOT)
		return false;
	ended = agent->slots.slot[number];
	show(agent, number);
	agent->result.error = ended.error;
	agent->result.flags = ended.refused ? KTLSD_RESULT_REFUSED : 0;
	agent->result.error_text = why_ended(ended.error);
	connection_update_watch(agent);
	return true;
}

/* 0: a result is shown. -EAGAIN: none yet. -ENODATA: none to be expected. */
static int next_result(struct ktlsd *agent)
{
	int err;

	if (agent->inbound.reader.offset == agent->inbound.reader.length)
		streams_turn(agent);
	while (!agent->shown) {
		err = read_messages(agent);
		if (err < 0) {
			/* Nobody who breaks the protocol is trusted with the other handoffs. */
			connection_lost(agent);
			continue;
		}
		if (agent->shown || show_ended(agent))
			return 0;
		if (agent->fd < 0)
			return -ENODATA;
		err = connection_receive(agent);
		if (err == -EAGAIN)
			return agent->slots.open > 0 ? -EAGAIN : -ENODATA;
		if (err == -EINTR)
			continue;
		if (err <= 0)
			connection_lost(agent);
	}
	return 0;
}

int ktlsd_peek_result(struct ktlsd *agent, struct ktlsd_result **result)
{
	int err;

	if (!connection_is_ours(agent))
		return -EOWNERDEAD;
	err = next_result(agent);
	if (err == 0)
		*result = &agent->result;
	return err;
}

int ktlsd_wait_result(struct ktlsd *agent, struct ktlsd_result **result, int timeout_ms)
{
	int64_t deadline = timeout_ms > 0 ? now_ns() / MS + timeout_ms : 0;
	int64_t left = timeout_ms;
	int err;

	for (;;) {
		struct pollfd socket;

		err = ktlsd_peek_result(agent, result);
		if (err != -EAGAIN)
			return err;
		if (timeout_ms > 0)
			left = deadline - now_ns() / MS;
		if (timeout_ms >= 0 && left <= 0)
			return -ETIME;
		socket = (struct pollfd){.fd = agent->fd, .events = POLLIN};
		if (poll(&socket, 1, left) < 0)
			return -errno;
	}
}

void ktlsd_result_seen(struct ktlsd *agent)
{
	if (!connection_is_ours(agent) || !agent->shown)
		return;
	if (agent->result.chain)
		munmap((void *)agent->result.chain, agent->result.chain_length);
	agent->shown = false;
}

bool ktlsd_chain_next(const struct ktlsd_result *result, size_t *offset, const uint8_t **der, size_t *length)
{
	uint32_t size;

	if (!result->chain || *offset > result->chain_length || result->chain_length - *offset < sizeof(size))
		return false;
	memcpy(&size, result->chain + *offset, sizeof(size));
	if (size == 0 || size > result->chain_length - *offset - sizeof(size))
		return false;
	*der = result->chain + *offset + sizeof(size);
	*length = size;
	*offset += sizeof(size) + size;
	return true;
}
