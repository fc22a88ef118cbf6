/* SPDX-License-Identifier: MIT */
/*
 * What processes have to agree on when a fork gave them the same connection: who is the last to close it, for only that one
 * may end the stream, and who replaces its keys, for two would set the same ones, and use them twice.
 */
#ifndef KTLS_RUN_SHARED_H
#define KTLS_RUN_SHARED_H

#include <stdbool.h>

struct shared;

/* With one holder, the caller. Never NULL: without memory it is one that is never closed last, and that nobody claims. */
struct shared *shared_new(void);

void shared_hold(struct shared *shared);
bool shared_let_go(struct shared *shared); /* true: that was the last */

/* The first to ask has it, for good. */
bool shared_claim(struct shared *shared);

#endif
