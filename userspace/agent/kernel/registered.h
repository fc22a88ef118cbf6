/* SPDX-License-Identifier: MIT */
/* Who takes the kernel's handshake requests in this network namespace. */
#ifndef AGENT_KERNEL_REGISTERED_H
#define AGENT_KERNEL_REGISTERED_H

#include <sys/types.h>

#define REGISTERED_NAME 17 /* as in /proc/PID/comm */

/* A process other than `but` that has joined the multicast group, and its name; 0: there is none that can be seen. */
pid_t registered(unsigned int group, pid_t but, char name[static REGISTERED_NAME]);

#endif
