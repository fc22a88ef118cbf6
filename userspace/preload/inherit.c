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

/* ---- the environment ---- */

#define SETTINGS_MOST 16

static const char preload[] = "LD_PRELOAD";

/* The last one, as the loader has it. */
static const char *value_in(char *const *environment, const char *name)
{
	const char *value = NULL;
	size_t length = strlen(name);

	for (; environment && *environment; environment++)
		if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
			value = *environment + length + 1;
	return value;
}

static bool is_in(char *const *environment, const char *variable)
{
	for (; environment && *environment; environment++)
		if (strcmp(*environment, variable) == 0)
			return true;
	return false;
}

/* A list as the loader takes it. */
static bool names_us(const char *list)
{
	const char *library = settings_library();
	size_t length;

	for (; library && list && *list; list += length) {
		list += strspn(list, " :");
		length = strcspn(list, " :");
		if (length == strlen(library) && strncmp(list, library, length) == 0)
			return true;
	}
	return false;
}

static bool is_preload(const char *variable)
{
	return strncmp(variable, preload, sizeof(preload) - 1) == 0 && variable[sizeof(preload) - 1] == '=';
}

/* Whether a program with this environment does what we do; or what another ktls-run has told it. */
static bool is_told(char *const *environment)
{
	const char *const *ours = settings_variables();
	const char *run = value_in(environment, RUN_PID), *own_run = value_in((char *const *)ours, RUN_PID);

	if (!names_us(value_in(environment, preload)))
		return false;
	if (run && own_run && strcmp(run, own_run) != 0)
		return true;
	for (; *ours; ours++)
		if (!is_preload(*ours) && !is_in(environment, *ours))
			return false;
	return true;
}

/* Whoever preloads something else into the next program shall have it, too. */
static size_t preload_length(char *const *environment)
{
	const char *library = settings_library(), *others = value_in(environment, preload);

	return sizeof(preload) + (library ? strlen(library) : 0) + 1 + (others ? strlen(others) : 0) + 1;
}

static const char *preload_with_us(char *text, char *const *environment)
{
	const char *others = value_in(environment, preload),
		   *own = value_in((char *const *)settings_variables(), preload);

	if (!others || !*others || !settings_library())
		sprintf(text, "%s=%s", preload, own ? own : "");
	else
		sprintf(text, "%s=%s%s%s", preload, names_us(others) ? "" : settings_library(),
			names_us(others) ? "" : ":", others);
	return text;
}

size_t inherit_room(char *const *environment)
{
	const char *own = value_in((char *const *)settings_variables(), preload);

	return (count_of(environment) + SETTINGS_MOST) * sizeof(char *) + LIST_MAX + preload_length(environment) +
	       (own ? strlen(own) : 0);
}

static bool is_list(const char *variable)
{
	return strncmp(variable, head, sizeof(head) - 1) == 0;
}

/* What the program wants, our settings, the list. */
static void put_together(char **variables, char *const *environment, bool told, const char *list, char *room)
{
	size_t count = 0;

	for (; environment && *environment; environment++)
		if (!is_list(*environment) && (told || !settings_is_variable(*environment)))
			variables[count++] = *environment;
	for (const char *const *ours = settings_variables(); !told && *ours; ours++)
		if (!is_preload(*ours))
			variables[count++] = (char *)*ours;
	if (!told)
		variables[count++] = room;
	if (list)
		variables[count++] = (char *)list;
	variables[count] = NULL;
}

char *const *inherit_environment(void *memory, char *const *environment)
{
	size_t most = count_of(environment);
	char **variables = memory;
	struct list list = {.text = (char *)(variables + most + SETTINGS_MOST), .length = sizeof(head) - 1};
	bool told = is_told(environment), empty;

	memcpy(list.text, head, sizeof(head));
	write_list(&list);
	empty = list.length == sizeof(head) - 1;
	if (told && empty)
		return environment;
	preload_with_us(list.text + LIST_MAX, environment);
	put_together(variables, environment, told, empty ? NULL : list.text, list.text + LIST_MAX);
	return variables;
}

void inherit_restore(void)
{
	char *preload_variable;

	if (is_told(environ))
		return;
	preload_variable = malloc(inherit_room(environ));
	if (preload_variable)
		putenv((char *)preload_with_us(preload_variable, environ)); /* which keeps it */
	for (const char *const *ours = settings_variables(); *ours; ours++)
		if (!is_preload(*ours))
			putenv((char *)*ours);
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
