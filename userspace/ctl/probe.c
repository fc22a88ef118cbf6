/* SPDX-License-Identifier: MIT */
/* ktlsctl probe: a client handshake through the agent, and everything that its result carries. */
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <json-c/json.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "ktlsctl.h"
#include "ktlsd.h"

static const char usage[] =
	"usage: ktlsctl probe [OPTION...] HOST[:PORT]\n"
	"\n"
	"Connects, has the agent make a TLS handshake as the client, and prints everything that its result\n"
	"carries. An IPv6 address stands in brackets: [::1]:443. The port is 443 if none is given.\n"
	"\n"
	"  --service NAME      a service of the client role in the agent's configuration (default: client)\n"
	"  --server-name NAME  the name to ask for and to verify (default: HOST)\n"
	"  --alpn LIST         protocols to offer, like h2,http/1.1\n"
	"  --timeout S         seconds for connecting, and again for the handshake (default: 10)\n"
	"  --json              one JSON object\n";

struct target {
	struct address address;
	const char *service;
	const char *server_name;
	const char *alpn;
	unsigned int timeout_s;
	bool json;
};

static int connect_to(const struct target *target)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *addresses;
	struct timeval patience = {.tv_sec = target->timeout_s}; /* connect() heeds it, too */
	int fd = -1, err;

	err = getaddrinfo(target->address.host, target->address.port, &hints, &addresses);
	if (err != 0) {
		complain("%s: %s", target->address.host, gai_strerror(err));
		return -1;
	}
	for (const struct addrinfo *a = addresses; a && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
		if (connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
			err = errno == EINPROGRESS ? ETIMEDOUT : errno;
			close(fd);
			fd = -1;
		}
	}
	freeaddrinfo(addresses);
	if (fd < 0)
		complain("can't connect to %s port %s: %s", target->address.host, target->address.port, strerror(err));
	return fd;
}

static void add_hex(struct json_object *report, const char *name, const uint8_t bytes[static 32])
{
	char hex[2 * 32 + 1];

	for (size_t i = 0; i < 32; i++)
		sprintf(hex + 2 * i, "%02x", bytes[i]);
	report_text(report, name, hex);
}

static void add_alert(struct json_object *report, const char *name, uint8_t alert)
{
	if (alert != KTLSD_NO_ALERT)
		report_text(report, name, ktlsd_alert_name(alert));
}

static void add_number(struct json_object *report, const char *name, int64_t value)
{
	json_object_object_add(report, name, json_object_new_int64(value));
}

static void add_flag(struct json_object *report, const char *name, const struct ktlsd_result *result, unsigned int flag)
{
	json_object_object_add(report, name, json_object_new_boolean((result->flags & flag) != 0));
}

static int64_t count_certificates(const struct ktlsd_result *result)
{
	size_t offset = 0, length;
	const uint8_t *der;
	int64_t count = 0;

	while (ktlsd_chain_next(result, &offset, &der, &length))
		count++;
	return count;
}

static void add_peer(struct json_object *report, const struct ktlsd_result *result)
{
	const struct ktlsd_peer *peer = result->peer;

	if (!peer)
		return;
	report_text(report, "peer", peer->subject);
	report_text(report, "issuer", peer->issuer);
	report_text(report, "names", peer->names);
	report_text(report, "peer_name", peer->name);
	report_text(report, "serial", peer->serial);
	report_time(report, "not_before", peer->not_before);
	report_time(report, "not_after", peer->not_after);
	add_number(report, "days_left", (peer->not_after - time(NULL)) / 86400);
	add_hex(report, "sha256", peer->sha256);
	add_flag(report, "verified", result, KTLSD_RESULT_VERIFIED);
	if (result->chain)
		add_number(report, "certificates", count_certificates(result));
}

static void add_connection(struct json_object *report, const struct ktlsd_result *result)
{
	char id[17];

	if (result->version)
		report_text(report, "version", ktlsd_version_name(result->version));
	if (result->cipher)
		report_text(report, "cipher", ktlsd_cipher_name(result->cipher));
	if (result->group)
		report_text(report, "group", ktlsd_group_name(result->group));
	report_text(report, "alpn", result->alpn);
	if (result->channel_binding)
		add_hex(report, "tls_exporter", result->channel_binding);
	add_alert(report, "alert_sent", result->alert_sent);
	add_alert(report, "alert_received", result->alert_received);
	snprintf(id, sizeof(id), "%016llx", (unsigned long long)result->connection_id);
	report_text(report, "connection_id", id);
}

/* The order of members is the order of lines. */
static struct json_object *describe(const struct ktlsd_result *result, double ms)
{
	struct json_object *report = json_object_new_object();
	char duration[32];

	json_object_object_add(report, "ok", json_object_new_boolean(result->error == 0));
	if (result->error != 0) {
		report_text(report, "error", *result->error_text ? result->error_text : strerror(result->error));
		report_text(report, "errno", strerrorname_np(result->error));
	}
	add_peer(report, result);
	add_connection(report, result);
	if (result->error == 0) {
		add_flag(report, "resumed", result, KTLSD_RESULT_RESUMED);
		add_flag(report, "kernel_sends", result, KTLSD_RESULT_TX);
		add_flag(report, "kernel_receives", result, KTLSD_RESULT_RX);
	}
	snprintf(duration, sizeof(duration), "%.1f", ms);
	json_object_object_add(report, "handshake_ms", json_object_new_double_s(ms, duration));
	return report;
}

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

static int hand_over(struct ktlsd *agent, const struct target *target, int fd)
{
	struct ktlsd_handoff *handoff = ktlsd_get_handoff(agent);
	double start = now_ms();
	struct json_object *report;
	struct ktlsd_result *result;
	struct ktlsd_stream *stream;
	int err;

	ktlsd_prep_client(handoff, fd, target->service, target->server_name);
	handoff->alpn = target->alpn;
	handoff->timeout_ms = target->timeout_s * 1000;
	handoff->want |= KTLSD_WANT_CHAIN | KTLSD_WANT_CHANNEL_BINDING;
	err = ktlsd_submit(agent);
	if (err < 0)
		return complain("can't hand the socket over: %s", strerror(-err));
	err = ktlsd_wait_result(agent, &result, (target->timeout_s + 5) * 1000);
	if (err < 0)
		return complain("the agent gives no answer: %s", strerror(-err));
	report = describe(result, now_ms() - start);
	report_print(report, target->json);
	json_object_put(report);
	if (result->error != 0 || ktlsd_stream_new(&stream, fd, agent, result) < 0)
		return EXIT_PROBLEM;
	ktlsd_stream_shutdown(stream);
	ktlsd_stream_free(stream);
	return EXIT_OK;
}

static int probe(const struct target *target)
{
	struct ktlsd *agent;
	int fd, err;

	err = ktlsd_open(&agent, NULL);
	if (err < 0)
		return complain("the agent can't be reached: %s; ktlsctl doctor knows more", strerror(-err));
	fd = connect_to(target);
	if (fd < 0) {
		ktlsd_close(agent);
		return EXIT_PROBLEM;
	}
	err = hand_over(agent, target, fd);
	ktlsd_close(agent);
	close(fd);
	return err;
}

int probe_main(int argc, char **argv)
{
	static const struct option options[] = {
		{"service", required_argument, NULL, 's'},
		{"alpn", required_argument, NULL, 'a'},
		{"server-name", required_argument, NULL, 'n'},
		{"timeout", required_argument, NULL, 't'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct target target = {.service = "client", .timeout_s = 10};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 's':
			target.service = optarg;
			break;
		case 'a':
			target.alpn = optarg;
			break;
		case 'n':
			target.server_name = optarg;
			break;
		case 't':
			target.timeout_s = strtoul(optarg, NULL, 10);
			if (target.timeout_s == 0 || target.timeout_s > 3600)
				return misused(usage);
			break;
		case 'j':
			target.json = true;
			break;
		case 'h':
			return help(usage);
		default:
			return misused(usage);
		}
	}
	if (optind != argc - 1 || !address_parse(&target.address, argv[optind]))
		return misused(usage);
	if (!target.server_name)
		target.server_name = target.address.host;
	return probe(&target);
}
