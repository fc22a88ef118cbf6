/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "clock.h"
#include "doors.h"
#include "handshake.h"
#include "log.h"
#include "worker.h"

#define DRAINING_MS 5
#define STOPPING_TURNS 10 /* for the last answers to go out */

struct worker **workers;
unsigned int worker_count;
static _Atomic unsigned int alone_count;

static void reconfigure(struct worker *worker)
{
	struct config *next = atomic_exchange(&worker->next_config, NULL);

	if (!next) /* a later one came and was taken already */
		return;
	config_put(worker->config);
	worker->config = next;
	worker->config_number++;
}

static void posted(struct completion *completion, unsigned int post, int result, unsigned int flags)
{
	struct worker *worker = (struct worker *)completion;

	(void)result, (void)flags;
	switch (post) {
	case WORKER_RECONFIGURE:
		reconfigure(worker);
		break;
	case WORKER_SWEEP:
		handshake_sweep(worker);
		break;
	case WORKER_DRAIN:
		worker->draining = true;
		break;
	case WORKER_STOP:
		worker->draining = worker->stopping = true;
		handshake_sweep(worker);
		break;
	case WORKER_POST_FAILED: /* a sweep that another worker missed: it does one by itself */
		break;
	}
}

static bool has_work(struct worker *worker)
{
	const struct door *const *door;

	if (!TAILQ_EMPTY(&worker->active))
		return true;
	for (door = doors; *door; door++) {
		if (!(*door)->idle(worker))
			return true;
	}
	return false;
}

static void sweep(struct worker *worker)
{
	const struct door *const *door;

	worker->next_sweep = worker->now + WORKER_SWEEP_MS;
	handshake_sweep(worker);
	for (door = doors; *door; door++)
		(*door)->sweep(worker);
}

static void sweep_canceled(struct worker *worker)
{
	unsigned int i;

	worker->sweep_due = false;
	handshake_sweep(worker);
	for (i = 0; i < worker_count; i++) {
		if (workers[i] != worker)
			worker_post(&worker->ring, workers[i], WORKER_SWEEP);
	}
}

static void one_turn(struct worker *worker, int timeout_ms)
{
	const struct door *const *door;

	ring_wait(&worker->ring, timeout_ms);
	if (worker->draining && !worker->alone) {
		worker->alone = true;
		atomic_fetch_add(&alone_count, 1);
	}
	worker->now = clock_ms(); /* a handshake that begins now must not end by the clock of before the wait */
	if (worker->now >= worker->time_due) { /* or it would be a look at the clock for each turn */
		worker->time = time(NULL);
		worker->time_due = worker->now + 1000;
	}
	ring_complete(&worker->ring);
	if (worker->now >= worker->next_sweep)
		sweep(worker);
	for (door = doors; *door; door++) {
		if (worker->draining)
			(*door)->drain(worker);
		(*door)->flush(worker);
	}
	if (worker->sweep_due)
		sweep_canceled(worker);
}

/* A worker that has not heard of the end yet may still have a handshake run by one that has nothing left to do. */
static bool may_end(struct worker *worker)
{
	bool looked = worker->last_look;

	worker->last_look = worker->draining && atomic_load(&alone_count) == worker_count;
	return looked && !has_work(worker);
}

/* Works until told to end. Without work it sleeps in one system call, without a timer. */
static void turn_until_stopped(struct worker *worker)
{
	unsigned int last_turns = STOPPING_TURNS;

	while (!may_end(worker)) {
		one_turn(worker, worker->draining ? DRAINING_MS : has_work(worker) ? WORKER_SWEEP_MS : -1);
		/* Stopping, what runs is given up, and answers that nobody reads don't keep us. */
		if (worker->stopping && TAILQ_EMPTY(&worker->active) && last_turns-- == 0)
			return;
	}
}

/*
 * A thread's arena grows by what is missing, a system call each time; it shrinks in large steps only (keep_memory() in main.c). So
 * it grows in one go here, and what is not used stays untouched.
 */
static void grow_arena(void)
{
	void *blocks[64];
	size_t i;

	for (i = 0; i < sizeof(blocks) / sizeof(*blocks); i++)
		blocks[i] = malloc(64 * 1024UL);
	while (i > 0)
		free(blocks[--i]);
}

static void *work(void *argument)
{
	struct worker *worker = argument;
	const struct door *const *door;

	if (io_uring_enable_rings(&worker->ring) != 0)
		log_fatal("io_uring_enable_rings: %s", strerror(errno));
	grow_arena();
	if (!ring_buffers_init(&worker->buffers, &worker->ring))
		log_fatal("no buffers for the ring: out of memory, or a kernel before Linux 5.19");
	worker->now = clock_ms();
	for (door = doors; *door; door++) {
		if (!(*door)->start(worker))
			log_fatal("worker %u can't start the door \"%s\"", worker->id, (*door)->name);
	}
	sem_post(&worker->started);
	turn_until_stopped(worker);
	io_uring_submit(&worker->ring); /* the last handshake's answer, if another worker has to give it */
	for (door = doors; *door; door++)
		(*door)->stop(worker);
	atomic_store(&worker->ended, true);
	return NULL;
}

struct worker *worker_new(unsigned int id, struct config *config)
{
	struct worker *worker = aligned_alloc(64, (sizeof(*worker) + 63) / 64 * 64);
	uint32_t start;

	if (!worker || getrandom(&start, sizeof(start), 0) != sizeof(start))
		log_fatal("out of memory");
	memset(worker, 0, sizeof(*worker));
	sem_init(&worker->started, 0, 0);
	worker->posted.complete = posted;
	worker->id = id;
	worker->config = config;
	worker->next_connection_id = ((uint64_t)start << 32) + id;
	TAILQ_INIT(&worker->active);
	if (ring_init(&worker->ring))
		return worker;
	free(worker);
	return NULL;
}

bool worker_start(struct worker *worker)
{
	int error = pthread_create(&worker->thread, NULL, work, worker);

	if (error) {
		log_line(LOG_ERR, "pthread_create: %s", strerror(error));
		return false;
	}
	while (sem_wait(&worker->started) != 0)
		;
	return true;
}

void worker_free(struct worker *worker)
{
	ring_buffers_free(&worker->buffers, &worker->ring);
	io_uring_queue_exit(&worker->ring);
	config_put(worker->config);
	config_put(worker->next_config);
	free(worker);
}

void worker_post(struct io_uring *ring, struct worker *target, enum worker_post post)
{
	ring_post(ring, target->ring.ring_fd, ring_tag(&target->posted, post), 0);
}

struct worker *worker_least_busy(struct worker *here)
{
	unsigned int mine = atomic_load_explicit(&here->active_count, memory_order_relaxed), least = mine, i;
	struct worker *best = here;

	if (here->draining) /* the others may have ended */
		return here;
	for (i = 0; i < worker_count; i++) {
		unsigned int theirs = atomic_load_explicit(&workers[i]->active_count, memory_order_relaxed);

		if (theirs < least) {
			least = theirs;
			best = workers[i];
		}
	}
	return mine > least + 1 ? best : here;
}

uint64_t worker_connection_id(struct worker *worker)
{
	uint64_t id = worker->next_connection_id;

	worker->next_connection_id += worker_count;
	return id;
}

void worker_request_sweep(struct worker *worker)
{
	worker->sweep_due = true;
}
