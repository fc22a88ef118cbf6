/* SPDX-License-Identifier: MIT */
/*
 * The process that answers to the kernel. It registers with the handshake family, takes the kernel's requests and passes them,
 * with their sockets, on to the agent, and tells the kernel how they ended. It keeps every socket until then, so that if the agent
 * dies, whoever waits in the kernel hears of it at once; and it is the only part that needs CAP_NET_ADMIN, the one capability
 * it keeps. It has no private key: it is a new program, not a fork of the agent's memory.
 */
#ifndef AGENT_KERNEL_SUPERVISOR_H
#define AGENT_KERNEL_SUPERVISOR_H

#include <sys/types.h>

#define SUPERVISOR_OPTION "--kernel-requests" /* argv[1] of the process; argv[2] is its socket, the rest are keyrings */
#define SUPERVISOR_NAME "ktlsd-kernel"
#define SUPERVISOR_KEYRINGS_MAX 16

/*
 * Starts it, and waits until it is registered. Returns our end of the socket pair (request.h), or -1 with a logged reason.
 * keyrings: names, NULL-terminated, at most SUPERVISOR_KEYRINGS_MAX: in which keys are looked for.
 */
int supervisor_start(const char *const *keyrings, pid_t *pid);

/* Its main(). */
int supervisor_run(int argc, char **argv);

#endif
