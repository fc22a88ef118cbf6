/* SPDX-License-Identifier: MIT */
/* Beginnings and ends of programs. */
#include <alloca.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "family.h"
#include "fitness.h"
#include "inherit.h"
#include "process.h"
#include "real.h"
#include "say.h"
#include "settings.h"

/* ---- the next program in this process, or in a child ---- */

/*
 * The command itself does not become what we are not in: ktls-run would not have started it either. Of what it starts nobody
 * knows whether it is a server.
 */
static bool may_run(struct next_program *next, const char *path)
{
	int error = errno;
	char why[600];

	next->fits = fitness_of(path, settings_library(), why, sizeof(why));
	if (!next->fits && next->here && settings_is_command()) {
		say("%s. It is not run", why);
		errno = EPERM;
		return false;
	}
	if (!next->fits)
		(family_has_listened() ? say_more : say)("%s. It is run: if it listens, then in clear", why);
	errno = error;
	return true;
}

/* On the stack: a child by vfork() shall leave nothing in its parent's memory. */
#define PREPARE(next, told) inherit_prepare(next, alloca(inherit_room(told)), told)

#define EXEC(path, told, call)                                                                                         \
	do {                                                                                                           \
		struct next_program next = {.here = !process_is_guest()};                                              \
		int result;                                                                                            \
                                                                                                                       \
		if (!may_run(&next, path))                                                                             \
			return -1;                                                                                     \
		PREPARE(&next, told);                                                                                  \
		result = call;                                                                                         \
		inherit_undo(&next);                                                                                   \
		return result;                                                                                         \
	} while (0)

int process_exec(const char *path, char *const *argv, char *const *environment)
{
	EXEC(path, environment, real_execve(path, argv, next.environment));
}

/* Where a path begins at a folder's descriptor, or is a descriptor. */
static const char *path_at(char room[static PATH_MAX], int folder, const char *path)
{
	if (*path == '/' || folder == AT_FDCWD)
		return path;
	snprintf(room, PATH_MAX, "/proc/self/fd/%d%s%s", folder, *path ? "/" : "", path);
	return room;
}

int process_exec_at(int folder, const char *path, char *const *argv, char *const *environment, int flags)
{
	char room[PATH_MAX];

	EXEC(path_at(room, folder, path), environment, real_execveat(folder, path, argv, next.environment, flags));
}

HOOK(int, execve, (const char *path, char *const *argv, char *const *environment))
{
	return process_exec(path, argv, environment);
}

HOOK(int, execv, (const char *path, char *const *argv))
{
	return process_exec(path, argv, environ);
}

/* What is not there execvp() finds out. */
HOOK(int, execvpe, (const char *file, char *const *argv, char *const *environment))
{
	char path[PATH_MAX];

	EXEC(fitness_find(file, path) ? path : file, environment, real_execvpe(file, argv, next.environment));
}

HOOK(int, execvp, (const char *file, char *const *argv))
{
	return hook_execvpe(file, argv, environ);
}

HOOK(int, fexecve, (int fd, char *const *argv, char *const *environment))
{
	char room[PATH_MAX];

	EXEC(path_at(room, fd, ""), environment, real_fexecve(fd, argv, next.environment));
}

HOOK(int, execveat, (int folder, const char *path, char *const *argv, char *const *environment, int flags))
{
	return process_exec_at(folder, path, argv, environment, flags);
}

static size_t count_arguments(va_list *arguments)
{
	size_t count = 1;

	while (va_arg(*arguments, char *))
		count++;
	return count;
}

/* The arguments of execl() and its like, first first, as a list. Behind its end there may be an environment. */
#define LIST(first, list, behind)                                                                                      \
	do {                                                                                                           \
		va_list arguments;                                                                                     \
		size_t count;                                                                                          \
                                                                                                                       \
		va_start(arguments, first);                                                                            \
		count = count_arguments(&arguments);                                                                   \
		va_end(arguments);                                                                                     \
		(list) = alloca((count + 1) * sizeof(char *));                                                         \
		(list)[0] = (char *)(first);                                                                           \
		va_start(arguments, first);                                                                            \
		for (size_t i = 1; i <= count; i++)                                                                    \
			(list)[i] = va_arg(arguments, char *);                                                         \
		behind;                                                                                                \
		va_end(arguments);                                                                                     \
	} while (0)

HOOK(int, execl, (const char *path, const char *first, ...))
{
	char **list;

	LIST(first, list, (void)0);
	return process_exec(path, list, environ);
}

HOOK(int, execlp, (const char *file, const char *first, ...))
{
	char **list;

	LIST(first, list, (void)0);
	return hook_execvpe(file, list, environ);
}

HOOK(int, execle, (const char *path, const char *first, ...))
{
	char **list, **environment;

	LIST(first, list, environment = va_arg(arguments, char **));
	return process_exec(path, list, environment);
}

#define SPAWN(path, told, call)                                                                                        \
	do {                                                                                                           \
		struct next_program next = {.spawned = true};                                                          \
		int result;                                                                                            \
                                                                                                                       \
		may_run(&next, path);                                                                                  \
		PREPARE(&next, told);                                                                                  \
		result = call;                                                                                         \
		(result == 0 ? inherit_done : inherit_undo)(&next);                                                    \
		return result;                                                                                         \
	} while (0)

#define SPAWNS(name, names)                                                                                            \
	HOOK(int, name,                                                                                                \
	     (int *id, const char *path, const posix_spawn_file_actions_t *actions,                                    \
	      const posix_spawnattr_t *attributes, char *const *argv, char *const *environment))                       \
	{                                                                                                              \
		SPAWN(path, environment, real_##name(id, path, actions, attributes, argv, next.environment));          \
	}                                                                                                              \
	HOOK(int, names,                                                                                               \
	     (int *id, const char *file, const posix_spawn_file_actions_t *actions,                                    \
	      const posix_spawnattr_t *attributes, char *const *argv, char *const *environment))                       \
	{                                                                                                              \
		char path[PATH_MAX];                                                                                   \
                                                                                                                       \
		SPAWN(fitness_find(file, path) ? path : file, environment,                                             \
		      real_##names(id, file, actions, attributes, argv, next.environment));                            \
	}
/* A pid_t is an int, too. */
SPAWNS(posix_spawn, posix_spawnp)
#if __GLIBC_PREREQ(2, 39) /* programs look whether there is one */
SPAWNS(pidfd_spawn, pidfd_spawnp)
#endif

/* The C library starts the shell by itself. */
HOOK(int, system, (const char *command))
{
	inherit_restore();
	return real_system(command);
}

HOOK(FILE *, popen, (const char *command, const char *mode))
{
	inherit_restore();
	return real_popen(command, mode);
}

HOOK(pid_t, fork, (void))
{
	return process_fork();
}

HOOK(pid_t, __fork, (void))
{
	return process_fork();
}

/* ---- the end ---- */

__attribute__((visibility("default"), noreturn)) void hook__exit(int status) __asm__("_exit");
void hook__exit(int status)
{
	process_end();
	for (;;)
		real_syscall(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

__attribute__((visibility("default"), noreturn)) void hook__Exit(int status) __asm__("_Exit");
void hook__Exit(int status)
{
	hook__exit(status);
}
