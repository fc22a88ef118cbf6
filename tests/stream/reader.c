// SPDX-License-Identifier: MIT
/* The ways to read a stream. */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "connection.h"

#define BUFFERS 16 /* a power of two */
#define GROUP 1
#define RECORD_BYTES 16384
#define SMALL_BYTES 100

enum { RECEIVE = 1, WAIT, AGENT };

struct ring_reader {
	struct io_uring ring;
	struct io_uring_buf_ring *provided;
	uint8_t *memory; /* BUFFERS of buffer_size, or one */
	size_t buffer_size;
	struct msghdr armed;
	struct iovec part;
	char control[CMSG_SPACE(1)] __attribute__((aligned(8)));
	bool receiving, waiting, polling_agent, dry;
	const uint8_t *left; /* of the data of the last completion */
	size_t left_length;
	int left_buffer;
};

void agent_turn(struct connection *connection, int timeout_ms)
{
	struct pollfd agent = {.fd = connection->agent ? ktlsd_fd(connection->agent) : -1, .events = POLLIN};
	struct ktlsd_result *result;

	if (poll(&agent, 1, timeout_ms) > 0)
		ktlsd_peek_result(connection->agent, &result);
}

/* ---- blocking, and with poll() and epoll ---- */

static ssize_t receive_blocking(struct connection *connection, void *data, size_t size)
{
	ssize_t n = ktlsd_stream_recv(connection->stream, data, size, 0);

	return n == -EAGAIN ? -ETIME : n;
}

static ssize_t receive_polling(struct connection *connection, void *data, size_t size)
{
	struct pollfd fds[2] = {{.fd = connection->fd, .events = POLLIN},
				{.fd = connection->agent ? ktlsd_fd(connection->agent) : -1, .events = POLLIN}};
	struct ktlsd_result *result;
	int64_t until = now_ms() + PATIENCE_MS;
	ssize_t n = -EAGAIN;

	while (n == -EAGAIN) {
		if (now_ms() > until || poll(fds, 2, PATIENCE_MS) <= 0)
			return -ETIME;
		if (fds[1].revents)
			ktlsd_peek_result(connection->agent, &result);
		if (fds[0].revents)
			n = ktlsd_stream_recv(connection->stream, data, size, 0);
	}
	return n;
}

static ssize_t receive_at_edges(struct connection *connection, void *data, size_t size)
{
	int64_t until = now_ms() + PATIENCE_MS;
	struct epoll_event event;
	struct ktlsd_result *result;
	ssize_t n;

	while ((n = ktlsd_stream_recv(connection->stream, data, size, 0)) == -EAGAIN) {
		if (now_ms() > until || epoll_wait(connection->epoll_fd, &event, 1, PATIENCE_MS) <= 0)
			return -ETIME;
		if (event.data.fd != connection->fd)
			ktlsd_peek_result(connection->agent, &result);
	}
	return n;
}

static bool open_epoll(struct connection *connection)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.fd = connection->fd};
	struct epoll_event agent = {.events = EPOLLIN, .data.fd = -1};

	connection->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	return epoll_ctl(connection->epoll_fd, EPOLL_CTL_ADD, connection->fd, &event) == 0 &&
	       epoll_ctl(connection->epoll_fd, EPOLL_CTL_ADD, ktlsd_fd(connection->agent), &agent) == 0;
}

/* ---- io_uring ---- */

static bool is_multishot(const struct connection *connection)
{
	return connection->way == MULTISHOT || connection->way == MULTISHOT_SMALL;
}

static void provide(struct ring_reader *reader, int buffer)
{
	io_uring_buf_ring_add(reader->provided, reader->memory + buffer * reader->buffer_size, reader->buffer_size,
			      buffer, io_uring_buf_ring_mask(BUFFERS), 0);
	io_uring_buf_ring_advance(reader->provided, 1);
}

static bool open_provided(struct ring_reader *reader, size_t payload)
{
	int err;

	reader->buffer_size = sizeof(struct io_uring_recvmsg_out) + sizeof(reader->control) + payload;
	reader->memory = malloc(BUFFERS * reader->buffer_size);
	reader->provided = io_uring_setup_buf_ring(&reader->ring, BUFFERS, GROUP, 0, &err);
	if (!reader->provided)
		return fail("no provided buffers: %s", strerror(-err));
	for (int i = 0; i < BUFFERS; i++)
		provide(reader, i);
	return true;
}

static bool open_ring(struct connection *connection)
{
	struct ring_reader *reader = calloc(1, sizeof(*reader));
	int err = io_uring_queue_init(16, &reader->ring, 0);

	if (err < 0)
		return fail("no ring: %s", strerror(-err));
	connection->ring = reader;
	reader->armed.msg_controllen = sizeof(reader->control);
	if (is_multishot(connection))
		return open_provided(reader, connection->way == MULTISHOT ? RECORD_BYTES : SMALL_BYTES);
	reader->buffer_size = RECORD_BYTES;
	reader->memory = malloc(reader->buffer_size);
	return true;
}

static void post_receive(struct connection *connection, size_t size)
{
	struct ring_reader *reader = connection->ring;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&reader->ring);

	reader->armed.msg_controllen = sizeof(reader->control);
	if (is_multishot(connection)) {
		io_uring_prep_recvmsg_multishot(sqe, connection->fd, &reader->armed, 0);
		sqe->flags |= IOSQE_BUFFER_SELECT;
		sqe->buf_group = GROUP;
	} else {
		reader->part = (struct iovec){.iov_base = reader->memory,
					      .iov_len = size < RECORD_BYTES ? size : RECORD_BYTES};
		reader->armed.msg_iov = &reader->part;
		reader->armed.msg_iovlen = 1;
		reader->armed.msg_control = reader->control;
		io_uring_prep_recvmsg(sqe, connection->fd, &reader->armed, 0);
	}
	io_uring_sqe_set_data64(sqe, RECEIVE);
	reader->receiving = true;
}

static void post_poll(struct ring_reader *reader, int fd, uint64_t which)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&reader->ring);

	io_uring_prep_poll_add(sqe, fd, POLLIN);
	io_uring_sqe_set_data64(sqe, which);
}

/* What is to be under way: the agent is polled, and the socket read, or polled when a read has to wait for keys. */
static void post(struct connection *connection, size_t size)
{
	struct ring_reader *reader = connection->ring;

	if (connection->agent && !reader->polling_agent) {
		post_poll(reader, ktlsd_fd(connection->agent), AGENT);
		reader->polling_agent = true;
	}
	if (reader->receiving || reader->waiting)
		return;
	if (reader->dry) {
		post_poll(reader, connection->fd, WAIT);
		reader->waiting = true;
		reader->dry = false;
	} else {
		post_receive(connection, size);
	}
}

static ssize_t take_multishot(struct connection *connection, const struct io_uring_cqe *cqe)
{
	struct ring_reader *reader = connection->ring;
	int buffer = cqe->flags & IORING_CQE_F_BUFFER ? (int)(cqe->flags >> IORING_CQE_BUFFER_SHIFT) : -1;
	struct iovec part;
	struct msghdr message;
	ssize_t n;
	int result = ktlsd_multishot_message(&reader->armed, reader->memory + buffer * (ssize_t)reader->buffer_size,
					     cqe->res, &message, &part);

	n = ktlsd_stream_completed(connection->stream, &message, result);
	if (n > 0) {
		reader->left = part.iov_base;
		reader->left_length = n;
		reader->left_buffer = buffer;
	} else if (buffer >= 0) {
		provide(reader, buffer);
	}
	return n;
}

static ssize_t take_received(struct connection *connection, const struct io_uring_cqe *cqe)
{
	struct ring_reader *reader = connection->ring;
	ssize_t n;

	if (!(cqe->flags & IORING_CQE_F_MORE))
		reader->receiving = false;
	if (is_multishot(connection)) {
		n = take_multishot(connection, cqe);
	} else {
		n = ktlsd_stream_completed(connection->stream, &reader->armed, cqe->res);
		if (n > 0) {
			reader->left = reader->memory;
			reader->left_length = n;
		}
	}
	reader->dry = n == -EINPROGRESS && !reader->receiving;
	return n;
}

static ssize_t take_completion(struct connection *connection, const struct io_uring_cqe *cqe)
{
	struct ring_reader *reader = connection->ring;
	struct ktlsd_result *result;

	switch (io_uring_cqe_get_data64(cqe)) {
	case RECEIVE:
		return take_received(connection, cqe);
	case WAIT:
		reader->waiting = false;
		break;
	case AGENT:
		reader->polling_agent = false;
		if (connection->agent) /* a poll outlives it */
			ktlsd_peek_result(connection->agent, &result);
		break;
	}
	return -EAGAIN;
}

static size_t hand_out(struct ring_reader *reader, void *data, size_t size)
{
	size_t n = size < reader->left_length ? size : reader->left_length;

	memcpy(data, reader->left, n);
	reader->left += n;
	reader->left_length -= n;
	if (reader->left_length == 0 && reader->provided)
		provide(reader, reader->left_buffer);
	return n;
}

static ssize_t receive_by_ring(struct connection *connection, void *data, size_t size)
{
	struct __kernel_timespec patience = {.tv_sec = PATIENCE_MS / 1000};
	struct ring_reader *reader = connection->ring;
	struct io_uring_cqe *cqe;
	ssize_t n;

	while (reader->left_length == 0) {
		post(connection, size);
		if (io_uring_submit_and_wait_timeout(&reader->ring, &cqe, 1, &patience, NULL) < 0)
			return -ETIME;
		n = take_completion(connection, cqe);
		io_uring_cqe_seen(&reader->ring, cqe);
		if (n <= 0 && n != -EAGAIN && n != -EINPROGRESS && n != -ENOBUFS)
			return n;
	}
	return hand_out(reader, data, size);
}

static void close_ring(struct ring_reader *reader)
{
	io_uring_queue_exit(&reader->ring);
	free(reader->memory);
	free(reader);
}

/* ---- all of them ---- */

bool reader_open(struct connection *connection)
{
	if (connection->way == EDGES)
		return open_epoll(connection);
	return connection->way < RING || open_ring(connection);
}

void reader_close(struct connection *connection)
{
	if (connection->ring)
		close_ring(connection->ring);
	if (connection->epoll_fd >= 0)
		close(connection->epoll_fd);
	connection->ring = NULL;
	connection->epoll_fd = -1;
}

ssize_t stream_receive(struct connection *connection, void *data, size_t size)
{
	switch (connection->way) {
	case BLOCKING:
	case BLOCKING_WITH_AGENT:
		return receive_blocking(connection, data, size);
	case POLLING:
	case POLLING_ALONE:
		return receive_polling(connection, data, size);
	case EDGES:
		return receive_at_edges(connection, data, size);
	default:
		return receive_by_ring(connection, data, size);
	}
}

bool stream_reads_until(struct connection *connection, uint64_t offset)
{
	static uint8_t data[65536];
	size_t size = connection->read_size;

	while (connection->received < offset) {
		uint64_t left = offset - connection->received;
		ssize_t n = stream_receive(connection, data, left < size ? left : size);

		if (n <= 0)
			return fail("after %llu of %llu bytes: %s (%s)", (unsigned long long)connection->received,
				    (unsigned long long)offset, n ? strerror(-n) : "the end",
				    ktlsd_stream_why(connection->stream));
		if (!is_filled(data, n, connection->received))
			return false;
		connection->received += n;
	}
	return true;
}

bool stream_rekeyed(struct connection *connection, uint64_t tx_rekeys)
{
	int64_t until = now_ms() + PATIENCE_MS;
	struct ktlsd_stream_info info;

	do {
		ktlsd_stream_info(connection->stream, &info);
		if (info.tx_rekeys >= tx_rekeys)
			return true;
		agent_turn(connection, 10);
	} while (now_ms() < until);
	return fail("%llu rekeys of our direction instead of %llu", (unsigned long long)info.tx_rekeys,
		    (unsigned long long)tx_rekeys);
}

bool stream_sends(struct connection *connection, size_t length)
{
	uint8_t data[16384];
	struct pollfd room = {.fd = connection->fd, .events = POLLOUT};
	int64_t until = now_ms() + PATIENCE_MS;

	while (length > 0) {
		size_t part = length < sizeof(data) ? length : sizeof(data);
		ssize_t n;

		fill(data, part, connection->sent_back);
		n = ktlsd_stream_send(connection->stream, data, part, 0);
		if (n == -EAGAIN && now_ms() < until && poll(&room, 1, PATIENCE_MS) == 1) {
			agent_turn(connection, 0);
			continue;
		}
		if (n <= 0)
			return fail("can't send: %s (%s)", strerror(-n), ktlsd_stream_why(connection->stream));
		connection->sent_back += n;
		length -= n;
	}
	return true;
}
