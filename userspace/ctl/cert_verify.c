/* SPDX-License-Identifier: MIT */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <json-c/json.h>

#include "cert.h"

static const char usage[] =
	"usage: ktlsctl cert verify --service NAME [--name SERVER] [--json] [--socket PATH] FILE...\n"
	"\n"
	"Has the agent verify certificates (PEM) as it would a peer's in a handshake of the service, by the very\n"
	"same code, and explains each step. The peer's own certificate comes first, then what it would send along.\n"
	"\n"
	"  --service NAME  the service whose ca, purposes, allow list and revocation count\n"
	"  --name SERVER   client services: whom the certificate has to be for (DNS name, IP address, URI, e-mail)\n"
	"  --json          the agent's answer as it is, one JSON object\n"
	"  --socket PATH   the control socket (default: $KTLSD_CONTROL, else /run/ktlsd/control)\n"
	"\n"
	"Exit status: 0 it would be accepted, 1 refused, or it could not be tried.\n";

static const char *text(struct json_object *object, const char *name)
{
	struct json_object *member;

	return json_object_object_get_ex(object, name, &member) ? json_object_get_string(member) : "";
}

static void print_steps(struct json_object *answer)
{
	struct json_object *steps;

	if (!json_object_object_get_ex(answer, "steps", &steps) || !json_object_is_type(steps, json_type_array))
		return;
	for (size_t i = 0; i < json_object_array_length(steps); i++) {
		struct json_object *step = json_object_array_get_idx(steps, i);

		printf("  %-8s %-11s %s\n", text(step, "verdict"), text(step, "step"), text(step, "text"));
	}
}

static int print_answer(struct json_object *answer, bool json)
{
	struct json_object *member;
	bool accepted = json_object_object_get_ex(answer, "accepted", &member) && json_object_get_boolean(member);

	if (json) {
		puts(json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
		return accepted ? EXIT_OK : EXIT_PROBLEM;
	}
	printf("service %s, as a %s\n", text(answer, "service"), text(answer, "peer"));
	print_steps(answer);
	if (!accepted)
		puts("refused");
	else if (*text(answer, "peer_name"))
		printf("accepted, as %s\n", text(answer, "peer_name"));
	else
		puts("accepted");
	return accepted ? EXIT_OK : EXIT_PROBLEM;
}

static int verify(const char *path, const char *service, const char *name, char *const *files, bool json)
{
	struct json_object *answer;
	char command[512];
	size_t length;
	char *pem;
	int status;

	if (strpbrk(service, " \n") || strpbrk(name, " \n") ||
	    snprintf(command, sizeof(command), "verify %s %s", service, name) >= (int)sizeof(command))
		return complain("the name of a service or a server has no space in it, and is not that long");
	pem = pem_of_files(files, &length);
	if (!pem)
		return EXIT_PROBLEM;
	answer = control_ask(path, command, pem, length);
	free(pem);
	if (!answer)
		return EXIT_PROBLEM;
	status = print_answer(answer, json);
	json_object_put(answer);
	return status;
}

int cert_verify_main(int argc, char **argv)
{
	static const struct option options[] = {
		{"service", required_argument, NULL, 'S'}, {"name", required_argument, NULL, 'n'},
		{"json", no_argument, NULL, 'j'},	   {"socket", required_argument, NULL, 's'},
		{"help", no_argument, NULL, 'h'},	   {NULL, 0, NULL, 0},
	};
	const char *path = NULL, *service = NULL, *name = "";
	bool json = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 'S':
			service = optarg;
			break;
		case 'n':
			name = optarg;
			break;
		case 'j':
			json = true;
			break;
		case 's':
			path = optarg;
			break;
		case 'h':
			return help(usage);
		default:
			return misused(usage);
		}
	}
	if (!service || optind == argc)
		return misused(usage);
	return verify(path, service, name, argv + optind, json);
}
