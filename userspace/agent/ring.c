/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "ring.h"

bool ring_init(struct io_uring *ring)
{
	const char *remedy = "";
	int error = io_uring_queue_init(
		RING_ENTRIES, ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED);

	if (error == -EINVAL) /* before Linux 6.1 */
		error = io_uring_queue_init(RING_ENTRIES, ring, IORING_SETUP_R_DISABLED);
	if (error == 0) {
		/*
		 * Closing goes to the kernel's workers, and each may hang: enough of them for all that may. So do receives on
		 * a socket that polls readable and has nothing, as one with SO_TIMESTAMPING: each holds a buffer.
		 */
		io_uring_register_iowq_max_workers(ring, (unsigned int[]){RING_HANGING_MAX, RING_BUFFERS / 4});
		io_uring_ring_dontfork(ring);
		return true;
	}
	if (error == -EPERM)
		remedy =
			"; kernel.io_uring_disabled or a seccomp filter forbids rings: sysctl kernel.io_uring_disabled=0";
	else if (error == -ENOMEM)
		remedy = "; raise RLIMIT_MEMLOCK";
	log_line(LOG_ERR, "no io_uring: %s%s", strerror(-error), remedy);
	return false;
}

/* ---- buffers ---- */

static void lend(struct ring_buffers *buffers, unsigned int number, int behind)
{
	io_uring_buf_ring_add(buffers->ring, buffers->memory + (size_t)number * RING_BUFFER_SIZE, RING_BUFFER_SIZE,
			      number, io_uring_buf_ring_mask(RING_BUFFERS), behind);
}

bool ring_buffers_init(struct ring_buffers *buffers, struct io_uring *ring)
{
	unsigned int i;
	int error;

	buffers->memory = malloc((size_t)RING_BUFFERS * RING_BUFFER_SIZE);
	buffers->ring = io_uring_setup_buf_ring(ring, RING_BUFFERS, 0, 0, &error);
	if (!buffers->memory || !buffers->ring)
		return false;
	for (i = 0; i < RING_BUFFERS; i++)
		lend(buffers, i, i);
	io_uring_buf_ring_advance(buffers->ring, RING_BUFFERS);
	return true;
}

void ring_buffers_free(struct ring_buffers *buffers, struct io_uring *ring)
{
	if (buffers->ring)
		io_uring_free_buf_ring(ring, buffers->ring, RING_BUFFERS, 0);
	free(buffers->memory);
}

void ring_prep_receive(struct io_uring_sqe *sqe, int fd, int flags)
{
	io_uring_prep_recv(sqe, fd, NULL, RING_BUFFER_SIZE, flags);
	io_uring_sqe_set_flags(sqe, IOSQE_BUFFER_SELECT);
	sqe->buf_group = 0;
}

uint8_t *ring_buffer(const struct ring_buffers *buffers, unsigned int flags)
{
	return buffers->memory + (size_t)(flags >> IORING_CQE_BUFFER_SHIFT) * RING_BUFFER_SIZE;
}

void ring_buffer_return(struct ring_buffers *buffers, unsigned int flags)
{
	lend(buffers, flags >> IORING_CQE_BUFFER_SHIFT, 0);
	io_uring_buf_ring_advance(buffers->ring, 1);
}

/* ---- submitting ---- */

static bool in_chain(const struct io_uring *ring)
{
	const struct io_uring_sq *queue = &ring->sq;

	return queue->sqe_tail != queue->sqe_head &&
	       queue->sqes[(queue->sqe_tail - 1) & queue->ring_mask].flags & IOSQE_IO_LINK;
}

void ring_reserve(struct io_uring *ring)
{
	if (in_chain(ring))
		log_fatal("a chain could be cut in two");
	while (io_uring_sq_space_left(ring) < RING_CHAIN)
		io_uring_submit(ring);
}

void ring_post(struct io_uring *ring, int target, uint64_t tag, uint64_t failed)
{
	struct io_uring_sqe *sqe;

	ring_reserve(ring);
	sqe = io_uring_get_sqe(ring);
	io_uring_prep_msg_ring(sqe, target, 0, tag, 0);
	io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
	io_uring_sqe_set_data64(sqe, failed);
}

static int post_and_wait(struct io_uring *ring, int target, uint64_t tag)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	int result;

	io_uring_prep_msg_ring(sqe, target, 0, tag, 0);
	do
		result = io_uring_submit_and_wait(ring, 1);
	while (result == -EINTR);
	if (result < 0 || io_uring_peek_cqe(ring, &cqe) != 0)
		log_fatal("io_uring_enter: %s", strerror(-result));
	result = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return result;
}

void ring_post_from_outside(int target, uint64_t tag)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static struct io_uring ring;
	static bool ready;
	int error = 0;

	pthread_mutex_lock(&lock);
	if (!ready)
		error = io_uring_queue_init(2, &ring, 0);
	if (error)
		log_fatal("no io_uring: %s", strerror(-error));
	ready = true;
	while (post_and_wait(&ring, target, tag) != 0) /* its completion queue is full for the moment */
		usleep(1000);
	pthread_mutex_unlock(&lock);
}

void ring_close(struct io_uring *ring, int fd, bool at_once, uint64_t tag)
{
	ring_reserve(ring);
	ring_add_close(ring, fd, at_once, tag);
}

void ring_add_close(struct io_uring *ring, int fd, bool at_once, uint64_t tag)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_close(sqe, fd);
	io_uring_sqe_set_flags(sqe, (at_once ? 0 : IOSQE_ASYNC) | (tag ? 0 : IOSQE_CQE_SKIP_SUCCESS));
	io_uring_sqe_set_data64(sqe, tag);
}

void ring_cancel(struct io_uring *ring, int fd)
{
	struct io_uring_sqe *sqe;

	ring_reserve(ring);
	sqe = io_uring_get_sqe(ring);
	io_uring_prep_cancel_fd(sqe, fd, IORING_ASYNC_CANCEL_ALL);
	io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
	io_uring_sqe_set_data64(sqe, 0);
}

static void call(const struct io_uring_cqe *cqe)
{
	struct completion *completion = (struct completion *)(uintptr_t)(cqe->user_data & ~RING_OPERATION_MASK);

	if (completion)
		completion->complete(completion, cqe->user_data & RING_OPERATION_MASK, cqe->res, cqe->flags);
}

void ring_wait(struct io_uring *ring, int timeout_ms)
{
	struct __kernel_timespec timeout = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000LL};
	struct io_uring_cqe *cqe;
	int error = io_uring_submit_and_wait_timeout(ring, &cqe, 1, timeout_ms < 0 ? NULL : &timeout, NULL);

	if (error < 0 && error != -ETIME && error != -EINTR && error != -EBUSY && error != -EAGAIN)
		log_fatal("io_uring_enter: %s", strerror(-error));
}

void ring_complete(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	unsigned int head, count = 0;

	/* What a completion submits may complete at once and be seen in the same turn; the batch is what is there now. */
	io_uring_for_each_cqe(ring, head, cqe) {
		call(cqe);
		count++;
	}
	io_uring_cq_advance(ring, count);
}
