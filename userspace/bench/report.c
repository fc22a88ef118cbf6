/* SPDX-License-Identifier: MIT */
#include <json-c/json.h>
#include <openssl/ssl.h>
#include <stdio.h>

#include "report.h"

struct percentile {
	const char *name;
	double percent;
};

static const struct percentile percentiles[] = {
	{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99.9", 99.9}, {"p99.99", 99.99}};

#define PERCENTILES (sizeof(percentiles) / sizeof(*percentiles))

/* ---- JSON ---- */

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

static void add_failures(struct json_object *result, const struct tally *tally)
{
	struct json_object *object = json_object_new_object();
	int i;

	for (i = 0; i < FAILURES; i++) {
		if (tally->failed[i])
			add_number(object, failure_names[i], tally->failed[i]);
	}
	json_object_object_add(result, "failed", object);
	if (*tally->first_failure)
		add_text(result, "first_failure", tally->first_failure);
}

static double cpu_us(const struct run *run, unsigned int server)
{
	double spent = run->after[server].cpu_s - run->before[server].cpu_s;

	return run->tally.completed ? spent * 1e6 / run->tally.completed : 0;
}

static double all_cpu_us(const struct settings *settings, const struct run *run)
{
	double sum = 0;
	unsigned int i;

	if (settings->exclusive && run->tally.completed)
		return run->waited * run->seconds * 1e6 / run->tally.completed;
	for (i = 0; i < settings->server_count; i++)
		sum += cpu_us(run, i);
	return sum;
}

/* 0 to 1 */
static double machine_idle(const struct run *run)
{
	double idle = run->machine_after.idle - run->machine_before.idle;
	double busy = run->machine_after.busy - run->machine_before.busy;

	return idle + busy > 0 ? idle / (idle + busy) : 0;
}

static struct json_object *new_server(const struct settings *settings, const struct run *run, unsigned int i)
{
	struct json_object *server = json_object_new_object();

	add_number(server, "pid", settings->servers[i]);
	add_text(server, "name", run->before[i].name);
	if (run->before[i].gone || run->after[i].gone)
		json_object_object_add(server, "gone", json_object_new_boolean(true));
	return server;
}

static void handshake_json(const struct settings *settings, const struct run *run)
{
	struct json_object *result = new_result(settings, "handshake"), *servers = json_object_new_array();
	unsigned int i;

	add_number(result, "resume", settings->resume);
	add_number(result, "connections", settings->connections);
	add_number(result, "seconds", run->seconds);
	add_number(result, "completed", run->tally.completed);
	add_number(result, "per_second", run->tally.completed / run->seconds);
	add_number(result, "full", run->tally.full);
	add_number(result, "resumed", run->tally.resumed);
	add_failures(result, &run->tally);
	json_object_object_add(result, "handshake_us", histogram_json(&run->tally.handshake));
	json_object_object_add(result, "response_us", histogram_json(&run->tally.response));
	if (settings->server_count || settings->exclusive)
		add_number(result, "server_cpu_us", all_cpu_us(settings, run));
	if (run->tally.completed)
		add_number(result, "client_cpu_us", run->client_cpu_s * 1e6 / run->tally.completed);
	add_number(result, "machine_idle", machine_idle(run));
	for (i = 0; i < settings->server_count; i++) {
		struct json_object *server = new_server(settings, run, i);

		add_number(server, "cpu_us", cpu_us(run, i));
		add_number(server, "rss_kb", run->after[i].rss_kb);
		json_object_array_add(servers, server);
	}
	json_object_object_add(result, "servers", servers);
	print_result(result);
}

static void idle_json(const struct settings *settings, const struct run *run)
{
	struct json_object *result = new_result(settings, "idle"), *servers = json_object_new_array();
	unsigned int i;

	add_number(result, "connections", run->tally.completed);
	add_number(result, "seconds", run->seconds);
	add_failures(result, &run->tally);
	for (i = 0; i < settings->server_count; i++) {
		struct json_object *server = new_server(settings, run, i);

		add_number(server, "rss_kb_before", run->before[i].rss_kb);
		add_number(server, "rss_kb_open", run->open[i].rss_kb);
		add_number(server, "rss_kb_after", run->after[i].rss_kb);
		json_object_array_add(servers, server);
	}
	json_object_object_add(result, "servers", servers);
	print_result(result);
}

/* ---- text ---- */

static void print_histogram(const char *title, const struct histogram *histogram)
{
	size_t i;

	if (histogram->count == 0)
		return;
	printf("%-22s", title);
	for (i = 0; i < PERCENTILES; i++)
		printf("  %s %.2f", percentiles[i].name, histogram_percentile(histogram, percentiles[i].percent) / 1e6);
	printf("  max %.2f ms\n", histogram->max / 1e6);
}

static void print_failures(const struct tally *tally)
{
	int i;

	for (i = 0; i < FAILURES; i++) {
		if (tally->failed[i])
			printf("failed (%s)  %lu\n", failure_names[i], tally->failed[i]);
	}
	if (*tally->first_failure)
		printf("the first failure: %s\n", tally->first_failure);
}

static void handshake_text(const struct settings *settings, const struct run *run)
{
	unsigned int i;

	printf("%lu connections in %.1f s, %.0f per second, %u in flight\n", run->tally.completed, run->seconds,
	       run->tally.completed / run->seconds, settings->connections);
	printf("%lu handshakes were full, %lu resumed\n", run->tally.full, run->tally.resumed);
	print_histogram("connect to handshake", &run->tally.handshake);
	print_histogram("connect to response", &run->tally.response);
	if (settings->server_count || settings->exclusive)
		printf("server CPU per connection: %.0f us; the machine was idle for %.0f %% of the time%s\n",
		       all_cpu_us(settings, run), machine_idle(run) * 100,
		       machine_idle(run) > 0.1 ? ": don't trust that" : "");
	for (i = 0; i < settings->server_count; i++)
		printf("  %-16s %6.0f us, resident %ld KB%s\n", run->before[i].name, cpu_us(run, i),
		       run->after[i].rss_kb, run->after[i].gone ? " (it is gone)" : "");
	print_failures(&run->tally);
}

static void idle_text(const struct settings *settings, const struct run *run)
{
	unsigned int i;

	printf("%lu connections opened in %.1f s and held\n", run->tally.completed, run->seconds);
	for (i = 0; i < settings->server_count; i++)
		printf("  %-16s resident %ld KB before, %+ld KB with them open, %+ld KB after\n", run->before[i].name,
		       run->before[i].rss_kb, run->open[i].rss_kb - run->before[i].rss_kb,
		       run->after[i].rss_kb - run->before[i].rss_kb);
	print_failures(&run->tally);
}

/* ---- one for each mode ---- */

void report_handshake(const struct settings *settings, const struct run *run)
{
	(settings->json ? handshake_json : handshake_text)(settings, run);
}

void report_idle(const struct settings *settings, const struct run *run)
{
	(settings->json ? idle_json : idle_text)(settings, run);
}

void report_floor(const struct settings *settings, uint64_t handshakes, int64_t server_ns,
		  const struct histogram *batches)
{
	double us = handshakes ? server_ns / 1e3 / handshakes : 0;
	struct json_object *result;

	if (!settings->json) {
		printf("%lu handshakes in memory, server's side: %.1f us each\n", handshakes, us);
		print_histogram("mean of a batch", batches);
		return;
	}
	result = new_result(settings, "floor");
	add_number(result, "tickets", settings->tickets);
	add_number(result, "batch", settings->batch);
	add_number(result, "handshakes", handshakes);
	add_number(result, "server_cpu_us", us);
	json_object_object_add(result, "batch_mean_us", histogram_json(batches));
	print_result(result);
}
