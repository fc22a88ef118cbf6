/* SPDX-License-Identifier: MIT */
/*
 * Hears (inotify) when something changes on the way to a file: the file itself, a symbolic link that leads to it, a folder
 * that is swapped for another. It says that there is something to look at, not what. Folders that can't be watched are
 * named in the log; for them, and for network file systems, files have to be looked at now and then in any case.
 */
#ifndef AGENT_WATCH_H
#define AGENT_WATCH_H

#include <stdbool.h>

/* A descriptor that polls readable; -1, with a line in the log: nothing will be heard. */
int watch_open(void);

/* All paths anew: between begin and end, each of them. in_it: of a folder, what is in it matters, too. */
void watch_begin(void);
void watch_path(const char *path, bool in_it);
void watch_end(void);

/* Reads what the descriptor has; whether anything of it is on the way to a file. */
bool watch_heard(void);

#endif
