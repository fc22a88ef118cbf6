/* SPDX-License-Identifier: MIT */
/*
 * The front door for listening sockets: the agent accepts, and only ready sockets reach the server. Each outlet (listener/outlet.h)
 * is at home on one worker, taken in turn.
 */
#include <stdlib.h>
#include <string.h>

#include "doors.h"
#include "listener/configured.h"
#include "listener/kept.h"
#include "log.h"

enum operation { OP_BEGIN, OP_BEGIN_FAILED };

static struct outlets *states[WORKERS_MAX]; /* by worker */

static void begin(struct completion *completion, unsigned int operation, int result, unsigned int flags)
{
	struct outlet *outlet = (struct outlet *)completion;

	(void)result, (void)flags;
	outlet_begin(outlet, states[operation == OP_BEGIN ? outlet->home->id : outlet->begun_by->id]);
}

void door_listener_add(struct outlet *outlet, struct worker *here)
{
	static _Atomic unsigned int next;

	outlet->completion.complete = begin;
	outlet->begun_by = here;
	outlet->home = workers[atomic_fetch_add(&next, 1) % worker_count];
	if (outlet->home == here)
		outlet_begin(outlet, states[here->id]);
	else
		ring_post(&here->ring, outlet->home->ring.ring_fd, ring_tag(&outlet->completion, OP_BEGIN),
			  ring_tag(&outlet->completion, OP_BEGIN_FAILED));
}

static bool open_door(const struct settings *settings)
{
	kept_open();
	return configured_open(settings);
}

static bool start_door(struct worker *worker)
{
	struct outlets *door = calloc(1, sizeof(*door));
	struct outlet *outlet;

	if (!door)
		return false;
	door->worker = worker;
	TAILQ_INIT(&door->all);
	TAILQ_INIT(&door->pool);
	states[worker->id] = door;
	while ((outlet = kept_next(worker)) || (outlet = configured_next(worker)))
		outlet_begin(outlet, door);
	return true;
}

static void sweep_door(struct worker *worker)
{
	struct outlet *outlet;

	TAILQ_FOREACH(outlet, &states[worker->id]->all, entry)
		outlet_sweep(outlet);
}

static void flush_door(struct worker *worker)
{
	struct outlets *door = states[worker->id];
	bool reconfigured = door->config_number != worker->config_number;
	struct outlet *outlet, *next;

	door->config_number = worker->config_number;
	for (outlet = TAILQ_FIRST(&door->all); outlet; outlet = next) {
		next = TAILQ_NEXT(outlet, entry);
		if (!outlet->touched && !reconfigured)
			continue;
		if (reconfigured && outlet->gate)
			gate_recheck(outlet->gate);
		outlet->touched = false;
		outlet_turn(outlet);
	}
}

static void drain_door(struct worker *worker)
{
	struct outlets *door = states[worker->id];
	struct outlet *outlet;

	if (door->draining)
		return;
	door->draining = true;
	TAILQ_FOREACH(outlet, &door->all, entry)
		outlet_drain(outlet);
}

static bool idle_door(struct worker *worker)
{
	const struct outlet *outlet;

	TAILQ_FOREACH(outlet, &states[worker->id]->all, entry) {
		if (!outlet_idle(outlet))
			return false;
	}
	return true;
}

static void stop_door(struct worker *worker)
{
	struct outlet *outlet;

	TAILQ_FOREACH(outlet, &states[worker->id]->all, entry)
		outlet_leave(outlet);
}

static void close_door(void)
{
	configured_close();
}

static void answer(struct handshake *handshake)
{
	outlet_answer((struct accepted *)handshake);
}

const struct door door_listener = {
	.name = "listener",
	.open = open_door,
	.start = start_door,
	.sweep = sweep_door,
	.flush = flush_door,
	.drain = drain_door,
	.idle = idle_door,
	.stop = stop_door,
	.close = close_door,
	.answer = answer,
};
