/* SPDX-License-Identifier: MIT */
/* Who is at the other end of a UNIX socket: whose rights count, and whose limits. */
#ifndef AGENT_OWNER_H
#define AGENT_OWNER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct service;
struct user;

struct owner {
	pid_t pid;
	uid_t user;
	gid_t group;
	gid_t *groups; /* supplementary ones; the caller's to free */
	size_t group_count;
	struct user *usage;
};

/* False if there is no memory for the groups: the rest is there all the same. */
bool owner_of(struct owner *owner, int fd);

bool owner_copy(struct owner *copy, const struct owner *owner); /* false: no memory */

bool owner_may_use(const struct owner *owner, const struct service *service);

#endif
