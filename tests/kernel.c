// SPDX-License-Identifier: GPL-2.0
/*
 * What the kernel has after a handshake: both ends of a loopback connection are handed to the agent, then plain system
 * calls carry data through the kernel's TLS. kernel.sh has the agent's services: one for each cipher suite, named as the
 * variants here are, and one for each number of tickets.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tls.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "ktlsd.h"
#include "receive.h"

#define MOST 300000
#define PATIENCE_MS 5000

static uint8_t sent[MOST], received[MOST];

static void fill(void)
{
	for (size_t i = 0; i < MOST; i++)
		sent[i] = i * 31 >> 3 ^ i;
}

/* ---- a connection whose ends both went through the agent ---- */

struct connection {
	int server, client;
	uint16_t version, cipher;
	unsigned int server_flags, client_flags;
	char server_name[64], peer_names[256], alpn[16];
};

/* 0, or where it went wrong: a line of this file. */
static int connect_pair(struct connection *connection)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t length = sizeof(address);

	if (bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, 1) != 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &length) != 0)
		return __LINE__;
	connection->client = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(connection->client, (struct sockaddr *)&address, length) != 0)
		return __LINE__;
	connection->server = accept(listener, NULL, NULL);
	close(listener);
	setsockopt(connection->server, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(connection->client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return connection->server < 0 ? __LINE__ : 0;
}

static int take_results(struct ktlsd *agent, struct connection *connection)
{
	struct ktlsd_result *result;

	for (int i = 0; i < 2; i++) {
		if (ktlsd_wait_result(agent, &result, PATIENCE_MS) < 0)
			return __LINE__;
		if (result->error) {
			fprintf(stderr, "# %s: %s\n", strerror(result->error), result->error_text);
			return __LINE__;
		}
		connection->version = result->version;
		connection->cipher = result->cipher;
		if ((int)result->cookie == connection->server) {
			connection->server_flags = result->flags;
			snprintf(connection->server_name, sizeof(connection->server_name), "%s", result->server_name);
		} else {
			connection->client_flags = result->flags;
			snprintf(connection->alpn, sizeof(connection->alpn), "%s", result->alpn);
			if (result->peer)
				snprintf(connection->peer_names, sizeof(connection->peer_names), "%s",
					 result->peer->names);
		}
		ktlsd_result_seen(agent);
	}
	return 0;
}

static int shake_hands(struct connection *connection, const char *service)
{
	struct ktlsd_handoff *handoff;
	struct ktlsd *agent;
	int bad;

	bad = connect_pair(connection);
	if (bad)
		return bad;
	if (ktlsd_open(&agent, NULL) < 0)
		return __LINE__;
	handoff = ktlsd_get_handoff(agent);
	ktlsd_prep_server(handoff, connection->server, service);
	handoff->cookie = connection->server;
	handoff = ktlsd_get_handoff(agent);
	ktlsd_prep_client(handoff, connection->client, "client", "a.example");
	handoff->cookie = connection->client;
	handoff->alpn = "other,test";
	bad = ktlsd_submit(agent) == 2 ? take_results(agent, connection) : __LINE__;
	ktlsd_close(agent);
	return bad;
}

/* ---- data for one end after the other, from one thread ---- */

static bool wait_until(int fd, short events)
{
	struct pollfd pollfd = {.fd = fd, .events = events};

	return poll(&pollfd, 1, PATIENCE_MS) == 1;
}

/* Sends by whatever means, receives what arrived, until all of it has. */
static ssize_t carry(int from, int to, size_t length, ssize_t (*send_some)(int fd, size_t offset, size_t left))
{
	size_t out = 0, in = 0;

	while (in < length) {
		ssize_t n = out < length ? send_some(from, out, length - out) : 0;

		if (n < 0 && errno != EAGAIN)
			return -errno;
		out += n > 0 ? n : 0;
		n = receive_once(to, received + in, sizeof(received) - in, MSG_DONTWAIT);
		if (n == -EAGAIN && !wait_until(to, POLLIN))
			return -ETIME;
		if (n <= 0 && n != -EAGAIN)
			return n;
		in += n > 0 ? n : 0;
	}
	return in;
}

static ssize_t by_send(int fd, size_t offset, size_t left)
{
	return send(fd, sent + offset, left, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static ssize_t by_sendfile(int fd, size_t offset, size_t left)
{
	static int file = -1;
	off_t at = offset;

	if (file < 0) {
		file = memfd_create("data", 0);
		if (write(file, sent, sizeof(sent)) != sizeof(sent))
			return -1;
	}
	/* a record at a time always finds room: a larger one could block */
	return sendfile(fd, file, &at, left < 16384 ? left : 16384);
}

static ssize_t by_splice(int fd, size_t offset, size_t left)
{
	static int fds[2] = {-1, -1};
	size_t size = left < 16384 ? left : 16384;

	if (fds[0] < 0 && pipe(fds) != 0)
		return -1;
	if (write(fds[1], sent + offset, size) != (ssize_t)size)
		return -1;
	return splice(fds[0], NULL, fd, NULL, size, 0);
}

/* ---- every suite, either end sending ---- */

FIXTURE(tls)
{
	struct connection connection;
	int from, to;
};

FIXTURE_VARIANT(tls)
{
	const char *service;
	uint16_t version, cipher;
	bool server_sends;
};

#define VARIANT(name, number_of_version, number, server)                                                               \
	FIXTURE_VARIANT_ADD(tls, name##_from_##server)                                                                 \
	{                                                                                                              \
		.service = #name, .version = number_of_version, .cipher = number, .server_sends = #server[0] == 's',   \
	}
#define SUITE(name, version, number)                                                                                   \
	VARIANT(name, version, number, server);                                                                        \
	VARIANT(name, version, number, client)

SUITE(tls13_aes_128_gcm, 0x0304, 0x1301);
SUITE(tls13_aes_256_gcm, 0x0304, 0x1302);
SUITE(tls13_chacha20, 0x0304, 0x1303);
SUITE(tls13_aes_128_ccm, 0x0304, 0x1304);
SUITE(tls12_aes_128_gcm, 0x0303, 0xc02b);
SUITE(tls12_aes_256_gcm, 0x0303, 0xc02c);
SUITE(tls12_chacha20, 0x0303, 0xcca9);

FIXTURE_SETUP(tls)
{
	struct connection *connection = &self->connection;

	memset(self, 0, sizeof(*self));
	fill();
	ASSERT_EQ(0, shake_hands(connection, variant->service));
	self->from = variant->server_sends ? connection->server : connection->client;
	self->to = variant->server_sends ? connection->client : connection->server;
}

FIXTURE_TEARDOWN(tls)
{
	close(self->connection.server);
	close(self->connection.client);
}

TEST_F(tls, result)
{
	const struct connection *connection = &self->connection;

	EXPECT_EQ(variant->version, connection->version);
	EXPECT_EQ(variant->cipher, connection->cipher);
	EXPECT_EQ(KTLSD_RESULT_TX | KTLSD_RESULT_RX, connection->server_flags);
	EXPECT_EQ(KTLSD_RESULT_TX | KTLSD_RESULT_RX | KTLSD_RESULT_VERIFIED, connection->client_flags);
	EXPECT_STREQ("a.example", connection->server_name);
	EXPECT_STREQ("test", connection->alpn);
	EXPECT_NE(NULL, strstr(connection->peer_names, "DNS:a.example"));
}

TEST_F(tls, sizes)
{
	static const size_t sizes[] = {1, 100, 16384, 16385, 100000};

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		ASSERT_EQ(sizes[i], carry(self->from, self->to, sizes[i], by_send));
		ASSERT_EQ(0, memcmp(sent, received, sizes[i]));
	}
}

TEST_F(tls, sendfile)
{
	ASSERT_EQ(MOST, carry(self->from, self->to, MOST, by_sendfile));
	ASSERT_EQ(0, memcmp(sent, received, MOST));
}

TEST_F(tls, splice)
{
	ASSERT_EQ(MOST, carry(self->from, self->to, MOST, by_splice));
	ASSERT_EQ(0, memcmp(sent, received, MOST));
}

TEST_F(tls, both_ways)
{
	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(1000, carry(self->from, self->to, 1000, by_send));
		ASSERT_EQ(1000, carry(self->to, self->from, 1000, by_send));
	}
}

TEST_F(tls, byte_after_byte)
{
	ASSERT_EQ(500, by_send(self->from, 0, 500));
	for (int i = 0; i < 500; i++) {
		ASSERT_EQ(1, receive_once(self->to, received + i, 1, 0));
	}
	EXPECT_EQ(0, memcmp(sent, received, 500));
	EXPECT_EQ(-EAGAIN, receive_once(self->to, received, 1, MSG_DONTWAIT));
}

/* ---- sequence numbers ---- */

FIXTURE(sequence)
{
	struct connection connection;
};

FIXTURE_VARIANT(sequence)
{
	const char *service;
	bool tls13;
	uint64_t tickets;
};

#define TICKETS_OF(version, number)                                                                                    \
	FIXTURE_VARIANT_ADD(sequence, tls1##version##_##number##_tickets)                                              \
	{                                                                                                              \
		.service = "tls1" #version "_" #number "_tickets", .tls13 = version == 3, .tickets = number,           \
	}
#define TICKETS(number)                                                                                                \
	TICKETS_OF(3, number);                                                                                         \
	TICKETS_OF(2, number)

TICKETS(0);
TICKETS(1);
TICKETS(2);
TICKETS(5);

FIXTURE_SETUP(sequence)
{
	memset(self, 0, sizeof(*self));
	ASSERT_EQ(0, shake_hands(&self->connection, variant->service));
}

FIXTURE_TEARDOWN(sequence)
{
	close(self->connection.server);
	close(self->connection.client);
}

static bool keys_of(int fd, int direction, struct tls12_crypto_info_aes_gcm_128 *crypto)
{
	socklen_t length = sizeof(*crypto);

	return getsockopt(fd, SOL_TLS, direction, crypto, &length) == 0 && length == sizeof(*crypto);
}

static int64_t sequence_of(int fd, int direction)
{
	struct tls12_crypto_info_aes_gcm_128 crypto;
	uint64_t number;

	if (!keys_of(fd, direction, &crypto))
		return -errno;
	memcpy(&number, crypto.rec_seq, sizeof(number));
	return be64toh(number);
}

TEST_F(sequence, numbers)
{
	const struct connection *c = &self->connection;
	int64_t first = variant->tls13 ? 0 : 1; /* TLS 1.2: the Finished messages */
	int64_t tickets = variant->tls13 ? variant->tickets : 0;

	EXPECT_EQ(first + tickets, sequence_of(c->server, TLS_TX));
	EXPECT_EQ(first, sequence_of(c->client, TLS_TX));
	EXPECT_EQ(first, sequence_of(c->server, TLS_RX));
	EXPECT_LE(first, sequence_of(c->client, TLS_RX));
	EXPECT_GE(first + tickets, sequence_of(c->client, TLS_RX));
	ASSERT_EQ(1, by_send(c->server, 0, 1));
	ASSERT_EQ(1, receive_once(c->client, received, 1, 0));
	EXPECT_EQ(first + tickets + 1, sequence_of(c->server, TLS_TX));
	EXPECT_EQ(first + tickets + 1, sequence_of(c->client, TLS_RX));
}

TEST_F(sequence, keys)
{
	const struct connection *c = &self->connection;
	struct tls12_crypto_info_aes_gcm_128 down, up, down_there, up_there;

	ASSERT_TRUE(keys_of(c->server, TLS_TX, &down) && keys_of(c->client, TLS_RX, &down_there));
	ASSERT_TRUE(keys_of(c->client, TLS_TX, &up) && keys_of(c->server, TLS_RX, &up_there));
	EXPECT_EQ(0, memcmp(down.key, down_there.key, sizeof(down.key)));
	EXPECT_EQ(0, memcmp(down.salt, down_there.salt, sizeof(down.salt)));
	EXPECT_EQ(0, memcmp(up.key, up_there.key, sizeof(up.key)));
	EXPECT_EQ(0, memcmp(up.salt, up_there.salt, sizeof(up.salt)));
	EXPECT_NE(0, memcmp(up.key, down.key, sizeof(up.key)));
	EXPECT_EQ(variant->tls13 ? TLS_1_3_VERSION : TLS_1_2_VERSION, down.info.version);
}

/* ---- what a socket is afterwards ---- */

TEST(options_stay)
{
	static const int options[][3] = {
		{SOL_SOCKET, SO_RCVLOWAT, 7}, {SOL_TCP, TCP_NODELAY, 1}, {SOL_SOCKET, SO_KEEPALIVE, 1}};
	struct connection connection = {0};
	struct ktlsd_handoff handoffs[2] = {0};
	struct ktlsd_result *result;
	struct ktlsd *agent;

	ASSERT_EQ(0, connect_pair(&connection));
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		ASSERT_EQ(0, setsockopt(connection.server, options[i][0], options[i][1], &options[i][2], sizeof(int)));
	fcntl(connection.server, F_SETFL, O_NONBLOCK);
	ASSERT_EQ(0, ktlsd_open(&agent, NULL));
	ktlsd_prep_server(&handoffs[0], connection.server, "tls13_aes_128_gcm");
	ktlsd_prep_client(&handoffs[1], connection.client, "client", "localhost");
	for (int i = 0; i < 2; i++)
		*ktlsd_get_handoff(agent) = handoffs[i];
	ASSERT_EQ(2, ktlsd_submit(agent));
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, ktlsd_wait_result(agent, &result, PATIENCE_MS));
		EXPECT_EQ(0, result->error);
		ktlsd_result_seen(agent);
	}
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		int value = -1;
		socklen_t length = sizeof(value);

		getsockopt(connection.server, options[i][0], options[i][1], &value, &length);
		EXPECT_EQ(options[i][2], value);
	}
	EXPECT_NE(0, fcntl(connection.server, F_GETFL) & O_NONBLOCK);
	EXPECT_EQ(0, fcntl(connection.client, F_GETFL) & O_NONBLOCK);
	ktlsd_close(agent);
	close(connection.server);
	close(connection.client);
}

TEST_HARNESS_MAIN
