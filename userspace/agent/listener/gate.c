/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../caller.h"
#include "../disposal.h"
#include "../intake.h"
#include "../log.h"
#include "outlet.h"

#define MAY_NOT_USE "the user may not use the service (allow_users, allow_groups, allow_everyone)"

static void accepted(struct completion *completion, unsigned int operation, int result, unsigned int flags);

struct gate *gate_new(struct outlet *outlet, int fd)
{
	struct gate *gate = intake_zeroed(sizeof(*gate));

	gate->completion.complete = accepted;
	gate->outlet = outlet;
	gate->fd = fd;
	return gate;
}

void gate_arm(struct gate *gate)
{
	struct io_uring *ring = &gate->outlet->home->ring;
	struct io_uring_sqe *sqe;

	if (gate->accepting || gate->stopped)
		return;
	ring_reserve(ring);
	sqe = io_uring_get_sqe(ring);
	io_uring_prep_multishot_accept(sqe, gate->fd, NULL, NULL, SOCK_CLOEXEC);
	ring_last(sqe, ring_tag(&gate->completion, 0));
	gate->accepting = true;
}

void gate_stop(struct gate *gate)
{
	gate->stopped = true;
	if (gate->accepting)
		ring_cancel(&gate->outlet->home->ring, gate->fd);
}

void gate_close(struct gate *gate)
{
	gate_stop(gate);
	dispose(gate->outlet->home, gate->outlet->owner.usage, gate->fd, false); /* with who waits to be let in */
}

/* 0 or a positive errno with *why. */
static int admit(struct gate *gate, int fd, struct owner *who, const char **why)
{
	struct outlet *outlet = gate->outlet;
	const struct service *service = outlet_service(outlet);

	*why = "busy: no memory";
	if (!owner_of(who, fd))
		return EBUSY;
	*why = disposal_refuses(outlet->home, who->usage);
	if (*why)
		return EBUSY;
	*why = "the agent is about to stop, or has no such service any more";
	if (outlet->gone || outlet->draining || !service)
		return ESHUTDOWN;
	*why = MAY_NOT_USE;
	if (!owner_may_use(who, service))
		return EACCES;
	return admission_enter_listener(who->usage, outlet->home->config->settings, why);
}

static void let_in(struct gate *gate, int fd)
{
	struct outlet *outlet = gate->outlet;
	struct owner who;
	const char *why;
	int error = admit(gate, fd, &who, &why);

	if (error) {
		free(who.groups);
		caller_turn_away(fd, error, why);
		dispose(outlet->home, who.usage, fd, false);
		return;
	}
	receiver_new(outlet, fd, &who)->counted = true;
	log_limited(LOG_INFO, "user %u, process %d, receives what is ready of service %s", who.user, who.pid,
		    outlet->service_name);
}

void gate_recheck(struct gate *gate)
{
	const struct service *service = outlet_service(gate->outlet);
	struct receiver *receiver;

	TAILQ_FOREACH(receiver, &gate->outlet->receivers, entry) {
		if (!service || receiver->lost || owner_may_use(&receiver->owner, service))
			continue;
		caller_turn_away(receiver->fd, EACCES, MAY_NOT_USE);
		receiver_close(receiver);
	}
}

/* It tries again in the outlet's next turn. */
static void accepted(struct completion *completion, unsigned int operation, int result, unsigned int flags)
{
	struct gate *gate = (struct gate *)completion;

	(void)operation;
	gate->accepting = flags & IORING_CQE_F_MORE;
	gate->outlet->touched = true;
	if (result >= 0)
		let_in(gate, result);
	else if (result != -ECANCELED)
		log_limited(LOG_ERR, "accept on the ready socket of service %s: %s", gate->outlet->service_name,
			    strerror(-result));
}
