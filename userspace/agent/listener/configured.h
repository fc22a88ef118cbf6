/* SPDX-License-Identifier: MIT */
/*
 * Outlets that the configuration asks for: addresses on which the agent listens by itself, or listening sockets that the service
 * manager passes to it under a service's name, and a UNIX socket where backends come for what is ready.
 */
#ifndef AGENT_LISTENER_CONFIGURED_H
#define AGENT_LISTENER_CONFIGURED_H

#include "outlet.h"

/* As root still. False with a logged reason. */
bool configured_open(const struct settings *settings);

/* The next one whose turn it is on the worker; NULL: no more. For each worker once. */
struct outlet *configured_next(const struct worker *worker);

/* Removes the UNIX sockets. */
void configured_close(void);

#endif
