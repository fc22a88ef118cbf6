/* SPDX-License-Identifier: MIT */
/*
 * Renewed files: what services were built from is watched, and when it has changed and settled, the services concerned are
 * built anew from their settings (ktlsd.conf is not read again). One that can't be built stays what it was.
 */
#ifndef AGENT_REFRESH_H
#define AGENT_REFRESH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "config.h"

struct refresh {
	int descriptor;		    /* to poll for; -1: none */
	int64_t look_due, warn_due; /* clock_ms() */

	time_t done;	 /* the last one; 0: none yet */
	size_t services; /* that were built anew by it */
	unsigned int took_ms;
	time_t failed; /* the last one; 0: none yet */
	char *why;
};

void refresh_open(struct refresh *refresh);

/* A configuration was loaded: its files are the ones that count from now on. */
void refresh_follow(struct refresh *refresh);

/* How long the main thread may sleep, milliseconds. */
int refresh_patience(const struct refresh *refresh);

/* Does what is due; heard: the descriptor is readable. The configuration to go on with, or NULL: as it is. */
struct config *refresh_turn(struct refresh *refresh, const struct config *config, bool heard);

#endif
