/* SPDX-License-Identifier: MIT */
/* Whatever receives. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "real.h"
#include "table.h"

/* What the kernel says of a number that has become a file's. */
static ssize_t receive_from_file(int fd, const struct iovec *parts, int count)
{
	table_forget(fd);
	return real_readv(fd, parts, count);
}

/* A use of held is taken. errno stays where it was after success, as it does after a system call. */
static ssize_t receive(struct held *held, int fd, const struct iovec *parts, int count, int flags)
{
	int error = errno;
	ssize_t result = -EBADF;

	if (held->kind == HELD_ACCEPTED)
		result = accepted_receive(held, parts, count, flags);
	else if (held->kind == HELD_LISTENER)
		result = -ENOTCONN;
	held_put(held);
	if (result == -ENOTSOCK)
		return receive_from_file(fd, parts, count);
	errno = result < 0 ? -result : error;
	return result < 0 ? -1 : result;
}

static ssize_t receive_one(struct held *held, int fd, void *data, size_t size, int flags)
{
	struct iovec part = {.iov_base = data, .iov_len = size};

	return receive(held, fd, &part, 1, flags);
}

/* What a program asked for beyond the size of its buffer is a fault of its own, found as the C library finds it. */
static void check(size_t size, size_t room)
{
	if (size > room)
		abort();
}

HOOK(ssize_t, read, (int fd, void *data, size_t size))
{
	struct held *held = held_at(fd);

	return held ? receive_one(held, fd, data, size, 0) : real_read(fd, data, size);
}

HOOK(ssize_t, __read, (int fd, void *data, size_t size))
{
	return hook_read(fd, data, size);
}

HOOK(ssize_t, __read_chk, (int fd, void *data, size_t size, size_t room))
{
	struct held *held = held_at(fd);

	if (!held)
		return real___read_chk(fd, data, size, room);
	check(size, room);
	return receive_one(held, fd, data, size, 0);
}

HOOK(ssize_t, readv, (int fd, const struct iovec *parts, int count))
{
	struct held *held = held_at(fd);

	if (!held || count < 0 || count > 1024) {
		if (held)
			held_put(held);
		return real_readv(fd, parts, count);
	}
	return receive(held, fd, parts, count, 0);
}

HOOK(ssize_t, recv, (int fd, void *data, size_t size, int flags))
{
	struct held *held = held_at(fd);

	return held ? receive_one(held, fd, data, size, flags) : real_recv(fd, data, size, flags);
}

HOOK(ssize_t, __recv, (int fd, void *data, size_t size, int flags))
{
	return hook_recv(fd, data, size, flags);
}

HOOK(ssize_t, __recv_chk, (int fd, void *data, size_t size, size_t room, int flags))
{
	struct held *held = held_at(fd);

	if (!held)
		return real___recv_chk(fd, data, size, room, flags);
	check(size, room);
	return receive_one(held, fd, data, size, flags);
}

/* TCP says of no data where it is from. */
static ssize_t receive_from(struct held *held, int fd, void *data, size_t size, int flags,
			    const struct sockaddr *address, socklen_t *length)
{
	if (address && length)
		*length = 0;
	return receive_one(held, fd, data, size, flags);
}

HOOK(ssize_t, recvfrom, (int fd, void *data, size_t size, int flags, struct sockaddr *address, socklen_t *length))
{
	struct held *held = held_at(fd);

	return held ? receive_from(held, fd, data, size, flags, address, length)
		    : real_recvfrom(fd, data, size, flags, address, length);
}

HOOK(ssize_t, __recvfrom_chk,
     (int fd, void *data, size_t size, size_t room, int flags, struct sockaddr *address, socklen_t *length))
{
	struct held *held = held_at(fd);

	if (!held)
		return real___recvfrom_chk(fd, data, size, room, flags, address, length);
	check(size, room);
	return receive_from(held, fd, data, size, flags, address, length);
}

static ssize_t receive_message(struct held *held, int fd, struct msghdr *message, int flags)
{
	ssize_t result = receive(held, fd, message->msg_iov, message->msg_iovlen, flags);

	if (result >= 0) {
		message->msg_namelen = 0;
		message->msg_controllen = 0;
		message->msg_flags = 0;
	}
	return result;
}

/* What waits in the error queue is no data. */
HOOK(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags))
{
	struct held *held = flags & MSG_ERRQUEUE ? NULL : held_at(fd);

	return held ? receive_message(held, fd, message, flags) : real_recvmsg(fd, message, flags);
}

/* The timeout is one for datagrams that stop coming (recvmmsg(2), BUGS); here the first that comes is enough. */
HOOK(int, recvmmsg, (int fd, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *timeout))
{
	struct held *held = held_at(fd);
	ssize_t received;

	if (!held || count == 0) {
		if (held)
			held_put(held);
		return real_recvmmsg(fd, messages, count, flags, timeout);
	}
	received = receive_message(held, fd, &messages->msg_hdr, flags & ~MSG_WAITFORONE);
	if (received < 0)
		return -1;
	messages->msg_len = received;
	return 1;
}
