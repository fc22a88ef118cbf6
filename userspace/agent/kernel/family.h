/* SPDX-License-Identifier: MIT */
/*
 * The kernel's handshake family (net/handshake, from Linux 6.4), for the class of handlers that tlshd began. Whoever joins its
 * multicast group is told that requests wait, and takes them one by one. Accepting takes CAP_NET_ADMIN; reporting the end is
 * for a process that has the socket open.
 */
#ifndef AGENT_KERNEL_FAMILY_H
#define AGENT_KERNEL_FAMILY_H

#include <sys/types.h>

#include "request.h"

struct nl_sock;
struct nlmsghdr;

struct family {
	struct nl_sock *notifications, *requests;
	int id, group;
	bool unsure; /* whether a reply to an earlier request may still come */
};

/* False with a logged reason. */
bool family_open(struct family *family);
void family_close(struct family *family);

/* From here on requests come. */
bool family_join(struct family *family);

/* Netlink's port number of the socket that has joined. */
uint32_t family_port(const struct family *family);

/* Polls readable when requests wait; family_settle() makes that end until the next comes. */
int family_descriptor(const struct family *family);
void family_settle(struct family *family);

/* Whether we may take requests: CAP_NET_ADMIN counts in the initial user namespace alone. */
bool family_may_accept(struct family *family);

/*
 * The next request, and its socket (-1: none). 0; -EAGAIN: none waits; or another negative errno: -EBADMSG, whose socket waits for an
 * answer, or one that the kernel has answered itself.
 */
int family_accept(struct family *family, struct kernel_request *request, int *fd);

/* What a reply says: 0, or -EBADMSG. *fd: -1 if it has none. */
int family_read(const struct nlmsghdr *message, struct kernel_request *request, int *fd);

/* How it ended; the socket stays ours to close. peer_id: 0 or a key's serial number. -EBUSY: nobody waits for it any more. */
int family_done(struct family *family, int fd, uint32_t error, int32_t peer_id);

#endif
