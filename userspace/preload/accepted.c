/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>

#include "peer.h"
#include "process.h"
#include "say.h"
#include "shared.h"
#include "stream.h"
#include "table.h"

#define REKEY_TIMEOUT_MS 200 /* a server that waits for events waits for this, too */

/* ---- its beginning ---- */

/* The agent says so; whether it is so only the kernel knows. */
static int check_encrypted(int fd)
{
	if (socket_cipher(fd, TLS_TX))
		return 0;
	say("descriptor %d: the kernel does not encrypt what the agent says it does (%s): the client is turned away",
	    fd, strerror(errno));
	return -ENOTCONN;
}

static int make_stream(struct accepted *accepted, int fd, const struct ktlsd_result *result)
{
	int err = stream_make(&accepted->stream, fd, result, now_ns());

	if (err == 0 && result)
		err = check_encrypted(fd);
	if (err < 0)
		return err;
	accepted->stream->limits.rekey_timeout_ms = REKEY_TIMEOUT_MS;
	/* Whether it is now or not, it may be polled, and polling has to show what the stream still has to do. */
	accepted->stream->nonblocking = true;
	return 0;
}

static int prepare(struct accepted *accepted, int fd, const struct ktlsd_result *result, bool proxy)
{
	int err = make_stream(accepted, fd, result);

	if (err == 0 && result)
		accepted->peer = peer_text(result);
	if (err == 0 && proxy && result)
		err = peer_proxy_header(fd, result, &accepted->head, &accepted->head_length);
	return err;
}

int accepted_begin(int fd, const struct ktlsd_result *result, bool proxy)
{
	struct held *held = held_new(HELD_ACCEPTED);
	int err;

	if (!held)
		return -ENOMEM;
	err = prepare(&held->accepted, fd, result, proxy);
	if (err == 0 && !table_set(fd, held))
		err = -EMFILE;
	held_put(held);
	return err;
}

uint64_t accepted_cookie(int fd)
{
	uint64_t cookie;
	socklen_t length = sizeof(cookie);

	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) < 0 ? 0 : cookie;
}

/* Another number, of ours, of the same connection; -1: none. */
static int same_socket(int fd)
{
	uint64_t cookie = accepted_cookie(fd);

	for (int other = 0; cookie && other <= table_highest(); other++)
		if (held_is_accepted(other) && accepted_cookie(other) == cookie)
			return other;
	return -1;
}

static void inherit(struct accepted *accepted, int number)
{
	atomic_store(&accepted->shared, shared_of(number));
	accepted->inherited = number == SHARED_UNKNOWN;
	accepted->keyless = true;
}

static bool take_head(struct accepted *accepted, const char *text)
{
	size_t length = strlen(text) / 2;

	if (length == 0)
		return true;
	accepted->head = length <= PROXY_HEADER_MAX ? malloc(length) : NULL;
	for (; accepted->head && accepted->head_length < length; text += 2)
		if (sscanf(text, "%2hhx", &accepted->head[accepted->head_length++]) != 1)
			return false;
	return accepted->head;
}

void accepted_lose(int fd)
{
	say("descriptor %d: the PROXY header can't be passed on, and what the client sends would stand in its place: the "
	    "connection ends",
	    fd);
	shutdown(fd, SHUT_RDWR);
}

/* Duplicates of a descriptor stand for the same. */
void accepted_inherit(int fd, int number, const char *head)
{
	int before = same_socket(fd);
	struct held *held = before < 0 ? NULL : held_at(before);

	if (held) {
		table_set(fd, held);
		held_put(held);
		return;
	}
	if (accepted_begin(fd, NULL, false) == 0)
		held = held_at(fd);
	if (held)
		inherit(&held->accepted, number);
	if (*head && !(held && take_head(&held->accepted, head)))
		accepted_lose(fd);
	if (held)
		held_put(held);
}

static size_t head_left(const struct accepted *accepted)
{
	return accepted->head ? accepted->head_length - accepted->head_taken : 0;
}

/* A thread that is at it reads the header for this program. */
void accepted_head(struct held *held, char text[static ACCEPTED_HEAD_MAX])
{
	struct accepted *accepted = &held->accepted;
	size_t left;

	*text = '\0';
	if (!accepted->head || pthread_mutex_trylock(&held->lock) != 0)
		return;
	left = head_left(accepted);
	for (size_t i = 0; i < left; i++)
		sprintf(text + 2 * i, "%02x", accepted->head[accepted->head_taken + i]);
	pthread_mutex_unlock(&held->lock);
}

void accepted_free(struct accepted *accepted)
{
	ktlsd_stream_free(accepted->stream);
	free(accepted->peer);
	free(accepted->head);
	*accepted = (struct accepted){0};
}

/* ---- which process it belongs to ---- */

static struct shared *share(struct accepted *accepted)
{
	struct shared *shared = atomic_load(&accepted->shared), *fresh;

	if (shared)
		return shared;
	fresh = shared_new();
	if (!atomic_compare_exchange_strong(&accepted->shared, &shared, fresh)) {
		shared_let_go(fresh);
		return shared;
	}
	accepted->settled = false;
	return fresh;
}

void accepted_share(struct held *held, unsigned int fork)
{
	if (held->kind != HELD_ACCEPTED || held->accepted.ended)
		return;
	shared_hold(share(&held->accepted));
	held->accepted.last_fork = fork;
}

void accepted_unshare(struct held *held, unsigned int fork)
{
	if (held->kind == HELD_ACCEPTED && held->accepted.last_fork == fork)
		shared_let_go(held->accepted.shared);
}

void accepted_after_fork(struct held *held, int fd)
{
	struct accepted *accepted = &held->accepted;

	(void)fd;
	if (held->kind != HELD_ACCEPTED)
		return;
	accepted->settled = accepted->touched = false;
	atomic_store(&accepted->reader, 0);
	stream_after_fork(accepted->stream);
	if (!accepted->shared) { /* another thread accepted it meanwhile: it is the parent's, as far as anybody knows */
		inherit(accepted, SHARED_UNKNOWN);
		stream_move_away(accepted->stream);
	}
}

int accepted_number(const struct accepted *accepted)
{
	struct shared *shared = atomic_load(&accepted->shared);

	if (accepted->inherited)
		return SHARED_UNKNOWN;
	return shared ? shared_number(shared) : ACCEPTED_ALONE;
}

int accepted_number_elsewhere(struct accepted *accepted)
{
	struct shared *shared;

	if (accepted->inherited)
		return SHARED_UNKNOWN;
	shared = share(accepted);
	shared_hold(shared);
	return shared_number(shared);
}

void accepted_stays_not(struct held *held, int fd)
{
	(void)fd;
	if (held->kind == HELD_ACCEPTED)
		held->accepted.stays = false;
}

void accepted_give_back(struct held *held, int fd)
{
	struct accepted *accepted = &held->accepted;

	(void)fd;
	if (held->kind != HELD_ACCEPTED || accepted->stays || accepted->ended || !accepted->shared)
		return;
	shared_let_go(accepted->shared);
	accepted->given_back = true;
}

void accepted_take_again(struct held *held, int fd)
{
	struct accepted *accepted = &held->accepted;

	(void)fd;
	if (held->kind != HELD_ACCEPTED || !accepted->given_back)
		return;
	accepted->given_back = false;
	accepted->ended = !shared_hold_again(accepted->shared);
}

/* The process that goes on with a shared connection replaces its keys. */
static void settle(struct accepted *accepted)
{
	if (!accepted->keyless && stream_may_move(accepted->stream) && shared_claim(accepted->shared))
		stream_move_here(accepted->stream);
	else
		stream_move_away(accepted->stream);
	accepted->settled = true;
}

struct ktlsd_stream *accepted_touch(struct accepted *accepted)
{
	accepted->touched = true;
	if (accepted->shared && !accepted->settled)
		settle(accepted);
	return accepted->stream;
}

/* ---- streams of the C library ---- */

void accepted_add_file(struct held *held, FILE *file)
{
	for (int i = 0; i < ACCEPTED_FILES; i++) {
		FILE *none = NULL;

		if (atomic_compare_exchange_strong(&held->accepted.files[i], &none, file))
			break;
	}
}

static void drop_files(struct accepted *accepted, const FILE *file, int fd)
{
	for (int i = 0; i < ACCEPTED_FILES; i++) {
		FILE *one = atomic_load(&accepted->files[i]);

		if (one && (one == file || fileno(one) == fd))
			atomic_store(&accepted->files[i], NULL);
	}
}

void accepted_drop_file(struct held *held, const FILE *file)
{
	drop_files(&held->accepted, file, -1);
}

/* Not fflush(): a thread that waits for input has its stream locked, and the end of the process can't wait for it. */
static void flush_file(FILE *file)
{
	if (ftrylockfile(file) != 0)
		return;
	fflush_unlocked(file);
	funlockfile(file);
}

static bool writes_to(FILE *file, const struct held *held)
{
	int fd = file ? fileno(file) : -1;

	return fd >= 0 && fd < TABLE_SIZE && atomic_load(&table[fd]) == held;
}

void accepted_flush(struct held *held)
{
	FILE *standard[] = {stdout, stderr};
	int error = errno;

	for (int i = 0; i < ACCEPTED_FILES; i++)
		if (writes_to(held->accepted.files[i], held))
			flush_file(held->accepted.files[i]);
	for (size_t i = 0; i < sizeof(standard) / sizeof(standard[0]); i++)
		if (writes_to(standard[i], held))
			flush_file(standard[i]);
	errno = error;
}

void accepted_renumber(struct accepted *accepted, int before, int now)
{
	drop_files(accepted, NULL, before);
	if (accepted->stream->fd == before && now >= 0)
		accepted->stream->fd = now;
}

/* ---- sending ---- */

int accepted_begin_send(struct held *held, int flags)
{
	return ktlsd_stream_begin_write(accepted_touch(&held->accepted), flags & MSG_DONTWAIT);
}

void accepted_end_send(struct held *held, ssize_t sent)
{
	int error = errno;

	ktlsd_stream_end_write(held->accepted.stream, sent > 0 ? sent : 0);
	errno = error;
}

/* ---- the end ---- */

/* Not where something else has the number by now (table_forget()): there it would be data. */
static ssize_t send_record(int fd, const struct ktlsd_close_notify *close_notify)
{
	int room;
	socklen_t length = sizeof(room);
	ssize_t sent;

	if (!socket_cipher(fd, TLS_TX))
		return -EBADF;
	sent = sendmsg(fd, &close_notify->message, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent >= 0 || errno != EAGAIN)
		return sent < 0 ? -errno : sent;
	/* What was sent before fills the buffer: a little more room does, and nothing else comes. */
	if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, &length) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, length) < 0) /* the kernel doubles it */
		return -EAGAIN;
	sent = sendmsg(fd, &close_notify->message, MSG_DONTWAIT | MSG_NOSIGNAL);
	return sent < 0 ? -errno : sent;
}

static void end_sending(struct accepted *accepted)
{
	struct ktlsd_stream *stream = accepted_touch(accepted);
	struct ktlsd_close_notify close_notify;

	if (ktlsd_stream_begin_shutdown(stream, &close_notify, MSG_DONTWAIT) < 0)
		return;
	ktlsd_stream_end_shutdown(stream, send_record(stream->fd, &close_notify));
}

void accepted_shutdown(struct accepted *accepted, int how)
{
	int error = errno;

	if (how == SHUT_WR || how == SHUT_RDWR)
		end_sending(accepted);
	if (how == SHUT_RD || how == SHUT_RDWR)
		accepted->deaf = true;
	errno = error;
}

/* A close_notify that nobody has read would have the kernel reset the connection, and the peer lose what we sent last. */
static void take_close_notify(const struct ktlsd_stream *stream)
{
	uint8_t bytes[8];
	struct iovec part = {.iov_base = bytes, .iov_len = sizeof(bytes)};
	union record_control control;
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

	if (stream->reading != 1 || recvmsg(stream->fd, &message, MSG_PEEK | MSG_DONTWAIT) <= 0 ||
	    socket_record_type(&message) != RECORD_ALERT)
		return;
	message.msg_controllen = sizeof(control);
	(void)recvmsg(stream->fd, &message, MSG_DONTWAIT);
}

void accepted_end(struct accepted *accepted)
{
	int error = errno;

	if (accepted->ended)
		return;
	accepted->ended = true;
	if (accepted->shared && !shared_let_go(accepted->shared))
		return;
	if (accepted->inherited && !accepted->touched)
		return;
	end_sending(accepted);
	take_close_notify(accepted->stream);
	errno = error;
}
