/* SPDX-License-Identifier: MIT */
/* The front doors of the agent. A new one is a file of its own and a line in doors.c. */
#ifndef AGENT_DOORS_H
#define AGENT_DOORS_H

#include "handshake.h"

extern const struct door door_unix;    /* the handoff socket */
extern const struct door door_netlink; /* the kernel's own requests */

extern const struct door *const doors[]; /* NULL-terminated */

#endif
