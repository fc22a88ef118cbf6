// SPDX-License-Identifier: GPL-2.0
/* New keys while data goes both ways. stream.sh has the agent. */
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stream/script.h"
#include "stream/variants.h"

AS_BOTH(IN_ALL_WAYS, tls13_aes_128_gcm, 0x0304, "AES-128-GCM", AES_GCM_RECORDS);
AS_BOTH(IN_TWO_WAYS, tls13_aes_256_gcm, 0x0304, "AES-256-GCM", AES_GCM_RECORDS);
AS_BOTH(IN_TWO_WAYS, tls13_chacha20, 0x0304, "ChaCha20-Poly1305", UINT64_MAX);
AS_BOTH(IN_TWO_WAYS, tls13_aes_128_ccm, 0x0304, "AES-128-CCM", AES_CCM_RECORDS);

static bool both_send(struct connection *connection, size_t length)
{
	return peer_sends(connection, length) && stream_reads_until(connection, connection->sent) &&
	       stream_sends(connection, length) && peer_reads_until(connection, connection->sent_back);
}

/* Whether both ends have counted as many new keys, when those under way have had their time. */
static bool counts_agree(struct connection *connection, uint64_t least)
{
	struct ktlsd_stream_info ours, theirs;
	int64_t until = now_ms() + PATIENCE_MS;

	do {
		agent_turn(connection, 5);
		if (!both_send(connection, 1))
			return false;
		ktlsd_stream_info(connection->stream, &ours);
		ktlsd_stream_info(connection->peer, &theirs);
		if (ours.tx_rekeys == theirs.rx_rekeys && ours.rx_rekeys == theirs.tx_rekeys &&
		    ours.tx_rekeys >= least && ours.rx_rekeys >= least)
			return true;
	} while (now_ms() < until);
	return fail("new keys: we sent %llu, they received %llu; they sent %llu, we received %llu",
		    (unsigned long long)ours.tx_rekeys, (unsigned long long)theirs.rx_rekeys,
		    (unsigned long long)theirs.tx_rekeys, (unsigned long long)ours.rx_rekeys);
}

static bool either_rekeys(struct connection *connection, int round)
{
	bool request = round % 4 >= 2;
	int err;

	if (round % 2 == 0)
		return peer_updates(connection, request);
	err = ktlsd_stream_rekey(connection->stream, request);
	return err == 0 || fail("we can't replace our key: %s", strerror(-err));
}

TEST_F(stream, rounds)
{
	ASSERT_TRUE(open_connection(self));
	for (int i = 0; i < 50; i++)
		ASSERT_TRUE(either_rekeys(&self->connection, i) && both_send(&self->connection, 1 + i * 400));
	EXPECT_TRUE(counts_agree(&self->connection, 12));
}

/* Both ask at the same time. */
TEST_F(stream, at_the_same_time)
{
	ASSERT_TRUE(open_connection(self));
	for (int i = 0; i < 10; i++) {
		ASSERT_EQ(0, ktlsd_stream_rekey(self->connection.stream, true));
		ASSERT_TRUE(peer_updates(&self->connection, true));
		ASSERT_TRUE(both_send(&self->connection, 100));
	}
	EXPECT_TRUE(counts_agree(&self->connection, 5));
}

/* In one segment: what is behind the KeyUpdate is there already when that is read, and nothing more wakes who polls. */
TEST_F(stream, one_segment)
{
	static const char *const scripts[] = {
		"data:10 update data:10",
		"data:10 update! data:10",
		"data:10 data:10 update update! data:10",
		"update data:10 update data:10 update data:10",
		"data:10 empty update empty data:10",
		"data:10 update! close",
	};
	static const size_t sizes[] = {5, 10, 15, 65536};
	struct connection *connection = &self->connection;
	int on = 1, off = 0;
	uint8_t byte;

	for (size_t i = 0; i < COUNT(scripts) * COUNT(sizes); i++) {
		const char *script = scripts[i / COUNT(sizes)];

		ASSERT_TRUE(open_connection(self));
		connection->read_size = sizes[i % COUNT(sizes)];
		setsockopt(connection->peer_fd, SOL_TCP, TCP_CORK, &on, sizeof(on));
		ASSERT_TRUE(play(connection, script, UNREAD));
		setsockopt(connection->peer_fd, SOL_TCP, TCP_CORK, &off, sizeof(off));
		ASSERT_TRUE(stream_reads_until(connection, connection->sent))
		{
			TH_LOG("\"%s\" by %zu bytes", script, connection->read_size);
		}
		if (strstr(script, "close"))
			EXPECT_EQ(0, stream_receive(connection, &byte, 1));
	}
}

/* A writer that can't go on, because the peer does not read, does not hold up who reads. */
static void *send_much(void *argument)
{
	static uint8_t data[16 << 20];
	struct connection *connection = argument;
	struct pollfd room = {.fd = connection->fd, .events = POLLOUT};
	ssize_t n;

	fill(data, sizeof(data), 0);
	while (connection->sent_back < sizeof(data)) {
		n = ktlsd_stream_send(connection->stream, data + connection->sent_back,
				      sizeof(data) - connection->sent_back, 0);
		if (n < 0 && (n != -EAGAIN || poll(&room, 1, PATIENCE_MS) != 1))
			return "error";
		connection->sent_back += n > 0 ? n : 0;
	}
	return NULL;
}

TEST_F(stream, blocked_writer)
{
	struct connection *connection = &self->connection;
	struct ktlsd_stream_info info;
	pthread_t writer;
	void *error;

	ASSERT_TRUE(open_connection(self));
	ASSERT_EQ(0, pthread_create(&writer, NULL, send_much, connection));
	usleep(100000);
	EXPECT_GT(16 << 20, connection->sent_back);
	EXPECT_TRUE(play(connection, "data:10 update! data:10 update! update data:20000", IN_STEP));
	ktlsd_stream_info(connection->stream, &info);
	EXPECT_EQ(3, info.rx_rekeys);
	EXPECT_TRUE(peer_reads_until(connection, 16 << 20));
	ASSERT_EQ(0, pthread_join(writer, &error));
	EXPECT_EQ(NULL, error);
	EXPECT_TRUE(stream_rekeyed(connection, 1));
	EXPECT_TRUE(both_send(connection, 100));
	EXPECT_TRUE(counts_agree(connection, 1));
}

/* ---- many writers ---- */

#define WRITERS 4
#define CHUNKS 200
#define CHUNK_MAX 40000

struct chunk {
	uint32_t writer, number, length; /* of the data behind it */
};

struct writer {
	struct connection *connection;
	uint32_t number;
	pthread_t thread;
	const char *error;
};

/* All of it in one piece, on a socket that does not wait. */
static ssize_t send_whole(struct connection *connection, const uint8_t *data, size_t length)
{
	struct pollfd room = {.fd = connection->fd, .events = POLLOUT};
	int err = ktlsd_stream_begin_write(connection->stream, 0);
	size_t done = 0;
	ssize_t n;

	if (err < 0)
		return err;
	while (done < length) {
		n = send(connection->fd, data + done, length - done, MSG_NOSIGNAL);
		if (n < 0 && (errno != EAGAIN || poll(&room, 1, PATIENCE_MS) != 1))
			break;
		done += n > 0 ? n : 0;
	}
	ktlsd_stream_end_write(connection->stream, done);
	return done;
}

static void *write_chunks(void *argument)
{
	uint8_t bytes[sizeof(struct chunk) + CHUNK_MAX];
	struct writer *writer = argument;
	struct connection *connection = writer->connection;
	unsigned int seed = writer->number;

	for (uint32_t i = 0; i < CHUNKS && !writer->error; i++) {
		struct chunk chunk = {writer->number, i, rand_r(&seed) % CHUNK_MAX};
		size_t length = sizeof(chunk) + chunk.length;
		ssize_t n;

		memcpy(bytes, &chunk, sizeof(chunk));
		fill(bytes + sizeof(chunk), chunk.length, i);
		n = connection->way == POLLING ? send_whole(connection, bytes, length)
					       : ktlsd_stream_send(connection->stream, bytes, length, 0);
		if (n != (ssize_t)length)
			writer->error = n < 0 ? strerror(-n) : "not all was sent";
	}
	return NULL;
}

static void *read_to_end(void *argument)
{
	struct connection *connection = argument;
	uint8_t data[1000];
	ssize_t n;

	do {
		n = stream_receive(connection, data, sizeof(data));
	} while (n > 0);
	return n == 0 ? NULL : strerror(-n);
}

static bool peer_reads_all(struct connection *connection, void *data, size_t length)
{
	size_t done = 0;
	ssize_t n;

	while (done < length) {
		n = ktlsd_stream_recv(connection->peer, (uint8_t *)data + done, length - done, 0);
		if (n <= 0)
			return fail("the peer gets %s (%s)", n ? strerror(-n) : "the end",
				    ktlsd_stream_why(connection->peer));
		done += n;
	}
	return true;
}

static bool peer_reads_chunk(struct connection *connection, uint32_t *numbers)
{
	static uint8_t data[CHUNK_MAX];
	struct chunk chunk;

	if (!peer_reads_all(connection, &chunk, sizeof(chunk)))
		return false;
	if (chunk.writer >= WRITERS || chunk.length >= CHUNK_MAX)
		return fail("what comes is no chunk");
	if (chunk.number != numbers[chunk.writer]++)
		return fail("writer %u: chunk %u came for %u", chunk.writer, chunk.number, numbers[chunk.writer] - 1);
	return peer_reads_all(connection, data, chunk.length) && is_filled(data, chunk.length, chunk.number);
}

static bool runs_writers(struct connection *connection)
{
	struct writer writers[WRITERS];
	uint32_t numbers[WRITERS] = {0};
	bool good = true;

	for (int i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){.connection = connection, .number = i};
		pthread_create(&writers[i].thread, NULL, write_chunks, &writers[i]);
	}
	for (int i = 0; i < WRITERS * CHUNKS && good; i++) {
		if (i % 50 == 0)
			good = peer_updates(connection, i % 100 == 0) && peer_sends(connection, 20000);
		good = good && peer_reads_chunk(connection, numbers);
	}
	for (int i = 0; i < WRITERS; i++) {
		if (good)
			pthread_join(writers[i].thread, NULL);
		if (writers[i].error)
			good = fail("writer %d: %s", i, writers[i].error);
	}
	return good;
}

TEST_F(stream, writers)
{
	struct connection *connection = &self->connection;
	struct ktlsd_stream_info ours, theirs;
	enum way way = self->setup.way;
	pthread_t reader;
	uint8_t byte;
	void *error;

	if (way != BLOCKING && way != BLOCKING_WITH_AGENT && way != POLLING)
		return;
	self->setup.limits.key_records = 64;
	ASSERT_TRUE(open_connection(self));
	ASSERT_EQ(0, pthread_create(&reader, NULL, read_to_end, connection));
	ASSERT_TRUE(runs_writers(connection));
	while (ktlsd_stream_shutdown(connection->stream) == -EAGAIN)
		sched_yield();
	EXPECT_EQ(0, ktlsd_stream_recv(connection->peer, &byte, 1, 0));
	ktlsd_stream_info(connection->stream, &ours);
	ktlsd_stream_info(connection->peer, &theirs);
	EXPECT_LE(8, ours.tx_rekeys);
	EXPECT_EQ(ours.tx_rekeys, theirs.rx_rekeys);
	EXPECT_EQ(0, ktlsd_stream_shutdown(connection->peer));
	ASSERT_EQ(0, pthread_join(reader, &error));
	EXPECT_EQ(NULL, error);
}

/* ---- children ---- */

/* In a child data is data, but new keys are its parent's. */
TEST_F(stream, child)
{
	struct connection *connection = &self->connection;
	uint8_t data[100];
	int status;
	pid_t child;

	if (self->setup.way >= RING)
		return;
	ASSERT_TRUE(open_connection(self));
	ASSERT_TRUE(play(connection, "data:10", UNREAD));
	child = fork();
	if (child == 0) {
		alarm(5);
		_exit(ktlsd_stream_recv(connection->stream, data, sizeof(data), 0) != 10	    ? 1
		      : !peer_sends_record(connection, 22, "\x18\0\0\1\0", 5)			    ? 2
		      : ktlsd_stream_recv(connection->stream, data, sizeof(data), 0) != -EOWNERDEAD ? 3
		      : ktlsd_stream_send(connection->stream, "x", 1, 0) != -EOWNERDEAD		    ? 4
												    : 0);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(FATAL(80), peer_sees(connection));
}

int main(int argc, char **argv)
{
	if (kernel_can_rekey())
		return test_harness_run(argc, argv);
	printf("TAP version 13\n1..1\nok 1 new keys # SKIP this kernel can't replace keys\n");
	return KSFT_SKIP;
}
