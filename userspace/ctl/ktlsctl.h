/* SPDX-License-Identifier: MIT */
/* What the subcommands of ktlsctl share. */
#ifndef KTLSCTL_H
#define KTLSCTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct json_object;

struct command {
	const char *name;
	int (*main)(int argc, char **argv);
	const char *summary;
};

/* Where a server is. */
struct address {
	char host[256];
	char port[16];
};

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
int cert_main(int argc, char **argv);
int challenge_main(int argc, char **argv);
int revoked_main(int argc, char **argv);

/* Runs the one that argv[1] names, or shows them all; title is what stands before their names, commands ends with {NULL}. */
int run_command(const char *title, const struct command *commands, int argc, char **argv);

/* Says what is wrong, on standard error. Returns EXIT_PROBLEM. */
int complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What a subcommand returns when its options make no sense; text is its --help. */
int misused(const char *text);

/* --help: to standard output. Returns EXIT_OK. */
int help(const char *text);

/* What commands that ask the agent take. */
struct options {
	bool json;
	const char *path;	    /* of the control socket; NULL: the usual one */
	const char *service, *name; /* NULL, "": not given */
};

/*
 * Those of --json (j), --socket (s), --service (S) and --name (n) whose letters are in takes, and --help. OPTIONS_READ: go on
 * with the arguments from optind on; else the status to end with.
 */
#define OPTIONS_READ (-1)
int options_read(struct options *options, const char *takes, int argc, char **argv, const char *usage);

/* HOST, HOST:PORT, [IPv6], [IPv6]:PORT; the port is 443 if none is given. False if the text is none of these. */
bool address_parse(struct address *address, const char *text);

/* "3 d 4 h", "12 min 5 s": the two largest units, to standard output. */
void print_age(int64_t seconds);

/* Sends one command to the agent's control socket (NULL: the usual one). The answer, or NULL after a complaint. */
struct json_object *control_request(const char *path, const char *command);

/* The same for a command that has more than its line: certificates. */
struct json_object *control_request_with(const char *path, const char *command, const char *body, size_t length);

/* The same, again and again while the answer is that a responder is being asked, for ten seconds at the most. */
struct json_object *control_ask(const char *path, const char *command, const char *body, size_t length);

/* Members of a report: a text unless it is empty, a time as RFC 3339 has it. */
void report_text(struct json_object *report, const char *name, const char *value);
void report_time(struct json_object *report, const char *name, time_t when);

/* A member of what the agent says; "" if it is not there. */
const char *answer_text(struct json_object *answer, const char *name);

/* One object, on several lines. */
void print_json(struct json_object *object);

/* On standard output: as it is, or a line for each member. */
void report_print(struct json_object *report, bool json);

#endif
