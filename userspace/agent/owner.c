/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "admission.h"
#include "owner.h"
#include "service.h"

bool owner_may_use(const struct owner *owner, const struct service *service)
{
	return service_allows(service, owner->user, owner->group, owner->groups, owner->group_count);
}

bool owner_of(struct owner *owner, int fd)
{
	struct ucred credentials = {.pid = 0, .uid = -1, .gid = -1};
	socklen_t length = sizeof(credentials);

	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length);
	*owner = (struct owner){.pid = credentials.pid,
				.user = credentials.uid,
				.group = credentials.gid,
				.usage = admission_user(credentials.uid)};
	length = 0; /* asks how much it takes */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &length) == 0 || errno != ERANGE)
		return true;
	owner->groups = malloc(length);
	if (!owner->groups || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, owner->groups, &length) != 0)
		return false;
	owner->group_count = length / sizeof(*owner->groups);
	return true;
}

bool owner_copy(struct owner *copy, const struct owner *owner)
{
	size_t bytes = owner->group_count * sizeof(*owner->groups);

	*copy = *owner;
	copy->groups = bytes > 0 ? malloc(bytes) : NULL;
	if (bytes == 0)
		return true;
	if (copy->groups)
		memcpy(copy->groups, owner->groups, bytes);
	return copy->groups;
}
