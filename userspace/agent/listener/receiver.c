/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../disposal.h"
#include "../intake.h"
#include "../log.h"
#include "outlet.h"

#define SENDING_MAX 16
#define TYPICAL_LENGTH 400 /* of a datagram that was there before us */
/* sock_wfree() wakes us when a byte of what was received is still counted. */
#define COUNT_SLACK 64

enum operation { OP_END, OP_ROOM }; /* the receiver's */
enum parcel_operation { PARCEL_SEND, PARCEL_CLOSED };

static void complete(struct completion *completion, unsigned int operation, int result, unsigned int flags);
static void sent(struct completion *completion, unsigned int operation, int result, unsigned int flags);

/* ---- how much waits ---- */

uint64_t receiver_queued_bytes(int fd)
{
	int bytes = 0;

	return ioctl(fd, SIOCOUTQ, &bytes) == 0 ? bytes : 0;
}

static uint32_t measure_cost(size_t length)
{
	static const char zeroes[KTLSD_DATAGRAM_MAX];
	uint32_t cost = 2 * length + 1024;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
		return cost;
	if (send(ends[0], zeroes, length, MSG_DONTWAIT) == (ssize_t)length)
		cost = receiver_queued_bytes(ends[0]);
	close(ends[0]);
	close(ends[1]);
	return cost;
}

/* What a datagram of this length takes in this kernel: found out once for each. */
static uint32_t cost_of(size_t length)
{
	static _Atomic uint32_t costs[KTLSD_DATAGRAM_MAX / KTLSD_ALIGNMENT + 1];
	_Atomic uint32_t *cost = &costs[length / KTLSD_ALIGNMENT];

	if (*cost == 0)
		*cost = measure_cost(length);
	return *cost;
}

static void note_queued(struct receiver *receiver, uint32_t cost)
{
	receiver->costs[(receiver->first + receiver->count) % receiver->most] = cost;
	receiver->count++;
	receiver->bytes += cost;
}

unsigned int receiver_unread(struct receiver *receiver)
{
	uint64_t bytes = receiver_queued_bytes(receiver->fd);
	uint32_t oldest;

	while (receiver->count > 0) {
		oldest = receiver->costs[receiver->first];
		if (receiver->bytes - oldest + COUNT_SLACK < bytes)
			break;
		receiver->bytes -= oldest;
		receiver->first = (receiver->first + 1) % receiver->most;
		receiver->count--;
	}
	return receiver->count;
}

/* ---- sending ---- */

bool receiver_takes(const struct receiver *receiver)
{
	return !receiver->lost && !receiver->full && !receiver->resting && receiver->sending < SENDING_MAX &&
	       receiver->count + receiver->sending < receiver->most;
}

static void attach_descriptors(struct parcel *parcel)
{
	size_t bytes = parcel->descriptor_count * sizeof(int);
	struct cmsghdr *control = &parcel->control.header;

	control->cmsg_level = SOL_SOCKET;
	control->cmsg_type = SCM_RIGHTS;
	control->cmsg_len = CMSG_LEN(bytes);
	memcpy(CMSG_DATA(control), parcel->descriptors, bytes);
	parcel->message = (struct msghdr){
		.msg_iov = &parcel->part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(bytes)};
}

void receiver_send(struct receiver *receiver, struct parcel *parcel)
{
	struct io_uring *ring = &receiver->outlet->home->ring;
	struct io_uring_sqe *sqe;

	parcel->completion.complete = sent;
	parcel->receiver = receiver;
	attach_descriptors(parcel);
	ring_reserve(ring);
	sqe = io_uring_get_sqe(ring);
	io_uring_prep_sendmsg(sqe, receiver->fd, &parcel->message, MSG_NOSIGNAL | MSG_DONTWAIT);
	ring_link(sqe, ring_tag(&parcel->completion, PARCEL_SEND));
	ring_add_close(ring, parcel->descriptors[0], parcel->closes_at_once,
		       ring_tag(&parcel->completion, PARCEL_CLOSED));
	receiver->sending++;
}

static void lose(struct receiver *receiver)
{
	if (receiver->lost)
		return;
	receiver->lost = true;
	outlet_lost_receiver(receiver);
}

static void send_failed(struct receiver *receiver, int error)
{
	switch (error) {
	case EAGAIN:
		receiver->full = true;
		return;
	case EPIPE:
	case ECONNRESET:
	case ENOTCONN:
		lose(receiver);
		return;
	}
	receiver->resting = true;
	log_limited(LOG_ERR, "a ready socket can't be sent to user %u: %s", receiver->outlet->owner.user,
		    strerror(error));
}

static void sent(struct completion *completion, unsigned int operation, int result, unsigned int flags)
{
	struct parcel *parcel = (struct parcel *)completion;
	struct receiver *receiver = parcel->receiver;

	(void)flags;
	receiver->sending--;
	receiver->outlet->touched = true;
	if (operation == PARCEL_CLOSED)
		note_queued(receiver, cost_of(parcel->part.iov_len));
	else
		send_failed(receiver, -result);
	outlet_sent(parcel, operation == PARCEL_CLOSED ? 0 : result);
}

/* ---- watching ---- */

static void watch_end(struct receiver *receiver)
{
	struct io_uring *ring = &receiver->outlet->home->ring;
	struct io_uring_sqe *sqe;

	ring_reserve(ring);
	sqe = io_uring_get_sqe(ring);
	/* Nobody has anything to say to us: it could be the other end itself, which would lie here and never end. */
	io_uring_prep_poll_add(sqe, receiver->fd, POLLRDHUP | POLLIN);
	ring_last(sqe, ring_tag(&receiver->completion, OP_END));
	receiver->watched = true;
}

/* Multishot: a shot for each datagram that is received, while there is room for a quarter of the buffer (unix_write_space). */
static void await_room(struct receiver *receiver)
{
	struct io_uring *ring = &receiver->outlet->home->ring;
	struct io_uring_sqe *sqe;

	ring_reserve(ring);
	sqe = io_uring_get_sqe(ring);
	io_uring_prep_poll_multishot(sqe, receiver->fd, POLLOUT);
	ring_last(sqe, ring_tag(&receiver->completion, OP_ROOM));
	receiver->awaited = true;
}

static void await_no_more(struct receiver *receiver)
{
	struct io_uring *ring = &receiver->outlet->home->ring;
	struct io_uring_sqe *sqe;

	ring_reserve(ring);
	sqe = io_uring_get_sqe(ring);
	io_uring_prep_poll_remove(sqe, ring_tag(&receiver->completion, OP_ROOM));
	io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
	ring_last(sqe, 0);
}

void receiver_watch(struct receiver *receiver, bool room)
{
	if (receiver->lost)
		return;
	if (!receiver->watched)
		watch_end(receiver);
	if (room && !receiver->awaited)
		await_room(receiver);
	else if (!room && receiver->awaited)
		await_no_more(receiver);
}

static void complete(struct completion *completion, unsigned int operation, int result, unsigned int flags)
{
	struct receiver *receiver = (struct receiver *)completion;

	receiver->outlet->touched = true;
	if (operation == OP_ROOM) {
		receiver->full = false;
		receiver->awaited = flags & IORING_CQE_F_MORE;
		return;
	}
	receiver->watched = false;
	if (result > 0)
		lose(receiver);
}

/* ---- life ---- */

/* For the backlog, and so that each that is received can be heard of (unix_write_space); net.core.wmem_max is the most. */
static void make_room(int fd, unsigned int backlog)
{
	int wanted = backlog * cost_of(TYPICAL_LENGTH) * 4 / 2 /* the kernel doubles it */, size = 0;
	socklen_t length = sizeof(size);

	if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, &length) == 0 && size / 2 < wanted)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &wanted, sizeof(wanted));
}

struct receiver *receiver_new(struct outlet *outlet, int fd, const struct owner *owner)
{
	unsigned int most = 2 * outlet->backlog + OUTLET_RUNNING_MAX;
	struct receiver *receiver = intake_zeroed(sizeof(*receiver) + most * sizeof(receiver->costs[0]));
	uint64_t bytes = receiver_queued_bytes(fd);

	make_room(fd, outlet->backlog);
	receiver->completion.complete = complete;
	receiver->outlet = outlet;
	receiver->fd = fd;
	receiver->owner = *owner;
	receiver->most = most;
	while (receiver->bytes + COUNT_SLACK < bytes && receiver->count < most) /* an earlier agent's */
		note_queued(receiver, cost_of(TYPICAL_LENGTH));
	registry_insert_receiver(outlet, receiver);
	return receiver;
}

bool receiver_idle(const struct receiver *receiver)
{
	return !receiver->watched && !receiver->awaited && receiver->sending == 0;
}

void receiver_close(struct receiver *receiver)
{
	if (receiver->fd < 0)
		return;
	receiver->lost = true;
	if (!receiver_idle(receiver))
		ring_cancel(&receiver->outlet->home->ring, receiver->fd);
	dispose(receiver->outlet->home, receiver->owner.usage, registry_take_descriptor(&receiver->fd), false);
}

void receiver_free(struct receiver *receiver)
{
	registry_remove_receiver(receiver);
	if (receiver->counted)
		admission_leave_listener(receiver->owner.usage);
	free(receiver->owner.groups);
	free(receiver);
}
