/* SPDX-License-Identifier: MIT */
#include <json-c/json.h>
#include <openssl/ssl.h>
#include <stdio.h>

#include "report.h"

static void add_number(struct json_object *object, const char *name, double value)
{
	char text[32];

	snprintf(text, sizeof(text), "%.10g", value);
	json_object_object_add(object, name, json_object_new_double_s(value, text));
}

static void add_text(struct json_object *object, const char *name, const char *value)
{
	json_object_object_add(object, name, value ? json_object_new_string(value) : NULL);
}

static void add_flag(struct json_object *object, const char *name, bool value)
{
	json_object_object_add(object, name, json_object_new_boolean(value));
}

static struct json_object *new_result(const struct settings *settings, const char *mode)
{
	struct json_object *result = json_object_new_object();

	add_text(result, "mode", mode);
	add_text(result, "tls", settings->version == TLS1_3_VERSION ? "1.3" : "1.2");
	add_text(result, "group", settings->group);
	add_text(result, "cipher", settings->cipher);
	return result;
}

static void print_result(struct json_object *result)
{
	puts(json_object_to_json_string_ext(result, JSON_C_TO_STRING_PLAIN));
	json_object_put(result);
}

static struct json_object *histogram_json(const struct histogram *histogram)
{
	struct json_object *object = json_object_new_object();
	size_t i;

	add_number(object, "min", histogram->min / 1e3);
	for (i = 0; i < PERCENTILES; i++)
		add_number(object, percentiles[i].name, histogram_percentile(histogram, percentiles[i].percent) / 1e3);
	add_number(object, "max", histogram->max / 1e3);
	return object;
}

static void add_histogram(struct json_object *result, const char *name, const struct histogram *histogram)
{
	json_object_object_add(result, name, histogram_json(histogram));
}

static void add_alerts(struct json_object *result, const struct failures *failures)
{
	struct json_object *alerts = json_object_new_object();
	int i;

	for (i = 0; i < 256; i++) {
		if (failures->alerts[i])
			add_number(alerts, SSL_alert_desc_string_long(i), failures->alerts[i]);
	}
	if (json_object_object_length(alerts))
		json_object_object_add(result, "alerts", alerts);
	else
		json_object_put(alerts);
}

static void add_failures(struct json_object *result, const struct failures *failures)
{
	struct json_object *object = json_object_new_object();
	int i;

	for (i = 0; i < FAILURES; i++) {
		if (failures->of[i])
			add_number(object, failure_names[i], failures->of[i]);
	}
	json_object_object_add(result, "failed", object);
	add_alerts(result, failures);
	if (*failures->first)
		add_text(result, "first_failure", failures->first);
}

/* ---- parts of a run ---- */

static void add_settings(struct json_object *result, const struct run *run)
{
	const struct settings *settings = run->settings;

	add_number(result, "resume", settings->resume);
	add_number(result, "connections", run->use->holds ? run->tally.completed : settings->connections);
	add_number(result, "threads", settings->threads);
	if (settings->path)
		add_text(result, "path", settings->path);
	if (settings->bare)
		add_flag(result, "bare", true);
	if (run->use->streams)
		add_text(result, "direction", settings->upload ? "upload" : "download");
	if (run->use->keeps && !run->use->streams && !settings->path)
		add_number(result, "size", settings->size);
	if (run->use->connected) {
		add_number(result, "interval", settings->interval_s);
		add_number(result, "part", settings->part);
	}
}

static void add_kernel_tls(struct json_object *result, const struct run *run)
{
	struct json_object *object = json_object_new_object();

	add_number(object, "sending", run->tally.kernel_send);
	add_number(object, "receiving", run->tally.kernel_receive);
	json_object_object_add(result, "kernel_tls", object);
}

static void add_rate(struct json_object *result, const struct run *run)
{
	const struct arrival_tally *arrivals = &run->tally.arrivals;
	struct json_object *object = json_object_new_object();

	add_number(object, "asked", run->settings->rate);
	add_number(object, "achieved", run_achieved_rate(run));
	add_number(object, "arrivals", arrivals->arrivals);
	add_number(object, "late", arrivals->late);
	add_number(object, "unstarted", arrivals->unstarted);
	add_histogram(object, "start_delay_us", &arrivals->delay);
	json_object_object_add(result, "rate", object);
}

static void add_slow(struct json_object *result, const struct run *run)
{
	const struct tally *tally = &run->tally;

	add_number(result, "opened", tally->opened);
	add_number(result, "held", run->open_at_end);
	add_number(result, "answered", tally->answered);
	add_number(result, "closed", tally->closed);
	add_number(result, "reset", tally->reset);
	add_number(result, "alerted", tally->alerted);
	add_histogram(result, "ended_us", &tally->response);
}

static void add_counts(struct json_object *result, const struct run *run)
{
	const struct tally *tally = &run->tally;

	add_number(result, "completed", tally->completed);
	add_number(result, "per_second", run->seconds > 0 ? tally->completed / run->seconds : 0);
	if (run->use->keeps) {
		add_number(result, "bytes", tally->bytes);
		add_number(result, "mb_per_second", run->seconds > 0 ? tally->bytes / 1e6 / run->seconds : 0);
		add_number(result, "reopened", tally->reopened);
	}
	if (run->settings->rate > 0)
		add_rate(result, run);
}

static void add_costs(struct json_object *result, const struct run *run)
{
	bool streams = run->use->streams;

	if (run->settings->server_count || run->settings->exclusive)
		add_number(result, streams ? "server_cpu_us_per_gb" : "server_cpu_us", run_server_cpu_us(run));
	add_number(result, streams ? "client_cpu_us_per_gb" : "client_cpu_us", run_client_cpu_us(run));
	add_number(result, "machine_idle", run_machine_idle(run));
}

static struct json_object *new_server(const struct run *run, unsigned int i)
{
	const struct server *server = &run->settings->servers[i];
	struct json_object *object = json_object_new_object();

	if (server->cgroup)
		add_text(object, "cgroup", server->cgroup);
	else
		add_number(object, "pid", server->pid);
	add_text(object, "name", run->before[i].name);
	if (run->before[i].gone || run->after[i].gone)
		add_flag(object, "gone", true);
	return object;
}

static void add_memory(struct json_object *object, const struct run *run, unsigned int i)
{
	add_number(object, "rss_kb_before", run->before[i].rss_kb);
	add_number(object, "rss_kb_open", run->open[i].rss_kb);
	add_number(object, "rss_kb_after", run->after[i].rss_kb);
	add_number(object, "rss_bytes_per_connection", run_rss_bytes(run, i));
}

static void add_cost(struct json_object *object, const struct run *run, unsigned int i)
{
	struct cost cost = run_cost(run, i);

	add_number(object, run->use->streams ? "cpu_us_per_gb" : "cpu_us", cost.cpu_us);
	add_number(object, "rss_kb", run->after[i].rss_kb);
	add_number(object, "rss_kb_before", run->before[i].rss_kb);
	add_number(object, "switches_voluntary", cost.voluntary);
	add_number(object, "switches_involuntary", cost.involuntary);
	if (run->no_syscalls)
		json_object_object_add(object, "syscalls", NULL);
	else
		add_number(object, "syscalls", cost.syscalls);
}

static void add_servers(struct json_object *result, const struct run *run)
{
	struct json_object *servers = json_object_new_array();
	unsigned int i;

	for (i = 0; i < run->settings->server_count; i++) {
		struct json_object *server = new_server(run, i);

		if (run->use->holds)
			add_memory(server, run, i);
		else
			add_cost(server, run, i);
		json_object_array_add(servers, server);
	}
	json_object_object_add(result, "servers", servers);
	if (run->no_syscalls && run->settings->server_count)
		add_text(result, "syscalls_not_countable", run->no_syscalls);
}

void report_json(const struct run *run)
{
	struct json_object *result = new_result(run->settings, run->use->name);

	add_settings(result, run);
	add_number(result, "seconds", run->seconds);
	if (run->use->connected)
		add_slow(result, run);
	else if (!run->use->holds)
		add_counts(result, run);
	if (!run->use->connected) {
		add_number(result, "full", run->tally.full);
		add_number(result, "resumed", run->tally.resumed);
	}
	if (run->settings->kernel_tls)
		add_kernel_tls(result, run);
	add_failures(result, &run->tally.failed);
	if (run->tally.handshake.count || run->use->handshakes)
		add_histogram(result, "handshake_us", &run->tally.handshake);
	if (!run->use->connected)
		add_histogram(result, "response_us", &run->tally.response);
	if (!run->use->holds)
		add_costs(result, run);
	add_servers(result, run);
	print_result(result);
}

void report_floor_json(const struct settings *settings, uint64_t handshakes, double us, const struct histogram *batches)
{
	struct json_object *result = new_result(settings, "floor");

	add_number(result, "tickets", settings->tickets);
	add_number(result, "batch", settings->batch);
	add_number(result, "handshakes", handshakes);
	add_number(result, "server_cpu_us", us);
	add_histogram(result, "batch_mean_us", batches);
	print_result(result);
}
