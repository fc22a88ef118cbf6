/* SPDX-License-Identifier: MIT */
/* What the subcommands of ktlsctl share. */
#ifndef KTLSCTL_H
#define KTLSCTL_H

struct json_object;

enum exit_status {
	EXIT_OK = 0,
	EXIT_PROBLEM = 1, /* it failed, or a check found something wrong */
	EXIT_USAGE = 2,
};

int doctor_main(int argc, char **argv);
int status_main(int argc, char **argv);
int reload_main(int argc, char **argv);
int socket_main(int argc, char **argv);
int probe_main(int argc, char **argv);

/* Says what is wrong, on standard error. Returns EXIT_PROBLEM. */
int complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What a subcommand returns when its options make no sense; text is its --help. */
int misused(const char *text);

/* --help: to standard output. Returns EXIT_OK. */
int help(const char *text);

/* Sends one command to the agent's control socket (NULL: the usual one). The answer, or NULL after a complaint. */
struct json_object *control_request(const char *path, const char *command);

#endif
