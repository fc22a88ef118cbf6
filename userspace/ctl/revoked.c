/* SPDX-License-Identifier: MIT */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <json-c/json.h>

#include "cert.h"

static const char usage[] =
	"usage: ktlsctl revoked [--json] [--socket PATH] SERIAL|FILE...\n"
	"\n"
	"Shows what the agent knows of a certificate's revocation, and who says so. SERIAL is a serial number in\n"
	"hexadecimal: what lists and responders said of certificates with it. FILE is a peer's certificate with its\n"
	"intermediates behind it: what each service that looks at revocation would answer such a peer, and why;\n"
	"a responder is asked if it has to be.\n"
	"\n"
	"  --json         the agent's answer as it is, one JSON object\n"
	"  --socket PATH  the control socket (default: $KTLSD_CONTROL, else /run/ktlsd/control)\n"
	"\n"
	"Exit status: 0 nobody says that it is revoked, 1 it is revoked, or it could not be found out.\n";

static void print_line(struct json_object *one)
{
	if (*answer_text(one, "service"))
		printf("service %s: ", answer_text(one, "service"));
	if (strncmp(answer_text(one, "text"), answer_text(one, "status"), strlen(answer_text(one, "status"))) != 0)
		printf("%s: ", answer_text(one, "status"));
	fputs(answer_text(one, "text"), stdout);
	if (*answer_text(one, "issuer"))
		printf(" (issuer %s)", answer_text(one, "issuer"));
	putchar('\n');
}

static int print_answer(struct json_object *answer, bool json)
{
	struct json_object *list, *nothing;
	int status = EXIT_OK;

	if (!json_object_object_get_ex(answer, "answers", &list) || !json_object_is_type(list, json_type_array))
		return complain("the agent's answer makes no sense: is it the same version?");
	if (json)
		print_json(answer);
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *one = json_object_array_get_idx(list, i);

		if (!json)
			print_line(one);
		if (strcmp(answer_text(one, "status"), "revoked") == 0)
			status = EXIT_PROBLEM;
	}
	if (!json && json_object_object_get_ex(answer, "nothing", &nothing))
		puts(json_object_get_string(nothing));
	return status;
}

static bool is_serial(const char *argument)
{
	return access(argument, F_OK) != 0 && strcmp(argument, "-") != 0;
}

static int ask(const struct options *options, char *const *arguments)
{
	char command[128];

	if (arguments[1] || !is_serial(arguments[0]))
		return ask_about(options, "revoked", arguments, print_answer);
	snprintf(command, sizeof(command), "revoked %.100s", arguments[0]);
	return ask_about(options, command, NULL, print_answer);
}

int revoked_main(int argc, char **argv)
{
	struct options options;
	int status = options_read(&options, "js", argc, argv, usage);

	if (status != OPTIONS_READ)
		return status;
	return optind < argc ? ask(&options, argv + optind) : misused(usage);
}
