/* SPDX-License-Identifier: MIT */
/* Whether a preload library gets into a program: one without it serves in clear. No memory is allocated. */
#ifndef KTLS_RUN_FITNESS_H
#define KTLS_RUN_FITNESS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

/* Finds the file as execvp() would. False: there is none. */
bool fitness_find(const char *name, char path[static PATH_MAX]);

/*
 * False: why says what it is, and what would help. True, too, where there is no looking into the file. library: what is to be
 * preloaded; NULL: it is there.
 */
bool fitness_of(const char *path, const char *library, char *why, size_t why_size);

#endif
