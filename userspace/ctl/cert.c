/* SPDX-License-Identifier: MIT */
/* ktlsctl cert: what certificates say, and what the agent says of them. */
#include <stddef.h>

#include "cert.h"
#include "ktlsctl.h"

static const struct command commands[] = {
	{"show", cert_show_main, "print what the certificates of a file or a server say, and how they hang together"},
	{"verify", cert_verify_main, "have the agent verify certificates as it would a peer's, and explain each step"},
	{NULL, NULL, NULL},
};

int cert_main(int argc, char **argv)
{
	return run_command("ktlsctl cert", commands, argc, argv);
}
