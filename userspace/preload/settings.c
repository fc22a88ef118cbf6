/* SPDX-License-Identifier: MIT */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "environment.h"
#include "settings.h"

#define PORTS 64

static const char *const names[] = {"LD_PRELOAD", RUN_SERVICE, RUN_PORTS,      RUN_PROXY,
				    RUN_VERBOSE,  RUN_PID,     "KTLSD_HANDOFF"};

#define NAMES (sizeof(names) / sizeof(names[0]))

static char *variables[NAMES + 1];
static struct port ports[PORTS];
static size_t port_count;
static char *port_list;	    /* what services point into */
static const char *library; /* as LD_PRELOAD names it; NULL: the loader does not say */

/* The value of a variable as the process began with it; NULL: there was none. */
static const char *value_of(const char *name)
{
	size_t length = strlen(name);

	for (size_t i = 0; variables[i]; i++)
		if (strncmp(variables[i], name, length) == 0 && variables[i][length] == '=')
			return variables[i] + length + 1;
	return NULL;
}

/* libktlsd asks for the agent's socket; servers empty their environments. */
char *__wrap_getenv(const char *name);
char *__real_getenv(const char *name);

char *__wrap_getenv(const char *name)
{
	const char *value = value_of(name);

	return value ? (char *)value : __real_getenv(name);
}

static void keep_variables(void)
{
	size_t count = 0;

	for (size_t i = 0; i < NAMES; i++) {
		const char *value = __real_getenv(names[i]);

		if (value && asprintf(&variables[count], "%s=%s", names[i], value) >= 0)
			count++;
	}
}

static const char *service_of_all(void)
{
	return value_of(RUN_SERVICE);
}

/* "443=web", "443=web,proxy", "443": ktls-run has checked them. */
static void read_port(char *text)
{
	struct port *port = &ports[port_count];
	char *end, *option;
	unsigned long number = strtoul(text, &end, 10);

	if (number == 0 || number > UINT16_MAX || port_count == PORTS)
		return;
	option = strchr(end, ',');
	if (option)
		*option = '\0';
	port->number = number;
	port->proxy = (option && strcmp(option + 1, "proxy") == 0) || value_of(RUN_PROXY);
	port->service = *end == '=' ? end + 1 : service_of_all();
	port_count++;
}

static void find_library(void)
{
	Dl_info info;

	if (dladdr(variables, &info) && info.dli_fname && *info.dli_fname == '/')
		library = info.dli_fname;
}

void settings_read(void)
{
	static bool done;
	char *line, *rest = NULL;

	if (done)
		return;
	done = true;
	keep_variables();
	find_library();
	port_list = value_of(RUN_PORTS) ? strdup(value_of(RUN_PORTS)) : NULL;
	for (line = port_list ? strtok_r(port_list, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
		read_port(line);
}

/* Another library's constructor may listen before ours has begun. */
bool settings_of_port(uint16_t number, struct port *port)
{
	settings_read();
	for (size_t i = 0; i < port_count; i++) {
		if (ports[i].number == number) {
			*port = ports[i];
			return true;
		}
	}
	*port = (struct port){.number = number, .service = service_of_all(), .proxy = value_of(RUN_PROXY)};
	return port_count == 0 && port->service;
}

size_t settings_ports(const struct port **list)
{
	*list = ports;
	return port_count;
}

bool settings_verbose(void)
{
	return value_of(RUN_VERBOSE);
}

bool settings_is_command(void)
{
	const char *pid = value_of(RUN_PID);

	return pid && atol(pid) == getpid();
}

const char *const *settings_variables(void)
{
	return (const char *const *)variables;
}

bool settings_is_variable(const char *variable)
{
	size_t length = strcspn(variable, "=");

	for (size_t i = 0; i < NAMES; i++)
		if (strncmp(variable, names[i], length) == 0 && names[i][length] == '\0')
			return true;
	return false;
}

const char *settings_library(void)
{
	return library;
}
