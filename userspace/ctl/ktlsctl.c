/* SPDX-License-Identifier: MIT */
/* ktlsctl: looks after the TLS handshake agent ktlsd. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ktlsctl.h"

static const struct command commands[] = {
	{"doctor", doctor_main, "check what this kernel and this machine can do, and say what to do about the rest"},
	{"status", status_main, "show what the agent is doing"},
	{"reload", reload_main, "have the agent read its configuration again"},
	{"socket", socket_main, "show the TLS of a process's sockets: keys' age, records, ciphers"},
	{"probe", probe_main, "make a TLS connection through the agent and print all about it"},
	{"cert", cert_main, "show what certificates say, or have the agent verify them and explain each step"},
	{"challenge", challenge_main, "have the key of a service prove itself"},
	{"revoked", revoked_main, "show what the agent knows of a certificate's revocation"},
	{NULL, NULL, NULL},
};

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

static void show_usage(FILE *file, const char *title, const struct command *all)
{
	fprintf(file, "usage: %s COMMAND [OPTION...]\n\n", title);
	for (const struct command *command = all; command->name; command++)
		fprintf(file, "  %-9s %s\n", command->name, command->summary);
	fprintf(file,
		"\n%s COMMAND --help says more. Exit status: 0 all is well, 1 it failed or something is wrong, 2 usage.\n",
		title);
}

int run_command(const char *title, const struct command *all, int argc, char **argv)
{
	if (argc < 2) {
		show_usage(stderr, title, all);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
		show_usage(stdout, title, all);
		return EXIT_OK;
	}
	for (const struct command *command = all; command->name; command++)
		if (strcmp(argv[1], command->name) == 0)
			return command->main(argc - 1, argv + 1);
	complain("there is no command \"%s\"", argv[1]);
	show_usage(stderr, title, all);
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	return run_command("ktlsctl", commands, argc, argv);
}
