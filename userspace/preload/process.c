/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "family.h"
#include "process.h"
#include "table.h"

static pid_t pid;

/* ---- forks ---- */

static _Atomic unsigned int forks;
static _Thread_local unsigned int this_fork; /* of this thread, the last one */

static void share(struct held *held, int fd)
{
	(void)fd;
	accepted_share(held, this_fork);
}

static void before_fork(void)
{
	this_fork = atomic_fetch_add(&forks, 1) + 1;
	family_grows();
	table_each(share);
}

static void in_child(void)
{
	pid = getpid();
	table_after_fork();
	listener_after_fork();
	table_each(accepted_after_fork);
}

static void take_back(struct held *held, int fd)
{
	(void)fd;
	accepted_unshare(held, this_fork);
}

pid_t process_fork(void)
{
	unsigned int before = this_fork;
	pid_t child = fork();
	int error = errno;

	if (child < 0 && this_fork != before) {
		table_each(take_back);
		family_shrinks();
	}
	errno = error;
	return child;
}

void process_begin(void)
{
	pid = getpid();
	pthread_atfork(before_fork, NULL, in_child);
}

bool process_is_guest(void)
{
	return getpid() != pid;
}

/* ---- the end ---- */

static void end(struct held *held, int fd)
{
	(void)fd;
	if (held->kind == HELD_ACCEPTED)
		accepted_end(&held->accepted);
}

void process_end(void)
{
	if (process_is_guest())
		return;
	table_each(end);
	family_leave();
}

static void flush(struct held *held, int fd)
{
	(void)fd;
	if (held->kind == HELD_ACCEPTED)
		accepted_flush(held);
}

void process_exit(void)
{
	if (!process_is_guest())
		table_each(flush);
	process_end();
}
