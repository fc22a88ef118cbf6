/* SPDX-License-Identifier: MIT */
/*
 * A file or folder that a service was built from, and what it looked like before it was read. What a folder looks like is
 * what the files in it look like.
 */
#ifndef AGENT_SOURCE_H
#define AGENT_SOURCE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <time.h>

struct look {
	uint64_t device, inode, size;
	struct timespec modified, changed;
	uint64_t entries; /* of a folder: a digest of what they look like */
};

struct source {
	char *path;
	struct look look;
	int error;	 /* why there is nothing to look at; 0: there is */
	bool error_told; /* in the log */
	bool folder;
	TAILQ_ENTRY(source) next;
};

TAILQ_HEAD(source_list, source);

struct watched { /* what something was built from, and what became of that since; the main thread's alone */
	struct source_list sources;
	int64_t changed;  /* when they were last seen to change, clock_ms(); 0: they were not */
	int64_t restless; /* when that began; 0: it did not */
	bool outdated;	  /* they changed so that it is to be built anew */
	char *fault;	  /* why that was not possible, the first reason; NULL: no fault */
};

/* To be called before the file is read: a change in between is then seen as one. */
void source_add(struct source_list *sources, const char *path);
void watched_clear(struct watched *watched);

/* A number that differs when the look differs; 0: there is nothing to look at. */
uint64_t source_stamp(const char *path);

enum source_news { SOURCE_SAME, SOURCE_CHANGED, SOURCE_GONE };

/* Looks again; what is seen counts as known from then on. */
enum source_news source_look(struct source *source);

#endif
