/* SPDX-License-Identifier: MIT */
/*
 * What processes have to agree on when they have the same connection, by a fork or by exec: who is the last to close it, for
 * only that one may end the stream, and who replaces its keys, for two would set the same ones, and use them twice.
 */
#ifndef KTLS_RUN_SHARED_H
#define KTLS_RUN_SHARED_H

#include <stdbool.h>

struct shared;

/* With one holder, the caller. Never NULL: without memory it is one that is never closed last, and that nobody claims. */
struct shared *shared_new(void);

void shared_hold(struct shared *shared);
bool shared_let_go(struct shared *shared); /* true: that was the last */

/* After shared_let_go(), when it turns out to have been too early. False: the others are gone, and have ended the stream. */
bool shared_hold_again(struct shared *shared);

/* By which another program of the family knows it: SHARED_UNKNOWN: by none. shared_of(): NULL: there is no such. */
#define SHARED_UNKNOWN (-2)
int shared_number(const struct shared *shared);
struct shared *shared_of(int number);

/* The first to ask has it, for good. */
bool shared_claim(struct shared *shared);

#endif
