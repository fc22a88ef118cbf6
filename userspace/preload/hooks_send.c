/* SPDX-License-Identifier: MIT */
/*
 * Whatever sends goes to the kernel as it is. Around it the connection's keys stay as they are, and afterwards it is counted:
 * a key is good for so many records.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/tls.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/sendfile.h>

#include "real.h"
#include "socket.h"
#include "table.h"

/* TCP takes them and kTLS does not; they change nothing. */
#define POINTLESS_FLAGS (MSG_WAITALL | MSG_CONFIRM | MSG_DONTROUTE)

enum turn {
	OURS,	  /* end_turn() is due */
	NOT_OURS, /* the kernel has the answer: for another descriptor, or for one that is broken */
	NOT_NOW,  /* errno is set */
};

/*
 * The first that is sent after shutdown() kernel TLS takes, and finds out when it is lost (Linux, net/tls/tls_sw.c,
 * tls_sw_sendmsg_locked). So the answer is ours, if the number still stands for the connection.
 */
static bool is_shut(int fd, int err, int flags)
{
	if (err != -EPIPE || !socket_cipher(fd, TLS_TX))
		return false;
	if (!(flags & MSG_NOSIGNAL))
		pthread_kill(pthread_self(), SIGPIPE);
	return true;
}

static enum turn begin_turn(int fd, int flags, struct held **held)
{
	int err, error = errno;

	*held = held_of_kind(fd, HELD_ACCEPTED);
	if (!*held)
		return NOT_OURS;
	err = accepted_begin_send(*held, flags);
	errno = error;
	if (err == 0)
		return OURS;
	held_put(*held);
	if (err != -EAGAIN && err != -EINTR && !is_shut(fd, err, flags))
		return NOT_OURS;
	errno = -err;
	return NOT_NOW;
}

static ssize_t end_turn(enum turn turn, struct held *held, ssize_t sent)
{
	if (turn == OURS) {
		accepted_end_send(held, sent);
		held_put(held);
	}
	return sent;
}

/* The call, when it is its turn. */
#define IN_TURN(fd, flags, call)                                                                                       \
	do {                                                                                                           \
		struct held *held;                                                                                     \
		enum turn turn = begin_turn(fd, flags, &held);                                                         \
                                                                                                                       \
		return turn == NOT_NOW ? -1 : end_turn(turn, held, call);                                              \
	} while (0)

static int usual(int fd, int flags)
{
	return flags & POINTLESS_FLAGS && held_is_accepted(fd) ? flags & ~POINTLESS_FLAGS : flags;
}

HOOK(ssize_t, write, (int fd, const void *data, size_t size))
{
	IN_TURN(fd, 0, real_write(fd, data, size));
}

HOOK(ssize_t, __write, (int fd, const void *data, size_t size))
{
	return hook_write(fd, data, size);
}

HOOK(ssize_t, writev, (int fd, const struct iovec *parts, int count))
{
	IN_TURN(fd, 0, real_writev(fd, parts, count));
}

HOOK(ssize_t, send, (int fd, const void *data, size_t size, int flags))
{
	IN_TURN(fd, flags, real_send(fd, data, size, usual(fd, flags)));
}

HOOK(ssize_t, __send, (int fd, const void *data, size_t size, int flags))
{
	return hook_send(fd, data, size, flags);
}

HOOK(ssize_t, sendto,
     (int fd, const void *data, size_t size, int flags, const struct sockaddr *address, socklen_t length))
{
	IN_TURN(fd, flags, real_sendto(fd, data, size, usual(fd, flags), address, length));
}

HOOK(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags))
{
	IN_TURN(fd, flags, real_sendmsg(fd, message, usual(fd, flags)));
}

static ssize_t total(const struct mmsghdr *messages, int count)
{
	ssize_t sum = 0;

	for (int i = 0; i < count; i++)
		sum += messages[i].msg_len;
	return sum;
}

HOOK(int, sendmmsg, (int fd, struct mmsghdr *messages, unsigned int count, int flags))
{
	struct held *held;
	enum turn turn = begin_turn(fd, flags, &held);
	int sent;

	if (turn == NOT_NOW)
		return -1;
	sent = real_sendmmsg(fd, messages, count, usual(fd, flags));
	end_turn(turn, held, total(messages, sent));
	return sent;
}

HOOK(ssize_t, sendfile, (int fd, int file, off_t *offset, size_t size))
{
	IN_TURN(fd, 0, real_sendfile(fd, file, offset, size));
}

_Static_assert(sizeof(off_t) == sizeof(off64_t), "sendfile() and sendfile64() are one");

HOOK(ssize_t, sendfile64, (int fd, int file, off64_t *offset, size_t size))
{
	return hook_sendfile(fd, file, offset, size);
}

static ssize_t splice_from(struct held *held, int to, size_t size, unsigned int flags)
{
	int error = errno;
	ssize_t result = accepted_splice(held, to, size, flags);

	held_put(held);
	errno = result < 0 ? -result : error;
	return result < 0 ? -1 : result;
}

HOOK(ssize_t, splice, (int from, off_t *from_offset, int to, off_t *to_offset, size_t size, unsigned int flags))
{
	struct held *source = held_of_kind(from, HELD_ACCEPTED);

	if (source)
		return splice_from(source, to, size, flags);
	IN_TURN(to, flags & SPLICE_F_NONBLOCK ? MSG_DONTWAIT : 0,
		real_splice(from, from_offset, to, to_offset, size, flags));
}
