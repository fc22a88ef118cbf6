/* SPDX-License-Identifier: MIT */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
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

static void print_steps(struct json_object *answer)
{
	struct json_object *steps;

	if (!json_object_object_get_ex(answer, "steps", &steps) || !json_object_is_type(steps, json_type_array))
		return;
	for (size_t i = 0; i < json_object_array_length(steps); i++) {
		struct json_object *step = json_object_array_get_idx(steps, i);

		printf("  %-8s %-11s %s\n", answer_text(step, "verdict"), answer_text(step, "step"),
		       answer_text(step, "text"));
	}
}

static int print_answer(struct json_object *answer, bool json)
{
	struct json_object *member;
	bool accepted = json_object_object_get_ex(answer, "accepted", &member) && json_object_get_boolean(member);

	if (json) {
		print_json(answer);
		return accepted ? EXIT_OK : EXIT_PROBLEM;
	}
	printf("service %s, as a %s\n", answer_text(answer, "service"), answer_text(answer, "peer"));
	print_steps(answer);
	if (!accepted)
		puts("refused");
	else if (*answer_text(answer, "peer_name"))
		printf("accepted, as %s\n", answer_text(answer, "peer_name"));
	else
		puts("accepted");
	return accepted ? EXIT_OK : EXIT_PROBLEM;
}

static int verify(const struct options *options, char *const *files)
{
	char command[512];

	if (strpbrk(options->service, " \n") || strpbrk(options->name, " \n") ||
	    snprintf(command, sizeof(command), "verify %s %s", options->service, options->name) >= (int)sizeof(command))
		return complain("the name of a service or a server has no space in it, and is not that long");
	return ask_about(options, command, files, print_answer);
}

int cert_verify_main(int argc, char **argv)
{
	struct options options;
	int status = options_read(&options, "jsSn", argc, argv, usage);

	if (status != OPTIONS_READ)
		return status;
	if (!options.service || optind == argc)
		return misused(usage);
	return verify(&options, argv + optind);
}
