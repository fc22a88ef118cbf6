/* SPDX-License-Identifier: MIT */
#ifndef AGENT_UNIX_SOCKET_H
#define AGENT_UNIX_SOCKET_H

#include <sys/types.h>

/* A listening AF_UNIX socket at path, in place of what is there. group: (gid_t)-1 leaves it alone. -1 with a logged reason. */
int unix_socket_listen(const char *path, int type, mode_t mode, gid_t group);

/* The same, unless another agent answers there: not for a ready_socket, whose agent takes whoever connects for a backend. */
int unix_socket_claim(const char *path, int type, mode_t mode, gid_t group);

#endif
