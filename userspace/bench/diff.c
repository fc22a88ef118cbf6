/* SPDX-License-Identifier: MIT */
/* Mode diff: results of --json side by side. Files hold one or several; the first of one goes with the first of the other. */
#include <err.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define KEY_MAX 128
#define RUNS_MAX 1024

/* What has to be the same in both, or figures can't be compared. */
static const char *const comparable[] = {"mode",     "tls",	"group", "cipher", "resume",	"connections",
					 "threads",  "path",	"bare",	 "size",   "direction", "part",
					 "interval", "tickets", "batch", "asked"};

struct runs {
	const char *file;
	struct json_object *of[RUNS_MAX];
	size_t count;
};

struct table {
	unsigned int different; /* settings */
};

/* ---- reading ---- */

static char *read_file(const char *name, size_t *length)
{
	FILE *file = strcmp(name, "-") == 0 ? stdin : fopen(name, "re");
	char *text = NULL;
	size_t n;

	if (!file)
		err(2, "%s", name);
	*length = 0;
	do {
		text = realloc(text, *length + 65537);
		if (!text)
			err(1, NULL);
		n = fread(text + *length, 1, 65536, file);
		*length += n;
	} while (n > 0);
	text[*length] = '\0';
	if (file != stdin)
		fclose(file);
	return text;
}

static void read_runs(struct runs *runs, const char *name)
{
	struct json_tokener *tokener = json_tokener_new();
	size_t length, at = 0;
	char *text = read_file(name, &length);

	runs->file = name;
	while (at + strspn(text + at, " \t\r\n") < length) {
		struct json_object *run = json_tokener_parse_ex(tokener, text + at, length - at + 1);

		if (!json_object_is_type(run, json_type_object) || runs->count == RUNS_MAX)
			errx(2, "%s: expected results of ktls-bench --json, at most %d of them; number %zu: %s", name,
			     RUNS_MAX, runs->count + 1,
			     run ? "not an object" : json_tokener_error_desc(json_tokener_get_error(tokener)));
		runs->of[runs->count++] = run;
		at += json_tokener_get_parse_end(tokener);
		json_tokener_reset(tokener);
	}
	if (runs->count == 0)
		errx(2, "%s: there is no result in it", name);
	json_tokener_free(tokener);
	free(text);
}

/* ---- comparing ---- */

static bool is_number(struct json_object *value)
{
	return json_object_is_type(value, json_type_int) || json_object_is_type(value, json_type_double);
}

static bool is_setting(const char *key)
{
	const char *last = strrchr(key, '.') ? strrchr(key, '.') + 1 : key;
	size_t i;

	for (i = 0; i < sizeof(comparable) / sizeof(*comparable); i++) {
		if (strcmp(last, comparable[i]) == 0)
			return true;
	}
	return false;
}

static void show_value(struct json_object *value)
{
	if (is_number(value))
		printf("  %16.6g", json_object_get_double(value));
	else
		printf("  %16s", value ? json_object_get_string(value) : "-");
}

static void show_pair(struct table *table, const char *key, struct json_object *a, struct json_object *b)
{
	bool numbers = is_number(a) && is_number(b);
	bool same = json_object_equal(a, b) || (numbers && json_object_get_double(a) == json_object_get_double(b));

	if (!numbers && same)
		return;
	printf("  %-36s", key);
	show_value(a);
	show_value(b);
	if (is_setting(key) && !same) {
		table->different++;
		printf("  DIFFERENT SETTING\n");
	} else if (!numbers) {
		printf("  %s\n", !b ? "only in A" : !a ? "only in B" : "different");
	} else if (json_object_get_double(a) != 0) {
		printf("  %8.3f\n", json_object_get_double(b) / json_object_get_double(a));
	} else {
		printf("  %8s\n", same ? "1.000" : "-");
	}
}

static void compare(struct table *table, const char *prefix, struct json_object *a, struct json_object *b);

static void compare_value(struct table *table, const char *prefix, const char *name, struct json_object *a,
			  struct json_object *b)
{
	struct json_object *shape = a ? a : b;
	char key[KEY_MAX], index[24];
	size_t i, length;

	snprintf(key, sizeof(key), "%s%s%s", prefix, *prefix ? "." : "", name);
	if (json_object_is_type(shape, json_type_object)) {
		compare(table, key, a, b);
	} else if (json_object_is_type(shape, json_type_array)) {
		length = json_object_array_length(shape);
		if (a && b && json_object_is_type(b, json_type_array) && json_object_array_length(b) > length)
			length = json_object_array_length(b);
		for (i = 0; i < length; i++) {
			snprintf(index, sizeof(index), "%zu", i);
			compare_value(table, key, index, a ? json_object_array_get_idx(a, i) : NULL,
				      json_object_is_type(b, json_type_array) ? json_object_array_get_idx(b, i) : NULL);
		}
	} else {
		show_pair(table, key, a, b);
	}
}

/* A's keys in their order, then those that only B has. */
static void compare(struct table *table, const char *prefix, struct json_object *a, struct json_object *b)
{
	struct json_object *other;

	if (json_object_is_type(a, json_type_object)) {
		json_object_object_foreach(a, name, value)
		{
			other = json_object_is_type(b, json_type_object) ? json_object_object_get(b, name) : NULL;
			compare_value(table, prefix, name, value, other);
		}
	}
	if (!json_object_is_type(b, json_type_object))
		return;
	json_object_object_foreach(b, only, theirs)
	{
		if (!json_object_is_type(a, json_type_object) || !json_object_object_get_ex(a, only, NULL))
			compare_value(table, prefix, only, NULL, theirs);
	}
}

int mode_diff(const char *a, const char *b)
{
	static struct runs left, right;
	unsigned int different = 0;
	size_t i, pairs;

	read_runs(&left, a);
	read_runs(&right, b);
	pairs = left.count < right.count ? left.count : right.count;
	for (i = 0; i < pairs; i++) {
		struct table table = {0};

		printf("%s%s, %zu of %zu\n", i ? "\n" : "",
		       json_object_get_string(json_object_object_get(left.of[i], "mode")), i + 1, pairs);
		printf("  %-36s  %16s  %16s  %8s\n", "key", "A", "B", "B/A");
		compare(&table, "", left.of[i], right.of[i]);
		if (table.different)
			printf("  NOT COMPARABLE: %u settings differ\n", table.different);
		different += table.different;
	}
	if (left.count != right.count)
		printf("\n%s has %zu results, %s has %zu: the last are left out\n", a, left.count, b, right.count);
	for (i = 0; i < left.count; i++)
		json_object_put(left.of[i]);
	for (i = 0; i < right.count; i++)
		json_object_put(right.of[i]);
	return different > 0;
}
