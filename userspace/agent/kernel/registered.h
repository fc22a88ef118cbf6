/* SPDX-License-Identifier: MIT */
/* Who takes the kernel's handshake requests in this network namespace. */
#ifndef AGENT_KERNEL_REGISTERED_H
#define AGENT_KERNEL_REGISTERED_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct registered {
	pid_t pid;
	char name[17]; /* as in /proc/PID/comm; "?": not to be seen from here */
	bool agent;    /* one of those known, and it may take requests: everybody may listen to the group */
};

/*
 * A socket that has joined the multicast group, but not the one with netlink's port number `own`; an agent's before others'.
 * False: there is none that can be seen.
 */
bool registered(unsigned int group, uint32_t own, struct registered *found);

#endif
