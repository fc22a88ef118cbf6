/* SPDX-License-Identifier: MIT */
/* What the running kernel's io_uring does, found out by doing it. The agent and ktlsctl doctor share it. */
#ifndef AGENT_TRIAL_H
#define AGENT_TRIAL_H

#include <stdbool.h>

/*
 * Whether a ring sets socket options behind other members of a chain, tried out. Before Linux 6.14 a command that waits in
 * a chain is read from its place in the submission queue when its turn comes, whatever stands there by then: another
 * connection's keys, perhaps (io_uring/uring_cmd.c, io_uring_cmd_prep).
 */
bool trial_linked_commands(void);

#endif
