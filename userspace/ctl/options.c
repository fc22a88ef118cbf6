/* SPDX-License-Identifier: MIT */
#include <getopt.h>
#include <string.h>

#include "ktlsctl.h"

static const struct option known[] = {
	{"json", no_argument, NULL, 'j'},	   {"socket", required_argument, NULL, 's'},
	{"service", required_argument, NULL, 'S'}, {"name", required_argument, NULL, 'n'},
	{"help", no_argument, NULL, 'h'},
};

#define KNOWN (sizeof(known) / sizeof(known[0]))

int options_read(struct options *options, const char *takes, int argc, char **argv, const char *usage)
{
	struct option wanted[KNOWN + 1] = {{NULL, 0, NULL, 0}};
	size_t count = 0;
	int option;

	for (size_t i = 0; i < KNOWN; i++) {
		if (known[i].val == 'h' || strchr(takes, known[i].val))
			wanted[count++] = known[i];
	}
	*options = (struct options){.name = ""};
	while ((option = getopt_long(argc, argv, "", wanted, NULL)) >= 0) {
		switch (option) {
		case 'j':
			options->json = true;
			break;
		case 's':
			options->path = optarg;
			break;
		case 'S':
			options->service = optarg;
			break;
		case 'n':
			options->name = optarg;
			break;
		case 'h':
			return help(usage);
		default:
			return misused(usage);
		}
	}
	return OPTIONS_READ;
}
