/* SPDX-License-Identifier: MIT */
/*
 * Modes handshake and idle: threads, each with a ring and its share of the connections, and the course of a run.
 *
 * --exclusive. Where the kernel counts CPU time in sampled ticks, as User Mode Linux does, who runs in step with the ticks
 * is charged far too much or nothing at all. But if there is one CPU, the client has real-time priority and the load never
 * lets the CPU idle, then the time in which the client waits is the time in which all others work, to the nanosecond. The
 * client waits until half of its connections need it: the other half keeps the servers busy, and they can work in batches
 * without being interrupted by it.
 */
#include <err.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "connection.h"
#include "report.h"
#include "server.h"
#include "tls.h"

#define RING_ENTRIES 128
#define TURN_MS 100  /* how exactly timeouts are kept */
#define SETTLE_S 0.5 /* until what a server does behind a connection's end is done */

enum phase { LOAD, MEASURE, STOP };

struct worker {
	struct loop loop;
	pthread_t thread;
	unsigned int in_flight; /* how many at once */
	uint64_t share;		/* of settings->count or of the connections to hold; 0: no limit */
	_Atomic uint64_t completed, failed;
	_Atomic bool ready;	 /* the share is done */
	uint64_t waited, passed; /* cycles, while measuring */
	bool hold;
};

/* For durations between neighbouring points: no system call, unlike the clocks of some test machines. */
static uint64_t cycles(void)
{
#ifdef __x86_64__
	return __builtin_ia32_rdtsc();
#else
	return now_ns();
#endif
}

struct crew {
	const struct settings *settings;
	struct worker *workers;
	int64_t next_progress;
	bool terminal;
};

static _Atomic enum phase phase;

static void sleep_s(double seconds)
{
	struct timespec time = {.tv_sec = seconds, .tv_nsec = fmod(seconds, 1) * 1e9};

	nanosleep(&time, NULL);
}

/* ---- on a worker's thread ---- */

static uint64_t failures(const struct tally *tally)
{
	uint64_t sum = 0;
	int i;

	for (i = 0; i < FAILURES; i++)
		sum += tally->failed[i];
	return sum;
}

static bool may_start(const struct worker *worker)
{
	const struct loop *loop = &worker->loop;
	uint64_t over = loop->tally.completed + failures(&loop->tally);

	if (phase == STOP || loop->in_flight_count >= worker->in_flight)
		return false;
	if (worker->share == 0 || !loop->counting)
		return true;
	return over + (loop->hold ? loop->in_flight_count : 0) < worker->share;
}

static void open_ring(struct io_uring *ring)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
		.cq_entries = 4096,
	};
	int error = io_uring_queue_init_params(RING_ENTRIES, ring, &params);

	if (error < 0)
		errx(1, "io_uring: %s", strerror(-error));
	io_uring_ring_dontfork(ring);
}

static void take_precedence(void)
{
	struct sched_param priority = {.sched_priority = 1};

	if (sched_setscheduler(0, SCHED_FIFO, &priority) != 0)
		err(1, "--exclusive needs real-time priority");
}

/* The cycles that it took. */
static uint64_t wait_for_others(struct loop *loop)
{
	struct __kernel_timespec timeout = {.tv_nsec = TURN_MS * 1000000LL};
	unsigned int wanted = loop->settings->exclusive ? (loop->in_flight_count + 1) / 2 : 1;
	struct io_uring_cqe *cqe;
	uint64_t began;

	io_uring_submit(&loop->ring);
	began = cycles();
	io_uring_wait_cqes(&loop->ring, &cqe, wanted, &timeout, NULL);
	return cycles() - began;
}

static void take_completions(struct loop *loop)
{
	struct io_uring_cqe *cqe;
	unsigned int head, count = 0;

	io_uring_for_each_cqe(&loop->ring, head, cqe) {
		uint64_t data = cqe->user_data;

		count++;
		if (data)
			connection_complete((struct connection *)(uintptr_t)(data & ~CONNECTION_OPERATION_MASK),
					    data & CONNECTION_OPERATION_MASK, cqe->res);
	}
	io_uring_cq_advance(&loop->ring, count);
}

static void publish(struct worker *worker)
{
	const struct tally *tally = &worker->loop.tally;

	worker->completed = tally->completed;
	worker->failed = failures(tally);
	worker->ready = worker->share && worker->completed + worker->failed >= worker->share;
}

static void *work(void *argument)
{
	struct worker *worker = argument;
	struct loop *loop = &worker->loop;
	uint64_t began, waited;

	open_ring(&loop->ring);
	if (loop->settings->exclusive)
		take_precedence();
	while (phase != STOP || loop->in_flight_count + loop->held_count > 0) {
		loop->counting = phase == MEASURE;
		loop->hold = worker->hold && loop->counting;
		began = cycles();
		while (may_start(worker) && connection_start(loop))
			;
		waited = wait_for_others(loop);
		take_completions(loop);
		connections_expire(loop);
		if (phase == STOP)
			connections_release(loop);
		publish(worker);
		if (loop->counting) {
			worker->waited += waited;
			worker->passed += cycles() - began;
		}
	}
	io_uring_queue_exit(&loop->ring);
	return NULL;
}

/* ---- the course of a run ---- */

static void raise_descriptor_limit(const struct settings *settings)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max < settings->connections + 64)
		warnx("%u connections need more descriptors than the %lu of RLIMIT_NOFILE", settings->connections,
		      (unsigned long)limit.rlim_max);
}

static uint64_t part(uint64_t whole, unsigned int parts, unsigned int i)
{
	return whole / parts + (i < whole % parts);
}

static void prepare(struct worker *worker, const struct settings *settings, SSL_CTX *context, bool hold, unsigned int i)
{
	struct loop *loop = &worker->loop;

	loop->settings = settings;
	loop->context = context;
	worker->hold = hold;
	loop->next = i * 31; /* threads begin with different source addresses */
	TAILQ_INIT(&loop->in_flight);
	TAILQ_INIT(&loop->held);
	loop->request_length = snprintf(loop->request, sizeof(loop->request),
					"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", settings->path);
	worker->share = part(hold ? settings->connections : settings->count, settings->threads, i);
	worker->in_flight = part(settings->connections, settings->threads, i);
	if (hold && worker->in_flight > settings->opening)
		worker->in_flight = settings->opening;
}

static void open_pools(struct worker *worker)
{
	unsigned int i;

	for (i = 0; i < worker->loop.settings->target_count; i++)
		pool_open(&worker->loop.pools[i], 4 * worker->in_flight + 64);
}

static void close_pools(struct worker *worker)
{
	unsigned int i;

	for (i = 0; i < worker->loop.settings->target_count; i++)
		pool_close(&worker->loop.pools[i]);
}

static void start(struct crew *crew, const struct settings *settings, bool hold)
{
	SSL_CTX *context = tls_client(settings);
	unsigned int i;
	int error;

	raise_descriptor_limit(settings);
	crew->settings = settings;
	crew->terminal = isatty(STDERR_FILENO);
	crew->workers = calloc(settings->threads, sizeof(*crew->workers));
	if (!crew->workers)
		err(1, NULL);
	phase = LOAD;
	for (i = 0; i < settings->threads; i++) {
		prepare(&crew->workers[i], settings, context, hold, i);
		open_pools(&crew->workers[i]);
		error = pthread_create(&crew->workers[i].thread, NULL, work, &crew->workers[i]);
		if (error)
			errx(1, "pthread_create: %s", strerror(error));
	}
}

static void show_progress(struct crew *crew, int64_t now, int64_t began)
{
	uint64_t completed = 0, failed = 0;
	unsigned int i;

	if (!crew->terminal || now < crew->next_progress)
		return;
	crew->next_progress = now + 500000000;
	for (i = 0; i < crew->settings->threads; i++) {
		completed += crew->workers[i].completed;
		failed += crew->workers[i].failed;
	}
	fprintf(stderr, "\r%6.1f s  %lu connections  %lu failed ", (now - began) / 1e9, completed, failed);
}

static bool all_ready(const struct crew *crew)
{
	unsigned int i;

	for (i = 0; i < crew->settings->threads; i++) {
		if (!crew->workers[i].ready)
			return false;
	}
	return true;
}

/* Until every worker has done its share, or for so many seconds. */
static void watch(struct crew *crew, double seconds)
{
	int64_t began = now_ns(), now = began;

	while (now < began + seconds * 1e9 && !all_ready(crew)) {
		sleep_s(fmin(0.05, seconds));
		now = now_ns();
		show_progress(crew, now, began);
	}
	if (crew->terminal)
		fputc('\n', stderr);
}

static void stop(struct crew *crew, struct run *run)
{
	struct tally *tally = &run->tally;
	unsigned int i;
	int kind;

	phase = STOP;
	for (i = 0; i < crew->settings->threads; i++) {
		const struct tally *part_of_it = &crew->workers[i].loop.tally;

		pthread_join(crew->workers[i].thread, NULL);
		tally->completed += part_of_it->completed;
		tally->full += part_of_it->full;
		tally->resumed += part_of_it->resumed;
		tally->to_resume += part_of_it->to_resume;
		for (kind = 0; kind < FAILURES; kind++)
			tally->failed[kind] += part_of_it->failed[kind];
		if (!*tally->first_failure)
			memcpy(tally->first_failure, part_of_it->first_failure, sizeof(tally->first_failure));
		histogram_merge(&tally->handshake, &part_of_it->handshake);
		histogram_merge(&tally->response, &part_of_it->response);
		close_pools(&crew->workers[i]);
	}
	if (crew->workers->passed > 0)
		run->waited = (double)crew->workers->waited / crew->workers->passed;
	free(crew->workers);
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
			const struct worker *worker = &crew->workers[i];

			filled +=
				worker->loop.pooled >= worker->in_flight || worker->loop.over >= 8 * worker->in_flight;
		}
	}
}

static double own_cpu_s(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static struct run *new_run(void)
{
	struct run *run = calloc(1, sizeof(*run));

	if (!run)
		err(1, NULL);
	return run;
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

static int finish(const struct settings *settings, struct run *run,
		  void (*report)(const struct settings *settings, const struct run *run))
{
	int status = run->tally.completed == 0 || failures(&run->tally) > 0 || !resumed_enough(&run->tally);

	report(settings, run);
	free(run);
	return status;
}

int mode_handshake(const struct settings *settings)
{
	struct run *run = new_run();
	struct crew crew = {0};
	int64_t began;

	start(&crew, settings, false);
	warm_up(&crew);
	servers_measure(settings, run->before);
	machine_measure(&run->machine_before);
	run->client_cpu_s = -own_cpu_s();
	began = now_ns();
	phase = MEASURE;
	watch(&crew, settings->count ? INFINITY : settings->duration_s);
	phase = LOAD;
	run->seconds = (now_ns() - began) / 1e9;
	run->client_cpu_s += own_cpu_s();
	machine_measure(&run->machine_after);
	servers_measure(settings, run->after);
	stop(&crew, run);
	return finish(settings, run, report_handshake);
}

int mode_idle(const struct settings *settings)
{
	struct run *run = new_run();
	struct crew crew = {0};
	int64_t began;

	start(&crew, settings, true);
	sleep_s(settings->warmup_s);
	servers_measure(settings, run->before);
	began = now_ns();
	phase = MEASURE;
	watch(&crew, INFINITY);
	run->seconds = (now_ns() - began) / 1e9;
	sleep_s(SETTLE_S + settings->duration_s);
	servers_measure(settings, run->open);
	stop(&crew, run);
	sleep_s(SETTLE_S);
	servers_measure(settings, run->after);
	return finish(settings, run, report_idle);
}
