/* SPDX-License-Identifier: MIT */
/*
 * Writing a stream. Who sends holds the semaphore. What the connection owes its peer besides data (a KeyUpdate for which the
 * key is there, a refusal of TLS 1.2's renegotiation) goes out before the next data: sent by whoever notices, if nobody is
 * sending, else by the sender when it is through.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include "stream.h"

#define RECORD_LEAST 512 /* bytes: smaller limits for records a peer can't ask for (RFC 6066 §4) */

/* ---- what is owed ---- */

/* A child has a copy of the key, and must not set what its parent sets. */
static bool has_next_key(const struct ktlsd_stream *stream)
{
	return atomic_load(&stream->tx_update) == TX_READY && stream_is_ours(stream);
}

static bool owes(const struct ktlsd_stream *stream)
{
	return has_next_key(stream) || atomic_load(&stream->owes_no_renegotiation);
}

/* Nothing more can be sent. */
static int close_sending(struct ktlsd_stream *stream, int err)
{
	atomic_store(&stream->tx_update, TX_CLOSED);
	explicit_bzero(&stream->next_keys, sizeof(stream->next_keys));
	return err;
}

/* The KeyUpdate is the last record under the old key (RFC 8446 §4.6.3). From here to the end nobody else may send. */
static int update_key(struct ktlsd_stream *stream, int flags)
{
	bool request = atomic_exchange(&stream->request_peer, false);
	uint8_t message[5] = {HANDSHAKE_KEY_UPDATE, 0, 0, 1, request};
	int err = socket_send_record(stream->fd, RECORD_HANDSHAKE, message, sizeof(message), flags),
	    is_ready = TX_READY;

	if (err < 0 && request)
		atomic_store(&stream->request_peer, true);
	if (err == -EAGAIN || err == -EINTR)
		return err;
	if (err < 0)
		return close_sending(stream, err);
	err = setsockopt(stream->fd, SOL_TLS, TLS_TX, &stream->next_keys, stream->cipher->crypto_info_size);
	explicit_bzero(&stream->next_keys, sizeof(stream->next_keys));
	if (err < 0)
		return stream_fail(stream, -EKEYEXPIRED, KTLSD_NO_ALERT, "the kernel refuses our next key");
	atomic_fetch_add(&stream->tx_rekeys, 1);
	stream->tx_budget = stream_budget(stream->key_records_soft);
	atomic_compare_exchange_strong(&stream->tx_update, &is_ready, TX_KEEPS);
	return 0;
}

/* RFC 5246 §7.2.2: a warning, and the connection goes on. */
static int refuse_renegotiation(struct ktlsd_stream *stream, int flags)
{
	int err = socket_send_alert(stream->fd, ALERT_WARNING, ALERT_NO_RENEGOTIATION, flags);

	if (err == 0)
		atomic_store(&stream->owes_no_renegotiation, false);
	return err;
}

/* The semaphore is held. */
static int settle(struct ktlsd_stream *stream, int flags)
{
	int err = atomic_load(&stream->error);

	if (err == 0 && atomic_load(&stream->owes_no_renegotiation))
		err = refuse_renegotiation(stream, flags);
	if (err == 0 && has_next_key(stream))
		err = update_key(stream, flags);
	return err;
}

static void release(struct ktlsd_stream *stream)
{
	int err = 0;

	for (;;) {
		sem_post(&stream->writing);
		/* What came up meanwhile found the semaphore taken. */
		if (err < 0 || !owes(stream) || sem_trywait(&stream->writing) != 0)
			return;
		err = settle(stream, MSG_DONTWAIT);
	}
}

void stream_settle_soon(struct ktlsd_stream *stream)
{
	if (sem_trywait(&stream->writing) != 0)
		return;
	if (settle(stream, MSG_DONTWAIT) < 0)
		sem_post(&stream->writing);
	else
		release(stream);
}

/* ---- the life of our key ---- */

/* The peer can't be told a new key. The connection ends in order, while it still may. */
static int end_of_key(struct ktlsd_stream *stream)
{
	socket_send_alert(stream->fd, ALERT_WARNING, ALERT_CLOSE_NOTIFY, MSG_DONTWAIT);
	return stream_fail(stream, -EKEYEXPIRED, KTLSD_NO_ALERT,
			   stream->cipher->version == TLS_1_2_VERSION
				   ? "the key has protected as many records as it may, and TLS 1.2 can't replace it"
				   : "the key has protected as many records as it may, and there is no other");
}

/*
 * The semaphore is held. The kernel is asked how far the key has come only when what was sent since the last time could
 * have reached the mark.
 */
static int check_key_life(struct ktlsd_stream *stream, bool wait)
{
	uint64_t records, hard = stream->limits.key_records, soft = stream->key_records_soft;
	int err = socket_records(stream->fd, TLS_TX, stream->cipher, &records);

	if (err < 0)
		return err;
	if (records >= soft && stream->token_length > 0 && (records >= hard || stream_is_ours(stream))) {
		err = rekey(stream, KTLSD_TX, records >= hard ? REKEY_WAIT : REKEY_TRY);
		if (err == 0)
			return settle(stream, wait ? 0 : MSG_DONTWAIT);
		if (atomic_load(&stream->error))
			return err;
	}
	if (records >= hard)
		return end_of_key(stream);
	stream->tx_budget = stream_budget(records < soft ? soft - records : (hard - records + 3) / 4);
	return 0;
}

static void spend(struct ktlsd_stream *stream, size_t bytes)
{
	stream->tx_budget -= bytes / RECORD_LEAST + 1;
}

/* ---- sending ---- */

/* The semaphore is held: what is sent next is sent with the right key, and behind what is owed. */
static int prepare(struct ktlsd_stream *stream, bool wait)
{
	int err = atomic_load_explicit(&stream->error, memory_order_relaxed);

	if (!stream->agent)
		rekey_renew(stream, &stream->tx_calls);
	if (err == 0 && atomic_load_explicit(&stream->tx_update, memory_order_relaxed) == TX_CLOSED)
		err = -EPIPE;
	if (err == 0 && owes(stream))
		err = settle(stream, wait ? 0 : MSG_DONTWAIT);
	while (err == 0 && stream->tx_budget <= 0)
		err = check_key_life(stream, wait);
	return err;
}

static int take(struct ktlsd_stream *stream, bool wait)
{
	if (!wait)
		return sem_trywait(&stream->writing) == 0 ? 0 : -EAGAIN;
	while (sem_wait(&stream->writing) != 0)
		;
	return 0;
}

static int begin(struct ktlsd_stream *stream, bool wait)
{
	int err = take(stream, wait);

	if (err < 0)
		return err;
	err = prepare(stream, wait);
	if (err < 0)
		sem_post(&stream->writing);
	return err;
}

int ktlsd_stream_begin_write(struct ktlsd_stream *stream, int flags)
{
	return flags & ~MSG_DONTWAIT ? -EINVAL : begin(stream, !(flags & MSG_DONTWAIT));
}

void ktlsd_stream_end_write(struct ktlsd_stream *stream, size_t bytes)
{
	spend(stream, bytes);
	release(stream);
}

/* Where data comes from. */
struct source {
	ssize_t (*send)(int fd, struct source *source, size_t size);
	const char *data;
	int file; /* or pipe */
	off_t *offset;
	int flags;
};

/* No more at a time than the key may protect until the kernel is asked again. */
static size_t portion(const struct ktlsd_stream *stream, size_t left)
{
	uint64_t most = (uint64_t)stream->tx_budget * RECORD_LEAST;

	return left < most ? left : most;
}

/* The semaphore is held. */
static ssize_t transfer(struct ktlsd_stream *stream, struct source *source, size_t size, bool wait)
{
	ssize_t n, done = 0;
	size_t part;

	do {
		part = portion(stream, size - done);
		n = source->send(stream->fd, source, part);
		if (n < 0) {
			n = -errno;
			break;
		}
		spend(stream, n);
		done += n;
		if ((size_t)n < part || (size_t)done == size)
			break;
		n = prepare(stream, wait);
	} while (n == 0);
	return done > 0 ? done : n;
}

static ssize_t send_from(struct ktlsd_stream *stream, struct source *source, size_t size, bool wait)
{
	ssize_t n = begin(stream, wait);

	if (n < 0)
		return n;
	n = transfer(stream, source, size, wait);
	release(stream);
	return n;
}

static ssize_t send_data(int fd, struct source *source, size_t size)
{
	ssize_t n = send(fd, source->data, size, source->flags | MSG_NOSIGNAL);

	source->data += n > 0 ? n : 0;
	return n;
}

static ssize_t send_file(int fd, struct source *source, size_t size)
{
	return sendfile(fd, source->file, source->offset, size);
}

static ssize_t send_pipe(int fd, struct source *source, size_t size)
{
	return splice(source->file, NULL, fd, NULL, size, source->flags);
}

ssize_t ktlsd_stream_send(struct ktlsd_stream *stream, const void *data, size_t size, int flags)
{
	struct source source = {.send = send_data, .data = data, .flags = flags};

	return flags & ~(MSG_DONTWAIT | MSG_MORE) ? -EINVAL : send_from(stream, &source, size, !(flags & MSG_DONTWAIT));
}

ssize_t ktlsd_stream_sendfile(struct ktlsd_stream *stream, int file, off_t *offset, size_t size)
{
	struct source source = {.send = send_file, .file = file, .offset = offset};

	return send_from(stream, &source, size, true);
}

ssize_t ktlsd_stream_splice_out(struct ktlsd_stream *stream, int pipe, size_t size, unsigned int flags)
{
	struct source source = {.send = send_pipe, .file = pipe, .flags = flags};

	return send_from(stream, &source, size, !(flags & SPLICE_F_NONBLOCK));
}

/* More than the key may protect without a look: part by part. */
static ssize_t send_in_portions(struct ktlsd_stream *stream, const struct iovec *parts, int count, int flags)
{
	ssize_t n = 0, done = 0;

	for (int i = 0; i < count; i++) {
		struct source source = {.send = send_data, .data = parts[i].iov_base, .flags = flags};

		n = stream->tx_budget > 0 ? 0 : prepare(stream, !(flags & MSG_DONTWAIT));
		if (n < 0)
			break;
		n = transfer(stream, &source, parts[i].iov_len, !(flags & MSG_DONTWAIT));
		done += n > 0 ? n : 0;
		if (n < 0 || (size_t)n < parts[i].iov_len)
			break;
	}
	return done > 0 ? done : n;
}

static ssize_t send_at_once(struct ktlsd_stream *stream, const struct iovec *parts, int count, int flags)
{
	struct msghdr message = {.msg_iov = (struct iovec *)parts, .msg_iovlen = count};
	ssize_t n = sendmsg(stream->fd, &message, flags | MSG_NOSIGNAL);

	spend(stream, n > 0 ? n : 0);
	return n < 0 ? -errno : n;
}

ssize_t ktlsd_stream_writev(struct ktlsd_stream *stream, const struct iovec *parts, int count, int flags)
{
	size_t total = total_length(parts, count);
	ssize_t n;

	if (flags & ~(MSG_DONTWAIT | MSG_MORE))
		return -EINVAL;
	n = begin(stream, !(flags & MSG_DONTWAIT));
	if (n < 0)
		return n;
	n = portion(stream, total) == total ? send_at_once(stream, parts, count, flags)
					    : send_in_portions(stream, parts, count, flags);
	release(stream);
	return n;
}

/* ---- new keys, and the end ---- */

int ktlsd_stream_rekey(struct ktlsd_stream *stream, bool request_peer)
{
	int err;

	if (stream->token_length == 0)
		return -EOPNOTSUPP;
	if (!stream_is_ours(stream))
		return -EOWNERDEAD;
	if (atomic_load(&stream->tx_update) == TX_CLOSED)
		return -EPIPE;
	if (request_peer)
		atomic_store(&stream->request_peer, true);
	err = rekey(stream, KTLSD_TX, stream->agent ? REKEY_TRY : REKEY_WAIT);
	if (err == 0)
		stream_settle_soon(stream);
	return err == -EAGAIN ? 0 : err;
}

int ktlsd_stream_shutdown(struct ktlsd_stream *stream)
{
	int err = take(stream, !stream_is_nonblocking(stream));

	if (err < 0)
		return err;
	err = atomic_load(&stream->error);
	if (err == 0 && atomic_load(&stream->tx_update) != TX_CLOSED) {
		err = socket_send_alert(stream->fd, ALERT_WARNING, ALERT_CLOSE_NOTIFY, 0);
		if (err == 0) {
			close_sending(stream, 0);
			shutdown(stream->fd, SHUT_WR);
		}
	}
	sem_post(&stream->writing);
	return err;
}

_Static_assert(sizeof(((struct ktlsd_close_notify *)NULL)->control) == sizeof(union record_control), "room");

int ktlsd_stream_begin_shutdown(struct ktlsd_stream *stream, struct ktlsd_close_notify *close_notify, int flags)
{
	int err = flags & ~MSG_DONTWAIT ? -EINVAL : take(stream, !(flags & MSG_DONTWAIT));

	if (err < 0)
		return err;
	err = atomic_load(&stream->error);
	if (err == 0 && atomic_load(&stream->tx_update) == TX_CLOSED)
		err = -EPIPE;
	if (err < 0) {
		sem_post(&stream->writing);
		return err;
	}
	close_notify->alert[0] = ALERT_WARNING;
	close_notify->alert[1] = ALERT_CLOSE_NOTIFY;
	socket_prepare_record(&close_notify->message, &close_notify->part, (void *)close_notify->control, RECORD_ALERT,
			      close_notify->alert, sizeof(close_notify->alert));
	return 0;
}

void ktlsd_stream_end_shutdown(struct ktlsd_stream *stream, int result)
{
	if (result == -EAGAIN) {
		release(stream);
		return;
	}
	close_sending(stream, 0);
	sem_post(&stream->writing);
}
