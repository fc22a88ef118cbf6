/* SPDX-License-Identifier: MIT */
/* What becomes of descriptors: closing, duplicating, flags. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>
#include <sys/ioctl.h>

#include "family.h"
#include "process.h"
#include "real.h"
#include "say.h"
#include "table.h"

/* ---- closing ---- */

/* A hidden number is not open, as far as the program knows. */
static int close_ours(struct held *held, int fd)
{
	if (process_is_guest())
		return real_close(fd);
	if (held->kind == HELD_HIDDEN) {
		errno = EBADF;
		return -1;
	}
	table_leave(fd);
	return real_close(fd);
}

HOOK(int, close, (int fd))
{
	struct held *held = held_at(fd);
	int result;

	if (!held) {
		table_forget(fd);
		return real_close(fd);
	}
	result = close_ours(held, fd);
	held_put(held);
	return result;
}

HOOK(int, __close, (int fd))
{
	return hook_close(fd);
}

/* ---- streams of the C library ---- */

HOOK(FILE *, fdopen, (int fd, const char *mode))
{
	struct held *held = held_of_kind(fd, HELD_ACCEPTED);
	FILE *file = real_fdopen(fd, mode);

	if (held) {
		if (file && !process_is_guest())
			accepted_add_file(held, file);
		held_put(held);
	}
	return file;
}

/* The C library closes what is under a stream where we don't see it. */
HOOK(int, fclose, (FILE * file))
{
	int error = errno, fd = fileno(file);
	struct held *held = held_at(fd);

	errno = error;
	if (held) {
		if (held->kind != HELD_HIDDEN && !process_is_guest()) {
			fflush(file);
			if (held->kind == HELD_ACCEPTED)
				accepted_drop_file(held, file);
			table_leave(fd);
		}
		held_put(held);
	} else {
		table_forget(fd);
	}
	return real_fclose(file);
}

/* ---- closing ranges ---- */

/* Up to the next hidden number. */
static unsigned int free_up_to(unsigned int first, unsigned int last)
{
	for (unsigned int fd = first; fd <= last && fd < TABLE_SIZE; fd++) {
		struct held *held = held_at(fd);

		if (!held) {
			table_forget(fd);
			continue;
		}
		held_put(held);
		if (held->kind == HELD_HIDDEN)
			return fd;
		hook_close(fd);
	}
	return last + 1 == 0 ? last : last + 1;
}

static void match_close_on_exec(struct held *held, int fd)
{
	(void)fd;
	if (held->kind == HELD_LISTENER)
		listener_match_close_on_exec(held);
}

static int change_range(unsigned int first, unsigned int last, int flags)
{
	int result = real_close_range(first, last, flags);

	if (flags & CLOSE_RANGE_CLOEXEC && !process_is_guest())
		table_each(match_close_on_exec);
	return result;
}

HOOK(int, close_range, (unsigned int first, unsigned int last, int flags))
{
	unsigned int next;

	if (flags == CLOSE_RANGE_UNSHARE && first <= last) { /* an empty range's worth of it, and then as usual */
		if (real_close_range(TABLE_SIZE, TABLE_SIZE, flags) < 0)
			return -1;
		flags = 0;
	}
	if (flags || first > last || process_is_guest())
		return change_range(first, last, flags);
	while (first <= last) {
		next = free_up_to(first, last);
		if (next > first && real_close_range(first, next > last || next == last ? last : next - 1, 0) < 0)
			return -1;
		if (next > last || next == UINT_MAX)
			break;
		first = next + 1;
	}
	return 0;
}

__attribute__((visibility("default"))) void hook_closefrom(int first) __asm__("closefrom");
void hook_closefrom(int first)
{
	hook_close_range(first < 0 ? 0 : first, UINT_MAX, 0);
}

/* ---- duplicating ---- */

/* Returns fd, which has become a duplicate of held, of which a use is given back. */
static int duplicated(struct held *held, int fd)
{
	if (fd >= 0 && process_is_guest() && held->kind == HELD_ACCEPTED)
		held->accepted.moved = true;
	if (fd >= 0 && !process_is_guest()) {
		if (held->kind != HELD_HIDDEN)
			table_set(fd, held);
		if (held->kind == HELD_LISTENER)
			listener_match_close_on_exec(held);
	}
	held_put(held);
	return fd;
}

HOOK(int, dup, (int fd))
{
	struct held *held = held_at(fd);

	return held ? duplicated(held, real_dup(fd)) : real_dup(fd);
}

/* What is open under the number is about to be closed. 0 or -1 with errno. */
static int vacate(int fd, int to)
{
	struct held *held;
	int err = 0;

	if (fd == to || real_fcntl(fd, F_GETFD, 0) < 0 || process_is_guest())
		return 0;
	held = held_at(to);
	if (!held) {
		table_forget(to);
		return 0;
	}
	if (held->kind == HELD_HIDDEN)
		err = family_make_room(to) ? 0 : listener_make_room(to);
	else
		table_leave(to);
	held_put(held);
	if (err < 0)
		errno = -err;
	return err < 0 ? -1 : 0;
}

/* fd stands under to now, or result is -1. A use of held, which may be NULL, is given back. */
static int moved(struct held *held, int to, int result)
{
	if (result >= 0 && to == STDERR_FILENO && !process_is_guest())
		say_elsewhere();
	return held ? duplicated(held, result) : result;
}

HOOK(int, dup2, (int fd, int to))
{
	if (vacate(fd, to) < 0)
		return -1;
	return moved(fd == to ? NULL : held_at(fd), to, real_dup2(fd, to));
}

HOOK(int, dup3, (int fd, int to, int flags))
{
	if (vacate(fd, to) < 0)
		return -1;
	return moved(fd == to ? NULL : held_at(fd), to, real_dup3(fd, to, flags));
}

HOOK(int, posix_spawn_file_actions_adddup2, (posix_spawn_file_actions_t * actions, int fd, int to))
{
	struct held *held = held_of_kind(fd, HELD_ACCEPTED);

	if (held) {
		held->accepted.moved = true;
		held_put(held);
	}
	return real_posix_spawn_file_actions_adddup2(actions, fd, to);
}

/* ---- flags ---- */

static int control(struct held *held, int fd, int command, unsigned long value)
{
	int result = real_fcntl(fd, command, value);

	if (command == F_DUPFD || command == F_DUPFD_CLOEXEC)
		return duplicated(held, result);
	if (command == F_SETFD && held->kind == HELD_LISTENER && !process_is_guest())
		listener_match_close_on_exec(held);
	held_put(held);
	return result;
}

static int any_fcntl(int fd, int command, unsigned long value)
{
	struct held *held = held_at(fd);

	return held ? control(held, fd, command, value) : real_fcntl(fd, command, value);
}

/* No command has more than one argument, and none an argument that is longer than a register. */
#define FCNTL(name)                                                                                                    \
	HOOK(int, name, (int fd, int command, ...))                                                                    \
	{                                                                                                              \
		unsigned long value;                                                                                   \
		va_list arguments;                                                                                     \
                                                                                                                       \
		va_start(arguments, command);                                                                          \
		value = va_arg(arguments, unsigned long);                                                              \
		va_end(arguments);                                                                                     \
		return any_fcntl(fd, command, value);                                                                  \
	}
FCNTL(fcntl)
FCNTL(fcntl64)
FCNTL(__fcntl)

/* What a listener is waited for with has to be known when another file takes its place. */
HOOK(int, epoll_ctl, (int epoll, int operation, int fd, struct epoll_event *event))
{
	struct held *held = held_of_kind(fd, HELD_LISTENER);
	int result = real_epoll_ctl(epoll, operation, fd, event);

	if (held) {
		if (result == 0 && !process_is_guest())
			listener_note(held, epoll, operation, fd, event);
		held_put(held);
	}
	return result;
}

static int device_control(struct held *held, int fd, unsigned long request, void *value)
{
	int result;

	if (held->kind == HELD_ACCEPTED && request == FIONREAD) {
		*(int *)value = accepted_readable(held);
		return 0;
	}
	result = real_ioctl(fd, request, value);
	if (held->kind == HELD_LISTENER && (request == FIOCLEX || request == FIONCLEX) && !process_is_guest())
		listener_match_close_on_exec(held);
	return result;
}

HOOK(int, ioctl, (int fd, unsigned long request, ...))
{
	struct held *held = held_at(fd);
	va_list arguments;
	void *value;
	int result;

	va_start(arguments, request);
	value = va_arg(arguments, void *);
	va_end(arguments);
	if (!held)
		return real_ioctl(fd, request, value);
	result = device_control(held, fd, request, value);
	held_put(held);
	return result;
}
