/* SPDX-License-Identifier: MIT */
/* ktlsctl: looks after the TLS handshake agent ktlsd. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ktlsctl.h"

static const struct {
	const char *name;
	int (*main)(int argc, char **argv);
	const char *summary;
} commands[] = {
	{"doctor", doctor_main, "check what this kernel and this machine can do, and say what to do about the rest"},
	{"status", status_main, "show what the agent is doing"},
	{"reload", reload_main, "have the agent read its configuration again"},
	{"socket", socket_main, "show the TLS of a process's sockets: keys' age, records, ciphers"},
	{"probe", probe_main, "make a TLS connection through the agent and print all about it"},
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

int complain(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("ktlsctl: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	return EXIT_PROBLEM;
}

int misused(const char *text)
{
	fputs(text, stderr);
	return EXIT_USAGE;
}

int help(const char *text)
{
	fputs(text, stdout);
	return EXIT_OK;
}

static void show_usage(FILE *file)
{
	fputs("usage: ktlsctl COMMAND [OPTION...]\n\n", file);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(file, "  %-8s %s\n", commands[i].name, commands[i].summary);
	fputs("\nktlsctl COMMAND --help says more. Exit status: 0 all is well, 1 it failed or something is wrong, 2 "
	      "usage.\n",
	      file);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		show_usage(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
		show_usage(stdout);
		return EXIT_OK;
	}
	for (size_t i = 0; i < COMMANDS; i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].main(argc - 1, argv + 1);
	complain("there is no command \"%s\"", argv[1]);
	show_usage(stderr);
	return EXIT_USAGE;
}
