/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <unistd.h>

#include "family.h"
#include "process.h"
#include "table.h"

static pid_t pid;

static void before_fork(void)
{
	family_grows();
	table_each(accepted_share);
}

static void in_child(void)
{
	pid = getpid();
	table_after_fork();
	listener_after_fork();
	table_each(accepted_after_fork);
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
