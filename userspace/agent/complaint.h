/* SPDX-License-Identifier: MIT */
/* What is wrong with a configuration, as "file:line: what, and what was expected", one a line. */
#ifndef AGENT_COMPLAINT_H
#define AGENT_COMPLAINT_H

#include <stddef.h>

#define COMPLAINTS_MAX 20 /* more don't help */

struct complaints {
	const char *file;
	unsigned int count;
	char text[8192];
	size_t length;
};

/* line 0: about the file as a whole. */
void complain(struct complaints *complaints, unsigned int line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
