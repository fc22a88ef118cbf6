/* SPDX-License-Identifier: MIT */
/* From the queue to the agent. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "connection.h"

#define ALPN_MAX 1024

/* Handoffs on their way into one datagram. */
struct batch {
	struct datagram_writer datagram;
	unsigned int count;
	int fds[KTLSD_DATAGRAM_DESCRIPTORS];
	uint32_t slots[KTLSD_DATAGRAM_DESCRIPTORS];
};

struct ktlsd_handoff *ktlsd_get_handoff(struct ktlsd *agent)
{
	struct ktlsd_handoff *handoff;

	if (!connection_is_ours(agent) || agent->queued == QUEUE_LENGTH)
		return NULL;
	handoff = &agent->queue[(agent->queue_head + agent->queued++) % QUEUE_LENGTH];
	*handoff = (struct ktlsd_handoff){.fd = -1};
	return handoff;
}

void ktlsd_prep_server(struct ktlsd_handoff *handoff, int fd, const char *service)
{
	handoff->fd = fd;
	handoff->role = KTLSD_SERVER;
	handoff->service = service;
	handoff->want = KTLSD_WANT_TOKEN;
}

void ktlsd_prep_client(struct ktlsd_handoff *handoff, int fd, const char *service, const char *server_name)
{
	handoff->fd = fd;
	handoff->role = KTLSD_CLIENT;
	handoff->service = service;
	handoff->server_name = server_name;
	handoff->want = KTLSD_WANT_TOKEN;
}

/* "h2,http/1.1" becomes "\2h2\10http/1.1": each comma makes room for the length of the name behind it. */
static int write_alpn(struct datagram_writer *datagram, const char *list)
{
	uint8_t wire[ALPN_MAX];
	size_t used = 0, length;

	if (strlen(list) >= sizeof(wire))
		return -EMSGSIZE;
	for (const char *name = list;; name += length + 1) {
		length = strcspn(name, ",");
		if (length == 0 || length > UINT8_MAX)
			return -EINVAL;
		wire[used++] = length;
		memcpy(wire + used, name, length);
		used += length;
		if (name[length] == '\0')
			break;
	}
	message_attribute(datagram, KTLSD_ATTR_ALPN, wire, used);
	return 0;
}

static int check(const struct ktlsd_handoff *handoff)
{
	bool client = handoff->role == KTLSD_CLIENT;

	if (!client && handoff->role != KTLSD_SERVER)
		return -EINVAL;
	if (!client && (handoff->server_name || handoff->alpn))
		return -EINVAL;
	if (client && (!handoff->server_name || !*handoff->server_name))
		return -EDESTADDRREQ;
	if (handoff->fd < 0)
		return -EBADF;
	return 0;
}

static int write_handoff(struct datagram_writer *datagram, const struct ktlsd_handoff *handoff, uint64_t cookie)
{
	struct ktlsd_msg_handoff *message;
	int err;

	message = message_begin(datagram, KTLSD_MSG_HANDOFF, sizeof(*message), cookie);
	if (!message)
		return -EMSGSIZE;
	message->role = handoff->role;
	message->want = handoff->want;
	message->timeout_ms = handoff->timeout_ms;
	message_text(datagram, KTLSD_ATTR_SERVICE, handoff->service);
	message_text(datagram, KTLSD_ATTR_SERVER_NAME, handoff->server_name);
	if (handoff->alpn) {
		err = write_alpn(datagram, handoff->alpn);
		if (err < 0)
			return err;
	}
	return message_end(datagram) ? 0 : -EMSGSIZE;
}

/* Adds handoffs from the front of the queue until one does not fit or can't be sent. 0, or why not even the first. */
static int pack(struct ktlsd *agent, struct batch *batch, unsigned int limit)
{
	int err = 0;

	batch->datagram = (struct datagram_writer){.data = agent->outbound, .size = sizeof(agent->outbound)};
	for (batch->count = 0; batch->count < limit; batch->count++) {
		const struct ktlsd_handoff *handoff = &agent->queue[(agent->queue_head + batch->count) % QUEUE_LENGTH];
		uint32_t slot;

		err = check(handoff);
		if (err < 0)
			break;
		slot = slot_take(&agent->slots, handoff->cookie, handoff->role, handoff->fd);
		err = write_handoff(&batch->datagram, handoff, slot);
		if (err < 0) {
			slot_release(&agent->slots, slot);
			break;
		}
		batch->slots[batch->count] = slot;
		batch->fds[batch->count] = handoff->fd;
	}
	return batch->count > 0 ? 0 : err;
}

static void unpack(struct ktlsd *agent, struct batch *batch)
{
	while (batch->count > 0)
		slot_release(&agent->slots, batch->slots[--batch->count]);
}

static unsigned int first_bad_descriptor(const struct batch *batch)
{
	unsigned int i = 0;

	while (i < batch->count && fcntl(batch->fds[i], F_GETFD) >= 0)
		i++;
	return i;
}

static void drop_front(struct ktlsd *agent, unsigned int count)
{
	agent->queue_head = (agent->queue_head + count) % QUEUE_LENGTH;
	agent->queued -= count;
}

static int refuse_front(struct ktlsd *agent, int err)
{
	const struct ktlsd_handoff *handoff = &agent->queue[agent->queue_head];
	uint32_t slot = slot_take(&agent->slots, handoff->cookie, handoff->role, handoff->fd);

	slot_end(&agent->slots, slot, -err, true);
	drop_front(agent, 1);
	return 1;
}

/* Sends one datagram, or refuses the handoff at the front. How many left the queue, or -errno. */
static int submit_some(struct ktlsd *agent)
{
	unsigned int limit = agent->queued < KTLSD_DATAGRAM_DESCRIPTORS ? agent->queued : KTLSD_DATAGRAM_DESCRIPTORS;
	struct batch batch;
	int err;

	if (!slots_reserve(&agent->slots, limit))
		return -ENOMEM;
	do {
		err = pack(agent, &batch, limit);
		if (err < 0)
			return refuse_front(agent, err);
		err = connection_send(agent, &batch.datagram, batch.fds, batch.count);
		if (err == 0) {
			drop_front(agent, batch.count);
			return batch.count;
		}
		/* One bad descriptor spoils the datagram: send those before it, then it is at the front. */
		limit = first_bad_descriptor(&batch);
		unpack(agent, &batch);
	} while (err == -EBADF && limit > 0);
	return err == -EBADF ? refuse_front(agent, err) : err;
}

static bool agent_is_gone(int err)
{
	return err == -EPIPE || err == -ECONNRESET || err == -ENOTCONN;
}

/* A connection that turns out to be dead is replaced, unless answers may still be waiting in it. */
static int submit_or_reconnect(struct ktlsd *agent)
{
	int err = agent->fd < 0 ? -ENOTCONN : submit_some(agent);

	if (!agent_is_gone(err))
		return err;
	if (agent->slots.open > 0)
		return -ECONNREFUSED;
	if (agent->fd >= 0)
		connection_lost(agent);
	err = connection_establish(agent, SOCK_NONBLOCK);
	if (err == 0)
		err = submit_some(agent);
	return agent_is_gone(err) ? -ECONNREFUSED : err;
}

int ktlsd_submit(struct ktlsd *agent)
{
	int taken = 0, n = 0;

	if (!connection_is_ours(agent))
		return -EOWNERDEAD;
	while (agent->queued > 0) {
		n = submit_or_reconnect(agent);
		if (n < 0)
			break;
		taken += n;
	}
	agent->blocked = n == -EAGAIN;
	connection_update_watch(agent);
	return taken > 0 || n >= 0 ? taken : n;
}

int ktlsd_cancel(struct ktlsd *agent, uint64_t cookie)
{
	struct datagram_writer datagram = {.data = agent->outbound, .size = sizeof(agent->outbound)};
	const struct slots *slots = &agent->slots;
	int err, found = 0;

	if (!connection_is_ours(agent))
		return -EOWNERDEAD;
	for (uint32_t i = 0; i < slots->count; i++) {
		if (!slot_is_open(slots, i) || slots->slot[i].cookie != cookie)
			continue;
		found++;
		datagram.length = 0;
		message_begin(&datagram, KTLSD_MSG_CANCEL, sizeof(struct ktlsd_msg_header), i);
		message_end(&datagram);
		err = connection_send(agent, &datagram, NULL, 0);
		if (err < 0)
			return agent_is_gone(err) ? 0 : err;
	}
	return found > 0 ? 0 : -ENOENT;
}

static void explain(char *why, size_t size, const char *what, const char *reason)
{
	if (why && size > 0)
		snprintf(why, size, "%s%s", what, reason);
}

static int run_to_the_end(struct ktlsd *agent, const struct ktlsd_handoff *handoff, struct ktlsd_stream **stream,
			  char *why, size_t why_size)
{
	struct ktlsd_result *result;
	int err;

	*ktlsd_get_handoff(agent) = *handoff;
	err = ktlsd_submit(agent);
	if (err < 0) {
		explain(why, why_size, "can't hand over: ", strerror(-err));
		return err;
	}
	do {
		err = ktlsd_wait_result(agent, &result, -1);
	} while (err == -EINTR);
	if (err < 0) {
		explain(why, why_size, "no answer: ", strerror(-err));
		return err;
	}
	explain(why, why_size, "", result->error_text);
	if (result->error || !stream)
		return -result->error;
	err = ktlsd_stream_new(stream, handoff->fd, NULL, result);
	if (err < 0)
		explain(why, why_size, "no stream: ", strerror(-err));
	return err;
}

int ktlsd_handshake(const struct ktlsd_handoff *handoff, struct ktlsd_stream **stream, char *why, size_t why_size)
{
	struct ktlsd *agent;
	int err;

	err = ktlsd_open(&agent, NULL);
	if (err < 0) {
		explain(why, why_size, "no agent: ", strerror(-err));
		return err;
	}
	err = run_to_the_end(agent, handoff, stream, why, why_size);
	ktlsd_close(agent);
	return err;
}
