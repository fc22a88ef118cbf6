/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "say.h"
#include "settings.h"
#include "table.h"

static void say_list(const char *format, va_list arguments)
{
	char line[1024] = "ktls-run: ";
	int error = errno, head = strlen(line), length;

	length = vsnprintf(line + head, sizeof(line) - head - 1, format, arguments);
	if (length > (int)sizeof(line) - head - 2)
		length = sizeof(line) - head - 2;
	line[head + length] = '\n';
	/* A server that closed its standard error may have a connection there. */
	if (length > 0 && !atomic_load(&table[STDERR_FILENO]) && write(STDERR_FILENO, line, head + length + 1) < 0)
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
