/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

static int log_level = LOG_INFO;
static int under_systemd;

void log_open(void)
{
	under_systemd = getenv("JOURNAL_STREAM") != NULL;
}

void log_set_level(int level)
{
	log_level = level;
}

/* What peers and callers had a say in is quoted in here: it must not begin a line of its own, or move a terminal's cursor. */
static void make_harmless(char *text, size_t length)
{
	for (; length > 0; text++, length--) {
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
	}
}

static void write_line(int level, const char *format, va_list arguments)
{
	char line[1024];
	size_t length;
	int n;

	if (under_systemd) {
		length = snprintf(line, sizeof(line), "<%d>", level);
	} else {
		struct timespec now;
		struct tm tm;

		clock_gettime(CLOCK_REALTIME, &now);
		gmtime_r(&now.tv_sec, &tm);
		length = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
		length += snprintf(line + length, sizeof(line) - length, ".%03ldZ ", now.tv_nsec / 1000000);
	}
	n = vsnprintf(line + length, sizeof(line) - length - 1, format, arguments);
	if (n < 0)
		return;
	n = (size_t)n < sizeof(line) - length - 1 ? n : (int)(sizeof(line) - length - 2);
	make_harmless(line + length, n);
	length += n;
	line[length++] = '\n';
	/* One write, so that lines of several workers don't mix; a log that can't be written has nowhere to be reported. */
	if (write(STDERR_FILENO, line, length) < 0)
		return;
}

void log_line(int level, const char *format, ...)
{
	va_list arguments;

	if (level > log_level)
		return;
	va_start(arguments, format);
	write_line(level, format, arguments);
	va_end(arguments);
}

void log_fatal(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	write_line(LOG_ERR, format, arguments);
	va_end(arguments);
	exit(EXIT_FAILURE);
}

int log_allows(struct log_limit *limit, int level, unsigned int *left_out)
{
	struct timespec now;
	unsigned int lines;

	*left_out = 0;
	if (level > log_level)
		return 0;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	if (now.tv_sec - limit->window >= LOG_LIMIT_WINDOW) {
		limit->window = now.tv_sec;
		lines = limit->lines;
		limit->lines = 0;
		if (lines > LOG_LIMIT_LINES)
			*left_out = lines - LOG_LIMIT_LINES;
	}
	return limit->lines++ < LOG_LIMIT_LINES;
}
