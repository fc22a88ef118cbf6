/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>

#include "say.h"
#include "settings.h"
#include "table.h"

static struct stat at_first;
static _Atomic bool replaced; /* by the program, on purpose */

void say_begin(void)
{
	if (fstat(STDERR_FILENO, &at_first) < 0)
		at_first = (struct stat){0};
}

void say_elsewhere(void)
{
	atomic_store(&replaced, true);
}

/*
 * A server that closed its standard error may have anything there: a connection, or a file of its data. What it was at first,
 * or has become by dup2(), or is only appended to, is a log.
 */
static bool is_for_people(void)
{
	struct stat now;
	int flags;

	if (atomic_load(&table[STDERR_FILENO]) || fstat(STDERR_FILENO, &now) < 0)
		return false;
	if (atomic_load(&replaced) || (now.st_dev == at_first.st_dev && now.st_ino == at_first.st_ino))
		return true;
	flags = fcntl(STDERR_FILENO, F_GETFL);
	return flags >= 0 && (flags & O_APPEND || S_ISCHR(now.st_mode));
}

static void say_list(const char *format, va_list arguments)
{
	char line[1024] = "ktls-run: ";
	int error = errno, head = strlen(line), length;

	length = vsnprintf(line + head, sizeof(line) - head - 1, format, arguments);
	if (length > (int)sizeof(line) - head - 2)
		length = sizeof(line) - head - 2;
	line[head + length] = '\n';
	if (length > 0 && is_for_people() && write(STDERR_FILENO, line, head + length + 1) < 0)
		errno = error;
	errno = error;
}

void say(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	say_list(format, arguments);
	va_end(arguments);
}

void say_more(const char *format, ...)
{
	va_list arguments;

	if (!settings_verbose())
		return;
	va_start(arguments, format);
	say_list(format, arguments);
	va_end(arguments);
}
