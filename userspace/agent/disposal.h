/* SPDX-License-Identifier: MIT */
/*
 * Closing descriptors that others have, or had, in their hands. That may hang: a file of a FUSE server that does not answer, a
 * socket that lingers. Then threads of the kernel close it, and it counts for its user until close() has returned.
 */
#ifndef AGENT_DISPOSAL_H
#define AGENT_DISPOSAL_H

#include <stdbool.h>

#include "admission.h"
#include "worker.h"

#define USER_HANGING_MAX 128 /* callers of a user who has more are thrown out, and no others come in ... */
#define USER_HANGING_MS 100  /* ... once it is so for longer than it takes when many leave in one moment */

/*
 * at_once: closing it waits for nobody (admission_closes_at_once). That is never so for a UNIX socket that others send to: the
 * descriptors in datagrams that nobody received are closed with it.
 */
void dispose(struct worker *worker, struct user *user, int fd, bool at_once);

/* Closes a connection that we have accepted and nobody else has: whatever it inherited, it does not linger. */
void dispose_accepted(struct worker *worker, int fd);

/* NULL, or what speaks against somebody new of this user. */
const char *disposal_refuses(const struct worker *worker, const struct user *user);

#endif
