/* SPDX-License-Identifier: MIT */
/* The files of a directory. Those that were asked for lately are kept open, small ones in memory, and looked at once a second. */
#ifndef EXAMPLE_FILES_H
#define EXAMPLE_FILES_H

#include <sys/types.h>

#define SMALL_FILE 16000 /* goes out with its header, in one record */

struct file {
	unsigned int holders;
	unsigned int looked_s; /* when */
	char *path;
	int fd;
	off_t size;
	char *content; /* of a small one; else NULL */
};

/* path: relative, without a slash in front. NULL: there is no such file, or none that may be read. */
struct file *file_get(int directory, const char *path, unsigned int now_s);
void file_put(struct file *file); /* NULL is fine */

#endif
