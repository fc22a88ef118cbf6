/* SPDX-License-Identifier: MIT */
#include <getopt.h>
#include <stdio.h>
#include <json-c/json.h>

#include "ktlsctl.h"

static const char usage[] =
	"usage: ktlsctl reload [--socket PATH]\n"
	"\n"
	"Has the agent read its configuration again. It takes the new one whole, or keeps the old one and\n"
	"says file, line and what is wrong. Handshakes in flight are not disturbed.\n"
	"\n"
	"  --socket PATH  the control socket (default: $KTLSD_CONTROL, else /run/ktlsd/control)\n";

int reload_main(int argc, char **argv)
{
	static const struct option options[] = {
		{"socket", required_argument, NULL, 's'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct json_object *answer, *services;
	const char *path = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 's':
			path = optarg;
			break;
		case 'h':
			return help(usage);
		default:
			return misused(usage);
		}
	}
	if (optind != argc)
		return misused(usage);
	answer = control_request(path, "reload");
	if (!answer)
		return EXIT_PROBLEM;
	if (json_object_object_get_ex(answer, "services", &services))
		printf("reloaded, %s services\n", json_object_get_string(services));
	else
		puts("reloaded");
	json_object_put(answer);
	return EXIT_OK;
}
