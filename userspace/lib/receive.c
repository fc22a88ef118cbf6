/* SPDX-License-Identifier: MIT */
/*
 * Reading a stream. The kernel hands out the plaintext of every record; what is not data comes alone in its recvmsg(), with
 * the record's type in a control message, and is ours to understand (records.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "stream.h"

#define CREDIT_BYTES UINT64_C(65536) /* of data that earn one control record */

/* ---- limits ---- */

/*
 * Has the peer replace its key in time; if it does not, that is its risk. How far its key has come only the kernel knows: it is
 * asked when the data received since the last time could have been as many records.
 */
static void check_key_life(struct ktlsd_stream *stream)
{
	uint64_t records, soft = stream->key_records_soft;

	if (socket_records(stream->fd, TLS_RX, stream->cipher, &records) < 0)
		return;
	stream->rx_budget = stream_budget(records < soft ? soft - records : 0);
	if (stream->rx_budget < (int64_t)(soft / KEY_LOOKS))
		stream->rx_budget = stream_budget(soft / KEY_LOOKS);
	if (records < soft || stream->token_length == 0 || stream->peer_asked || !stream_is_ours(stream))
		return;
	stream->peer_asked = true;
	atomic_store(&stream->request_peer, true);
	if (rekey(stream, KTLSD_TX, REKEY_TRY) == 0)
		stream_settle_soon(stream);
}

static ssize_t took_data(struct ktlsd_stream *stream, ssize_t length)
{
	stream->received += length;
	stream->rx_budget -= length;
	if (stream->rx_budget < 0)
		check_key_life(stream);
	return length;
}

static int64_t smaller(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Data and time earn credit; time is looked at only where data was not enough. */
static bool earn_credit(struct ktlsd_stream *stream)
{
	uint64_t parts = (stream->received - stream->credited) / CREDIT_BYTES;
	int64_t now;

	stream->credited += parts * CREDIT_BYTES;
	stream->credit += parts;
	if (stream->credit <= 0) {
		now = now_ns();
		stream->credit += smaller((now - stream->credited_ns) / 1000000 * stream->limits.control_rate / 1000,
					  stream->limits.control_burst);
		if (stream->credit > 0)
			stream->credited_ns = now;
	}
	stream->credit = smaller(stream->credit, stream->limits.control_burst);
	return stream->credit > 0;
}

/* For a record that brings no data. Most connections have two or three, and need no clock. */
static int spend_credit(struct ktlsd_stream *stream)
{
	stream->control_records++;
	if (stream->credited_ns == 0 && stream->credit <= (stream->limits.control_burst + 1) / 2)
		stream->credited_ns = now_ns();
	if (stream->credit <= 0 && !earn_credit(stream))
		return stream_fail(stream, -EDQUOT, ALERT_UNEXPECTED_MESSAGE,
				   "the peer sends more control records than the limits allow");
	stream->credit--;
	return 0;
}

/* ---- what came ---- */

static int fail_by_peer(struct ktlsd_stream *stream)
{
	const struct records *records = &stream->records;

	return stream_fail(stream, -EPROTO, records->alert, records->why);
}

static int take_alert(struct ktlsd_stream *stream)
{
	char why[64];

	stream->alert_received = stream->records.alert;
	snprintf(why, sizeof(why), "the peer sent the alert %s", ktlsd_alert_name(stream->alert_received));
	return stream_fail(stream, -EREMOTEIO, KTLSD_NO_ALERT, why);
}

static int take_event(struct ktlsd_stream *stream, enum event event)
{
	switch (event) {
	case EVENT_NOTHING:
		return -EAGAIN;
	case EVENT_END:
		stream->reading = 0;
		return 0;
	case EVENT_ALERT:
		return take_alert(stream);
	case EVENT_KEY_UPDATE_REQUESTED:
		stream->tx_requested = true;
		/* fallthrough */
	case EVENT_KEY_UPDATE:
		stream->rx_waits = true;
		return -EINPROGRESS;
	case EVENT_RENEGOTIATION:
		atomic_store(&stream->owes_no_renegotiation, true);
		stream_settle_soon(stream);
		return -EAGAIN;
	case EVENT_VIOLATION:
		break;
	}
	return fail_by_peer(stream);
}

/* The program's memory, in which it expects data, and perhaps zeroes behind that. */
static void wipe(const struct iovec *parts, size_t length)
{
	while (length > 0) {
		size_t part = length < parts->iov_len ? length : parts->iov_len;

		memset(parts->iov_base, 0, part);
		length -= part;
		parts++;
	}
}

/* A record that is not data, or a part of one. */
static ssize_t take_control(struct ktlsd_stream *stream, const struct msghdr *message, size_t length, uint8_t type)
{
	bool end = message->msg_flags & MSG_EOR;
	enum event event;

	if (end && spend_credit(stream) < 0)
		return stream->error;
	if (type == RECORD_APPLICATION_DATA && length == 0)
		return -EAGAIN;
	event = records_take(&stream->records, type, message->msg_iov, length, end);
	wipe(message->msg_iov, length);
	if (end && stream->records.misleading) {
		stream->records.misleading = false;
		socket_keep_rx_key(stream->fd, stream->cipher); /* a kernel without KeyUpdate was not misled */
	}
	return take_event(stream, event);
}

static ssize_t receive(int fd, struct msghdr *message, union record_control *control, int flags)
{
	ssize_t received;

	message->msg_control = control;
	message->msg_controllen = sizeof(*control);
	received = recvmsg(fd, message, flags);
	return received < 0 ? -errno : received;
}

/* What stands at the front of the socket: its type, 0, or -errno; nothing is taken. */
static int look(struct ktlsd_stream *stream)
{
	uint8_t byte;
	struct iovec part = {.iov_base = &byte, .iov_len = 1};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	union record_control control;
	ssize_t received = receive(stream->fd, &message, &control, MSG_DONTWAIT | MSG_PEEK);

	return received < 0 ? received : socket_record_type(&message);
}

/*
 * Somebody else took the KeyUpdate; or this is a completion from before we set the key that it speaks of, and setting another
 * would break the connection.
 */
static ssize_t key_expired(struct ktlsd_stream *stream)
{
	if (!stream->rx_waits) {
		if (look(stream) != -EKEYEXPIRED)
			return -EAGAIN;
		stream->rx_waits = true;
	}
	return -EINPROGRESS;
}

/* The kernel marks the socket as broken, and would not send our alert either. */
static ssize_t does_not_decrypt(struct ktlsd_stream *stream)
{
	int error;
	socklen_t length = sizeof(error);

	getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &length);
	return stream_fail(stream, -EBADMSG, ALERT_BAD_RECORD_MAC, "a record does not decrypt");
}

static ssize_t take_front(struct ktlsd_stream *stream);

/*
 * There was no room for the type of a control record: a receive that waits in a ring begins again with what room an
 * empty record has left it.
 */
static ssize_t no_room(struct ktlsd_stream *stream)
{
	int front = look(stream);

	if (front == -EKEYEXPIRED)
		return key_expired(stream);
	return front <= 0 || front == RECORD_APPLICATION_DATA ? -EAGAIN : take_front(stream);
}

static ssize_t take_error(struct ktlsd_stream *stream, ssize_t error)
{
	switch (error) {
	case -EKEYEXPIRED:
		return key_expired(stream);
	case -EIO:
		return no_room(stream);
	case -EBADMSG:
		return does_not_decrypt(stream);
	case -EMSGSIZE: /* net/tls, tls_rx_msg_size() */
	case -EINVAL:
		return stream_fail(stream, -EPROTO, ALERT_UNEXPECTED_MESSAGE, "the peer sent what is no TLS record");
	}
	return error;
}

/* Our half is not concerned: the peer may still read. */
static ssize_t cut_off(struct ktlsd_stream *stream)
{
	if (!*stream->why)
		strcpy(stream->why, "the connection was cut: it ended without close_notify");
	stream->reading = -ECONNABORTED;
	return stream->reading;
}

/*
 * What a recvmsg brought. > 0: data; 0: the end; -EAGAIN: nothing for the program; -EINPROGRESS: the peer's next key is
 * needed (rx_waits).
 */
static ssize_t take(struct ktlsd_stream *stream, const struct msghdr *message, ssize_t received)
{
	uint8_t type;

	if (received < 0)
		return take_error(stream, received);
	type = socket_record_type(message);
	if (type == 0 && message->msg_flags & MSG_CTRUNC) /* with a control record that would be EIO */
		type = RECORD_APPLICATION_DATA;
	if (type == RECORD_APPLICATION_DATA && received > 0 && records_between_messages(&stream->records))
		return took_data(stream, received);
	if (type != 0)
		return take_control(stream, message, received, type);
	if (received == 0)
		return cut_off(stream);
	return stream_fail(stream, -EPROTO, KTLSD_NO_ALERT, "data came without its record's type");
}

/* Takes the control record at the front of the socket. */
static ssize_t take_front(struct ktlsd_stream *stream)
{
	uint8_t bytes[512];
	struct iovec part = {.iov_base = bytes, .iov_len = sizeof(bytes)};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	union record_control control;
	ssize_t received, result;

	do {
		received = receive(stream->fd, &message, &control, MSG_DONTWAIT);
		result = take(stream, &message, received);
	} while (result == -EAGAIN && received >= 0 && !(message.msg_flags & MSG_EOR));
	return result;
}

/* What a splice brought: as take(). It stops in front of a control record with EINVAL, and behind an empty one with 0. */
static ssize_t take_spliced(struct ktlsd_stream *stream, ssize_t result)
{
	int front;

	if (result > 0 && records_between_messages(&stream->records))
		return took_data(stream, result);
	if (result > 0)
		return stream_fail(stream, -EPROTO, ALERT_UNEXPECTED_MESSAGE, "the peer broke off a handshake message");
	if (result < 0 && result != -EINVAL)
		return take_error(stream, result);
	front = look(stream);
	if (result == 0 && front == 0)
		return cut_off(stream);
	if (result == 0)
		return spend_credit(stream) < 0 ? stream->error : -EAGAIN;
	if (front < 0 && front != -EAGAIN)
		return take_error(stream, front);
	return front <= 0 || front == RECORD_APPLICATION_DATA ? -EINVAL : take_front(stream);
}

/* ---- receiving ---- */

/* What was settled before: 0: the end; an error; 1: neither. */
static int state(const struct ktlsd_stream *stream)
{
	int error = atomic_load_explicit(&stream->error, memory_order_relaxed);

	return error ? error : stream->reading;
}

/* Has the next keys brought in. 0: they are. -EAGAIN: they will be. */
static int fetch_key(struct ktlsd_stream *stream, bool wait)
{
	unsigned int directions = KTLSD_RX | (stream->tx_requested ? KTLSD_TX : 0);

	stream->tx_requested = false;
	return rekey(stream, directions, wait || !stream->agent ? REKEY_WAIT : REKEY_TRY);
}

/* Whether something may be received now: 1; else what to return. */
static int ready(struct ktlsd_stream *stream, bool dont_wait)
{
	int err = state(stream);

	if (!stream->agent)
		rekey_renew(stream, &stream->rx_calls);
	if (err <= 0 || !stream->rx_waits)
		return err;
	err = fetch_key(stream, !dont_wait && !stream_is_nonblocking(stream));
	return err < 0 ? err : 1;
}

/* A peek leaves data where it is, but takes what is in front of it. */
static ssize_t take_peeked(struct ktlsd_stream *stream, const struct msghdr *message, ssize_t received)
{
	uint8_t type = received < 0 ? 0 : socket_record_type(message);

	if (type == RECORD_APPLICATION_DATA && received > 0)
		return received;
	return type == 0 ? take(stream, message, received) : take_front(stream);
}

/*
 * Where a receive ends in front of a KeyUpdate, the kernel has decrypted that already, and from then on poll() does not show
 * it (net/tls/tls_main.c, tls_sk_poll): who waits for POLLIN waits for ever. Only a receive that came short can have ended
 * so. A look after each would double the system calls; one some time later, for all that came short, costs nothing.
 *
 * A close_notify is shown, but who waits for edges had its edge with the data, and goes by EPOLLRDHUP for the end.
 */
static void came_short(struct ktlsd_stream *stream)
{
	if (!stream_is_ours(stream))
		return;
	if (stream->agent && stream->cipher->version == TLS_1_3_VERSION)
		streams_look_later(stream);
	else if (!stream->agent && stream->nonblocking)
		stream_look_behind(stream);
}

void stream_look_behind(struct ktlsd_stream *stream)
{
	int front;

	if (state(stream) <= 0 || stream->rx_waits)
		return;
	front = look(stream);
	if (front == RECORD_HANDSHAKE || front == RECORD_ALERT)
		take_front(stream);
	else if (front < 0 && front != -EAGAIN)
		take_error(stream, front);
	if (stream->rx_waits)
		fetch_key(stream, false);
	if (atomic_load(&stream->error))
		shutdown(stream->fd, SHUT_RDWR); /* the program learns it from poll() */
	else if (stream->reading == 0)
		shutdown(stream->fd, SHUT_RD); /* likewise */
}

static bool nothing_yet(ssize_t result)
{
	return result == -EAGAIN || result == -EINPROGRESS;
}

ssize_t ktlsd_stream_readv(struct ktlsd_stream *stream, const struct iovec *parts, int count, int flags)
{
	struct msghdr message = {.msg_iov = (struct iovec *)parts, .msg_iovlen = count};
	union record_control control;
	ssize_t received, result;

	if ((flags & ~(MSG_DONTWAIT | MSG_PEEK)) || count < 1 || parts[0].iov_len == 0)
		return -EINVAL;
	do {
		result = ready(stream, flags & MSG_DONTWAIT);
		if (result <= 0)
			return result;
		received = receive(stream->fd, &message, &control, flags);
		if (received == -EAGAIN)
			return received;
		result = flags & MSG_PEEK ? take_peeked(stream, &message, received) : take(stream, &message, received);
	} while (nothing_yet(result));
	if (result > 0 && (size_t)result < total_length(parts, count))
		came_short(stream);
	return result;
}

ssize_t ktlsd_stream_recv(struct ktlsd_stream *stream, void *data, size_t size, int flags)
{
	struct iovec part = {.iov_base = data, .iov_len = size};

	return ktlsd_stream_readv(stream, &part, 1, flags);
}

ssize_t ktlsd_stream_splice_in(struct ktlsd_stream *stream, int pipe, size_t size, unsigned int flags)
{
	ssize_t result;

	if (size == 0)
		return -EINVAL;
	do {
		result = ready(stream, flags & SPLICE_F_NONBLOCK);
		if (result <= 0)
			return result;
		result = splice(stream->fd, NULL, pipe, NULL, size, flags);
		if (result < 0 && errno == EAGAIN)
			return -EAGAIN;
		result = take_spliced(stream, result < 0 ? -errno : result);
	} while (nothing_yet(result));
	return result;
}

ssize_t ktlsd_stream_completed(struct ktlsd_stream *stream, const struct msghdr *message, int result)
{
	ssize_t took = state(stream);

	if (took <= 0)
		return took;
	if (result == -EAGAIN) /* a non-blocking socket: the ring does not wait by itself */
		return -EINPROGRESS;
	took = message ? take(stream, message, result) : take_spliced(stream, result);
	if (took != -EINPROGRESS)
		return took;
	took = fetch_key(stream, false);
	if (took == 0)
		return -EAGAIN;
	return took == -EAGAIN ? -EINPROGRESS : took;
}
