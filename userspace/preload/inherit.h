/* SPDX-License-Identifier: MIT */
/*
 * What outlives exec(): descriptors that are not close-on-exec. The next program, which may be the same server's newer
 * version with an environment of its own, is told what they are, and preloads us, too.
 */
#ifndef KTLS_RUN_INHERIT_H
#define KTLS_RUN_INHERIT_H

#include <stddef.h>

/*
 * How much memory inherit_environment() needs; it returns the environment for the next program. Settings that a server has
 * removed are put back: a program without them would serve in clear.
 */
size_t inherit_room(char *const *environment);
char *const *inherit_environment(void *memory, char *const *environment);

/* Puts them back in our own, before the C library starts a program by itself. */
void inherit_restore(void);

/* At the start of a program. */
void inherit_begin(void);

#endif
