/* SPDX-License-Identifier: MIT */
/*
 * From a caller's message to a handshake: whether it may have it, and what becomes of a handoff, and of a descriptor, that
 * is not taken.
 */
#ifndef AGENT_INTAKE_H
#define AGENT_INTAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "caller.h"

/* Zeroed memory that a completion may begin; ends the process if there is none. */
void *intake_zeroed(size_t size);

/* What begins with a handshake, zeroed but for the memory of its output. used: NULL: a new one. */
void *intake_renewed(void *used, size_t size);

struct handoff *intake_new(struct caller *caller, uint64_t cookie);
void intake_free(struct handoff *handoff);

/* A KTLSD_MSG_HANDOFF with its descriptor: begins the handshake, or queues the answer that says why not. */
void intake_take(struct caller *caller, const struct ktlsd_msg_header *message, int fd);

/*
 * Whether this caller may use a service of this name in this role now. 0, with *service, which the worker's configuration
 * holds; else a positive errno with *why. No descriptor is looked at: who holds a socket's lock keeps whoever looks at it waiting.
 */
int intake_authorize(const struct caller *caller, const char *name, unsigned int role, const struct service **service,
		     const char **why);

/* Queues the answer as it is. */
void intake_answer(struct handoff *handoff);

/* Queues a refusal. error: a positive errno. */
void intake_refuse(struct handoff *handoff, int error, const char *why);

/* Closes a descriptor that was not taken, whatever it is, without waiting. */
void intake_dispose(struct caller *caller, int fd);

/* Gives up the caller's open handshakes: all of them, or those with the cookie. */
void intake_cancel(struct caller *caller, bool all, uint64_t cookie);

#endif
