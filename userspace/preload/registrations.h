/* SPDX-License-Identifier: MIT */
/*
 * Another open file under the same number: poll() and select() go by numbers, but epoll remembers files, and has to be told.
 */
#ifndef KTLS_RUN_REGISTRATIONS_H
#define KTLS_RUN_REGISTRATIONS_H

#include <sys/epoll.h>

struct registration {
	int epoll, number;
	struct epoll_event event;
};

/* Of a listener's numbers. Where there is /proc, the kernel tells them; where there is none (chroot), we know what we saw. */
struct registrations {
	struct registration *list; /* registrations_free() */
	int count, room;
};

/* epoll_ctl() has gone well. */
void registrations_note(struct registrations *registrations, int epoll, int operation, int number,
			const struct epoll_event *event);
void registrations_free(struct registrations *registrations);

/*
 * Has number stand for what fd is, where number is open: with its close-on-exec and O_NONBLOCK, and its registrations with
 * epoll. fd is closed. 0 or -errno, and nothing has changed.
 */
int replace_descriptor(int number, int fd, struct registrations *registrations);

/* What kind of descriptors the process has: "[io_uring]"; how many links in /proc/self/fd end so. 0, too, without /proc. */
int count_descriptors(const char *kind);

#endif
