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
#include "filling.h"
#include "stream.h"

#define CHAIN_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static struct filling show(struct ktlsd *agent, uint32_t slot)
{
	struct filling filling = {
		.result = &agent->result, .peer = &agent->peer, .room = agent->text, .size = sizeof(agent->text)};

	filling_begin(&filling);
	agent->result.cookie = agent->slots.slot[slot].cookie;
	agent->result.role = agent->slots.slot[slot].role;
	agent->result.fd = agent->slots.slot[slot].fd;
	agent->shown = true;
	slot_release(&agent->slots, slot);
	return filling;
}

static int read_result(struct ktlsd *agent, const struct ktlsd_msg_header *header)
{
	struct filling filling;

	if (header->length < sizeof(struct ktlsd_msg_result) || !slot_is_open(&agent->slots, header->cookie))
		return -EBADMSG;
	filling = show(agent, header->cookie);
	filling_take(&filling, header);
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
