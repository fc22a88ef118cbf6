/* SPDX-License-Identifier: MIT */
/*
 * Another open file under the same number: poll() and select() go by numbers, but epoll remembers files, and has to be told.
 */
#ifndef KTLS_RUN_REGISTRATIONS_H
#define KTLS_RUN_REGISTRATIONS_H

/*
 * Has number stand for what fd is, where number is open: with its close-on-exec and O_NONBLOCK, and its registrations with
 * epoll, which the kernel tells in /proc. fd is closed. 0 or -errno, and nothing has changed.
 */
int replace_descriptor(int number, int fd);

/* What kind of descriptors the process has: "[io_uring]"; how many links in /proc/self/fd end so. 0, too, without /proc. */
int count_descriptors(const char *kind);

#endif
