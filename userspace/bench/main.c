/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <netdb.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

#define HANDSHAKE 1
#define IDLE 2
#define FLOOR 4
#define LOAD (HANDSHAKE | IDLE)
#define ALL (LOAD | FLOOR)

struct mode {
	const char *name;
	unsigned int bit;
	int (*run)(const struct settings *settings);
	const char *help;
};

static const struct mode modes[] = {
	{"handshake", HANDSHAKE, mode_handshake,
	 "full handshakes, closed loop: connect, handshake, one GET, orderly close"},
	{"idle", IDLE, mode_idle, "opens connections likewise and holds them: what memory do they take?"},
	{"floor", FLOOR, mode_floor, "CPU time of the server's side of a handshake in OpenSSL alone, in memory"},
	{0},
};

struct option_rule {
	const char *name, *argument;
	unsigned int modes;
	bool (*set)(struct settings *settings, void *field, const char *value);
	size_t offset;
	const char *help;
};

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

static bool set_count(struct settings *settings, void *field, const char *value)
{
	unsigned int count;

	if (!set_positive(settings, &count, value))
		return false;
	*(uint64_t *)field = count;
	return true;
}

static bool set_seconds(struct settings *settings, void *field, const char *value)
{
	char *end;
	double seconds = strtod(value, &end);

	(void)settings;
	*(double *)field = seconds;
	return isdigit((unsigned char)*value) && !*end && seconds >= 0 && seconds <= 1e6;
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

static bool add_server(struct settings *settings, void *field, const char *value)
{
	unsigned long pid;

	(void)field;
	if (settings->server_count == SERVERS_MAX || !parse_count(value, 1 << 30, &pid) || kill(pid, 0) != 0)
		return false;
	settings->servers[settings->server_count++] = pid;
	return true;
}

static bool set_flag(struct settings *settings, void *field, const char *value)
{
	(void)settings, (void)value;
	*(bool *)field = true;
	return true;
}

#define FIELD(name) offsetof(struct settings, name)

static const struct option_rule rules[] = {
	{"tls", "1.2|1.3", ALL, set_version, FIELD(version), "version (default: 1.3)"},
	{"cipher", "NAME", ALL, set_text, FIELD(cipher),
	 "OpenSSL's name; with 1.3 TLS_AES_128_GCM_SHA256 and the like"},
	{"group", "NAME", ALL, set_text, FIELD(group), "key agreement: X25519, P-256, X25519MLKEM768, ..."},
	{"resume", "none|all|PERCENT", LOAD, set_resume, FIELD(resume),
	 "that share of the handshakes resumes a session (default: none); warm-up collects the tickets"},
	{"connections", "N", LOAD, set_positive, FIELD(connections), "in flight, or held open (default: 16)"},
	{"opening", "N", IDLE, set_positive, FIELD(opening),
	 "handshakes in flight meanwhile, per thread (default: 64)"},
	{"threads", "N", LOAD, set_positive, FIELD(threads), "of this client (default: 1)"},
	{"duration", "S", ALL, set_seconds, FIELD(duration_s), "of the measurement (default: 10); idle: hold so long"},
	{"count", "N", HANDSHAKE | FLOOR, set_count, FIELD(count), "measure so many handshakes instead"},
	{"warmup", "S", ALL, set_seconds, FIELD(warmup_s), "load before the measurement (default: 1)"},
	{"timeout", "S", LOAD, set_seconds, FIELD(timeout_s), "for one connection, handshake to close (default: 10)"},
	{"path", "PATH", LOAD, set_text, FIELD(path), "what to GET (default: /)"},
	{"server-pid", "PID", LOAD, add_server, 0, "account for this process and its descendants; may be repeated"},
	{"cert", "FILE", ALL, set_text, FIELD(certificate),
	 "certificate chain, PEM: what the client shows a server that asks; floor: the server's"},
	{"key", "FILE", ALL, set_text, FIELD(key), "and its key, PEM"},
	{"tickets", "N", FLOOR, set_tickets, FIELD(tickets), "that the server issues (default: 2)"},
	{"batch", "N", FLOOR, set_positive, FIELD(batch), "handshakes between two looks at the clock (default: 32)"},
	{"exclusive", NULL, HANDSHAKE, set_flag, FIELD(exclusive),
	 "machines of one CPU: what passes while the client waits is the servers' CPU time"},
	{"json", NULL, ALL, set_flag, FIELD(json), "the result as one JSON object"},
	{0},
};

int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void print_usage(FILE *stream)
{
	const struct mode *mode;
	const struct option_rule *rule;

	fputs("usage: ktls-bench handshake|idle [OPTION...] HOST:PORT...\n"
	      "       ktls-bench floor [OPTION...] --cert FILE --key FILE\n\n"
	      "Loads TLS servers, and says what that cost them.\n\n",
	      stream);
	for (mode = modes; mode->name; mode++)
		fprintf(stream, "  %-20s %s\n", mode->name, mode->help);
	fputc('\n', stream);
	for (rule = rules; rule->name; rule++)
		fprintf(stream, "  --%-11s %-16s %s\n", rule->name, rule->argument ? rule->argument : "", rule->help);
	fputs("\nSeveral targets take turns. The exit status is 1 if any connection failed.\n", stream);
}

static void misused(const char *what, const char *detail)
{
	fprintf(stderr, "ktls-bench: %s%s; --help lists modes and options\n", what, detail);
	exit(2);
}

static void add_target(struct settings *settings, const char *name)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
	const char *colon = strrchr(name, ':');
	struct target *target = &settings->targets[settings->target_count];
	char host[256];
	int bad;

	if (!colon || colon == name || colon - name >= (int)sizeof(host) || settings->target_count == TARGETS_MAX)
		misused("expected HOST:PORT, at most 16 of them, not ", name);
	snprintf(host, sizeof(host), "%.*s", (int)(colon - name), name);
	if (*host == '[') /* [::1]:443 */
		snprintf(host, sizeof(host), "%.*s", (int)(colon - name) - 2, name + 1);
	bad = getaddrinfo(host, colon + 1, &hints, &found);
	if (bad)
		errx(2, "%s: %s", name, gai_strerror(bad));
	memcpy(&target->address, found->ai_addr, found->ai_addrlen);
	target->length = found->ai_addrlen;
	settings->target_names[settings->target_count++] = name;
	freeaddrinfo(found);
}

/* Takes "--name value" or "--name=value". How many arguments it took. */
static int take_option(struct settings *settings, const struct mode *mode, char **arguments)
{
	const struct option_rule *rule;
	const char *name = *arguments + 2, *value = strchr(name, '=');
	size_t length = value ? (size_t)(value - name) : strlen(name);
	int taken = 1;

	for (rule = rules; rule->name; rule++) {
		if (strlen(rule->name) == length && memcmp(rule->name, name, length) == 0)
			break;
	}
	if (!rule->name || !(rule->modes & mode->bit))
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

static void check(const struct settings *settings, const struct mode *mode)
{
	if (mode->bit == FLOOR && settings->target_count > 0)
		misused("this mode takes no target: ", settings->target_names[0]);
	if (mode->bit == FLOOR && (!settings->certificate || !settings->key))
		misused("--cert and --key are missing", "");
	if (!settings->certificate != !settings->key)
		misused("--cert and --key go together", "");
	if (mode->bit != FLOOR && settings->target_count == 0)
		misused("HOST:PORT is missing", "");
	if (settings->exclusive && (settings->threads > 1 || sysconf(_SC_NPROCESSORS_ONLN) > 1))
		misused("--exclusive is for one thread on a machine with one CPU", "");
	if (mode->bit != FLOOR && settings->threads > settings->connections)
		misused("more threads than connections", "");
}

int main(int argc, char **argv)
{
	struct settings settings = {
		.version = TLS1_3_VERSION,
		.path = "/",
		.connections = 16,
		.opening = 64,
		.threads = 1,
		.tickets = 2,
		.batch = 32,
		.duration_s = 10,
		.warmup_s = 1,
		.timeout_s = 10,
	};
	const struct mode *mode;
	int i;

	if (argc < 2)
		misused("a mode is missing", "");
	for (i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0) {
			print_usage(stdout);
			return 0;
		}
	}
	for (mode = modes; mode->name && strcmp(mode->name, argv[1]) != 0; mode++)
		;
	if (!mode->name)
		misused("unknown mode ", argv[1]);
	for (i = 2; i < argc;) {
		if (strncmp(argv[i], "--", 2) == 0)
			i += take_option(&settings, mode, argv + i);
		else
			add_target(&settings, argv[i++]);
	}
	check(&settings, mode);
	return mode->run(&settings);
}
