/* SPDX-License-Identifier: MIT */
/*
 * The event loop of a worker: one io_uring. An operation's user_data is the address of a completion, which says whom to
 * call, plus a small number that says which operation it was.
 *
 * Chains. Members are linked, and all but the last carry IOSQE_CQE_SKIP_SUCCESS: then a chain posts exactly one
 * completion, that of the member that failed or of the last one (io_uring, req_set_fail and io_fail_links).
 */
#ifndef AGENT_RING_H
#define AGENT_RING_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

#define RING_ENTRIES 128
#define RING_CHAIN 8	      /* members of the longest chain */
#define RING_HANGING_MAX 1024 /* closings at a time on threads of the kernel: each may hang */

#define RING_OPERATION_MASK UINT64_C(15) /* completions are aligned to 16 bytes, as malloc() does */

struct completion {
	void (*complete)(struct completion *completion, unsigned int operation, int result, unsigned int flags);
} __attribute__((aligned(16)));

static inline uint64_t ring_tag(struct completion *completion, unsigned int operation)
{
	return (uint64_t)(uintptr_t)completion | operation;
}

/* False with a logged reason: rings forbidden, no memory. The thread that will use it calls io_uring_enable_rings(). */
bool ring_init(struct io_uring *ring);

/*
 * Memory for what is received, lent by the kernel to a receive when something is there: what waits holds none. A receive that
 * comes when all is lent gets ENOBUFS, and is submitted again.
 */
#define RING_BUFFERS 64
#define RING_BUFFER_SIZE 4096

struct ring_buffers {
	struct io_uring_buf_ring *ring;
	uint8_t *memory;
};

/* Once the ring is enabled, on its thread. False: no memory. */
bool ring_buffers_init(struct ring_buffers *buffers, struct io_uring *ring);
void ring_buffers_free(struct ring_buffers *buffers, struct io_uring *ring);

/* Prepares a receive of up to RING_BUFFER_SIZE bytes. */
void ring_prep_receive(struct io_uring_sqe *sqe, int fd, int flags);

/* What was lent, with a completion's flags; and when it has been read. */
uint8_t *ring_buffer(const struct ring_buffers *buffers, unsigned int flags);
void ring_buffer_return(struct ring_buffers *buffers, unsigned int flags);

/* Makes sure that a chain of RING_CHAIN members fits, so that no submission cuts it in two. */
void ring_reserve(struct io_uring *ring);

/* Finishes the preparation of an operation: link to the next, silent unless it fails. */
static inline void ring_link(struct io_uring_sqe *sqe, uint64_t tag)
{
	io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS);
	io_uring_sqe_set_data64(sqe, tag);
}

static inline void ring_last(struct io_uring_sqe *sqe, uint64_t tag)
{
	io_uring_sqe_set_data64(sqe, tag);
}

/* Has a completion called on another ring, with result 0. The caller's completion gets operation `failed` if it can't. */
void ring_post(struct io_uring *ring, int target, uint64_t tag, uint64_t failed);

/* The same from a thread that has no ring; waits until it is there. */
void ring_post_from_outside(int target, uint64_t tag);

/*
 * Closes a descriptor. at_once: nobody has to be waited for, and what is prepared later happens after it. Else a thread of
 * the kernel's does it. tag: whose completion; 0: nobody's.
 */
void ring_close(struct io_uring *ring, int fd, bool at_once, uint64_t tag);

/* The same as the last member of a chain, for which room was reserved with the first. */
void ring_add_close(struct io_uring *ring, int fd, bool at_once, uint64_t tag);

/* Cancels whatever waits on the descriptor. */
void ring_cancel(struct io_uring *ring, int fd);

/* Submits, and waits for completions up to timeout_ms (-1: for ever). */
void ring_wait(struct io_uring *ring, int timeout_ms);

/* Calls those that are there. */
void ring_complete(struct io_uring *ring);

#endif
