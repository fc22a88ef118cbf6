/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <netdb.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "options.h"
#include "server.h"

#define OPERATIONS (MODE_HANDSHAKE | MODE_RR)
#define MEASURED (OPERATIONS | MODE_STREAM)
#define TLS_LOAD (MEASURED | MODE_IDLE)
#define LOAD (TLS_LOAD | MODE_SLOW)
#define ALL (LOAD | MODE_FLOOR)

#define RATE_CONNECTIONS 1024 /* by default; what arrives meanwhile begins late */

struct option_rule {
	const char *name, *argument; /* without a name: a heading */
	unsigned int modes;
	bool (*set)(struct settings *settings, void *field, const char *value);
	size_t offset;
	const char *help;
};

void misused(const char *what, const char *detail)
{
	fprintf(stderr, "ktls-bench: %s%s; --help lists modes and options\n", what, detail);
	exit(2);
}

/* ---- values ---- */

static bool set_text(struct settings *settings, void *field, const char *value)
{
	(void)settings;
	*(const char **)field = value;
	return *value != '\0';
}

static bool parse_count(const char *value, unsigned long most, unsigned long *count)
{
	char *end;

	errno = 0;
	*count = strtoul(value, &end, 10);
	return isdigit((unsigned char)*value) && !*end && !errno && *count <= most;
}

static bool set_positive(struct settings *settings, void *field, const char *value)
{
	unsigned long count;

	(void)settings;
	if (!parse_count(value, 10000000, &count) || count == 0)
		return false;
	*(unsigned int *)field = count;
	return true;
}

static bool set_tickets(struct settings *settings, void *field, const char *value)
{
	unsigned long count;

	(void)settings;
	if (!parse_count(value, 255, &count))
		return false;
	*(unsigned int *)field = count;
	return true;
}

static bool set_size(struct settings *settings, void *field, const char *value)
{
	unsigned long count;

	(void)settings;
	if (!parse_count(value, 262144, &count) || count == 0)
		return false;
	*(unsigned int *)field = count;
	return true;
}

static bool set_count(struct settings *settings, void *field, const char *value)
{
	unsigned int count;

	if (!set_positive(settings, &count, value))
		return false;
	*(uint64_t *)field = count;
	return true;
}

/* Decimal units, as rates have them. */
static bool set_bytes(struct settings *settings, void *field, const char *value)
{
	static const char units[] = "kMGT";
	unsigned long long bytes;
	const char *unit;
	char *end;

	(void)settings;
	errno = 0;
	bytes = strtoull(value, &end, 10);
	if (!isdigit((unsigned char)*value) || errno || bytes == 0 || bytes > 1000000000000ULL)
		return false;
	if (*end) {
		unit = strchr(units, *end);
		if (!unit || end[1])
			return false;
		for (; unit >= units; unit--)
			bytes *= 1000;
	}
	*(uint64_t *)field = bytes;
	return true;
}

static bool set_number(struct settings *settings, void *field, const char *value)
{
	char *end;
	double number = strtod(value, &end);

	(void)settings;
	*(double *)field = number;
	return isdigit((unsigned char)*value) && !*end && number >= 0 && number <= 1e6;
}

static bool set_rate(struct settings *settings, void *field, const char *value)
{
	return set_number(settings, field, value) && *(double *)field > 0;
}

static bool set_version(struct settings *settings, void *field, const char *value)
{
	(void)settings;
	*(int *)field = strcmp(value, "1.3") == 0 ? TLS1_3_VERSION : TLS1_2_VERSION;
	return strcmp(value, "1.3") == 0 || strcmp(value, "1.2") == 0;
}

static bool set_resume(struct settings *settings, void *field, const char *value)
{
	unsigned long percent = strcmp(value, "all") == 0 ? 100 : 0;

	(void)settings;
	if (strcmp(value, "none") != 0 && strcmp(value, "all") != 0 && !parse_count(value, 100, &percent))
		return false;
	*(unsigned int *)field = percent;
	return true;
}

static struct server *new_server(struct settings *settings)
{
	if (settings->server_count == SERVERS_MAX)
		misused("at most 16 servers can be accounted for", "");
	return &settings->servers[settings->server_count++];
}

static bool add_server(struct settings *settings, void *field, const char *value)
{
	unsigned long pid;

	(void)field;
	if (!parse_count(value, 1 << 30, &pid) || pid == 0)
		return false;
	if (kill(pid, 0) != 0 && errno == ESRCH)
		errx(2, "--server-pid %s: there is no such process", value);
	new_server(settings)->pid = pid;
	return true;
}

static bool add_cgroup(struct settings *settings, void *field, const char *value)
{
	const char *wrong = cgroup_check(value);

	(void)field;
	if (wrong)
		errx(2, "--server-cgroup %s: %s", value, wrong);
	new_server(settings)->cgroup = value;
	return true;
}

static bool set_flag(struct settings *settings, void *field, const char *value)
{
	(void)settings, (void)value;
	*(bool *)field = true;
	return true;
}

/* ---- the table ---- */

#define FIELD(name) offsetof(struct settings, name)

static const struct option_rule rules[] = {
	{NULL, "How much", 0, NULL, 0, NULL},
	{"connections", "N", LOAD, set_positive, FIELD(connections),
	 "at once, or held open (default: 16; handshake with --rate: at most 1024)"},
	{"threads", "N", LOAD, set_positive, FIELD(threads), "of this client (default: 1)"},
	{"rate", "N", OPERATIONS, set_rate, FIELD(rate),
	 "open loop: so many begin in each second, at times fixed in advance, and latency counts from then"},
	{"duration", "S", ALL, set_number, FIELD(duration_s), "of the measurement (default: 10); idle: hold so long"},
	{"count", "N", MEASURED | MODE_FLOOR, set_count, FIELD(count),
	 "measure so many handshakes, requests or transfers instead"},
	{"bytes", "N[kMGT]", MODE_STREAM, set_bytes, FIELD(bytes),
	 "measure so many bytes instead, over all connections"},
	{"warmup", "S", TLS_LOAD | MODE_FLOOR, set_number, FIELD(warmup_s), "load before the measurement (default: 1)"},
	{"timeout", "S", LOAD, set_number, FIELD(timeout_s),
	 "for a connection from handshake to close, a request, or a stalled stream (default: 10)"},
	{"opening", "N", MODE_IDLE, set_positive, FIELD(opening),
	 "handshakes in flight meanwhile, per thread (default: 64)"},

	{NULL, "What is said over TLS", 0, NULL, 0, NULL},
	{"path", "PATH", TLS_LOAD, set_text, FIELD(path),
	 "what to GET (handshake, idle: /); stream, rr: HTTP/1.1 instead of raw bytes"},
	{"bare", NULL, MODE_HANDSHAKE | MODE_IDLE, set_flag, FIELD(bare), "no request: for servers that speak no HTTP"},
	{"upload", NULL, MODE_STREAM, set_flag, FIELD(upload), "raw bytes to the server, which has to read them"},
	{"size", "N", MODE_RR, set_size, FIELD(size),
	 "bytes of a raw request and of its echo (default: 64; up to 262144)"},
	{"interval", "S", MODE_SLOW, set_number, FIELD(interval_s),
	 "between two bytes of a ClientHello (default: 1; 0: all at once)"},
	{"part", "N", MODE_SLOW, set_positive, FIELD(part), "so many bytes of it (default: all but the last)"},

	{NULL, "TLS", 0, NULL, 0, NULL},
	{"tls", "1.2|1.3", ALL, set_version, FIELD(version), "version (default: 1.3)"},
	{"cipher", "NAME", ALL, set_text, FIELD(cipher),
	 "OpenSSL's name; with 1.3 TLS_AES_128_GCM_SHA256 and the like"},
	{"group", "NAME", ALL, set_text, FIELD(group), "key agreement: X25519, P-256, X25519MLKEM768, ..."},
	{"resume", "none|all|PERCENT", MODE_HANDSHAKE | MODE_IDLE, set_resume, FIELD(resume),
	 "that share of the handshakes resumes a session (default: none); warm-up collects the tickets"},
	{"cert", "FILE", TLS_LOAD | MODE_FLOOR, set_text, FIELD(certificate),
	 "certificate chain, PEM: what the client shows a server that asks; floor: the server's"},
	{"key", "FILE", TLS_LOAD | MODE_FLOOR, set_text, FIELD(key), "and its key, PEM"},
	{"ca", "FILE", TLS_LOAD, set_text, FIELD(ca),
	 "verify the server's certificate with these authorities, PEM (default: it is NOT verified)"},
	{"name", "NAME", LOAD, set_text, FIELD(name),
	 "server name to send, and to verify with --ca (default: HOST, with --ca only)"},
	{"kernel-tls", NULL, TLS_LOAD, set_flag, FIELD(kernel_tls),
	 "this client's keys in the kernel, where it takes them (default: in user space)"},
	{"tickets", "N", MODE_FLOOR, set_tickets, FIELD(tickets), "that the server issues (default: 2)"},
	{"batch", "N", MODE_FLOOR, set_positive, FIELD(batch),
	 "handshakes between two looks at the clock (default: 32)"},

	{NULL, "What it costs the server", 0, NULL, 0, NULL},
	{"server-pid", "PID", LOAD, add_server, 0, "account for this process and its descendants; may be repeated"},
	{"server-cgroup", "PATH", LOAD, add_cgroup, 0, "account for a control group (version 2); may be repeated"},
	{"exclusive", NULL, MEASURED, set_flag, FIELD(exclusive),
	 "machines of one CPU: what passes while the client waits is the servers' CPU time"},

	{NULL, "Output", 0, NULL, 0, NULL},
	{"json", NULL, ALL, set_flag, FIELD(json), "the result as one JSON object"},
	{0},
};

void options_print(FILE *stream)
{
	const struct option_rule *rule;
	char left[64];

	for (rule = rules; rule->name || rule->argument; rule++) {
		if (!rule->name) {
			fprintf(stream, "\n%s:\n", rule->argument);
			continue;
		}
		snprintf(left, sizeof(left), "--%s %s", rule->name, rule->argument ? rule->argument : "");
		fprintf(stream, "  %-26s %s\n", left, rule->help);
	}
}

/* ---- reading ---- */

static void add_target(struct settings *settings, const char *name)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
	const char *colon = strrchr(name, ':');
	struct target *target = &settings->targets[settings->target_count];
	int bad;

	if (!colon || colon == name || colon - name >= (int)sizeof(target->host) ||
	    settings->target_count == TARGETS_MAX)
		misused("expected HOST:PORT, at most 16 of them, not ", name);
	target->name = name;
	snprintf(target->host, sizeof(target->host), "%.*s", (int)(colon - name), name);
	if (*name == '[' && colon[-1] == ']') /* [::1]:443 */
		snprintf(target->host, sizeof(target->host), "%.*s", (int)(colon - name) - 2, name + 1);
	bad = getaddrinfo(target->host, colon + 1, &hints, &found);
	if (bad)
		errx(2, "%s: %s", name, gai_strerror(bad));
	memcpy(&target->address, found->ai_addr, found->ai_addrlen);
	target->length = found->ai_addrlen;
	settings->target_count++;
	freeaddrinfo(found);
}

static const struct option_rule *find_rule(const char *name, size_t length)
{
	const struct option_rule *rule;

	for (rule = rules; rule->name || rule->argument; rule++) {
		if (rule->name && strlen(rule->name) == length && memcmp(rule->name, name, length) == 0)
			return rule;
	}
	return NULL;
}

/* Takes "--name value" or "--name=value". How many arguments it took. */
static int take_option(struct settings *settings, unsigned int mode, char **arguments)
{
	const char *name = *arguments + 2, *value = strchr(name, '=');
	const struct option_rule *rule = find_rule(name, value ? (size_t)(value - name) : strlen(name));
	int taken = 1;

	if (!rule || !(rule->modes & mode))
		misused("no such option in this mode: ", *arguments);
	if (value && !rule->argument)
		misused("there is no value to give to --", rule->name);
	if (value)
		value++;
	else if (rule->argument)
		value = arguments[taken++];
	if (rule->argument && !value)
		misused("a value is missing behind --", rule->name);
	if (!rule->set(settings, (char *)settings + rule->offset, value))
		errx(2, "--%s %s; expected %s: %s", rule->name, value, rule->argument, rule->help);
	return taken;
}

static void check_floor(const struct settings *settings)
{
	if (settings->target_count > 0)
		misused("this mode takes no target: ", settings->targets[0].name);
	if (!settings->certificate)
		misused("--cert and --key are missing", "");
}

static void check(const struct settings *settings, unsigned int mode)
{
	if (!settings->certificate != !settings->key)
		misused("--cert and --key go together", "");
	if (mode == MODE_FLOOR) {
		check_floor(settings);
		return;
	}
	if (settings->target_count == 0)
		misused("HOST:PORT is missing", "");
	if (settings->exclusive && (settings->threads > 1 || settings->rate > 0 || sysconf(_SC_NPROCESSORS_ONLN) > 1))
		misused("--exclusive is for one thread on a machine with one CPU, without --rate", "");
	if (settings->threads > settings->connections)
		misused("more threads than connections", "");
	if (settings->upload && (settings->path || settings->count))
		misused("--upload sends raw bytes, and goes with neither --path nor --count", "");
	if (settings->bytes && settings->count)
		misused("--bytes or --count, not both", "");
	if (settings->bare && settings->path)
		misused("--bare makes no request: there is nothing to do with --path", "");
	if (settings->timeout_s <= 0)
		misused("--timeout has to be more than 0", "");
}

void options_read(struct settings *settings, unsigned int mode, char **arguments)
{
	while (*arguments) {
		if (strncmp(*arguments, "--", 2) == 0)
			arguments += take_option(settings, mode, arguments);
		else
			add_target(settings, *arguments++);
	}
	if (settings->connections == 0)
		settings->connections = mode == MODE_HANDSHAKE && settings->rate > 0 ? RATE_CONNECTIONS : 16;
	check(settings, mode);
}
