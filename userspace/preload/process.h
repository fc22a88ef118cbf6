/* SPDX-License-Identifier: MIT */
#ifndef KTLS_RUN_PROCESS_H
#define KTLS_RUN_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

/* At the start of a program: forks are followed from here on. */
void process_begin(void);

/*
 * A child by vfork() has its parent's memory: what it does with descriptors concerns its own alone, and must not be noted.
 */
bool process_is_guest(void);

/* fork(). */
pid_t process_fork(void);

/*
 * Before the process ends: every connection that nobody else has gets its close_notify. process_exit(): as exit() does it,
 * with what the C library's streams still hold before that.
 */
void process_end(void);
void process_exit(void);

/* execve() and execveat() as the program may call them. */
int process_exec(const char *path, char *const *argv, char *const *environment);
int process_exec_at(int folder, const char *path, char *const *argv, char *const *environment, int flags);

#endif
