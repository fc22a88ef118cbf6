/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "../disposal.h"
#include "../intake.h"
#include "../log.h"
#include "outlet.h"

#define ACCEPTS_MAX (LISTENER_DESCRIPTORS - 2)

static void accepted(struct completion *completion, unsigned int operation, int result, unsigned int flags);

struct listening *listening_new(struct outlet *outlet, int fd)
{
	struct listening *listening = intake_zeroed(sizeof(*listening));
	socklen_t length = sizeof(listening->address);

	listening->completion.complete = accepted;
	listening->outlet = outlet;
	listening->fd = fd;
	getsockname(fd, (struct sockaddr *)&listening->address, &length);
	TAILQ_INSERT_TAIL(&outlet->listening, listening, entry);
	return listening;
}

static void accept_one(struct listening *listening)
{
	struct io_uring *ring = &listening->outlet->home->ring;
	uint64_t tag = ring_tag(&listening->completion, 0);
	struct io_uring_sqe *sqe;

	ring_reserve(ring);
	if (listening->nonblocking) {
		sqe = io_uring_get_sqe(ring);
		io_uring_prep_poll_add(sqe, listening->fd, POLLIN);
		ring_link(sqe, tag);
	}
	sqe = io_uring_get_sqe(ring);
	io_uring_prep_accept(sqe, listening->fd, NULL, NULL, SOCK_CLOEXEC);
	ring_last(sqe, tag);
	listening->accepts++;
}

void listening_arm(struct listening *listening, unsigned int appetite)
{
	unsigned int wanted = listening->more ? ACCEPTS_MAX : 1;

	if (listening->fd < 0 || listening->resting)
		return;
	for (; listening->accepts < wanted && appetite > 0; appetite--)
		accept_one(listening);
}

void listening_stop(struct listening *listening)
{
	if (listening->accepts > 0)
		ring_cancel(&listening->outlet->home->ring, listening->fd);
}

void listening_close(struct listening *listening)
{
	if (listening->fd < 0)
		return;
	listening_stop(listening);
	/* It may not listen any more: its owner can make a connection of it, and that may linger. */
	dispose(listening->outlet->home, listening->outlet->owner.usage, listening->fd, false);
	listening->fd = -1;
}

static void failed(struct listening *listening, int error)
{
	switch (error) {
	case ECANCELED: /* by us, or because another outlet has the same socket and stopped */
	case ECONNABORTED:
	case EINTR:
		return;
	case EAGAIN:
		listening->nonblocking = true;
		return;
	case EINVAL:
		outlet_end(listening->outlet, "the socket does not listen any more");
		return;
	}
	listening->resting = true;
	log_limited(LOG_ERR, "accept on a listener of user %u: %s", listening->outlet->owner.user, strerror(error));
}

static void accepted(struct completion *completion, unsigned int operation, int result, unsigned int flags)
{
	struct listening *listening = (struct listening *)completion;

	(void)operation;
	listening->accepts--;
	listening->outlet->touched = true;
	listening->more = result >= 0 && flags & IORING_CQE_F_SOCK_NONEMPTY;
	if (result >= 0)
		outlet_take(listening->outlet, result);
	else
		failed(listening, -result);
}
