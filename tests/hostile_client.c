// SPDX-License-Identifier: MIT
/* hostile_client SET [ARGUMENT...]: runs one set of cases (hostile/hostile.h). */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "hostile/hostile.h"

static const struct {
	const char *name;
	cases *run;
} sets[] = {
	{"messages", messages}, {"rekeys", rekeys},	    {"descriptors", descriptors},
	{"hang", hang},		{"authority", authority},   {"peers", peers},
	{"relays", relays},	{"options", options},	    {"callers", callers},
	{"chain", chain},	{"killed", killed},	    {"limits", limits},
	{"slow", slow},		{"drain", drain},	    {"held", held},
	{"many", many},		{"challenges", challenges},
};

static unsigned int failed;

void report(bool good, const char *format, ...)
{
	va_list arguments;

	failed += !good;
	printf(good ? "ok " : "not ok ");
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
	fflush(stdout);
}

void note(const char *format, ...)
{
	va_list arguments;

	printf("# ");
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
	fflush(stdout);
}

void die(const char *what)
{
	report(false, "%s: %s", what, strerror(errno));
	exit(EXIT_FAILURE);
}

int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

const char *name_of(int error)
{
	return error ? strerrorname_np(error) : "success";
}

int main(int argc, char **argv)
{
	struct rlimit descriptors;

	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &descriptors) == 0) {
		descriptors.rlim_cur = descriptors.rlim_max;
		setrlimit(RLIMIT_NOFILE, &descriptors);
	}
	for (size_t i = 0; argc > 1 && i < COUNT(sets); i++) {
		if (strcmp(argv[1], sets[i].name) != 0)
			continue;
		sets[i].run(argc - 2, argv + 2);
		return failed ? EXIT_FAILURE : EXIT_SUCCESS;
	}
	fprintf(stderr, "usage: hostile_client SET [ARGUMENT...]\n");
	return 2;
}
