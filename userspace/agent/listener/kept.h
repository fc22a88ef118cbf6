/* SPDX-License-Identifier: MIT */
/*
 * Handed listeners outlive the agent: the service manager keeps their two descriptors, under a name that says all there is to
 * know of them, and passes them to the next agent.
 */
#ifndef AGENT_LISTENER_KEPT_H
#define AGENT_LISTENER_KEPT_H

#include "outlet.h"

/* Has a new outlet kept, or one that ended given up; called again while keep_due: the manager is behind. */
void kept_update(struct outlet *outlet);

/* The next outlet that an earlier agent left, of those whose turn it is on the worker; NULL: no more. For each worker once. */
struct outlet *kept_next(const struct worker *worker);

/* Pairs up what was passed to us. As long as nothing else runs. */
void kept_open(void);

#endif
