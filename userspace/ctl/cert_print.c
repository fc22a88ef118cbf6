/* SPDX-License-Identifier: MIT */
/* cert show for people. All text of certificates is harmless by now (cert_text.c); what is too long is cut here. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <json-c/json.h>

#include "cert.h"

#define LINES_MAX 20
#define TEXT_MAX 300
#define INDENT_MAX 30

static bool uncut;

static struct json_object *member(struct json_object *object, const char *name)
{
	return json_object_object_get(object, name);
}

static const char *text(struct json_object *object, const char *name)
{
	const char *value = json_object_get_string(member(object, name));

	return value ? value : "-";
}

static void print_text(const char *value)
{
	size_t length = strlen(value);

	if (uncut || length <= TEXT_MAX)
		fputs(value, stdout);
	else
		printf("%.*s... and %zu more characters", TEXT_MAX, value, length - TEXT_MAX);
}

static void print_label(const char *label)
{
	printf("  %-16s ", label);
}

static void print_line(const char *label, const char *value)
{
	print_label(label);
	print_text(value);
	putchar('\n');
}

static bool is_empty(struct json_object *list)
{
	return json_object_array_length(list) == 0;
}

/* A line for each; the label stands before the first. */
static void print_list(const char *label, struct json_object *list)
{
	size_t length = list ? json_object_array_length(list) : 0;

	for (size_t i = 0; i < length && (uncut || i < LINES_MAX); i++)
		print_line(i == 0 ? label : "", json_object_get_string(json_object_array_get_idx(list, i)));
	if (!uncut && length > LINES_MAX)
		printf("  %-16s ... and %zu more (--all shows all)\n", "", length - LINES_MAX);
}

static void print_list_or(const char *label, struct json_object *list, const char *otherwise)
{
	if (list && !is_empty(list))
		print_list(label, list);
	else
		print_line(label, otherwise);
}

/* "2026-11-21 10:00:00 UTC" of the report's 2026-11-21T10:00:00Z. */
static void print_time(struct json_object *object, const char *name)
{
	const char *time = text(object, name);

	if (strlen(time) == 20)
		printf("%.10s %.8s UTC", time, time + 11);
	else
		fputs(time, stdout);
}

/* Behind the end of something: how far off it is. */
static void print_time_left(struct json_object *object)
{
	int64_t left = json_object_get_int64(member(object, "time_left_s"));

	fputs(left < 0 ? " (expired " : " (", stdout);
	print_age(left < 0 ? -left : left);
	puts(left < 0 ? " ago)" : " left)");
}

static void print_validity(struct json_object *certificate)
{
	struct json_object *begins_in = member(certificate, "begins_in_s");

	print_label(begins_in ? "not valid before" : "valid from");
	print_time(certificate, "not_before");
	if (begins_in) {
		fputs(" (in ", stdout);
		print_age(json_object_get_int64(begins_in));
		putchar(')');
	}
	putchar('\n');
	print_label("valid until");
	print_time(certificate, "not_after");
	if (member(certificate, "time_left_s"))
		print_time_left(certificate);
	else
		putchar('\n');
}

static void print_key(struct json_object *certificate)
{
	struct json_object *key = member(certificate, "key");

	print_label("key");
	fputs(text(key, "algorithm"), stdout);
	if (member(key, "curve"))
		printf(" %s", text(key, "curve"));
	if (member(key, "bits"))
		printf(", %s bits", text(key, "bits"));
	putchar('\n');
}

static void print_key_usage(struct json_object *certificate)
{
	struct json_object *usage = member(certificate, "key_usage");

	print_label("key usage");
	if (!usage)
		fputs("no keyUsage", stdout);
	for (size_t i = 0; usage && i < json_object_array_length(usage); i++)
		printf("%s%s", i == 0 ? "" : ", ", json_object_get_string(json_object_array_get_idx(usage, i)));
	putchar('\n');
}

static void print_purposes(struct json_object *certificate)
{
	struct json_object *purposes = member(certificate, "purposes"), *lines = json_object_new_array();
	char line[512];

	for (size_t i = 0; purposes && i < json_object_array_length(purposes); i++) {
		struct json_object *purpose = json_object_array_get_idx(purposes, i);

		if (member(purpose, "name"))
			snprintf(line, sizeof(line), "%s (%s)", text(purpose, "name"), text(purpose, "oid"));
		else
			snprintf(line, sizeof(line), "%s", text(purpose, "oid"));
		json_object_array_add(lines, json_object_new_string(line));
	}
	print_list_or("purposes", lines, purposes ? "none: extendedKeyUsage is empty" : "no extendedKeyUsage");
	json_object_put(lines);
}

static void print_authority(struct json_object *certificate)
{
	bool ca = json_object_get_boolean(member(certificate, "ca"));

	print_label("CA");
	fputs(ca ? "yes" : "no", stdout);
	if (!json_object_get_boolean(member(certificate, "basic_constraints")))
		fputs(", without basicConstraints", stdout);
	else if (member(certificate, "path_length"))
		printf(", path length %s", text(certificate, "path_length"));
	putchar('\n');
}

static void print_name_or_empty(const char *label, struct json_object *certificate, const char *name)
{
	const char *value = text(certificate, name);

	print_line(label, *value ? value : "(an empty name)");
}

static void print_certificate(struct json_object *certificate, size_t number, size_t count)
{
	printf("\ncertificate %zu of %zu\n", number, count);
	print_name_or_empty("issued to", certificate, "subject");
	print_name_or_empty("issued by", certificate, "issuer");
	print_line("serial", text(certificate, "serial"));
	print_validity(certificate);
	print_list_or("names", member(certificate, "names"), "no subjectAltName");
	print_key(certificate);
	print_line("signature", text(certificate, "signature"));
	print_key_usage(certificate);
	print_purposes(certificate);
	print_authority(certificate);
	print_list("policies", member(certificate, "policies"));
	print_list("permitted names", member(certificate, "permitted_names"));
	print_list("excluded names", member(certificate, "excluded_names"));
	if (json_object_get_boolean(member(certificate, "must_staple")))
		print_line("must-staple", "yes");
	print_list("CRL", member(certificate, "crl"));
	print_list("OCSP", member(certificate, "ocsp"));
	print_list("issuer's address", member(certificate, "ca_issuers"));
	print_list("unknown critical", member(certificate, "unknown_critical"));
	print_line("fingerprint", text(certificate, "sha256"));
	print_line("key fingerprint", text(certificate, "key_sha256"));
	print_list("FAULTS", member(certificate, "faults"));
}

static void print_branch(struct json_object *line)
{
	int depth = json_object_get_int(member(line, "depth"));

	printf("  %*s", 2 * (depth < INDENT_MAX ? depth : INDENT_MAX), "");
	if (depth > INDENT_MAX)
		printf("(level %d) ", depth + 1);
	print_text(text(line, "name"));
	if (!member(line, "certificate"))
		puts(" (not given: who verifies has to have it, as it has roots)");
	else
		printf(" (%s%s)\n", text(line, "certificate"),
		       json_object_get_boolean(member(line, "self_signed")) ? ", self-signed" : "");
}

static void print_tree(struct json_object *tree)
{
	printf("\nchain (the number is the certificate's)\n");
	for (size_t i = 0; i < json_object_array_length(tree); i++)
		print_branch(json_object_array_get_idx(tree, i));
}

static void print_answer(struct json_object *answer)
{
	bool ours = json_object_get_boolean(member(answer, "about_certificate_1"));

	print_line("staple", text(answer, "status"));
	print_line("  about", ours ? "certificate 1" : "another certificate");
	print_line("  serial", text(answer, "serial"));
	if (member(answer, "revoked")) {
		print_label("  revoked");
		print_time(answer, "revoked");
		printf("%s%s\n", member(answer, "reason") ? ", " : "",
		       member(answer, "reason") ? text(answer, "reason") : "");
	}
	print_label("  this update");
	print_time(answer, "this_update");
	putchar('\n');
	print_label("  next update");
	print_time(answer, "next_update");
	if (member(answer, "time_left_s"))
		print_time_left(answer);
	else
		putchar('\n');
}

static void print_staple(struct json_object *staple)
{
	struct json_object *answers = staple ? member(staple, "answers") : NULL;

	if (!staple)
		print_line("staple", "none given");
	else if (is_empty(answers))
		print_line("staple", text(staple, "response"));
	for (size_t i = 0; answers && i < json_object_array_length(answers); i++)
		print_answer(json_object_array_get_idx(answers, i));
}

static void print_connection(struct json_object *connection)
{
	printf("server %s port %s (%s); nothing is verified here\n", text(connection, "host"), text(connection, "port"),
	       text(connection, "address"));
	print_line("asked for", member(connection, "server_name") ? text(connection, "server_name") : "no name");
	print_line("version", text(connection, "version"));
	print_line("cipher", text(connection, "cipher"));
	print_staple(member(connection, "staple"));
}

void print_report(struct json_object *report, bool all)
{
	struct json_object *certificates = member(report, "certificates"), *remarks = member(report, "remarks");
	size_t count = json_object_array_length(certificates);

	uncut = all;
	if (member(report, "connection"))
		print_connection(member(report, "connection"));
	else
		printf("%s: %zu certificate%s\n", text(report, "source"), count, count == 1 ? "" : "s");
	for (size_t i = 0; i < count; i++)
		print_certificate(json_object_array_get_idx(certificates, i), i + 1, count);
	print_tree(member(report, "tree"));
	if (!is_empty(remarks))
		printf("\nremarks\n");
	for (size_t i = 0; i < json_object_array_length(remarks); i++)
		printf("  %s\n", json_object_get_string(json_object_array_get_idx(remarks, i)));
}
