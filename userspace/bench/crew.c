/* SPDX-License-Identifier: MIT */
#include <err.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "crew.h"
#include "report.h"
#include "tls.h"

#define SETTLE_S 0.5 /* until what a server does behind a connection's end is done */
#define OWN_DESCRIPTORS 64
#define PROGRESS_NS 500000000LL

struct crew {
	const struct settings *settings;
	const struct use *use;
	SSL_CTX *context;
	struct loop *loops;
	struct run *run;
	bool terminal;
	int64_t next_progress;
	uint64_t shown; /* operations, or bytes, in the progress before */
	int64_t shown_at;
};

static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
	(void)signal;
	interrupted = 1;
}

static void sleep_s(double seconds)
{
	struct timespec time = {.tv_sec = seconds, .tv_nsec = fmod(seconds, 1) * 1e9};

	nanosleep(&time, NULL);
}

/* ---- start ---- */

static void raise_descriptor_limit(const struct settings *settings)
{
	unsigned long needed = settings->connections + OWN_DESCRIPTORS;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		err(1, "RLIMIT_NOFILE");
	limit.rlim_cur = limit.rlim_max;
	if (limit.rlim_max < needed)
		errx(1, "%u connections need %lu descriptors; the hard limit (ulimit -Hn) is %lu",
		     settings->connections, needed, (unsigned long)limit.rlim_max);
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void prepare(struct crew *crew, unsigned int i)
{
	const struct settings *settings = crew->settings;
	struct loop *loop = &crew->loops[i];
	unsigned int target;

	loop->settings = settings;
	loop->use = crew->use;
	loop->context = crew->context;
	loop->index = i;
	loop->next = i * 31; /* threads begin with different source addresses */
	TAILQ_INIT(&loop->in_flight.list);
	TAILQ_INIT(&loop->resting.list);
	TAILQ_INIT(&loop->held.list);
	loop->request_length =
		snprintf(loop->request, sizeof(loop->request), "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n",
			 settings->path ? settings->path : "/", settings->name ? settings->name : "localhost");
	if (loop->request_length >= sizeof(loop->request))
		errx(2, "--path and --name are too long for a request");
	loop->share = share_of(crew->use->holds ? settings->connections : settings->count, settings->threads, i);
	loop->share_of_bytes = share_of(settings->bytes, settings->threads, i);
	loop->limit = share_of(settings->connections, settings->threads, i);
	if (crew->use->holds && loop->limit > settings->opening)
		loop->limit = settings->opening;
	for (target = 0; target < settings->target_count; target++)
		pool_open(&loop->pools[target], 4 * loop->limit + 64);
}

static void start(struct crew *crew)
{
	unsigned int i;
	int error;

	raise_descriptor_limit(crew->settings);
	crew->context = tls_client(crew->settings);
	signal(SIGINT, interrupt);
	signal(SIGPIPE, SIG_IGN);
	crew->terminal = isatty(STDERR_FILENO);
	crew->loops = calloc(crew->settings->threads, sizeof(*crew->loops));
	crew->run = calloc(1, sizeof(*crew->run));
	if (!crew->loops || !crew->run)
		err(1, NULL);
	crew->run->settings = crew->settings;
	crew->run->use = crew->use;
	crew->run->no_syscalls = syscalls_watch(crew->settings);
	phase = PHASE_LOAD;
	for (i = 0; i < crew->settings->threads; i++) {
		prepare(crew, i);
		error = pthread_create(&crew->loops[i].thread, NULL, loop_run, &crew->loops[i]);
		if (error)
			errx(1, "pthread_create: %s", strerror(error));
	}
}

/* ---- meanwhile ---- */

static void show_progress(struct crew *crew, int64_t began)
{
	bool streams = crew->use->streams;
	uint64_t done = 0, failed = 0;
	int64_t now = now_ns();
	unsigned int i, busy = 0;
	double rate;

	if (!crew->terminal || now < crew->next_progress)
		return;
	for (i = 0; i < crew->settings->threads; i++) {
		done += streams ? crew->loops[i].bytes : crew->loops[i].completed;
		failed += crew->loops[i].failed;
		busy += crew->loops[i].busy;
	}
	rate = (done - crew->shown) * 1e9 / (now - crew->shown_at);
	fprintf(stderr, "\r%7.1f s  %8.0f %s/s  %6u in flight  %lu failed  ", (now - began) / 1e9,
		streams ? rate / 1e6 : rate, streams ? "MB" : crew->use->operation, busy, failed);
	crew->next_progress = now + PROGRESS_NS;
	crew->shown = done;
	crew->shown_at = now;
}

static bool all_ready(const struct crew *crew)
{
	unsigned int i;

	for (i = 0; i < crew->settings->threads; i++) {
		if (!crew->loops[i].ready)
			return false;
	}
	return true;
}

/* Until every thread has done its part, or for so many seconds. */
static void watch(struct crew *crew, double seconds, bool parts)
{
	int64_t began = now_ns();
	double left;

	crew->shown_at = began;
	crew->next_progress = began + PROGRESS_NS;
	while (!interrupted && !(parts && all_ready(crew))) {
		left = seconds - (now_ns() - began) / 1e9;
		if (left <= 0)
			break;
		sleep_s(fmin(0.05, left));
		show_progress(crew, began);
	}
	if (crew->terminal)
		fputs("\r\33[K", stderr);
}

/*
 * The load before the measurement. With resumption it lasts until there is a session for every connection, but no longer
 * than it takes a server to show that it issues no tickets.
 */
static void warm_up(const struct crew *crew)
{
	const struct settings *settings = crew->settings;
	int64_t end = now_ns() + settings->timeout_s * 1e9;
	unsigned int i, filled = 0;

	sleep_s(settings->warmup_s);
	while (settings->resume && filled < settings->threads && now_ns() < end) {
		sleep_s(0.01);
		for (i = filled = 0; i < settings->threads; i++) {
			const struct loop *loop = &crew->loops[i];

			filled += loop->pooled >= loop->limit || loop->over >= 8 * loop->limit;
		}
	}
}

/* ---- end ---- */

static void merge(struct tally *into, const struct tally *from)
{
	static const size_t counters[] = {
		offsetof(struct tally, completed),     offsetof(struct tally, full),
		offsetof(struct tally, resumed),       offsetof(struct tally, to_resume),
		offsetof(struct tally, kernel_send),   offsetof(struct tally, kernel_receive),
		offsetof(struct tally, reopened),      offsetof(struct tally, bytes),
		offsetof(struct tally, opened),	       offsetof(struct tally, closed),
		offsetof(struct tally, reset),	       offsetof(struct tally, answered),
		offsetof(struct tally, alerted),       offsetof(struct tally, arrivals.arrivals),
		offsetof(struct tally, arrivals.late), offsetof(struct tally, arrivals.unstarted),
	};
	size_t i;

	for (i = 0; i < sizeof(counters) / sizeof(*counters); i++)
		*(uint64_t *)((char *)into + counters[i]) += *(const uint64_t *)((const char *)from + counters[i]);
	failures_merge(&into->failed, &from->failed);
	histogram_merge(&into->handshake, &from->handshake);
	histogram_merge(&into->response, &from->response);
	histogram_merge(&into->arrivals.delay, &from->arrivals.delay);
}

static void stop(struct crew *crew)
{
	const struct settings *settings = crew->settings;
	unsigned int i, target;

	phase = PHASE_STOP;
	for (i = 0; i < settings->threads; i++) {
		struct loop *loop = &crew->loops[i];

		pthread_join(loop->thread, NULL);
		merge(&crew->run->tally, &loop->tally);
		for (target = 0; target < settings->target_count; target++)
			pool_close(&loop->pools[target]);
	}
	if (crew->loops->passed > 0)
		crew->run->waited = (double)crew->loops->waited / crew->loops->passed;
	free(crew->loops);
	SSL_CTX_free(crew->context);
}

static double own_cpu_s(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* 99 % of those that should have been: a few tickets may expire, or be lost to a server that is reloaded. */
static bool resumed_enough(const struct tally *tally)
{
	if (tally->resumed * 100 >= tally->to_resume * 99)
		return true;
	warnx("only %lu of %lu handshakes resumed a session as they should have; does the server issue tickets?",
	      tally->resumed, tally->to_resume);
	return false;
}

static bool fast_enough(const struct run *run)
{
	double wanted = run->settings->rate, achieved = run_achieved_rate(run);

	if (achieved >= wanted * 0.95)
		return true;
	warnx("asked for %g per second, achieved %.0f: expected 95 %% at least", wanted, achieved);
	return false;
}

static int finish(struct crew *crew)
{
	const struct tally *tally = &crew->run->tally;
	bool nothing = tally->completed + tally->bytes + tally->opened == 0;
	int status = nothing || failures_sum(&tally->failed) > 0 || interrupted;

	report(crew->run);
	servers_free(crew->run->before);
	servers_free(crew->run->open);
	servers_free(crew->run->after);
	status |= !resumed_enough(tally) || (crew->settings->rate > 0 && !fast_enough(crew->run));
	free(crew->run);
	return status;
}

static unsigned int count_open(const struct crew *crew)
{
	unsigned int i, open = 0;

	for (i = 0; i < crew->settings->threads; i++)
		open += crew->loops[i].busy;
	return open;
}

int crew_measure(const struct settings *settings, const struct use *use)
{
	struct crew crew = {.settings = settings, .use = use};
	bool parts = settings->count || settings->bytes;
	struct run *run;
	int64_t began;

	start(&crew);
	run = crew.run;
	warm_up(&crew);
	servers_measure(settings, run->before);
	machine_measure(&run->machine_before);
	run->client_cpu_s = -own_cpu_s();
	began = now_ns();
	phase = PHASE_MEASURE;
	watch(&crew, parts ? INFINITY : settings->duration_s, parts);
	run->open_at_end = count_open(&crew);
	phase = PHASE_LOAD;
	run->seconds = (now_ns() - began) / 1e9;
	run->client_cpu_s += own_cpu_s();
	machine_measure(&run->machine_after);
	servers_measure(settings, run->after);
	if (settings->rate > 0)
		watch(&crew, settings->timeout_s, true);
	stop(&crew);
	return finish(&crew);
}

int crew_hold(const struct settings *settings, const struct use *use)
{
	struct crew crew = {.settings = settings, .use = use};
	struct run *run;
	int64_t began;

	start(&crew);
	run = crew.run;
	warm_up(&crew);
	servers_measure(settings, run->before);
	began = now_ns();
	phase = PHASE_MEASURE;
	watch(&crew, INFINITY, true);
	run->seconds = (now_ns() - began) / 1e9;
	sleep_s(SETTLE_S + settings->duration_s);
	servers_measure(settings, run->open);
	stop(&crew);
	sleep_s(SETTLE_S);
	servers_measure(settings, run->after);
	return finish(&crew);
}
