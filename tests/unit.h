/* SPDX-License-Identifier: MIT */
/* KTAP for tests that are lists of checks. */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned int checked, failed;

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

__attribute__((format(printf, 2, 3))) static inline bool check(bool good, const char *format, ...)
{
	va_list arguments;

	failed += !good;
	printf("%s %u ", good ? "ok" : "not ok", ++checked);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
	fflush(stdout);
	return good;
}

static inline bool check_bytes(const void *got, const void *wanted, size_t length, const char *what)
{
	bool good = check(memcmp(got, wanted, length) == 0, "%s", what);

	for (size_t i = 0; i < length && !good; i++)
		printf("%s%02x/%02x%s", i % 16 ? " " : "# got/wanted ", ((const uint8_t *)got)[i],
		       ((const uint8_t *)wanted)[i], i % 16 == 15 || i == length - 1 ? "\n" : "");
	return good;
}

static inline bool check_text(const char *got, const char *wanted, const char *what)
{
	bool good = check(strcmp(got, wanted) == 0, "%s", what);

	if (!good)
		printf("# got:    %s\n# wanted: %s\n", got, wanted);
	return good;
}

/* What can't go wrong in a test, or everything else is void. */
#define must(condition)                                                                                                \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			printf("Bail out! %s:%d: %s\n", __FILE__, __LINE__, #condition);                               \
			exit(1);                                                                                       \
		}                                                                                                      \
	} while (0)

static inline void remove_folder(const char *path)
{
	char command[128];

	must(snprintf(command, sizeof(command), "rm -r %s", path) < (int)sizeof(command) && system(command) == 0);
}

/* The value of main(). */
static inline int finish(void)
{
	printf("1..%u\n", checked);
	return failed != 0;
}

#endif
