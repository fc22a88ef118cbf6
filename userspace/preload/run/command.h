/* SPDX-License-Identifier: MIT */
/* Whether a preload library will get into a command. */
#ifndef KTLS_RUN_COMMAND_H
#define KTLS_RUN_COMMAND_H

#include <stddef.h>

/* Finds the file as execvp() would. NULL with errno; free() it. */
char *command_find(const char *name);

enum command_fitness {
	COMMAND_FITS,
	COMMAND_UNFIT, /* it would run without, and serve in clear */
};

enum command_fitness command_judge(const char *path, char *why, size_t why_size);

#endif
