/* SPDX-License-Identifier: MIT */
/* What a program does with listening sockets, and asks and sets of sockets. */
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <sys/syscall.h>

#include "process.h"
#include "real.h"
#include "say.h"
#include "settings.h"
#include "table.h"

#define PORT_FREE_MS 500 /* the agent lets a port go when it sees that the last server is gone */

static int answer(int result)
{
	if (result >= 0)
		return result;
	errno = -result;
	return -1;
}

/* ---- new ones ---- */

/* What the number stood for is gone, wherever it was closed. */
static int is_new(int fd)
{
	table_forget(fd);
	return fd;
}

HOOK(int, socket, (int domain, int type, int protocol))
{
	return is_new(real_socket(domain, type, protocol));
}

/* ---- listening ---- */

static uint16_t port_of(const struct sockaddr *address, socklen_t length)
{
	if (length >= sizeof(struct sockaddr_in) && address->sa_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)address)->sin_port);
	if (length >= sizeof(struct sockaddr_in6) && address->sa_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)address)->sin6_port);
	return 0;
}

/* A server that was here a moment ago may still be the reason why the port is taken. */
HOOK(int, bind, (int fd, const struct sockaddr *address, socklen_t length))
{
	const struct timespec moment = {.tv_nsec = 10000000};
	int result = real_bind(fd, address, length), waited = 0;
	struct port port;

	if (result == 0 || errno != EADDRINUSE || port_of(address, length) == 0 ||
	    !settings_of_port(port_of(address, length), &port))
		return result;
	while (result < 0 && errno == EADDRINUSE && waited < PORT_FREE_MS) {
		nanosleep(&moment, NULL);
		waited += 10;
		result = real_bind(fd, address, length);
	}
	return result;
}

HOOK(int, listen, (int fd, int backlog))
{
	struct held *held = held_of_kind(fd, HELD_LISTENER);
	int error = errno, result = held ? listener_again(held, fd, backlog) : listener_begin(fd, backlog);

	if (held)
		held_put(held);
	if (result >= 0)
		errno = error;
	return answer(result);
}

static int accept_from(struct held *held, int fd, struct sockaddr *address, socklen_t *length, int flags)
{
	int error = errno, result = listener_accept(held, fd, address, length, flags);

	held_put(held);
	if (result >= 0)
		errno = error;
	return answer(result);
}

/* A hidden number is not open, as far as the program knows. */
static int accept_elsewhere(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
	struct held *held = held_of_kind(fd, HELD_HIDDEN);
	int connection;

	if (held) {
		held_put(held);
		return answer(-EBADF);
	}
	connection = is_new(real_accept4(fd, address, length, flags));
	return connection >= 0 && listener_turns_away(fd, connection) ? answer(-ECONNABORTED) : connection;
}

HOOK(int, accept4, (int fd, struct sockaddr *address, socklen_t *length, int flags))
{
	struct held *held = held_of_kind(fd, HELD_LISTENER);

	if (!held)
		held = listener_meet(fd);
	return held ? accept_from(held, fd, address, length, flags) : accept_elsewhere(fd, address, length, flags);
}

HOOK(int, accept, (int fd, struct sockaddr *address, socklen_t *length))
{
	return hook_accept4(fd, address, length, 0);
}

static void warn_of_ring(void)
{
	static bool told;

	if (!told)
		say_more(
			"this program makes an io_uring: what it accepts or receives through that does not come by here");
	told = true;
}

HOOK(long, syscall, (long number, long a, long b, long c, long d, long e, long f))
{
	switch (number) {
	case SYS_listen:
		return hook_listen(a, b);
	case SYS_execve:
		return process_exec((void *)a, (void *)b, (void *)c);
	case SYS_execveat:
		return process_exec_at(a, (void *)b, (void *)c, (void *)d, e);
	case SYS_accept4:
		return hook_accept4(a, (void *)b, (void *)c, d);
#ifdef SYS_accept
	case SYS_accept:
		return hook_accept(a, (void *)b, (void *)c);
#endif
	case SYS_io_uring_setup:
		warn_of_ring();
		break;
	}
	return real_syscall(number, a, b, c, d, e, f);
}

/* ---- asking and setting: the real listener is meant ---- */

static int listening_socket(int fd)
{
	struct held *held = held_of_kind(fd, HELD_LISTENER);
	int hidden;

	if (!held)
		return fd;
	hidden = held->listener.hidden;
	held_put(held);
	return hidden;
}

HOOK(int, getsockname, (int fd, struct sockaddr *address, socklen_t *length))
{
	return real_getsockname(listening_socket(fd), address, length);
}

HOOK(int, getpeername, (int fd, struct sockaddr *address, socklen_t *length))
{
	return real_getpeername(listening_socket(fd), address, length);
}

HOOK(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *length))
{
	return real_getsockopt(listening_socket(fd), level, name, value, length);
}

/* What concerns waiting is for the one that is waited on; who asks is told what the other says, so it is set, too. */
static bool is_of_waiting(int level, int name)
{
	return level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_BUSY_POLL);
}

HOOK(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t length))
{
	struct held *held = held_at(fd);
	int result;

	if (!held)
		return real_setsockopt(fd, level, name, value, length);
	if (held->kind == HELD_LISTENER) {
		result = real_setsockopt(held->listener.hidden, level, name, value, length);
		if (result == 0 && is_of_waiting(level, name))
			real_setsockopt(fd, level, name, value, length);
	} else if (held->kind == HELD_ACCEPTED && level == SOL_SOCKET && name == SO_ZEROCOPY) {
		result = answer(-EOPNOTSUPP); /* as sending with MSG_ZEROCOPY would say it, when it is too late */
	} else {
		result = real_setsockopt(fd, level, name, value, length);
	}
	held_put(held);
	return result;
}

HOOK(int, shutdown, (int fd, int how))
{
	struct held *held = held_at(fd);
	int result;

	if (!held)
		return real_shutdown(fd, how);
	if (held->kind == HELD_LISTENER) {
		result = listener_shutdown(held, fd, how);
	} else {
		if (held->kind == HELD_ACCEPTED)
			accepted_shutdown(&held->accepted, how);
		result = real_shutdown(fd, how);
	}
	held_put(held);
	return result;
}
