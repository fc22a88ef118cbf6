/* SPDX-License-Identifier: MIT */
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <json-c/json.h>

#include "ktlsctl.h"

static const char usage[] =
	"usage: ktlsctl status [--json] [--socket PATH]\n"
	"\n"
	"Shows what the agent is doing: handshakes in flight, done and failed by reason, resumptions, how keys\n"
	"were installed, versions, ciphers, workers and services.\n"
	"\n"
	"  --json         the agent's answer as it is, one JSON object\n"
	"  --socket PATH  the control socket (default: $KTLSD_CONTROL, else /run/ktlsd/control)\n";

/* Missing members read as "-" and 0: another version of the agent may not have them. */
static const char *text(struct json_object *object, const char *name)
{
	struct json_object *member;

	return json_object_object_get_ex(object, name, &member) ? json_object_get_string(member) : "-";
}

static int64_t number(struct json_object *object, const char *name)
{
	struct json_object *member;

	return json_object_object_get_ex(object, name, &member) ? json_object_get_int64(member) : 0;
}

void print_age(int64_t seconds)
{
	static const struct {
		int64_t seconds;
		const char *name;
	} units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};
	size_t i = 0;

	while (i < 3 && seconds < units[i].seconds)
		i++;
	printf("%" PRId64 " %s", seconds / units[i].seconds, units[i].name);
	if (i < 3)
		printf(" %" PRId64 " %s", seconds % units[i].seconds / units[i + 1].seconds, units[i + 1].name);
}

static struct lh_entry *first_of(struct json_object *object)
{
	return json_object_is_type(object, json_type_object) ? lh_table_head(json_object_get_object(object)) : NULL;
}

static int64_t sum(struct json_object *counts)
{
	int64_t total = 0;

	for (struct lh_entry *entry = first_of(counts); entry; entry = lh_entry_next(entry))
		total += json_object_get_int64(lh_entry_v(entry));
	return total;
}

/* The reason may have several lines. */
static void print_refresh(struct json_object *status)
{
	struct json_object *refresh, *why;

	if (!json_object_object_get_ex(status, "refresh", &refresh))
		return;
	if (json_object_object_get_ex(refresh, "services", NULL)) {
		printf("renewed files taken ");
		print_age(number(refresh, "done_s"));
		printf(" ago, by services: %s\n", text(refresh, "services"));
	}
	if (json_object_object_get_ex(refresh, "why", &why)) {
		printf("changed files not taken ");
		print_age(number(refresh, "failed_s"));
		printf(" ago: %s", json_object_get_string(why));
	}
}

static void print_summary(struct json_object *status)
{
	struct json_object *failed, *kernel;

	printf("ktlsd %s, pid %s, up ", text(status, "version"), text(status, "pid"));
	print_age(number(status, "uptime_s"));
	printf("\nconfiguration %s, loaded ", text(status, "config"));
	print_age(number(status, "config_loaded_s"));
	printf(" ago\n");
	print_refresh(status);
	printf("%s callers; handshakes: %s in flight, %s done (%s resumed), %" PRId64 " failed\n",
	       text(status, "callers"), text(status, "in_flight"), text(status, "done"), text(status, "resumed"),
	       json_object_object_get_ex(status, "failed", &failed) ? sum(failed) : 0);
	if (json_object_object_get_ex(status, "kernel_requests", &kernel))
		printf("the kernel's requests: taken by process %s, %s in flight\n", text(kernel, "pid"),
		       text(kernel, "in_flight"));
}

static void print_counts(struct json_object *status, const char *name, const char *title)
{
	struct json_object *counts;

	if (!json_object_object_get_ex(status, name, &counts) || !first_of(counts))
		return;
	printf("\n%s\n", title);
	for (struct lh_entry *entry = first_of(counts); entry; entry = lh_entry_next(entry))
		printf("  %-45s %10s\n", (const char *)lh_entry_k(entry), json_object_get_string(lh_entry_v(entry)));
}

static void print_offered(struct json_object *status)
{
	struct json_object *offered;

	if (!json_object_object_get_ex(status, "offered", &offered) || !json_object_is_type(offered, json_type_array))
		return;
	printf("\noffered\n");
	for (size_t i = 0; i < json_object_array_length(offered); i++)
		printf("  %s\n", json_object_get_string(json_object_array_get_idx(offered, i)));
}

static const char *heading(const char *member)
{
	if (strcmp(member, "in_flight") == 0)
		return "in flight";
	return strcmp(member, "expires_in_days") == 0 ? "days left" : member;
}

/* One line per element; columns: names of members, ended by NULL. */
static void print_table(struct json_object *status, const char *name, const char *const *columns)
{
	struct json_object *rows;

	if (!json_object_object_get_ex(status, name, &rows) || !json_object_is_type(rows, json_type_array) ||
	    json_object_array_length(rows) == 0)
		return;
	printf("\n%-16s", name);
	for (size_t c = 1; columns[c]; c++)
		printf(" %10s", heading(columns[c]));
	putchar('\n');
	for (size_t i = 0; i < json_object_array_length(rows); i++) {
		struct json_object *row = json_object_array_get_idx(rows, i);

		printf("  %-14s", text(row, columns[0]));
		for (size_t c = 1; columns[c]; c++)
			printf(" %10s", text(row, columns[c]));
		putchar('\n');
	}
}

static void print_listeners(struct json_object *status)
{
	struct json_object *listeners, *addresses;

	if (!json_object_object_get_ex(status, "listeners", &listeners) ||
	    !json_object_is_type(listeners, json_type_array) || json_object_array_length(listeners) == 0)
		return;
	printf("\nlisteners\n");
	for (size_t i = 0; i < json_object_array_length(listeners); i++) {
		struct json_object *listener = json_object_array_get_idx(listeners, i);

		printf("  %s", text(listener, "service"));
		if (json_object_object_get_ex(listener, "addresses", &addresses))
			for (size_t a = 0; a < json_object_array_length(addresses); a++)
				printf(" %s", json_object_get_string(json_object_array_get_idx(addresses, a)));
		printf(", user %s, process %s: %s in flight, %s of %s waiting%s, %s accepted, %s delivered\n",
		       text(listener, "user"), text(listener, "pid"), text(listener, "in_flight"),
		       text(listener, "waiting"), text(listener, "backlog"),
		       json_object_get_boolean(json_object_object_get(listener, "paused")) ? " (paused)" : "",
		       text(listener, "accepted"), text(listener, "delivered"));
	}
}

static void print_ticket_keys(struct json_object *status)
{
	struct json_object *keys, *fault;

	if (!json_object_object_get_ex(status, "ticket_keys", &keys) || !json_object_is_type(keys, json_type_array))
		return;
	printf("\nticket keys\n");
	for (size_t i = 0; i < json_object_array_length(keys); i++) {
		struct json_object *key = json_object_array_get_idx(keys, i);
		bool shared = json_object_object_get_ex(key, "file", NULL);

		printf("  %s %s, %s ", text(key, "name"), text(key, "use"), shared ? "loaded" : "made");
		print_age(number(key, "since_s"));
		printf(" ago%s%s\n", shared ? " from " : "", shared ? text(key, "file") : "");
	}
	if (json_object_object_get_ex(status, "ticket_keys_fault", &fault))
		printf("  changed ones are not taken: %s\n", json_object_get_string(fault));
}

static void print_staples_of(struct json_object *service, bool *titled)
{
	struct json_object *staples;

	if (!json_object_object_get_ex(service, "staples", &staples) || !first_of(staples))
		return;
	if (!*titled)
		printf("\nstaples\n");
	*titled = true;
	for (struct lh_entry *entry = first_of(staples); entry; entry = lh_entry_next(entry))
		printf("  %s, %s: %s\n", text(service, "name"), (const char *)lh_entry_k(entry),
		       json_object_get_string(lh_entry_v(entry)));
}

static void print_staples(struct json_object *status)
{
	struct json_object *services;
	bool titled = false;

	if (!json_object_object_get_ex(status, "services", &services) ||
	    !json_object_is_type(services, json_type_array))
		return;
	for (size_t i = 0; i < json_object_array_length(services); i++)
		print_staples_of(json_object_array_get_idx(services, i), &titled);
}

static void print_status(struct json_object *status)
{
	static const char *const service[] = {"name", "role", "in_flight", "done", "failed", "expires_in_days", NULL};
	static const char *const worker[] = {"id", "in_flight", "done", "failed", NULL};

	print_summary(status);
	print_counts(status, "failed", "failed, by reason");
	print_counts(status, "versions", "versions");
	print_counts(status, "ciphers", "ciphers");
	print_counts(status, "installs", "keys installed, by way");
	print_offered(status);
	print_table(status, "services", service);
	print_staples(status);
	print_listeners(status);
	print_ticket_keys(status);
	print_table(status, "workers", worker);
}

int status_main(int argc, char **argv)
{
	struct json_object *status;
	struct options options;
	int end = options_read(&options, "js", argc, argv, usage);

	if (end != OPTIONS_READ)
		return end;
	if (optind != argc)
		return misused(usage);
	status = control_request(options.path, "status");
	if (!status)
		return EXIT_PROBLEM;
	if (options.json)
		print_json(status);
	else
		print_status(status);
	json_object_put(status);
	return EXIT_OK;
}
