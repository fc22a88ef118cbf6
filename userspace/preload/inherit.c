/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "environment.h"
#include "family.h"
#include "inherit.h"
#include "say.h"
#include "settings.h"
#include "shared.h"
#include "table.h"

#define LIST_MAX 8192
#define CONNECTION_MAX 40 /* bytes */
#define FIRST_PASSED 3	  /* sd_listen_fds(3) */

static const char head[] = RUN_INHERIT "=";

/* ---- for the next program ---- */

struct list {
	char *text;
	size_t length;
};

__attribute__((format(printf, 2, 3))) static bool add(struct list *list, const char *format, ...)
{
	size_t room = LIST_MAX - list->length;
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(list->text + list->length, room, format, arguments);
	va_end(arguments);
	if (length < 0 || (size_t)length >= room) {
		list->text[list->length] = '\0';
		return false;
	}
	list->length += length;
	return true;
}

/*
 * The program can't be given the PROXY header. Where it gets the connection under a number that we can't close there, the
 * connection ends; of others that have no standard number none is meant for it.
 */
static void withhold(const struct held *held, int fd, const struct next_program *next)
{
	bool standard = fd <= STDERR_FILENO, moved = !next->here && held->accepted.moved;

	if (!held->accepted.head)
		return;
	if (moved || (next->spawned && standard)) {
		accepted_lose(fd);
	} else if (!next->spawned) {
		(standard ? say : say_more)(
			"descriptor %d: the PROXY header can't be passed on: the next program gets neither "
			"that nor the connection",
			fd);
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	}
}

/* A connection stands there once, whatever numbers it has. */
static void add_connection(struct list *list, struct held *held, int fd, const struct next_program *next)
{
	char key[32], header[ACCEPTED_HEAD_MAX];
	int number;

	snprintf(key, sizeof(key), "\nc%llx=", (unsigned long long)accepted_cookie(fd));
	if (held->accepted.ended || strstr(list->text, key))
		return;
	accepted_head(held, header);
	if (!next->fits || list->length + CONNECTION_MAX + strlen(header) > LIST_MAX) {
		withhold(held, fd, next);
		return;
	}
	number = next->here ? accepted_number(&held->accepted) : accepted_number_elsewhere(&held->accepted);
	add(list, "%s%d=%s\n", key + 1, number, header);
	held->accepted.stays = next->here;
}

static void add_held(struct list *list, struct held *held, int fd, const struct next_program *next)
{
	int flags = fcntl(fd, F_GETFD);
	bool stays = flags >= 0 && !(flags & FD_CLOEXEC);

	if (held->kind == HELD_ACCEPTED && (stays || (!next->here && held->accepted.moved)))
		add_connection(list, held, fd, next);
	else if (held->kind == HELD_LISTENER && stays && next->fits)
		add(list, "l%d=%d\n", fd, held->listener.hidden);
}

/* All that stays open; a child by vfork() has flags of its own, and so they are asked. */
static void write_list(struct list *list, const struct next_program *next)
{
	if (next->family >= 0)
		add(list, "s%d\n", next->family);
	add(list, "\n");
	for (int fd = 0; fd <= table_highest(); fd++) {
		struct held *held = held_at(fd);

		if (!held)
			continue;
		add_held(list, held, fd, next);
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
static void put_together(char **variables, char *const *environment, bool told, char *list, char *room)
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
	variables[count++] = list;
	variables[count] = NULL;
}

void inherit_prepare(struct next_program *next, void *memory, char *const *environment)
{
	size_t most = count_of(environment);
	char **variables = memory;
	struct list list = {.text = (char *)(variables + most + SETTINGS_MOST), .length = sizeof(head) - 1};

	next->environment = variables;
	next->list = list.text;
	next->family = next->fits ? family_pass() : -1;
	memcpy(list.text, head, sizeof(head));
	if (next->here)
		table_each(accepted_stays_not);
	if (!next->here && next->fits)
		family_grows();
	if (next->here && !next->fits)
		family_shrinks();
	write_list(&list, next);
	if (next->here)
		table_each(accepted_give_back);
	preload_with_us(list.text + LIST_MAX, environment);
	put_together(variables, environment, is_told(environment), list.text, list.text + LIST_MAX);
}

static void let_go(const char *list)
{
	struct shared *shared;
	int number;

	for (; (list = strchr(list, '\n')); list++) {
		if (sscanf(list, "\nc%*x=%d", &number) == 1 && (shared = shared_of(number)))
			shared_let_go(shared);
	}
}

void inherit_done(const struct next_program *next)
{
	if (next->family >= 0)
		close(next->family);
}

void inherit_undo(const struct next_program *next)
{
	int error = errno;

	inherit_done(next);
	if (!next->here && next->fits)
		family_shrinks();
	if (next->here && !next->fits)
		family_grows();
	if (next->here)
		table_each(accepted_take_again);
	else
		let_go(next->list);
	errno = error;
}

/* Which connections there are, the program that the C library starts is not told. */
static void withhold_standard_ones(void)
{
	const struct next_program next = {.spawned = true};

	for (int fd = 0; fd <= STDERR_FILENO; fd++) {
		struct held *held = held_of_kind(fd, HELD_ACCEPTED);

		if (!held)
			continue;
		withhold(held, fd, &next);
		held_put(held);
	}
}

void inherit_restore(void)
{
	char *room;

	family_loses_sight();
	withhold_standard_ones();
	if (is_told(environ))
		return;
	room = malloc(inherit_room(environ));
	if (room)
		setenv(preload, preload_with_us(room, environ) + sizeof(preload), 1);
	free(room);
	for (const char *const *ours = settings_variables(); *ours; ours++)
		if (!is_preload(*ours))
			putenv((char *)*ours);
}

/* ---- from the program before ---- */

#define PASSED_MOST (LIST_MAX / 8)

struct passed {
	unsigned long long cookie;
	int number; /* this, too, as accepted_inherit() takes it */
	const char *head;
	bool found;
};

struct passed_list {
	struct passed list[PASSED_MOST];
	int count;
};

static void take_connection(struct passed_list *passed, int fd)
{
	unsigned long long cookie = accepted_cookie(fd);

	for (int i = 0; cookie && i < passed->count; i++) {
		if (passed->list[i].cookie == cookie) {
			accepted_inherit(fd, passed->list[i].number, passed->list[i].head);
			passed->list[i].found = true;
		}
	}
}

#define UNSEEN_MOST 1024 /* numbers that are tried where there is no /proc */

static void take_connections(struct passed_list *passed)
{
	DIR *folder = passed->count > 0 ? opendir("/proc/self/fd") : NULL;
	const struct dirent *entry;
	struct shared *shared;

	while (folder && (entry = readdir(folder)))
		if (*entry->d_name != '.')
			take_connection(passed, atoi(entry->d_name));
	for (int fd = 0; !folder && passed->count > 0 && fd < UNSEEN_MOST; fd++)
		take_connection(passed, fd);
	if (folder)
		closedir(folder);
	for (int i = 0; i < passed->count; i++)
		if (!passed->list[i].found && (shared = shared_of(passed->list[i].number)))
			shared_let_go(shared);
}

/* Numbers are those of the family's memory: without it they say nothing. */
static void take(struct passed_list *passed, const char *entry, bool joined)
{
	struct passed *next = &passed->list[passed->count];
	int fd, hidden, begun = 0;

	if (sscanf(entry, "l%d=%d", &fd, &hidden) == 2) {
		listener_inherit(fd, hidden);
	} else if (passed->count < PASSED_MOST &&
		   sscanf(entry, "c%llx=%d%n", &next->cookie, &next->number, &begun) == 2) {
		if (!joined && next->number >= 0)
			next->number = SHARED_UNKNOWN;
		next->head = entry[begun] == '=' ? entry + begun + 1 : "";
		next->found = false;
		passed->count++;
	}
}

static void take_list(void)
{
	const char *left = getenv(RUN_INHERIT);
	char *list = left ? strdup(left) : NULL, *entry, *rest = NULL;
	struct passed_list *passed = list ? calloc(1, sizeof(*passed)) : NULL;
	int family = -1;
	bool joined;

	if (left)
		sscanf(left, "s%d", &family);
	joined = family_begin(family);
	for (entry = passed ? strtok_r(list, "\n", &rest) : NULL; entry; entry = strtok_r(NULL, "\n", &rest))
		take(passed, entry, joined);
	if (passed)
		take_connections(passed);
	free(passed);
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
