/* SPDX-License-Identifier: MIT */
#include <openssl/ssl.h>
#include <stdio.h>

#include "report.h"

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

static void print_failures(const struct failures *failures)
{
	int i;

	for (i = 0; i < FAILURES; i++) {
		if (failures->of[i])
			printf("failed (%s)  %lu\n", failure_names[i], failures->of[i]);
	}
	for (i = 0; i < 256; i++) {
		if (failures->alerts[i])
			printf("  alert \"%s\"  %lu\n", SSL_alert_desc_string_long(i), failures->alerts[i]);
	}
	if (*failures->first)
		printf("the first failure: %s\n", failures->first);
}

static void print_rate(const struct run *run)
{
	const struct arrival_tally *arrivals = &run->tally.arrivals;

	printf("asked for %g per second, achieved %.1f: %lu of %lu began more than 1 ms late, %lu not at all\n",
	       run->settings->rate, run_achieved_rate(run), arrivals->late, arrivals->arrivals, arrivals->unstarted);
	print_histogram("beginning late", &arrivals->delay);
}

static void print_counts(const struct run *run)
{
	const struct tally *tally = &run->tally;

	if (run->use->streams)
		printf("%.3f GB %s in %.1f s, %.1f MB per second, %u connections\n", tally->bytes / 1e9,
		       run->settings->upload ? "up" : "down", run->seconds, tally->bytes / 1e6 / run->seconds,
		       run->settings->connections);
	else
		printf("%lu %ss in %.1f s, %.0f per second, %u in flight\n", tally->completed, run->use->operation,
		       run->seconds, tally->completed / run->seconds, run->settings->connections);
	if (run->settings->rate > 0)
		print_rate(run);
	if (tally->full + tally->resumed)
		printf("%lu handshakes were full, %lu resumed\n", tally->full, tally->resumed);
	if (tally->reopened)
		printf("%lu connections were closed by the server between two requests, and opened again\n",
		       tally->reopened);
	if (run->settings->kernel_tls)
		printf("this client's keys were in the kernel for %lu connections to send, for %lu to receive\n",
		       tally->kernel_send, tally->kernel_receive);
	print_histogram("connect to handshake", &tally->handshake);
	print_histogram(run->use->keeps ? run->use->operation : "connect to response", &tally->response);
}

static void print_slow(const struct run *run)
{
	const struct tally *tally = &run->tally;

	printf("%lu half-open handshakes begun in %.1f s, %u open at the end\n", tally->opened, run->seconds,
	       run->open_at_end);
	printf("the server answered %lu, closed %lu, reset %lu, sent an alert to %lu\n", tally->answered, tally->closed,
	       tally->reset, tally->alerted);
	print_histogram("until it ended one", &tally->response);
}

static void print_costs(const struct run *run)
{
	const char *unit = run_unit(run);
	unsigned int i;

	if (run->settings->server_count || run->settings->exclusive)
		printf("server CPU per %s: %.0f us; the machine was idle for %.0f %% of the time%s\n", unit,
		       run_server_cpu_us(run), run_machine_idle(run) * 100,
		       run_machine_idle(run) > 0.1 ? ": don't trust that" : "");
	for (i = 0; i < run->settings->server_count; i++) {
		struct cost cost = run_cost(run, i);

		printf("  %-16s %6.0f us, context switches %.2f voluntary and %.2f not", run->before[i].name,
		       cost.cpu_us, cost.voluntary, cost.involuntary);
		if (!run->no_syscalls)
			printf(", system calls %.2f", cost.syscalls);
		printf(", resident %ld KB%s\n", run->after[i].rss_kb, run->after[i].gone ? " (it is gone)" : "");
	}
	if (run->no_syscalls && run->settings->server_count)
		printf("  system calls are not countable here: %s\n", run->no_syscalls);
}

static void print_idle(const struct run *run)
{
	unsigned int i;

	printf("%lu connections opened in %.1f s and held\n", run->tally.completed, run->seconds);
	for (i = 0; i < run->settings->server_count; i++)
		printf("  %-16s resident %ld KB before, %+ld KB with them open, %+ld KB after: %.0f bytes for a connection\n",
		       run->before[i].name, run->before[i].rss_kb, run->open[i].rss_kb - run->before[i].rss_kb,
		       run->after[i].rss_kb - run->before[i].rss_kb, run_rss_bytes(run, i));
}

static void report_text(const struct run *run)
{
	if (run->use->holds)
		print_idle(run);
	else if (run->use->connected)
		print_slow(run);
	else
		print_counts(run);
	if (!run->use->holds)
		print_costs(run);
	print_failures(&run->tally.failed);
}

void report(const struct run *run)
{
	(run->settings->json ? report_json : report_text)(run);
}

void report_floor(const struct settings *settings, uint64_t handshakes, int64_t server_ns,
		  const struct histogram *batches)
{
	double us = handshakes ? server_ns / 1e3 / handshakes : 0;

	if (settings->json) {
		report_floor_json(settings, handshakes, us, batches);
		return;
	}
	printf("%lu handshakes in memory, server's side: %.1f us each\n", handshakes, us);
	print_histogram("mean of a batch", batches);
}
