// SPDX-License-Identifier: GPL-2.0
/* Without copies: sendfile, splice both ways, and splice by io_uring, with records in the way that are not data. */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "stream/script.h"
#include "stream/variants.h"

#define MOST 300000

#define IN_THREE_WAYS(...)                                                                                             \
	STREAM(__VA_ARGS__, BLOCKING);                                                                                 \
	STREAM(__VA_ARGS__, BLOCKING_WITH_AGENT);                                                                      \
	STREAM(__VA_ARGS__, POLLING)

AS_BOTH(IN_THREE_WAYS, tls13_aes_128_gcm, 0x0304, "AES-128-GCM", AES_GCM_RECORDS);
AS_BOTH(IN_THREE_WAYS, tls13_chacha20, 0x0304, "ChaCha20-Poly1305", UINT64_MAX);
AS_BOTH(IN_THREE_WAYS, tls12_aes_128_gcm, 0x0303, "AES-128-GCM", AES_GCM_RECORDS);

static uint8_t data[MOST];

/* ---- out ---- */

/* Waits for the agent's answers and for room. */
static bool may_go_on(struct connection *connection, ssize_t result)
{
	struct pollfd room = {.fd = connection->fd, .events = POLLOUT};

	agent_turn(connection, 0);
	return result > 0 || (result == -EAGAIN && poll(&room, 1, PATIENCE_MS) == 1) ||
	       fail("%s (%s)", result ? strerror(-result) : "nothing sent", ktlsd_stream_why(connection->stream));
}

static bool peer_takes(struct connection *connection, ssize_t sent)
{
	connection->sent_back += sent > 0 ? sent : 0;
	return peer_reads_until(connection, connection->sent_back);
}

static bool sends_file(struct connection *connection)
{
	int file = memfd_create("data", 0);
	off_t offset = 0;
	ssize_t n;

	fill(data, MOST, connection->sent_back);
	if (write(file, data, MOST) != MOST)
		return fail("no file");
	while (offset < MOST) {
		n = ktlsd_stream_sendfile(connection->stream, file, &offset, MOST - offset);
		if (!may_go_on(connection, n) || !peer_takes(connection, n))
			return false;
	}
	close(file);
	return true;
}

static bool splices_out(struct connection *connection)
{
	int fds[2];
	bool good = pipe(fds) == 0;

	for (size_t size = 1, n; good && size < 65536; size *= 5) {
		fill(data, size, connection->sent_back);
		good = write(fds[1], data, size) == (ssize_t)size;
		for (size_t left = size; good && left > 0; left -= n) {
			ssize_t result = ktlsd_stream_splice_out(connection->stream, fds[0], left, 0);

			good = may_go_on(connection, result) && peer_takes(connection, result);
			n = result > 0 ? result : 0;
		}
	}
	close(fds[0]);
	close(fds[1]);
	return good;
}

/* While both ends replace their keys, and the stream's live only for a few records. */
static bool sends_with_new_keys(FIXTURE_DATA(stream) * self, bool (*sends)(struct connection *connection))
{
	struct connection *connection = &self->connection;
	struct ktlsd_stream_info info;
	uint8_t byte;

	self->setup.limits.key_records = kernel_can_rekey() && self->setup.service[4] == '3' ? 16 : 0;
	if (!open_connection(self))
		return false;
	for (int i = 0; i < 3; i++) {
		if (connection->can_rekey && !play(connection, "update! data:10", IN_STEP))
			return false;
		if (!sends(connection))
			return false;
		ktlsd_stream_recv(connection->peer, &byte, 1, MSG_DONTWAIT);
	}
	ktlsd_stream_info(connection->stream, &info);
	return !connection->can_rekey || info.tx_rekeys >= 3 ||
	       fail("%llu new keys", (unsigned long long)info.tx_rekeys);
}

TEST_F(stream, sendfile)
{
	EXPECT_TRUE(sends_with_new_keys(self, sends_file));
}

TEST_F(stream, splice_out)
{
	EXPECT_TRUE(sends_with_new_keys(self, splices_out));
}

TEST_F(stream, sendfile_end_of_file)
{
	int file = memfd_create("empty", 0);
	off_t offset = 0;

	ASSERT_TRUE(open_connection(self));
	EXPECT_EQ(0, ktlsd_stream_sendfile(self->connection.stream, file, &offset, 100));
	EXPECT_GT(0, ktlsd_stream_sendfile(self->connection.stream, -1, &offset, 100));
	EXPECT_TRUE(stream_sends(&self->connection, 10) && peer_reads_until(&self->connection, 10));
	close(file);
}

/* ---- in ---- */

typedef ssize_t (*splice_function)(struct connection *connection, int pipe, size_t size);

static ssize_t splice_in(struct connection *connection, int pipe, size_t size)
{
	struct pollfd fds[2] = {{.fd = connection->fd, .events = POLLIN},
				{.fd = connection->agent ? ktlsd_fd(connection->agent) : -1, .events = POLLIN}};
	int64_t until = now_ms() + PATIENCE_MS;
	ssize_t n;

	while ((n = ktlsd_stream_splice_in(connection->stream, pipe, size, 0)) == -EAGAIN) {
		if (now_ms() > until || poll(fds, 2, PATIENCE_MS) <= 0)
			return -ETIME;
		agent_turn(connection, 0);
	}
	return n;
}

static struct io_uring ring;

static int complete(struct io_uring_sqe *sqe)
{
	struct __kernel_timespec patience = {.tv_sec = PATIENCE_MS / 1000};
	struct io_uring_cqe *cqe;
	int result;

	io_uring_sqe_set_data(sqe, NULL);
	if (io_uring_submit_and_wait_timeout(&ring, &cqe, 1, &patience, NULL) < 0)
		return -ETIME;
	result = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	return result;
}

static ssize_t splice_by_ring(struct connection *connection, int pipe, size_t size)
{
	int64_t until = now_ms() + PATIENCE_MS;
	struct io_uring_sqe *sqe;
	ssize_t n;

	while (now_ms() < until) {
		sqe = io_uring_get_sqe(&ring);
		io_uring_prep_splice(sqe, connection->fd, -1, pipe, -1, size, 0);
		n = ktlsd_stream_completed(connection->stream, NULL, complete(sqe));
		if (n != -EAGAIN && n != -EINPROGRESS)
			return n;
		agent_turn(connection, n == -EINPROGRESS ? 10 : 0);
	}
	return -ETIME;
}

static bool splices_until(struct connection *connection, const int *fds, uint64_t offset, splice_function splice_some)
{
	while (connection->received < offset) {
		ssize_t n = splice_some(connection, fds[1], 30000);

		if (n <= 0)
			return fail("after %llu of %llu bytes: %s (%s)", (unsigned long long)connection->received,
				    (unsigned long long)offset, n ? strerror(-n) : "the end",
				    ktlsd_stream_why(connection->stream));
		if (read(fds[0], data, sizeof(data)) != n || !is_filled(data, n, connection->received))
			return fail("the pipe has something else");
		connection->received += n;
	}
	return true;
}

static const struct {
	const char *script;
	enum kind kinds;
	enum roles roles;
	int end;
} lines[] = {
	{"data:10 data:16384 data:40000 close", ANY, BOTH, 0},
	{"close", ANY, BOTH, 0},
	{"canceled data:10 canceled canceled data:20000 close", ANY, BOTH, 0},
	{"data:10 empty data:10 empty empty close", ANY13, BOTH, 0},
	{"ticket data:10 ticket_1 ticket_2 ticket_3 data:10 close", ANY13, CLIENT, 0},
	{"data:10 update data:10 update! data:20000 close", TLS13, BOTH, 0},
	{"update update! update data:10 update! close", TLS13, BOTH, 0},
	{"ticket update data:10 tickets update! ticket data:10 close", TLS13, CLIENT, 0},
	{"data:10 update | data:10", FIXED, BOTH, -EKEYEXPIRED},
	{"data:10 hello_request data:10 close", TLS12, CLIENT, 0},
	{"data:10 warning data:10 close", TLS12, BOTH, 0},
	{"data:10 fatal |", ANY, BOTH, -EREMOTEIO},
	{"data:10 unknown |", ANY, BOTH, -EPROTO},
	{"data:10 finished |", ANY, BOTH, -EPROTO},
	{"data:10 ticket_1 | data:10", ANY13, CLIENT, -EPROTO},
	{"data:10 fin", ANY, BOTH, -ECONNABORTED},
};

static bool follows(struct connection *connection, size_t i, splice_function splice_some)
{
	uint64_t expected;
	bool good;
	ssize_t n;
	int fds[2];

	if (pipe(fds) != 0 || !play(connection, lines[i].script, UNREAD))
		return false;
	expected = connection->sent;
	if (strstr(lines[i].script, "| data:10"))
		expected -= 10;
	good = splices_until(connection, fds, expected, splice_some);
	if (good) {
		n = splice_some(connection, fds[1], 30000);
		good = n == lines[i].end ||
		       fail("then %s (%s)", n > 0 ? "more" : strerror(-n), ktlsd_stream_why(connection->stream));
	}
	close(fds[0]);
	close(fds[1]);
	return good || fail("\"%s\"", lines[i].script);
}

static bool all_follow(FIXTURE_DATA(stream) * self, splice_function splice_some)
{
	bool good = true;

	for (size_t i = 0; i < COUNT(lines); i++) {
		if (!open_connection(self))
			return false;
		if ((lines[i].kinds & connection_kind(&self->connection)) && (lines[i].roles & 1 << self->setup.role))
			good &= follows(&self->connection, i, splice_some);
	}
	return good;
}

TEST_F(stream, splice_in)
{
	EXPECT_TRUE(all_follow(self, splice_in));
}

TEST_F(stream, ring_splice_in)
{
	ASSERT_EQ(0, io_uring_queue_init(8, &ring, 0));
	EXPECT_TRUE(all_follow(self, splice_by_ring));
	io_uring_queue_exit(&ring);
}

/* From the socket into a pipe and out of another, in turn with plain calls of the library. */
TEST_F(stream, all_in_turn)
{
	struct connection *connection = &self->connection;
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	ASSERT_TRUE(open_connection(self));
	for (int i = 0; i < 5; i++) {
		ASSERT_TRUE(
			play(connection, connection->can_rekey ? "data:100 update! data:20000" : "data:20100", UNREAD));
		ASSERT_TRUE(stream_reads_until(connection, connection->received + 50));
		ASSERT_TRUE(splices_until(connection, fds, connection->sent, splice_in));
		ASSERT_TRUE(splices_out(connection) && stream_sends(connection, 100) && sends_file(connection));
		ASSERT_TRUE(peer_reads_until(connection, connection->sent_back));
	}
	close(fds[0]);
	close(fds[1]);
}

TEST_HARNESS_MAIN
