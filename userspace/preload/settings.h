/* SPDX-License-Identifier: MIT */
/* What ktls-run was told, as it stands in the environment that the process began with. */
#ifndef KTLS_RUN_SETTINGS_H
#define KTLS_RUN_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* At the start. */
void settings_read(void);

struct port {
	uint16_t number;
	const char *service;
	bool proxy; /* connections begin with a PROXY header */
};

/* What is to be done with a listener on this port. False: nothing. */
bool settings_of_port(uint16_t number, struct port *port);

/* The ports that were named, and how many; 0: every port was chosen. */
size_t settings_ports(const struct port **list);

bool settings_verbose(void);

/* Whether this process is the one that became the command, and not a child of it. */
bool settings_is_command(void);

/* The variables, "NAME=VALUE", for the next program; NULL at the end. A process may have emptied its own environment. */
const char *const *settings_variables(void);

/* Whether "NAME=VALUE" is one of those that ktls-run may set, whatever its value. */
bool settings_is_variable(const char *variable);

/* The path of this library, as it stands in LD_PRELOAD; NULL: it is not known. */
const char *settings_library(void);

#endif
