/* SPDX-License-Identifier: MIT */
/* ktls-run: runs a server that knows nothing of TLS with a library that hands its listeners to the agent. */
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../environment.h"
#include "../fitness.h"

#define LIBRARY "libktls-preload.so"
#define PORTS_MOST 64 /* settings.c */

static const char usage[] =
	"usage: ktls-run [OPTION...] [--] COMMAND [ARGUMENT...]\n"
	"\n"
	"Runs a server that knows nothing of TLS. The agent ktlsd accepts and does the handshakes in its place; the\n"
	"server gets connections that the kernel encrypts.\n"
	"\n"
	"  --service NAME         the agent's service for every port that COMMAND listens on, or, with --port, for\n"
	"                         those that name none (default: default)\n"
	"  --port P[=SERVICE][,proxy]\n"
	"                         only this port, and others that are named so; proxy: its connections begin with a\n"
	"                         PROXY header, which tells who the peer is\n"
	"  --proxy-protocol       the same for all ports\n"
	"  --agent PATH           the agent's handoff socket (default: $KTLSD_HANDOFF, or /run/ktlsd/handoff)\n"
	"  --verbose              say what is done\n"
	"  --help, --version\n";

struct options {
	const char *service, *agent;
	char ports[4096];
	int port_count;
	bool proxy, verbose;
};

__attribute__((noreturn, format(printf, 1, 2))) static void misused(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vwarnx(format, arguments);
	va_end(arguments);
	fprintf(stderr, "ktls-run --help explains\n");
	exit(2);
}

/* ---- options ---- */

static void add_port(struct options *options, const char *text)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);
	const char *option = strchr(end, ',');
	size_t length = strlen(options->ports);

	if (end == text || number == 0 || number > 65535)
		misused("--port takes a number from 1 to 65535, not \"%s\"", text);
	if ((*end && *end != '=' && *end != ',') || (*end == '=' && (end[1] == '\0' || end[1] == ',')) ||
	    strchr(text, '\n'))
		misused("--port takes \"%lu\" or \"%lu=SERVICE\", not \"%s\"", number, number, text);
	if (option && strcmp(option, ",proxy") != 0)
		misused("behind the service of --port only \",proxy\" may stand, not \"%s\"", option);
	if (++options->port_count > PORTS_MOST || length + strlen(text) + 2 > sizeof(options->ports))
		misused("more than %d ports are named", PORTS_MOST);
	snprintf(options->ports + length, sizeof(options->ports) - length, "%s%s", length > 0 ? "\n" : "", text);
}

static void read_options(struct options *options, int argc, char **argv)
{
	static const struct option known[] = {
		{"service", required_argument, NULL, 's'},  {"port", required_argument, NULL, 'p'},
		{"proxy-protocol", no_argument, NULL, 'x'}, {"agent", required_argument, NULL, 'a'},
		{"verbose", no_argument, NULL, 'v'},	    {"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},	    {NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "+", known, NULL)) >= 0) {
		switch (option) {
		case 's':
			options->service = optarg;
			break;
		case 'p':
			add_port(options, optarg);
			break;
		case 'x':
			options->proxy = true;
			break;
		case 'a':
			options->agent = optarg;
			break;
		case 'v':
			options->verbose = true;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		case 'V':
			puts("ktls-run " KTLSD_VERSION);
			exit(0);
		default:
			misused("that is no option");
		}
	}
	if (optind == argc)
		misused("no command is given");
}

/* ---- what the command sees ---- */

static void set(const char *name, const char *value)
{
	if (value ? setenv(name, value, 1) : unsetenv(name))
		err(1, "%s", name);
}

static void set_environment(const struct options *options)
{
	struct timespec now;
	char pid[64];

	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(pid, sizeof(pid), "%d %llx%09lx", getpid(), (unsigned long long)now.tv_sec, now.tv_nsec);
	set(RUN_SERVICE, options->service);
	set(RUN_PORTS, options->port_count ? options->ports : NULL);
	set(RUN_PROXY, options->proxy ? "1" : NULL);
	set(RUN_VERBOSE, options->verbose ? "1" : NULL);
	set(RUN_PID, pid);
	set(RUN_INHERIT, NULL);
	if (options->agent)
		set("KTLSD_HANDOFF", options->agent);
}

/* Beside this program, as it is built, or where it is installed. */
static void find_library(char path[static PATH_MAX])
{
	static const char *const places[] = {"", "../lib/ktlsd/", "../lib64/ktlsd/"};
	char own[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", own, sizeof(own) - 1);
	const char *folder;

	own[length < 0 ? 0 : length] = '\0';
	folder = dirname(own);
	for (size_t i = 0; length >= 0 && i < sizeof(places) / sizeof(places[0]); i++) {
		char place[2 * PATH_MAX];

		snprintf(place, sizeof(place), "%s/%s" LIBRARY, folder, places[i]);
		if (realpath(place, path))
			return;
	}
	if (realpath(KTLSD_LIBDIR "/ktlsd/" LIBRARY, path))
		return;
	errx(1, "%s is neither beside this program nor in %s: is ktlsd installed wholly?", LIBRARY,
	     KTLSD_LIBDIR "/ktlsd");
}

static void preload(void)
{
	const char *others = getenv("LD_PRELOAD");
	char library[PATH_MAX], *list;

	find_library(library);
	if (strpbrk(library, " :")) /* which separate names in LD_PRELOAD */
		errx(1, "the loader takes no preload library with a blank or a colon in its path: %s", library);
	if (asprintf(&list, "%s%s%s", library, others && *others ? ":" : "", others ? others : "") < 0)
		err(1, NULL);
	set("LD_PRELOAD", list);
	free(list);
}

int main(int argc, char **argv)
{
	struct options options = {.service = "default"};
	char why[600], path[PATH_MAX];

	read_options(&options, argc, argv);
	if (!fitness_find(argv[optind], path)) {
		errno = ENOENT;
		err(127, "%s", argv[optind]);
	}
	if (!fitness_of(path, NULL, why, sizeof(why)))
		errx(1, "%s", why);
	set_environment(&options);
	preload();
	execv(path, argv + optind);
	warn("%s", path);
	return errno == ENOENT ? 127 : 126;
}
