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

#include "inherit.h"
#include "process.h"
#include "real.h"

/* ---- the next program in this process, or in a child ---- */

/* On the stack: a child by vfork() shall leave nothing in its parent's memory. */
#define PREPARE(next, environment, here) inherit_prepare(next, alloca(inherit_room(environment)), environment, here)

#define EXEC(told, call)                                                                                               \
	do {                                                                                                           \
		struct next_program next;                                                                              \
		int result;                                                                                            \
                                                                                                                       \
		PREPARE(&next, told, !process_is_guest());                                                             \
		result = call;                                                                                         \
		inherit_undo(&next);                                                                                   \
		return result;                                                                                         \
	} while (0)

HOOK(int, execve, (const char *path, char *const *argv, char *const *environment))
{
	EXEC(environment, real_execve(path, argv, next.environment));
}

HOOK(int, execv, (const char *path, char *const *argv))
{
	return hook_execve(path, argv, environ);
}

HOOK(int, execvpe, (const char *file, char *const *argv, char *const *environment))
{
	EXEC(environment, real_execvpe(file, argv, next.environment));
}

HOOK(int, execvp, (const char *file, char *const *argv))
{
	return hook_execvpe(file, argv, environ);
}

HOOK(int, fexecve, (int fd, char *const *argv, char *const *environment))
{
	EXEC(environment, real_fexecve(fd, argv, next.environment));
}

HOOK(int, execveat, (int folder, const char *path, char *const *argv, char *const *environment, int flags))
{
	EXEC(environment, real_execveat(folder, path, argv, next.environment, flags));
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
	return hook_execve(path, list, environ);
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
	return hook_execve(path, list, environment);
}

#define SPAWN(told, call)                                                                                              \
	do {                                                                                                           \
		struct next_program next;                                                                              \
		int result;                                                                                            \
                                                                                                                       \
		PREPARE(&next, told, false);                                                                           \
		result = call;                                                                                         \
		(result == 0 ? inherit_done : inherit_undo)(&next);                                                    \
		return result;                                                                                         \
	} while (0)

HOOK(int, posix_spawn,
     (pid_t * pid, const char *path, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
      char *const *argv, char *const *environment))
{
	SPAWN(environment, real_posix_spawn(pid, path, actions, attributes, argv, next.environment));
}

HOOK(int, posix_spawnp,
     (pid_t * pid, const char *file, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes,
      char *const *argv, char *const *environment))
{
	SPAWN(environment, real_posix_spawnp(pid, file, actions, attributes, argv, next.environment));
}

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
