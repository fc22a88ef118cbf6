/* SPDX-License-Identifier: MIT */
/* A caller's listener: KTLSD_MSG_LISTEN in, an outlet out. */
#ifndef AGENT_LISTENER_LISTEN_H
#define AGENT_LISTENER_LISTEN_H

#include <ktlsd/protocol.h>

#define LISTEN_DESCRIPTORS 2

struct caller;

/* Takes over the message's descriptors; its answer is queued. */
void listen_take(struct caller *caller, const struct ktlsd_msg_header *message, const int *descriptors);

/* Looks at descriptors from outside, without waiting for whatever is behind them. 0 or a positive errno with *why. */
int listen_inspect(int listener, int end, const char **why);

#endif
