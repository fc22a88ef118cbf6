/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdio.h>

#include "complaint.h"

static void append(struct complaints *complaints, const char *format, va_list arguments)
{
	size_t room = sizeof(complaints->text) - complaints->length;
	int written = vsnprintf(complaints->text + complaints->length, room, format, arguments);

	if (written < 0)
		return;
	complaints->length += (size_t)written < room ? (size_t)written : room - 1;
}

static void appendf(struct complaints *complaints, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	append(complaints, format, arguments);
	va_end(arguments);
}

void complain(struct complaints *complaints, unsigned int line, const char *format, ...)
{
	va_list arguments;

	if (complaints->count++ >= COMPLAINTS_MAX)
		return;
	if (line)
		appendf(complaints, "%s:%u: ", complaints->file, line);
	else
		appendf(complaints, "%s: ", complaints->file);
	va_start(arguments, format);
	append(complaints, format, arguments);
	va_end(arguments);
	appendf(complaints, "\n");
}
