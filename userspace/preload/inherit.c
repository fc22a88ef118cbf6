/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "environment.h"
#include "inherit.h"
#include "settings.h"
#include "table.h"

#define LIST_MAX 4096
#define FIRST_PASSED 3 /* sd_listen_fds(3) */

static const char head[] = RUN_INHERIT "=";

/* ---- for the next program ---- */

struct list {
	char *text;
	size_t length;
};

static void add(struct list *list, const struct held *held, int fd)
{
	size_t room = LIST_MAX - list->length;
	int length;

	if (held->kind == HELD_LISTENER)
		length = snprintf(list->text + list->length, room, "l%d=%d\n", fd, held->listener.hidden);
	else
		length = snprintf(list->text + list->length, room, "c%d\n", fd);
	if (length > 0 && (size_t)length < room)
		list->length += length;
	list->text[list->length] = '\0';
}

/* All that stays open; a child by vfork() has flags of its own, and so they are asked. */
static void write_list(struct list *list)
{
	for (int fd = 0; fd <= table_highest(); fd++) {
		struct held *held = held_at(fd);
		int flags;

		if (!held)
			continue;
		flags = held->kind == HELD_HIDDEN ? -1 : fcntl(fd, F_GETFD);
		if (flags >= 0 && !(flags & FD_CLOEXEC))
			add(list, held, fd);
		held_put(held);
	}
}

static size_t count_of(char *const *environment)
{
	size_t count = 0;

	while (environment && environment[count])
		count++;
	return count;
}

#define SETTINGS_MOST 16

size_t inherit_room(char *const *environment)
{
	return (count_of(environment) + SETTINGS_MOST) * sizeof(char *) + LIST_MAX;
}

static size_t name_length(const char *variable)
{
	return strcspn(variable, "=") + 1;
}

static bool is_among(const char *variable, const char *const *variables)
{
	for (; *variables; variables++)
		if (strncmp(variable, *variables, name_length(*variables)) == 0)
			return true;
	return false;
}

char *const *inherit_environment(void *memory, char *const *environment)
{
	size_t most = count_of(environment), count = 0;
	char **variables = memory;
	struct list list = {.text = (char *)(variables + most + SETTINGS_MOST), .length = sizeof(head) - 1};

	memcpy(list.text, head, sizeof(head));
	write_list(&list);
	if (list.length == sizeof(head) - 1)
		return environment;
	for (size_t i = 0; i < most; i++)
		if (!is_among(environment[i], settings_variables()) &&
		    strncmp(environment[i], head, sizeof(head) - 1) != 0)
			variables[count++] = environment[i];
	for (size_t i = 0; settings_variables()[i]; i++)
		variables[count++] = (char *)settings_variables()[i];
	variables[count++] = list.text;
	variables[count] = NULL;
	return variables;
}

/* ---- from the program before ---- */

static void take(const char *entry)
{
	int fd, hidden;

	if (sscanf(entry, "l%d=%d", &fd, &hidden) == 2)
		listener_inherit(fd, hidden);
	else if (sscanf(entry, "c%d", &fd) == 1)
		accepted_inherit(fd);
}

static void take_list(void)
{
	const char *left = getenv(RUN_INHERIT);
	char *list = left ? strdup(left) : NULL, *entry, *rest = NULL;

	for (entry = list ? strtok_r(list, "\n", &rest) : NULL; entry; entry = strtok_r(NULL, "\n", &rest))
		take(entry);
	free(list);
	unsetenv(RUN_INHERIT);
}

/* The service manager passes sockets that listen already. */
static void take_passed(void)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");

	if (!pid || !count || atol(pid) != getpid())
		return;
	for (int fd = FIRST_PASSED; fd < FIRST_PASSED + atoi(count); fd++)
		listener_adopt(fd);
}

void inherit_begin(void)
{
	take_list();
	take_passed();
}
