/* SPDX-License-Identifier: MIT */
/*
 * What outlives exec(): descriptors that are not close-on-exec. The next program, which may be the same server's newer
 * version with an environment of its own, is told what they are, and preloads us, too.
 */
#ifndef KTLS_RUN_INHERIT_H
#define KTLS_RUN_INHERIT_H

#include <stdbool.h>
#include <stddef.h>

/* What one exec passes on. */
struct next_program {
	char *const *environment;
	char *list;   /* points into it */
	int family;   /* a descriptor; -1: none */
	bool here;    /* in this process, else in another */
	bool spawned; /* the C library makes that, and there sees to descriptors */
	bool fits;    /* we are preloaded into it */
};

/*
 * Before exec, with memory of inherit_room() bytes: what the next program is told. Settings that a server has removed are put
 * back: a program without them would serve in clear. here and fits are set. here: it takes this process's place.
 */
size_t inherit_room(char *const *environment);
void inherit_prepare(struct next_program *next, void *memory, char *const *environment);

/* There is no next program; errno stays. Or there is one, in another process. */
void inherit_undo(const struct next_program *next);
void inherit_done(const struct next_program *next);

/* Puts them back in our own, before the C library starts a program by itself. */
void inherit_restore(void);

/* At the start of a program. */
void inherit_begin(void);

#endif
