// SPDX-License-Identifier: GPL-2.0
/* How long a key lives, and how much of what is not data a peer may send. stream.sh has the agent. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "socket.h"
#include "stream/script.h"
#include "stream/variants.h"

#define LIMIT 64
#define RECORDS 300

AS_BOTH(IN_FOUR_WAYS, tls13_aes_128_gcm, 0x0304, "AES-128-GCM", AES_GCM_RECORDS);
AS_BOTH(IN_FOUR_WAYS, tls13_chacha20, 0x0304, "ChaCha20-Poly1305", UINT64_MAX);
AS_BOTH(IN_FOUR_WAYS, tls12_aes_128_gcm, 0x0303, "AES-128-GCM", AES_GCM_RECORDS);

/* ---- the life of a key ---- */

/* A line of /proc/net/tls_stat: those of all connections of this network namespace. */
static long counted(const char *name)
{
	FILE *file = fopen("/proc/net/tls_stat", "r");
	char line[100], key[64];
	long value = -1, found;

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%63s %ld", key, &found) == 2 && strcmp(key, name) == 0)
			value = found;
	if (file)
		fclose(file);
	return value;
}

static bool stays_below_limit(const struct connection *connection)
{
	struct ktlsd_stream_info info;

	ktlsd_stream_info(connection->stream, &info);
	if (info.socket.key_records != LIMIT)
		return fail("the limit is %llu", (unsigned long long)info.socket.key_records);
	/* the close_notify at the end is one more */
	return info.socket.tx_records <= LIMIT + !connection->can_rekey ||
	       fail("the key has protected %llu records", (unsigned long long)info.socket.tx_records);
}

TEST_F(stream, own_key)
{
	struct connection *connection = &self->connection;
	long before = counted("TlsTxRekeyOk");
	struct ktlsd_stream_info info;

	self->setup.limits.key_records = LIMIT;
	ASSERT_TRUE(open_connection(self));
	if (connection_kind(connection) != TLS13)
		return;
	for (int i = 0; i < RECORDS; i++) {
		ASSERT_TRUE(stream_sends(connection, i % 3 ? 100 : 16384) && stays_below_limit(connection));
		ASSERT_TRUE(peer_reads_until(connection, connection->sent_back));
		agent_turn(connection, 0);
	}
	ktlsd_stream_info(connection->stream, &info);
	EXPECT_LE(RECORDS / LIMIT, info.tx_rekeys);
	EXPECT_GE(RECORDS / LIMIT * 2, info.tx_rekeys);
	EXPECT_LE(before + (long)info.tx_rekeys, counted("TlsTxRekeyOk"));
}

/* The stream asks for the peer's next key when the one in force has come far. */
TEST_F(stream, peers_key)
{
	struct connection *connection = &self->connection;
	long before = counted("TlsRxRekeyOk");
	struct ktlsd_stream_info info;
	uint8_t byte;

	self->setup.limits.key_records = LIMIT;
	self->setup.limits.control_burst = 1000;
	ASSERT_TRUE(open_connection(self));
	if (connection_kind(connection) != TLS13)
		return;
	for (int i = 0; i < RECORDS; i++) {
		ASSERT_TRUE(peer_sends(connection, i % 3 ? 100 : 16384));
		ASSERT_TRUE(stream_reads_until(connection, connection->sent));
		agent_turn(connection, 1);
		EXPECT_EQ(-EAGAIN, ktlsd_stream_recv(connection->peer, &byte, 1, MSG_DONTWAIT));
		ktlsd_stream_info(connection->stream, &info);
		ASSERT_GE(LIMIT + 16, info.socket.rx_records);
	}
	EXPECT_LE(RECORDS / LIMIT - 1, info.rx_rekeys);
	EXPECT_LE(before + (long)info.rx_rekeys, counted("TlsRxRekeyOk"));
}

/* Sends until the key's life is over. */
static ssize_t send_to_end(struct connection *connection)
{
	uint8_t data[1000];
	ssize_t n;

	for (int i = 0; i < RECORDS; i++) {
		fill(data, sizeof(data), connection->sent_back);
		n = ktlsd_stream_send(connection->stream, data, sizeof(data), 0);
		if (n < 0)
			return n;
		connection->sent_back += n;
	}
	return 0;
}

static bool ends_in_order(struct connection *connection)
{
	ssize_t n = send_to_end(connection);
	int seen;

	if (n != -EKEYEXPIRED)
		return fail("at the end of its key: %s", n ? strerror(-n) : "it goes on");
	if (!*ktlsd_stream_why(connection->stream))
		return fail("it does not say why");
	if (connection->sent_back < LIMIT / 2 * 1000)
		return fail("only %llu bytes went", (unsigned long long)connection->sent_back);
	if (!stays_below_limit(connection) || !peer_reads_until(connection, connection->sent_back))
		return false;
	seen = peer_sees(connection);
	return seen == WARNING(0) || fail("the peer sees %#x", seen);
}

TEST_F(stream, end_of_key)
{
	self->setup.limits.key_records = LIMIT;
	self->setup.without_token = true;
	ASSERT_TRUE(open_connection(self));
	EXPECT_FALSE(self->connection.can_rekey);
	EXPECT_EQ(-EOPNOTSUPP, ktlsd_stream_rekey(self->connection.stream, false));
	EXPECT_TRUE(ends_in_order(&self->connection));
}

/* One call that sends more than a key may protect. */
TEST_F(stream, large_send)
{
	static uint8_t data[4 << 20];
	struct connection *connection = &self->connection;
	struct iovec parts[3] = {{data, 1000000}, {data + 1000000, 100}, {data + 1000100, sizeof(data) - 1000100}};
	ssize_t n;

	self->setup.limits.key_records = LIMIT;
	ASSERT_TRUE(open_connection(self));
	fill(data, sizeof(data), 0);
	n = ktlsd_stream_writev(connection->stream, parts, COUNT(parts), MSG_DONTWAIT);
	ASSERT_TRUE(n > 0 || (n == -EKEYEXPIRED && connection_kind(connection) != TLS13));
	EXPECT_TRUE(n < 0 || peer_reads_until(connection, n));
	EXPECT_TRUE(stays_below_limit(connection));
	EXPECT_EQ(connection_kind(connection) == TLS13, n == sizeof(data));
}

/* ---- storms ---- */

struct storm {
	struct connection *connection;
	const char *what;
	unsigned int sent;
	_Atomic bool stop;
	pthread_t thread;
};

#define STORM 100000

/* Until it may not any more. */
static void *rage(void *argument)
{
	struct storm *storm = argument;
	struct connection *connection = storm->connection;
	static const uint8_t warning[2] = {1, 90}, ticket[25] = {4, 0, 0, 21};

	for (storm->sent = 0; storm->sent < STORM && !storm->stop; storm->sent++) {
		int err;

		if (strcmp(storm->what, "updates") == 0)
			err = ktlsd_stream_rekey(connection->peer, storm->sent % 2);
		else if (strcmp(storm->what, "tickets") == 0)
			err = socket_send_record(connection->peer_fd, 22, ticket, sizeof(ticket), 0);
		else
			err = socket_send_record(connection->peer_fd, 21, warning, sizeof(warning), 0);
		if (err)
			break;
	}
	return NULL;
}

/* A second connection of the same loop, whose peer counts the answers to its pings. */
struct ping {
	struct connection *connection;
	_Atomic unsigned int count;
	pthread_t thread;
};

static void *ping(void *argument)
{
	struct ping *ping = argument;
	char byte = 'p';

	while (send(ping->connection->peer_fd, &byte, 1, MSG_NOSIGNAL) == 1 &&
	       ktlsd_stream_recv(ping->connection->peer, &byte, 1, 0) == 1)
		ping->count++;
	return NULL;
}

static void answer_ping(struct connection *connection)
{
	char byte;

	if (ktlsd_stream_recv(connection->stream, &byte, 1, MSG_DONTWAIT) == 1)
		ktlsd_stream_send(connection->stream, &byte, 1, 0);
}

#define AFTER_MS 50

/* One loop for both, until a moment after the one in the storm has its end. Returns that, or -ETIME. */
static ssize_t serve(struct connection *stormy, struct connection *calm)
{
	int64_t until = now_ms() + PATIENCE_MS;
	struct pollfd fds[4] = {{.fd = stormy->fd, .events = POLLIN},
				{.fd = calm->fd, .events = POLLIN},
				{.fd = ktlsd_fd(stormy->agent), .events = POLLIN},
				{.fd = ktlsd_fd(calm->agent), .events = POLLIN}};
	ssize_t n = -EAGAIN;
	uint8_t data[1000];

	while (now_ms() < until && poll(fds, COUNT(fds), AFTER_MS) >= 0) {
		agent_turn(stormy, 0);
		agent_turn(calm, 0);
		if (fds[1].revents)
			answer_ping(calm);
		if (!fds[0].revents)
			continue;
		n = ktlsd_stream_recv(stormy->stream, data, sizeof(data), MSG_DONTWAIT);
		if (n != -EAGAIN) {
			fds[0].fd = -1;
			until = now_ms() + AFTER_MS;
		}
	}
	return n == -EAGAIN ? -ETIME : n;
}

static bool ended_well(struct connection *connection, ssize_t end, unsigned int pings)
{
	struct ktlsd_stream_info info;

	ktlsd_stream_info(connection->stream, &info);
	if (end != -EDQUOT)
		return fail("the storm ends with %s (%s)", end ? strerror(-end) : "the end",
			    ktlsd_stream_why(connection->stream));
	if (info.control_records > 1000)
		return fail("%llu control records were taken", (unsigned long long)info.control_records);
	return pings >= 5 || fail("%u pings were answered", pings);
}

static bool survives(struct storm *storm, struct connection *calm)
{
	struct ping pings = {.connection = calm};
	unsigned int count;
	ssize_t end;

	pthread_create(&pings.thread, NULL, ping, &pings);
	pthread_create(&storm->thread, NULL, rage, storm);
	end = serve(storm->connection, calm);
	count = pings.count;
	storm->stop = true;
	shutdown(storm->connection->fd, SHUT_RDWR); /* both threads come to their ends */
	shutdown(calm->fd, SHUT_RDWR);
	pthread_join(storm->thread, NULL);
	pthread_join(pings.thread, NULL);
	return ended_well(storm->connection, end, count);
}

static bool weathers(FIXTURE_DATA(stream) * self, const char *what)
{
	struct storm storm = {.connection = &self->connection, .what = what};
	struct connection calm;
	bool good = connection_open(&calm, &self->setup) && open_connection(self) && survives(&storm, &calm);

	connection_close(&calm);
	return good;
}

TEST_F(stream, storms)
{
	if (self->setup.way != POLLING)
		return;
	ASSERT_TRUE(open_connection(self));
	if (connection_kind(&self->connection) == TLS13)
		EXPECT_TRUE(weathers(self, "updates"));
	if (connection_kind(&self->connection) != TLS12 && self->setup.role == KTLSD_CLIENT)
		EXPECT_TRUE(weathers(self, "tickets"));
	EXPECT_TRUE(weathers(self, "warnings"));
}

/* Each way to read comes to the same end. */
TEST_F(stream, too_many)
{
	struct connection *connection = &self->connection;
	bool updates = self->setup.role == KTLSD_SERVER;
	uint8_t byte;

	self->setup.limits.control_burst = 10;
	self->setup.limits.control_rate = 1;
	ASSERT_TRUE(open_connection(self));
	updates = updates && connection_kind(connection) == TLS13;
	for (int i = 0; i < 20; i++)
		ASSERT_TRUE(play(connection, updates ? "update" : "canceled", UNREAD));
	EXPECT_EQ(-EDQUOT, stream_receive(connection, &byte, 1));
	EXPECT_EQ(FATAL(10), peer_sees(connection));
}

/* What comes no faster than the rate may go on for ever. */
TEST_F(stream, slowly)
{
	struct connection *connection = &self->connection;

	if (self->setup.way != POLLING)
		return;
	self->setup.limits.control_burst = 8;
	self->setup.limits.control_rate = 100;
	ASSERT_TRUE(open_connection(self));
	for (int i = 0; i < 30; i++) {
		ASSERT_TRUE(play(connection, "canceled data:1", IN_STEP));
		usleep(20000);
	}
}

/* One KeyUpdate with each 64 KiB is none too many, in whatever portions the data comes. */
TEST_F(stream, lawful)
{
	struct connection *connection = &self->connection;
	const char *other;

	self->setup.limits.control_burst = 4;
	self->setup.limits.control_rate = 1;
	ASSERT_TRUE(open_connection(self));
	other = connection_kind(connection) == TLS13 ? "update!" : "canceled";
	for (int i = 0; i < 30; i++) {
		ASSERT_TRUE(play(connection, "data:65536", IN_STEP));
		ASSERT_TRUE(play(connection, other, UNREAD));
	}
	ASSERT_TRUE(play(connection, "data:10", IN_STEP));
	EXPECT_TRUE(stream_sends(connection, 10) && peer_reads_until(connection, 10));
}

TEST_HARNESS_MAIN
