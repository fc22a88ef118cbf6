/* SPDX-License-Identifier: MIT */
/*
 * --exclusive. Where the kernel counts CPU time in sampled ticks, as User Mode Linux does, who runs in step with the ticks
 * is charged far too much or nothing at all. But if there is one CPU, the client has real-time priority and the load never
 * lets the CPU idle, then the time in which the client waits is the time in which all others work, to the nanosecond. The
 * client waits until half of its connections need it: the other half keeps the servers busy, and they can work in batches
 * without being interrupted by it.
 */
#include <err.h>
#include <sched.h>
#include <string.h>

#include "connection.h"
#include "loop.h"

#define RING_ENTRIES 128
#define TURN_NS 100000000LL /* how exactly timeouts are kept */

_Atomic enum phase phase;

/* For durations between neighbouring points: no system call, unlike the clocks of some test machines. */
static uint64_t cycles(void)
{
#ifdef __x86_64__
	return __builtin_ia32_rdtsc();
#else
	return now_ns();
#endif
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

/* ---- what begins ---- */

static bool in_open_loop(const struct loop *loop)
{
	return loop->settings->rate > 0;
}

static bool may_start(const struct loop *loop)
{
	const struct tally *tally = &loop->tally;
	uint64_t over = tally->completed + failures_sum(&tally->failed);

	if (loop->stopping || loop->in_flight.count + loop->resting.count >= loop->limit)
		return false;
	if (loop->use->connected) /* there is nothing to warm up */
		return loop->counting;
	if (loop->share == 0 || !loop->counting || loop->use->keeps)
		return true;
	return over + (loop->holding ? loop->in_flight.count : 0) < loop->share;
}

static bool may_arrive(const struct loop *loop)
{
	if (loop->stopping || arrivals_next(&loop->arrivals) > loop->now)
		return false;
	return loop->use->keeps ? loop->resting.count > 0 : loop->in_flight.count < loop->limit;
}

static void start_arrivals(struct loop *loop)
{
	struct begin begin;

	loop->now = now_ns();
	while (may_arrive(loop)) {
		begin.at = arrivals_next(&loop->arrivals);
		begin.measured = arrivals_take(&loop->arrivals, &loop->tally.arrivals, loop->now);
		if (loop->use->keeps)
			connection_wake(TAILQ_FIRST(&loop->resting.list), &begin);
		else if (!connection_start(loop, &begin))
			break;
	}
}

static void start(struct loop *loop)
{
	if (in_open_loop(loop))
		start_arrivals(loop);
	if (in_open_loop(loop) && !loop->use->keeps)
		return;
	while (may_start(loop) && connection_start(loop, NULL))
		;
}

/* ---- a turn ---- */

static void enter(struct loop *loop, enum phase entered)
{
	bool over = loop->counting && entered != PHASE_MEASURE;

	if (over)
		loop->measured_until = loop->now;
	loop->counting = entered == PHASE_MEASURE;
	loop->stopping = entered == PHASE_STOP;
	loop->holding = loop->use->holds && loop->counting;
	if (!in_open_loop(loop))
		return;
	if (over)
		arrivals_give_up(&loop->arrivals, &loop->tally.arrivals, &loop->tally.response, loop->now);
	else if (!loop->stopping)
		arrivals_begin(&loop->arrivals, loop->settings, loop->index, loop->now, loop->counting);
}

static int64_t patience_ns(const struct loop *loop)
{
	int64_t next = TURN_NS;

	if (loop->settings->interval_s * 1e9 < next)
		next = loop->settings->interval_s * 1e9;
	if (in_open_loop(loop) && !loop->stopping && loop->in_flight.count < loop->limit) {
		next = arrivals_next(&loop->arrivals) - now_ns();
		next = next < 0 ? 0 : next;
	}
	return next < TURN_NS ? next : TURN_NS;
}

/* The cycles that it took. */
static uint64_t wait_for_others(struct loop *loop)
{
	struct __kernel_timespec timeout = {.tv_nsec = patience_ns(loop)};
	unsigned int wanted = loop->settings->exclusive ? (loop->in_flight.count + 1) / 2 : 1;
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

static bool did_its_part(const struct loop *loop)
{
	if (in_open_loop(loop))
		return arrivals_measured(&loop->arrivals) && loop->measured == 0;
	if (loop->share_of_bytes)
		return loop->bytes >= loop->share_of_bytes;
	return loop->share && loop->completed + loop->failed >= loop->share;
}

static void publish(struct loop *loop)
{
	loop->completed = loop->tally.completed;
	loop->failed = failures_sum(&loop->tally.failed);
	loop->bytes = loop->tally.bytes;
	loop->busy = loop->in_flight.count + loop->held.count;
	loop->ready = did_its_part(loop);
}

static void turn(struct loop *loop)
{
	uint64_t began = cycles(), waited;

	start(loop);
	waited = wait_for_others(loop);
	loop->now = now_ns();
	take_completions(loop);
	connections_expire(loop);
	if (loop->use->turn)
		loop->use->turn(loop);
	if (loop->stopping)
		connections_release(loop);
	publish(loop);
	if (loop->counting) {
		loop->waited += waited;
		loop->passed += cycles() - began;
	}
}

void *loop_run(void *argument)
{
	struct loop *loop = argument;
	enum phase entered = PHASE_LOAD;

	open_ring(&loop->ring);
	if (loop->settings->exclusive)
		take_precedence();
	loop->now = now_ns();
	enter(loop, entered);
	while (!loop->stopping || loop->in_flight.count + loop->held.count > 0) {
		if (entered != phase)
			enter(loop, entered = phase);
		turn(loop);
	}
	io_uring_queue_exit(&loop->ring);
	return NULL;
}
