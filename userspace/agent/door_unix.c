/* SPDX-License-Identifier: MIT */
/*
 * The front door for programs: an AF_UNIX SEQPACKET socket over which callers hand connected sockets in and get results
 * back (docs/protocol.md). Every worker accepts callers; a caller stays with the worker that accepted it. One datagram is
 * received from a caller at a time, and one sent to it, so a caller that does not read holds up nobody else.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "admission.h"
#include "caller.h"
#include "doors.h"
#include "log.h"
#include "unix_socket.h"

static int listener = -1;
static char listener_path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
static struct door_state *states[WORKERS_MAX]; /* by worker */

static void accepted(struct completion *completion, unsigned int operation, int result, unsigned int flags);

static bool open_door(const struct settings *settings)
{
	listener = unix_socket_claim(settings->handoff_socket, SOCK_SEQPACKET, settings->handoff_mode, -1);
	snprintf(listener_path, sizeof(listener_path), "%s", settings->handoff_socket);
	return listener >= 0;
}

static void arm_accept(struct door_state *door)
{
	struct io_uring_sqe *sqe;

	if (door->accepting)
		return;
	ring_reserve(&door->worker->ring);
	sqe = io_uring_get_sqe(&door->worker->ring);
	io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
	ring_last(sqe, ring_tag(&door->completion, 0));
	door->accepting = true;
}

static bool start_door(struct worker *worker)
{
	struct door_state *door = aligned_alloc(16, (sizeof(*door) + 15) / 16 * 16);

	if (!door)
		return false;
	memset(door, 0, sizeof(*door));
	door->completion.complete = accepted;
	door->worker = worker;
	TAILQ_INIT(&door->callers);
	TAILQ_INIT(&door->pool);
	challenges_init(&door->challenges, worker);
	states[worker->id] = door;
	arm_accept(door);
	return true;
}

static void accepted(struct completion *completion, unsigned int operation, int result, unsigned int flags)
{
	struct door_state *door = (struct door_state *)completion;

	(void)operation;
	if (!(flags & IORING_CQE_F_MORE))
		door->accepting = false;
	if (result < 0) {
		if (result != -ECANCELED)
			log_limited(LOG_ERR, "accept on the handoff socket: %s", strerror(-result));
		return; /* the next sweep tries again */
	}
	if (caller_new(door, result))
		stats_add(&door->worker->stats.callers, 1);
	arm_accept(door);
}

/* Accepts again, should that have ended with an error. */
static void sweep_door(struct worker *worker)
{
	arm_accept(states[worker->id]);
}

static void flush_door(struct worker *worker)
{
	struct caller *caller, *next;

	for (caller = TAILQ_FIRST(&states[worker->id]->callers); caller; caller = next) {
		next = TAILQ_NEXT(caller, entry);
		if (!caller->touched)
			continue;
		caller->touched = false;
		if (!caller_turn(caller))
			stats_add(&worker->stats.callers, -1);
	}
}

static void drain_door(struct worker *worker)
{
	states[worker->id]->draining = true; /* who comes now is told so */
}

static bool idle_door(struct worker *worker)
{
	const struct door_state *door = states[worker->id];
	struct caller *caller;

	TAILQ_FOREACH(caller, &door->callers, entry) {
		if (!caller_idle(caller))
			return false;
	}
	return door->accepting || door->draining;
}

static void stop_door(struct worker *worker)
{
	struct caller *caller;

	TAILQ_FOREACH(caller, &states[worker->id]->callers, entry)
		caller_hang_up(caller);
}

static void close_door(void)
{
	unlink(listener_path);
	close(listener);
}

static void answer(struct handshake *handshake)
{
	caller_answer((struct handoff *)handshake);
}

const struct door door_unix = {
	.name = "unix",
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
