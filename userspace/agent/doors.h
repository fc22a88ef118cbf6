/* SPDX-License-Identifier: MIT */
/* The front doors of the agent. A new one is a file of its own and a line in doors.c. */
#ifndef AGENT_DOORS_H
#define AGENT_DOORS_H

#include <stdatomic.h>

#include "handshake.h"

struct outlet;

extern const struct door door_unix;	/* the handoff socket */
extern const struct door door_netlink;	/* the kernel's own requests */
extern const struct door door_listener; /* listening sockets */

extern const struct door *const doors[]; /* NULL-terminated */

/* A door has ended by itself: the agent stops as after SIGTERM, and not with success. */
extern _Atomic bool door_lost;

/* The process that takes the kernel's requests, and how many are under way; 0: no service is for them. Any thread. */
pid_t door_netlink_supervisor(unsigned int *open);

/* Finds a home for an outlet that came to this worker, and begins it there. */
void door_listener_add(struct outlet *outlet, struct worker *here);

#endif
