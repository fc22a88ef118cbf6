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
	struct json_object *answer, *services;
	struct options options;
	int status = options_read(&options, "s", argc, argv, usage);

	if (status != OPTIONS_READ)
		return status;
	if (optind != argc)
		return misused(usage);
	answer = control_request(options.path, "reload");
	if (!answer)
		return EXIT_PROBLEM;
	if (json_object_object_get_ex(answer, "services", &services))
		printf("reloaded, %s services\n", json_object_get_string(services));
	else
		puts("reloaded");
	json_object_put(answer);
	return EXIT_OK;
}
