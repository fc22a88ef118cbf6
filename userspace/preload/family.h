/* SPDX-License-Identifier: MIT */
/*
 * The command and all that it makes: processes by fork, programs by exec. They share a piece of memory, so that the last of
 * them to end can say what none has done, and so that connections which several have are counted (shared.h).
 */
#ifndef KTLS_RUN_FAMILY_H
#define KTLS_RUN_FAMILY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* At the start of a program: true: with what the one before passed, a descriptor, which is closed. Else, or for -1, a new one. */
bool family_begin(int passed);

/* For that: a descriptor that stays open in the next program; -1: none. close() it if there is no next program. */
int family_pass(void);

/* One process more, before it begins; and one less that never began. */
void family_grows(void);
void family_shrinks(void);

/* At the end of a process. The last one says which ports nobody has listened on. */
void family_leave(void);

/* A program is started that does not know of the family: what it does nobody will know. */
void family_loses_sight(void);

/* Somebody listens there, and has handed the listener over. */
void family_note_port(uint16_t port);
bool family_has_listened(void);

/* Memory for counting connections; NULL: there is none. */
void *family_memory(void);
#define FAMILY_MEMORY (1 << 20)

/* The program wants the number for itself. False: it is not the family's. */
bool family_make_room(int number);

#endif
