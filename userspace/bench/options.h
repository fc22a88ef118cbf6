/* SPDX-License-Identifier: MIT */
/* The command line. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <stdio.h>

#include "bench.h"

/* Bits of the modes that an option is for. */
enum mode_bit {
	MODE_HANDSHAKE = 1,
	MODE_STREAM = 2,
	MODE_RR = 4,
	MODE_IDLE = 8,
	MODE_SLOW = 16,
	MODE_FLOOR = 32,
};

/* Ends the program, with status 2 and a message, if the arguments do not fit the mode or each other. */
void options_read(struct settings *settings, unsigned int mode, char **arguments);

/* A table of them. */
void options_print(FILE *stream);

void misused(const char *what, const char *detail) __attribute__((noreturn));

#endif
