/* SPDX-License-Identifier: MIT */
/* Reports: JSON objects, which for people become lines in the order of their members. */
#include <stdio.h>
#include <time.h>
#include <json-c/json.h>

#include "ktlsctl.h"

void report_text(struct json_object *report, const char *name, const char *value)
{
	if (value && *value)
		json_object_object_add(report, name, json_object_new_string(value));
}

void report_time(struct json_object *report, const char *name, time_t when)
{
	struct tm utc;
	char date[32];

	if (gmtime_r(&when, &utc) && strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &utc) > 0)
		report_text(report, name, date);
}

const char *answer_text(struct json_object *answer, const char *name)
{
	struct json_object *member;

	return json_object_object_get_ex(answer, name, &member) ? json_object_get_string(member) : "";
}

void print_json(struct json_object *object)
{
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
}

static void print_line(const char *name, struct json_object *value)
{
	char label[32];
	size_t i;

	for (i = 0; i < sizeof(label) - 1 && name[i]; i++)
		label[i] = name[i] == '_' ? ' ' : name[i];
	label[i] = '\0';
	printf("%-16s %s\n", label,
	       !json_object_is_type(value, json_type_boolean) ? json_object_get_string(value)
	       : json_object_get_boolean(value)		      ? "yes"
							      : "no");
}

void report_print(struct json_object *report, bool json)
{
	struct lh_entry *entry = lh_table_head(json_object_get_object(report));

	if (json) {
		print_json(report);
		return;
	}
	for (; entry; entry = lh_entry_next(entry))
		print_line(lh_entry_k(entry), lh_entry_v(entry));
}
