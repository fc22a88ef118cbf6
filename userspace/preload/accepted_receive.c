/* SPDX-License-Identifier: MIT */
/* What a program receives on a connection. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>

#include "say.h"
#include "stream.h"
#include "table.h"

#define READABLE_MOST 65536

/* In the words of a server that knows of TCP alone. */
static ssize_t as_tcp(const struct accepted *accepted, ssize_t result)
{
	const struct ktlsd_stream *stream = accepted->stream;

	switch (result) {
	case -ECONNABORTED:
		if (accepted->deaf)
			return 0;
		/* fallthrough */
	case -EREMOTEIO:
	case -EPROTO:
	case -EBADMSG:
	case -EDQUOT:
	case -EKEYEXPIRED:
	case -EOWNERDEAD:
		say_more("descriptor %d: %s", stream->fd, ktlsd_stream_why(stream));
		return -ECONNRESET;
	}
	return result;
}

/*
 * A receive that takes no more than a peek before it has shown comes short of nothing, and the stream would not look what
 * stands behind.
 */
static void look_behind_peeked(struct accepted *accepted, ssize_t result, size_t total, int flags)
{
	if (result <= 0)
		return;
	if (flags & MSG_PEEK) {
		accepted->peeked_all = (size_t)result < total;
	} else if (accepted->peeked_all) {
		accepted->peeked_all = false;
		if ((size_t)result == total)
			stream_look_behind(accepted->stream);
	}
}

static ssize_t receive_data(struct accepted *accepted, const struct iovec *parts, int count, int flags)
{
	ssize_t result = ktlsd_stream_readv(accepted->stream, parts, count, flags & (MSG_DONTWAIT | MSG_PEEK));

	look_behind_peeked(accepted, result, total_length(parts, count), flags);
	return result;
}

/* The parts behind the first bytes of them; a receive may come short. */
struct rest {
	struct iovec parts[64];
	int count;
};

static void leave_out(struct rest *rest, const struct iovec *parts, int count, size_t bytes)
{
	rest->count = 0;
	for (int i = 0; i < count && rest->count < (int)(sizeof(rest->parts) / sizeof(rest->parts[0])); i++) {
		size_t skipped = bytes < parts[i].iov_len ? bytes : parts[i].iov_len;

		bytes -= skipped;
		if (parts[i].iov_len > skipped)
			rest->parts[rest->count++] = (struct iovec){.iov_base = (char *)parts[i].iov_base + skipped,
								    .iov_len = parts[i].iov_len - skipped};
	}
}

static ssize_t receive_behind(struct accepted *accepted, const struct iovec *parts, int count, size_t bytes, int flags)
{
	struct rest rest;

	leave_out(&rest, parts, count, bytes);
	if (rest.count == 0)
		return 0;
	return receive_data(accepted, rest.parts, rest.count, flags);
}

static size_t copy_out(const struct iovec *parts, int count, const uint8_t *bytes, size_t length)
{
	size_t copied = 0;

	for (int i = 0; i < count && copied < length; i++) {
		size_t part = length - copied < parts[i].iov_len ? length - copied : parts[i].iov_len;

		memcpy(parts[i].iov_base, bytes + copied, part);
		copied += part;
	}
	return copied;
}

/* The header, and right behind it what data is there: polling shows only the data. */
static ssize_t receive_head(struct accepted *accepted, const struct iovec *parts, int count, int flags)
{
	size_t head = copy_out(parts, count, accepted->head + accepted->head_taken,
			       accepted->head_length - accepted->head_taken);
	bool whole = accepted->head_taken + head == accepted->head_length;
	ssize_t more;

	if (!(flags & MSG_PEEK)) {
		accepted->head_taken += head;
		if (whole) {
			free(accepted->head);
			accepted->head = NULL;
		}
	}
	more = whole ? receive_behind(accepted, parts, count, head, flags | MSG_DONTWAIT) : 0;
	return head + (more > 0 ? more : 0);
}

static bool goes_on(ssize_t result, size_t done, size_t total, int flags)
{
	return result > 0 && done < total && flags & MSG_WAITALL && !(flags & (MSG_PEEK | MSG_DONTWAIT));
}

static ssize_t receive_some(struct accepted *accepted, const struct iovec *parts, int count, size_t done, int flags)
{
	if (accepted->head)
		return receive_head(accepted, parts, count, flags);
	if (done > 0 || parts[0].iov_len == 0)
		return receive_behind(accepted, parts, count, done, flags);
	return receive_data(accepted, parts, count, flags);
}

static ssize_t receive_all(struct accepted *accepted, const struct iovec *parts, int count, size_t total, int flags)
{
	ssize_t result = receive_some(accepted, parts, count, 0, flags), done = result;

	while (goes_on(result, done, total, flags) && !stream_is_nonblocking(accepted->stream)) {
		result = receive_some(accepted, parts, count, done, flags);
		done += result > 0 ? result : 0;
	}
	return done;
}

/* MSG_TRUNC: TCP throws away what is received. */
static ssize_t throw_away(struct accepted *accepted, size_t total, int flags)
{
	char thrown[4096];
	ssize_t result = 0;
	size_t done = 0;

	while (done < total) {
		size_t left = total - done;
		struct iovec part = {.iov_base = thrown, .iov_len = left < sizeof(thrown) ? left : sizeof(thrown)};

		result = receive_all(accepted, &part, 1, part.iov_len, done ? flags | MSG_DONTWAIT : flags);
		if (result <= 0)
			break;
		done += result;
	}
	return done > 0 ? (ssize_t)done : result;
}

/*
 * An end, or an error that stays, is told without asking the kernel: the number may be something else's by now. Not so an end
 * that has just come, as a record.
 */
static bool is_another(const struct accepted *accepted, ssize_t result, bool had_ended)
{
	if (result == 0 && !had_ended)
		return false;
	return result <= 0 && result != -EAGAIN && result != -EINTR && !socket_cipher(accepted->stream->fd, TLS_RX);
}

/*
 * Who does not want to wait does not wait for another thread that does, either. A thread that finds itself inside has left a
 * receive by longjmp(), or is in a signal's handler.
 */
static int begin_receive(struct held *held, int flags)
{
	struct accepted *accepted = &held->accepted;
	bool busy = pthread_mutex_trylock(&held->lock) != 0;

	if (busy && !pthread_equal(atomic_load(&accepted->reader), pthread_self())) {
		if (flags & MSG_DONTWAIT || stream_is_nonblocking(accepted->stream))
			return -EAGAIN;
		pthread_mutex_lock(&held->lock);
	}
	atomic_store(&accepted->reader, pthread_self());
	accepted_touch(accepted);
	return 0;
}

static void end_receive(struct held *held)
{
	atomic_store(&held->accepted.reader, 0);
	pthread_mutex_unlock(&held->lock);
}

ssize_t accepted_receive(struct held *held, const struct iovec *parts, int count, int flags)
{
	struct accepted *accepted = &held->accepted;
	size_t total = total_length(parts, count);
	bool had_ended;
	ssize_t result;

	if (flags & MSG_OOB)
		return -EINVAL; /* as TCP says it where there is none: TLS has no urgent data */
	if (total == 0)
		return 0;
	result = begin_receive(held, flags);
	if (result < 0)
		return result;
	had_ended = accepted->stream->reading == 0;
	if (flags & MSG_TRUNC && !(flags & MSG_PEEK))
		result = throw_away(accepted, total, flags & ~MSG_TRUNC);
	else
		result = receive_all(accepted, parts, count, total, flags);
	result = is_another(accepted, result, had_ended) ? -ENOTSOCK : as_tcp(accepted, result);
	end_receive(held);
	return result;
}

ssize_t accepted_splice(struct held *held, int pipe, size_t size, unsigned int flags)
{
	struct accepted *accepted = &held->accepted;
	ssize_t result;

	if (size == 0)
		return 0;
	result = begin_receive(held, flags & SPLICE_F_NONBLOCK ? MSG_DONTWAIT : 0);
	if (result < 0)
		return result;
	if (accepted->head) {
		size_t left = accepted->head_length - accepted->head_taken;

		result = write(pipe, accepted->head + accepted->head_taken, left < size ? left : size);
		accepted->head_taken += result > 0 ? result : 0;
		if (accepted->head_taken == accepted->head_length) {
			free(accepted->head);
			accepted->head = NULL;
		}
		result = result < 0 ? -errno : result;
	} else {
		result = as_tcp(accepted, ktlsd_stream_splice_in(accepted->stream, pipe, size, flags));
	}
	end_receive(held);
	return result;
}

int accepted_readable(struct held *held)
{
	struct iovec part = {.iov_base = malloc(READABLE_MOST), .iov_len = READABLE_MOST};
	ssize_t result = 0;

	if (part.iov_base)
		result = accepted_receive(held, &part, 1, MSG_PEEK | MSG_DONTWAIT);
	free(part.iov_base);
	return result > 0 ? result : 0;
}
