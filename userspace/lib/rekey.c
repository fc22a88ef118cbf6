/* SPDX-License-Identifier: MIT */
/*
 * From a token to the next keys. The agent derives them (KTLSD_MSG_REKEY); we set them, each generation once: a stream has
 * one request under way at a time, an answer counts only as long as it is that request's, and from then on only the new
 * token is known. Requests go over the connection of the stream's struct ktlsd and are answered in its thread (streams.c);
 * or, for who waits, over a connection that all waiting streams of the process share.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "stream.h"

#define ANSWER_MS 2000	   /* an agent that does not answer is away */
#define CALLS_PER_LOOK 256 /* at the clock */

/* ---- a request ---- */

int rekey_send(struct ktlsd *agent, const struct ktlsd_stream *stream, unsigned int directions, uint64_t cookie)
{
	uint8_t bytes[sizeof(struct ktlsd_msg_rekey) + sizeof(struct ktlsd_attribute) + KTLSD_TOKEN_MAX +
		      KTLSD_ALIGNMENT] __attribute__((aligned(KTLSD_ALIGNMENT)));
	struct datagram_writer datagram = {.data = bytes, .size = sizeof(bytes)};
	struct ktlsd_msg_rekey *message = message_begin(&datagram, KTLSD_MSG_REKEY, sizeof(*message), cookie);

	message->directions = directions;
	message_attribute(&datagram, KTLSD_ATTR_REKEY_TOKEN, stream->token, stream->token_length);
	message_end(&datagram);
	return connection_send(agent, &datagram, &stream->fd, 1);
}

/* ---- an answer ---- */

struct answer {
	int error; /* positive errno */
	char why[160];
	const uint8_t *tx_keys, *rx_keys, *token;
	size_t token_length;
	uint32_t lifetime_s;
};

static void read_attribute(struct answer *answer, const struct attribute *attribute, size_t keys_size)
{
	switch (attribute->type) {
	case KTLSD_ATTR_ERROR:
		attribute_text(attribute, answer->why, sizeof(answer->why));
		break;
	case KTLSD_ATTR_TX_KEYS:
		answer->tx_keys = attribute->length == keys_size ? attribute->value : NULL;
		break;
	case KTLSD_ATTR_RX_KEYS:
		answer->rx_keys = attribute->length == keys_size ? attribute->value : NULL;
		break;
	case KTLSD_ATTR_REKEY_TOKEN:
		answer->token = attribute->length <= KTLSD_TOKEN_MAX ? attribute->value : NULL;
		answer->token_length = attribute->length;
		break;
	case KTLSD_ATTR_TOKEN_LIFETIME:
		if (attribute->length == sizeof(answer->lifetime_s))
			memcpy(&answer->lifetime_s, attribute->value, sizeof(answer->lifetime_s));
		break;
	}
}

static void read_answer(struct answer *answer, const struct ktlsd_msg_header *header, unsigned int directions,
			size_t keys_size)
{
	const struct ktlsd_msg_rekey *message = (const void *)header;
	struct attribute_reader reader;
	struct attribute attribute;

	*answer = (struct answer){.error = EPROTO, .why = "the agent's answer is malformed"};
	if (header->type != KTLSD_MSG_REKEY || !attributes_begin(&reader, header, sizeof(*message)))
		return;
	while (attributes_next(&reader, &attribute))
		read_attribute(answer, &attribute, keys_size);
	if (message->error)
		answer->error = message->error;
	else if (message->directions == directions && answer->token && (!(directions & KTLSD_TX) || answer->tx_keys) &&
		 (!(directions & KTLSD_RX) || answer->rx_keys))
		answer->error = 0;
}

/* ---- tokens and keys go in; the mutex is held ---- */

void rekey_keep_token(struct ktlsd_stream *stream, const uint8_t *token, size_t length, uint32_t lifetime_s,
		      int64_t came_ns)
{
	memcpy(stream->token, token, length);
	stream->token_length = length;
	stream->token_renewal_ns = came_ns + lifetime_s * INT64_C(500) * MS;
}

/* In the library's memory for as long as another sender is at it, or the peer does not read; kept from swap as far as allowed. */
static void keep_tx_keys(struct ktlsd_stream *stream, const uint8_t *keys)
{
	int asked = TX_ASKED;

	if (!stream->next_keys_locked)
		mlock(&stream->next_keys, sizeof(stream->next_keys));
	stream->next_keys_locked = true;
	memcpy(&stream->next_keys, keys, stream->cipher->crypto_info_size);
	if (atomic_compare_exchange_strong(&stream->tx_update, &asked, TX_READY))
		stream_settle_soon(stream);
	else
		explicit_bzero(&stream->next_keys, sizeof(stream->next_keys));
}

static int set_rx_keys(struct ktlsd_stream *stream, const uint8_t *keys)
{
	if (setsockopt(stream->fd, SOL_TLS, TLS_RX, keys, stream->cipher->crypto_info_size) < 0)
		return rekey_give_up(stream, KTLSD_RX, "the kernel refuses the peer's next key");
	atomic_fetch_add(&stream->rx_rekeys, 1);
	stream->peer_asked = false;
	stream->rx_waits = false;
	stream->rx_budget = stream_budget(stream->key_records_soft);
	return 0;
}

/* Our KeyUpdate first: the peer asked for it to come before whatever we send with its new data in mind. */
static int apply(struct ktlsd_stream *stream, unsigned int directions, const struct answer *answer)
{
	rekey_keep_token(stream, answer->token, answer->token_length, answer->lifetime_s, now_ns());
	if (directions & KTLSD_TX)
		keep_tx_keys(stream, answer->tx_keys);
	return directions & KTLSD_RX ? set_rx_keys(stream, answer->rx_keys) : 0;
}

void rekey_note_asked(struct ktlsd_stream *stream, unsigned int directions)
{
	int keeps = TX_KEEPS;

	if (directions & KTLSD_TX)
		atomic_compare_exchange_strong(&stream->tx_update, &keeps, TX_ASKED);
}

void rekey_stop(struct ktlsd_stream *stream)
{
	int asked = TX_ASKED;

	stream->asked = 0;
	atomic_compare_exchange_strong(&stream->tx_update, &asked, TX_KEEPS);
}

/* Without the peer's key nothing more can be read; without ours, the old one does until its life is over. */
int rekey_give_up(struct ktlsd_stream *stream, unsigned int directions, const char *why)
{
	rekey_stop(stream);
	if (!(directions & KTLSD_RX))
		return -EKEYEXPIRED;
	stream_fail(stream, -EKEYEXPIRED, ALERT_INTERNAL_ERROR, why);
	shutdown(stream->fd, SHUT_RDWR); /* who polls for the data behind the KeyUpdate learns it now */
	return -EKEYEXPIRED;
}

static int refused(struct ktlsd_stream *stream, unsigned int directions, const struct answer *answer)
{
	char why[sizeof(answer->why) + 40];

	snprintf(why, sizeof(why), "the agent refuses new keys: %s",
		 *answer->why ? answer->why : strerror(answer->error));
	return rekey_give_up(stream, directions, why);
}

int rekey_take_answer(struct ktlsd_stream *stream, unsigned int directions, const struct ktlsd_msg_header *message)
{
	struct answer answer;
	int err;

	read_answer(&answer, message, directions, stream->cipher->crypto_info_size);
	if (answer.error == EBUSY || answer.error == ESHUTDOWN)
		err = -EAGAIN;
	else if (answer.error)
		err = refused(stream, directions, &answer);
	else
		err = apply(stream, directions, &answer);
	explicit_bzero((void *)message, message->length);
	return err;
}

unsigned int rekey_needed(const struct ktlsd_stream *stream, unsigned int directions)
{
	int tx = atomic_load(&stream->tx_update);

	if (tx == TX_READY || tx == TX_CLOSED)
		directions &= ~KTLSD_TX;
	return stream->rx_waits ? directions : directions & ~KTLSD_RX;
}

/* ---- for who waits ---- */

/* What the process has one of, gone in its children (MADV_WIPEONFORK). The lock is held while an answer is used. */
static struct ktlsd *shared_connection(struct process *process, const char *path)
{
	struct ktlsd *connection = process->connection;

	if (connection && (connection->fd < 0 || strcmp(connection->path, connection_path(path)) != 0)) {
		ktlsd_close(connection);
		process->connection = NULL;
	}
	if (!process->connection && connection_make(&process->connection, path, SOCK_NONBLOCK) < 0)
		process->connection = NULL;
	return process->connection;
}

/* Waits no longer than the stream may. */
static int answer_ms(int64_t until)
{
	int64_t left = (until - now_ns()) / MS;

	return left <= 0 ? 0 : left < ANSWER_MS ? left : ANSWER_MS;
}

static int try_once(struct ktlsd_stream *stream, struct ktlsd *agent, unsigned int directions, int64_t until)
{
	uint64_t cookie = ++agent->rekey_count;
	const struct ktlsd_msg_header *message = NULL;

	if (rekey_send(agent, stream, directions, cookie) == 0)
		message = connection_answer(agent, cookie, answer_ms(until));
	return message ? rekey_take_answer(stream, directions, message) : -ENOTCONN;
}

static int try(struct ktlsd_stream *stream, const char *path, unsigned int directions, int64_t until)
{
	struct process *process = stream_process();
	struct ktlsd *agent;
	int err = -EAGAIN;

	pthread_mutex_lock(&process->lock);
	agent = shared_connection(process, path);
	if (agent)
		err = try_once(stream, agent, directions, until);
	if (err == -ENOTCONN) { /* an answer that comes later would be taken for another's */
		ktlsd_close(agent);
		process->connection = NULL;
		err = -EAGAIN;
	}
	pthread_mutex_unlock(&process->lock);
	return err;
}

static int ask_and_wait(struct ktlsd_stream *stream, unsigned int directions, enum patience patience)
{
	const char *path = stream->agent ? stream->agent->path : stream->path;
	int64_t until = now_ns() + stream->limits.rekey_timeout_ms * MS;
	int err;

	rekey_note_asked(stream, directions);
	while ((err = try(stream, path, directions, until)) == -EAGAIN) {
		if (patience == REKEY_TRY) {
			rekey_stop(stream);
			return err;
		}
		if (now_ns() > until || atomic_load(&stream->error))
			return rekey_give_up(stream, directions, REKEY_NO_ANSWER);
		poll(NULL, 0, REKEY_RETRY_MS);
	}
	return err;
}

/* ---- both ---- */

static int rekey_locked(struct ktlsd_stream *stream, unsigned int directions, enum patience patience)
{
	int err = atomic_load(&stream->error);

	if (patience == REKEY_WAIT) /* what somebody asked for without waiting becomes ours */
		directions |= streams_take_back(stream);
	directions = rekey_needed(stream, directions);
	if (err < 0 || directions == 0)
		return err;
	if (patience == REKEY_WAIT || !stream->agent)
		return ask_and_wait(stream, directions, patience);
	return streams_ask(stream, directions);
}

int rekey(struct ktlsd_stream *stream, unsigned int directions, enum patience patience)
{
	int err;

	if (stream->token_length == 0)
		return stream_fail(
			stream, -EKEYEXPIRED, ALERT_INTERNAL_ERROR,
			"the peer replaced its key, and we can't: that takes TLS 1.3, Linux 6.14 and a rekey token");
	if (!stream_is_ours(stream))
		return stream_fail(stream, -EOWNERDEAD, ALERT_INTERNAL_ERROR,
				   "the keys have to be replaced, which only the process that made the stream may do");
	pthread_mutex_lock(&stream->rekeying);
	err = rekey_locked(stream, directions, patience);
	pthread_mutex_unlock(&stream->rekeying);
	return err;
}

void rekey_renew(struct ktlsd_stream *stream, unsigned int *calls)
{
	if (stream->token_length == 0 || ++*calls % CALLS_PER_LOOK != 0 || now_ns() < stream->token_renewal_ns ||
	    !stream_is_ours(stream))
		return;
	pthread_mutex_lock(&stream->rekeying);
	if (atomic_load(&stream->tx_update) != TX_READY && ask_and_wait(stream, 0, REKEY_TRY) < 0)
		stream->token_renewal_ns = now_ns() + RENEWAL_RETRY_MS * MS;
	pthread_mutex_unlock(&stream->rekeying);
}
