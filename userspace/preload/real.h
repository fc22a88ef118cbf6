/* SPDX-License-Identifier: MIT */
/*
 * The C library's own functions. Outside of hooks_*.c their usual names mean these, too: the library is linked with
 * --wrap (Makefile), so that neither this code nor libktlsd's comes back into a hook.
 */
#ifndef KTLS_RUN_REAL_H
#define KTLS_RUN_REAL_H

#include <spawn.h>
#include <stdio.h>
#include <time.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

/* What the header calls restrict and so on does not matter here: type, name, parameters, arguments. */
#define REAL_FUNCTIONS(X)                                                                                              \
	X(int, socket, (int domain, int type, int protocol), (domain, type, protocol))                                 \
	X(int, listen, (int fd, int backlog), (fd, backlog))                                                           \
	X(int, bind, (int fd, const struct sockaddr *address, socklen_t length), (fd, address, length))                \
	X(int, accept, (int fd, struct sockaddr *address, socklen_t *length), (fd, address, length))                   \
	X(int, accept4, (int fd, struct sockaddr *address, socklen_t *length, int flags),                              \
	  (fd, address, length, flags))                                                                                \
	X(int, getsockname, (int fd, struct sockaddr *address, socklen_t *length), (fd, address, length))              \
	X(int, getpeername, (int fd, struct sockaddr *address, socklen_t *length), (fd, address, length))              \
	X(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *length),                              \
	  (fd, level, name, value, length))                                                                            \
	X(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t length),                         \
	  (fd, level, name, value, length))                                                                            \
	X(int, shutdown, (int fd, int how), (fd, how))                                                                 \
	X(int, close, (int fd), (fd))                                                                                  \
	X(int, close_range, (unsigned int first, unsigned int last, int flags), (first, last, flags))                  \
	X(FILE *, fdopen, (int fd, const char *mode), (fd, mode))                                                      \
	X(int, fclose, (FILE * file), (file))                                                                          \
	X(int, dup, (int fd), (fd))                                                                                    \
	X(int, dup2, (int fd, int to), (fd, to))                                                                       \
	X(int, dup3, (int fd, int to, int flags), (fd, to, flags))                                                     \
	X(int, fcntl, (int fd, int command, unsigned long value), (fd, command, value))                                \
	X(int, epoll_ctl, (int epoll, int operation, int fd, struct epoll_event *event),                               \
	  (epoll, operation, fd, event))                                                                               \
	X(int, ioctl, (int fd, unsigned long request, void *value), (fd, request, value))                              \
	X(ssize_t, read, (int fd, void *data, size_t size), (fd, data, size))                                          \
	X(ssize_t, __read_chk, (int fd, void *data, size_t size, size_t room), (fd, data, size, room))                 \
	X(ssize_t, readv, (int fd, const struct iovec *parts, int count), (fd, parts, count))                          \
	X(ssize_t, recv, (int fd, void *data, size_t size, int flags), (fd, data, size, flags))                        \
	X(ssize_t, __recv_chk, (int fd, void *data, size_t size, size_t room, int flags),                              \
	  (fd, data, size, room, flags))                                                                               \
	X(ssize_t, recvfrom,                                                                                           \
	  (int fd, void *data, size_t size, int flags, struct sockaddr *address, socklen_t *length),                   \
	  (fd, data, size, flags, address, length))                                                                    \
	X(ssize_t, __recvfrom_chk,                                                                                     \
	  (int fd, void *data, size_t size, size_t room, int flags, struct sockaddr *address, socklen_t *length),      \
	  (fd, data, size, room, flags, address, length))                                                              \
	X(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags))                         \
	X(int, recvmmsg, (int fd, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *timeout),  \
	  (fd, messages, count, flags, timeout))                                                                       \
	X(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))                                   \
	X(ssize_t, writev, (int fd, const struct iovec *parts, int count), (fd, parts, count))                         \
	X(ssize_t, send, (int fd, const void *data, size_t size, int flags), (fd, data, size, flags))                  \
	X(ssize_t, sendto,                                                                                             \
	  (int fd, const void *data, size_t size, int flags, const struct sockaddr *address, socklen_t length),        \
	  (fd, data, size, flags, address, length))                                                                    \
	X(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags))                   \
	X(int, sendmmsg, (int fd, struct mmsghdr *messages, unsigned int count, int flags),                            \
	  (fd, messages, count, flags))                                                                                \
	X(ssize_t, sendfile, (int fd, int file, off_t *offset, size_t size), (fd, file, offset, size))                 \
	X(ssize_t, splice, (int from, off_t *from_offset, int to, off_t *to_offset, size_t size, unsigned int flags),  \
	  (from, from_offset, to, to_offset, size, flags))                                                             \
	X(int, execve, (const char *path, char *const *argv, char *const *environment), (path, argv, environment))     \
	X(int, execvpe, (const char *file, char *const *argv, char *const *environment), (file, argv, environment))    \
	X(int, fexecve, (int fd, char *const *argv, char *const *environment), (fd, argv, environment))                \
	X(int, execveat, (int folder, const char *path, char *const *argv, char *const *environment, int flags),       \
	  (folder, path, argv, environment, flags))                                                                    \
	X(int, posix_spawn,                                                                                            \
	  (pid_t * pid, const char *path, const posix_spawn_file_actions_t *actions,                                   \
	   const posix_spawnattr_t *attributes, char *const *argv, char *const *environment),                          \
	  (pid, path, actions, attributes, argv, environment))                                                         \
	X(int, posix_spawnp,                                                                                           \
	  (pid_t * pid, const char *file, const posix_spawn_file_actions_t *actions,                                   \
	   const posix_spawnattr_t *attributes, char *const *argv, char *const *environment),                          \
	  (pid, file, actions, attributes, argv, environment))                                                         \
	X(int, pidfd_spawn,                                                                                            \
	  (int *pidfd, const char *path, const posix_spawn_file_actions_t *actions,                                    \
	   const posix_spawnattr_t *attributes, char *const *argv, char *const *environment),                          \
	  (pidfd, path, actions, attributes, argv, environment))                                                       \
	X(int, pidfd_spawnp,                                                                                           \
	  (int *pidfd, const char *file, const posix_spawn_file_actions_t *actions,                                    \
	   const posix_spawnattr_t *attributes, char *const *argv, char *const *environment),                          \
	  (pidfd, file, actions, attributes, argv, environment))                                                       \
	X(int, posix_spawn_file_actions_adddup2, (posix_spawn_file_actions_t * actions, int fd, int to),               \
	  (actions, fd, to))                                                                                           \
	X(pid_t, fork, (void), ())                                                                                     \
	X(int, system, (const char *command), (command))                                                               \
	X(FILE *, popen, (const char *command, const char *mode), (command, mode))                                     \
	X(long, syscall, (long number, long a, long b, long c, long d, long e, long f), (number, a, b, c, d, e, f))

#define REAL_DECLARE(type, name, parameters, arguments) type real_##name parameters __asm__("__wrap_" #name);
REAL_FUNCTIONS(REAL_DECLARE)
#undef REAL_DECLARE

/* Finds them all; they do by themselves what is called before. */
void real_find(void);

/* A function that stands before the C library's, of the same name. */
#define HOOK(type, name, parameters)                                                                                   \
	__attribute__((visibility("default"))) type hook_##name parameters __asm__(#name);                             \
	type hook_##name parameters

#endif
