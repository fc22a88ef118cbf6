/* SPDX-License-Identifier: MIT */
/* What keeps keys in this process: no swap, no core dumps, no debugger of the same user, no privileges beyond need. */
#ifndef AGENT_PROTECT_H
#define AGENT_PROTECT_H

#include <stdbool.h>

#include "settings.h"

/* Becomes the configured user for good. False with a logged reason. */
bool protect_drop_privileges(const struct setting *user);

/* Once the process that needs it has been started (kernel/supervisor.h). Root keeps what it is. */
void protect_drop_net_admin(void);

/* Locks memory, now and to come, and forbids dumps. What can't be had is logged as a warning. */
void protect_memory(void);

#endif
