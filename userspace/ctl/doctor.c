/* SPDX-License-Identifier: MIT */
/* ktlsctl doctor: can ktlsd work here, and if not, what is there to do? */
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <json-c/json.h>
#include <sys/utsname.h>

#include "doctor.h"
#include "ktlsctl.h"

static const char usage[] =
	"usage: ktlsctl doctor [--json]\n"
	"\n"
	"Checks TLS in this kernel (every cipher is tried on a loopback connection), io_uring, the handshake\n"
	"family, the module ktlsd.ko and the agent. What is not in order is followed by what to do about it.\n"
	"\n"
	"  --json  one JSON object\n"
	"\n"
	"Exit status: 0 ktlsd can work here, 1 it can't (a check says FAIL).\n";

static const char *const verdict_names[] = {[VERDICT_OK] = "ok", [VERDICT_WARN] = "warn", [VERDICT_FAIL] = "FAIL"};

static struct json_object *findings; /* NULL: print them as they come */
static enum verdict worst;

void found(enum verdict verdict, const char *check, const char *remedy, const char *format, ...)
{
	struct json_object *finding;
	va_list arguments;
	char detail[256];

	va_start(arguments, format);
	vsnprintf(detail, sizeof(detail), format, arguments);
	va_end(arguments);
	if (verdict > worst)
		worst = verdict;
	if (!findings) {
		printf("%-4s  %-28s  %s\n", verdict_names[verdict], check, detail);
		if (remedy)
			printf("      -> %s\n", remedy);
		fflush(stdout);
		return;
	}
	finding = json_object_new_object();
	json_object_object_add(finding, "check", json_object_new_string(check));
	json_object_object_add(finding, "verdict", json_object_new_string(verdict_names[verdict]));
	json_object_object_add(finding, "detail", json_object_new_string(detail));
	if (remedy)
		json_object_object_add(finding, "remedy", json_object_new_string(remedy));
	json_object_array_add(findings, finding);
}

static void check_kernel_release(void)
{
	struct utsname name;
	int major = 0, minor = 0;

	uname(&name);
	sscanf(name.release, "%d.%d", &major, &minor);
	if (major > 6 || (major == 6 && minor >= 7))
		found(VERDICT_OK, "kernel", NULL, "Linux %s", name.release);
	else
		found(VERDICT_WARN, "kernel", "ktlsd is made for Linux 6.7 and newer, tested from 6.12 on",
		      "Linux %s is old", name.release);
}

static void print_findings(void)
{
	struct json_object *report = json_object_new_object();

	json_object_object_add(report, "ok", json_object_new_boolean(worst != VERDICT_FAIL));
	json_object_object_add(report, "checks", findings);
	print_json(report);
	json_object_put(report);
}

int doctor_main(int argc, char **argv)
{
	struct options options;
	int status = options_read(&options, "j", argc, argv, usage);

	if (status != OPTIONS_READ)
		return status;
	if (optind != argc)
		return misused(usage);
	if (options.json)
		findings = json_object_new_array();
	check_kernel_release();
	check_kernel_tls();
	check_io_uring();
	check_handshake_family();
	check_module();
	check_agent();
	if (options.json)
		print_findings();
	return worst == VERDICT_FAIL ? EXIT_PROBLEM : EXIT_OK;
}
