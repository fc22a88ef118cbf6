// SPDX-License-Identifier: GPL-2.0
/*
 * What a stream makes of what its peer sends: each way to read, each suite, either role. stream.sh has the agent.
 * Connections are made by real handshakes; then the peer does as a script says (stream/script.c).
 */
#include <errno.h>
#include <linux/tls.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "stream/script.h"
#include "stream/variants.h"

/* One suite of each version in each way to read, the others in those that differ most. */
AS_BOTH(IN_ALL_WAYS, tls13_aes_128_gcm, 0x0304, "AES-128-GCM", AES_GCM_RECORDS);
AS_BOTH(IN_ALL_WAYS, tls12_aes_128_gcm, 0x0303, "AES-128-GCM", AES_GCM_RECORDS);
AS_BOTH(IN_TWO_WAYS, tls13_aes_256_gcm, 0x0304, "AES-256-GCM", AES_GCM_RECORDS);
AS_BOTH(IN_TWO_WAYS, tls13_chacha20, 0x0304, "ChaCha20-Poly1305", UINT64_MAX);
AS_BOTH(IN_TWO_WAYS, tls13_aes_128_ccm, 0x0304, "AES-128-CCM", AES_CCM_RECORDS);
AS_BOTH(IN_TWO_WAYS, tls12_aes_256_gcm, 0x0303, "AES-256-GCM", AES_GCM_RECORDS);
AS_BOTH(IN_TWO_WAYS, tls12_chacha20, 0x0303, "ChaCha20-Poly1305", UINT64_MAX);

enum {
	CLOSE_NOTIFY = 0,
	UNEXPECTED_MESSAGE = 10,
	BAD_RECORD_MAC = 20,
	HANDSHAKE_FAILURE = 40,
	ILLEGAL_PARAMETER = 47,
	DECODE_ERROR = 50,
	INTERNAL_ERROR = 80,
	NO_RENEGOTIATION = 100,
};

/*
 * end: what the stream gets behind the data. seen: what the peer sees then: its alert; or, if the stream has ended in
 * order, what it answered on its way (0: nothing but its data).
 */
static const struct line {
	const char *name, *script;
	enum kind kinds;
	enum roles roles;
	int end, seen;
} lines[] = {
	/* data, and what may stand between */
	{"data", "data:1 data:100 data:16384 data:16385 data:50000 close", ANY, BOTH, 0, 0},
	{"nothing", "close", ANY, BOTH, 0, 0},
	{"a close_notify that calls itself fatal", "data:10 fatal_close", ANY, BOTH, 0, 0},
	{"data behind the close_notify", "data:10 close | data:10", ANY, BOTH, 0, 0},
	{"records without data", "empty data:5 empty empty_padded empty data:7 empty close", ANY13, BOTH, 0, 0},
	{"padded data", "padded:1 padded:200 data:5 padded:63 close", ANY13, BOTH, 0, 0},
	{"a ticket", "data:5 ticket data:5 close", ANY13, CLIENT, 0, 0},
	{"a ticket first", "ticket data:5 close", ANY13, CLIENT, 0, 0},
	{"a ticket last", "data:5 ticket close", ANY13, CLIENT, 0, 0},
	{"a ticket over three records", "data:5 ticket_1 ticket_2 ticket_3 data:5 close", ANY13, CLIENT, 0, 0},
	{"two tickets in one record", "data:5 tickets data:5 tickets close", ANY13, CLIENT, 0, 0},
	{"tickets that share a record and are over several",
	 "data:5 ticket_1 ticket_2 ticket_3_and_1 ticket_2 ticket_3 data:5 close", ANY13, CLIENT, 0, 0},
	{"user_canceled", "data:5 canceled data:5 canceled close", ANY, BOTH, 0, 0},
	{"warnings", "data:5 warning data:5 unknown_warning close", TLS12, BOTH, 0, 0},

	/* new keys */
	{"a KeyUpdate", "data:5 update data:5 close", TLS13, BOTH, 0, 0},
	{"a KeyUpdate first", "update data:5 close", TLS13, BOTH, 0, 0},
	{"a KeyUpdate last", "data:5 update close", TLS13, BOTH, 0, 0},
	{"a KeyUpdate that asks for ours", "data:5 update! data:50000 close", TLS13, BOTH, 0, 0},
	{"KeyUpdates in a row", "data:5 update update update! update update! data:5 close", TLS13, BOTH, 0, 0},
	{"KeyUpdates and data in turn", "data:5 update data:20000 update! data:5 update data:1 update! data:5 close",
	 TLS13, BOTH, 0, 0},
	{"a ticket behind a KeyUpdate", "data:5 update ticket data:5 close", TLS13, CLIENT, 0, 0},
	{"a KeyUpdate behind a ticket", "data:5 ticket update data:5 close", TLS13, CLIENT, 0, 0},
	{"a KeyUpdate among tickets", "data:5 tickets update ticket_1 ticket_2 ticket_3 update! ticket data:5 close",
	 TLS13, CLIENT, 0, 0},
	{"an empty record around a KeyUpdate", "data:5 empty update empty data:5 close", TLS13, BOTH, 0, 0},
	{"the old key behind a KeyUpdate", "data:5 raw_update | data:5", TLS13, BOTH, -EBADMSG, FATAL(BAD_RECORD_MAC)},
	{"a KeyUpdate where keys stay", "data:5 update | data:5", FIXED, BOTH, -EKEYEXPIRED, FATAL(INTERNAL_ERROR)},
	{"a KeyUpdate that asks where keys stay", "data:5 update! | data:5", FIXED, BOTH, -EKEYEXPIRED,
	 FATAL(INTERNAL_ERROR)},
	{"a KeyUpdate in TLS 1.2", "data:5 update |", TLS12, BOTH, -EPROTO, FATAL(UNEXPECTED_MESSAGE)},

	/* KeyUpdates that are none */
	{"a KeyUpdate behind a ticket, in one record", "data:5 ticket_update |", ANY13, CLIENT, -EPROTO,
	 FATAL(INTERNAL_ERROR)},
	{"a ticket behind a KeyUpdate, in one record", "data:5 update_ticket |", ANY13, CLIENT, -EPROTO,
	 FATAL(UNEXPECTED_MESSAGE)},
	{"two KeyUpdates in one record", "data:5 update_update |", ANY13, BOTH, -EPROTO, FATAL(UNEXPECTED_MESSAGE)},
	{"a KeyUpdate over two records", "data:5 update_part | update_rest", ANY13, BOTH, -EPROTO,
	 FATAL(INTERNAL_ERROR)},
	{"a KeyUpdate of two bytes", "data:5 update_2_bytes |", ANY13, BOTH, -EPROTO, FATAL(DECODE_ERROR)},
	{"a KeyUpdate of no byte", "data:5 update_0_bytes |", ANY13, BOTH, -EPROTO, FATAL(DECODE_ERROR)},
	{"a KeyUpdate of an unknown kind", "data:5 update_2 |", ANY13, BOTH, -EPROTO, FATAL(ILLEGAL_PARAMETER)},

	{"a part of a ticket that looks like a KeyUpdate", "data:5 ticket_head ticket_body data:5 close", ANY13, CLIENT,
	 0, 0},

	/* messages */
	{"data inside a ticket", "data:5 ticket_1 | data:5", ANY13, CLIENT, -EPROTO, FATAL(UNEXPECTED_MESSAGE)},
	{"an empty record inside a ticket", "data:5 ticket_1 empty | data:5", ANY13, CLIENT, -EPROTO,
	 FATAL(UNEXPECTED_MESSAGE)},
	{"close_notify inside a ticket", "data:5 ticket_1 | close", ANY13, CLIENT, -EPROTO, FATAL(UNEXPECTED_MESSAGE)},
	{"too long a ticket", "data:5 long_ticket |", ANY13, CLIENT, -EPROTO, FATAL(DECODE_ERROR)},
	{"a ticket from a client", "data:5 ticket |", ANY13, SERVER, -EPROTO, FATAL(UNEXPECTED_MESSAGE)},
	{"a ticket in TLS 1.2", "data:5 ticket |", TLS12, BOTH, -EPROTO, FATAL(UNEXPECTED_MESSAGE)},
	{"CertificateRequest", "data:5 certificate_request |", ANY, BOTH, -EPROTO, FATAL(UNEXPECTED_MESSAGE)},
	{"Finished", "data:5 finished |", ANY, BOTH, -EPROTO, FATAL(UNEXPECTED_MESSAGE)},
	{"ClientKeyExchange", "data:5 key_exchange |", ANY, BOTH, -EPROTO, FATAL(UNEXPECTED_MESSAGE)},
	{"a handshake record without a message", "data:5 empty_handshake |", ANY13, BOTH, -EPROTO,
	 FATAL(UNEXPECTED_MESSAGE)},
	{"ClientHello in TLS 1.3", "data:5 client_hello |", ANY13, BOTH, -EPROTO, FATAL(UNEXPECTED_MESSAGE)},
	{"HelloRequest in TLS 1.3", "data:5 hello_request |", ANY13, BOTH, -EPROTO, FATAL(UNEXPECTED_MESSAGE)},
	{"ClientHello: renegotiation", "data:5 client_hello data:5 close", TLS12, SERVER, 0, WARNING(NO_RENEGOTIATION)},
	{"ClientHello over two records", "data:5 client_hello_1 client_hello_2 data:5 close", TLS12, SERVER, 0,
	 WARNING(NO_RENEGOTIATION)},
	{"HelloRequest: renegotiation", "data:5 hello_request data:5 close", TLS12, CLIENT, 0,
	 WARNING(NO_RENEGOTIATION)},
	{"data inside a ClientHello", "data:5 client_hello_1 | data:5", TLS12, SERVER, -EPROTO,
	 FATAL(UNEXPECTED_MESSAGE)},
	{"HelloRequest that is not empty", "data:5 full_hello_request |", TLS12, CLIENT, -EPROTO, -1},
	{"ClientHello from a server", "data:5 client_hello |", TLS12, CLIENT, -EPROTO, FATAL(UNEXPECTED_MESSAGE)},
	{"HelloRequest from a client", "data:5 hello_request |", TLS12, SERVER, -EPROTO, FATAL(UNEXPECTED_MESSAGE)},

	/* alerts */
	{"a fatal alert", "data:5 fatal |", ANY, BOTH, -EREMOTEIO, SEES_FIN},
	{"an unknown fatal alert", "data:5 unknown_fatal |", ANY, BOTH, -EREMOTEIO, SEES_FIN},
	{"a warning that TLS 1.3 does not have", "data:5 warning |", ANY13, BOTH, -EREMOTEIO, SEES_FIN},
	{"an unknown warning in TLS 1.3", "data:5 unknown_warning |", ANY13, BOTH, -EREMOTEIO, SEES_FIN},
	{"an alert of one byte", "data:5 alert_of_1 |", ANY, BOTH, -EPROTO, FATAL(DECODE_ERROR)},
	{"an alert of three bytes", "data:5 alert_of_3 |", ANY, BOTH, -EPROTO, FATAL(DECODE_ERROR)},
	{"an alert without a byte", "data:5 empty_alert |", ANY13, BOTH, -EPROTO, -1},
	{"an alert of a third level", "data:5 third_level |", ANY, BOTH, -EPROTO, -1},

	/* other records, and the end of TCP */
	{"ChangeCipherSpec", "data:5 change_cipher_spec |", ANY, BOTH, -EPROTO, FATAL(UNEXPECTED_MESSAGE)},
	{"heartbeat", "data:5 heartbeat |", ANY, BOTH, -EPROTO, FATAL(UNEXPECTED_MESSAGE)},
	{"a record of an unknown type", "data:5 unknown |", ANY, BOTH, -EPROTO, FATAL(UNEXPECTED_MESSAGE)},
	{"FIN without close_notify", "data:5 fin", ANY, BOTH, -ECONNABORTED, 0},
	{"FIN without anything", "fin", ANY, BOTH, -ECONNABORTED, 0},
	{"FIN behind a KeyUpdate", "data:5 update fin", TLS13, BOTH, -ECONNABORTED, 0},
	{"FIN inside a ticket", "data:5 ticket_1 fin", ANY13, CLIENT, -ECONNABORTED, 0},
	{"close_notify and FIN", "data:5 close fin", ANY, BOTH, 0, 0},
	{"close_notify behind a KeyUpdate", "data:5 update! close fin", TLS13, BOTH, 0, 0},
	{"reset", "reset", ANY, BOTH, -ECONNRESET, -1},
};

static const char *text_of(int result)
{
	return result ? strerror(-result) : "the end";
}

static bool ends_as(struct connection *connection, int wanted)
{
	uint8_t byte;
	ssize_t n = stream_receive(connection, &byte, 1);

	if (n > 0)
		return fail("data where there should be %s", text_of(wanted));
	if (n != wanted)
		return fail("%s instead of %s (%s)", text_of(n), text_of(wanted), ktlsd_stream_why(connection->stream));
	/* it stays so */
	n = ktlsd_stream_completed(connection->stream, NULL, -EAGAIN);
	return n == wanted || wanted == -ECONNRESET || fail("then: %s", text_of(n));
}

static bool peer_sees_this(struct connection *connection, int wanted)
{
	int seen = peer_sees(connection);

	return seen == wanted || fail("the peer sees %#x instead of %#x", seen, wanted);
}

/* Our half is as it was: what we send arrives, and then our own close_notify. */
static bool half_is_good(struct connection *connection)
{
	int err;

	if (!stream_sends(connection, 100) || !peer_reads_until(connection, connection->sent_back))
		return false;
	err = ktlsd_stream_shutdown(connection->stream);
	if (err < 0)
		return fail("no close_notify: %s", strerror(-err));
	return peer_sees_this(connection, WARNING(CLOSE_NOTIFY)) && peer_sees_this(connection, SEES_FIN);
}

static bool is_over(struct connection *connection, int error, int seen)
{
	struct ktlsd_stream_info info;
	ssize_t n = ktlsd_stream_send(connection->stream, "x", 1, 0);

	if (n != error)
		return fail("sending then says: %s", n < 0 ? strerror(-n) : "sent");
	if (!*ktlsd_stream_why(connection->stream))
		return fail("it does not say why");
	ktlsd_stream_info(connection->stream, &info);
	if (seen != -1 && info.alert_sent != (seen & SEES_ALERT ? seen & 0xff : KTLSD_NO_ALERT))
		return fail("its information is of another alert: %u", info.alert_sent);
	if ((error == -EREMOTEIO) != (info.alert_received != KTLSD_NO_ALERT))
		return fail("its information is of an alert received: %u", info.alert_received);
	return seen == -1 || (peer_sees_this(connection, seen) && peer_sees_this(connection, SEES_FIN));
}

static bool follows(FIXTURE_DATA(stream) * self, const struct line *line, enum pace pace)
{
	struct connection *connection = &self->connection;

	if (!play(connection, line->script, pace) || !ends_as(connection, line->end))
		return false;
	if (line->end == 0 || line->end == -ECONNABORTED)
		return (!line->seen || peer_sees_this(connection, line->seen)) && half_is_good(connection);
	return line->end == -ECONNRESET || is_over(connection, line->end, line->seen);
}

/* ---- records in every order ---- */

/* Every line once for each variant, at one of the two paces. */
TEST_F_TIMEOUT(stream, lines, 60)
{
	for (size_t i = 0; i < COUNT(lines); i++) {
		ASSERT_TRUE(open_connection(self));
		if (!(lines[i].kinds & connection_kind(&self->connection)) || !(lines[i].roles & 1 << self->setup.role))
			continue;
		EXPECT_TRUE(follows(self, &lines[i], (i + self->setup.way) % 2 ? IN_STEP : AT_ONCE))
		{
			TH_LOG("%s: \"%s\"", lines[i].name, lines[i].script);
		}
	}
}

/* Harmless steps, in an order that STREAM_SEED repeats. */
TEST_F(stream, random)
{
	const char *seed_text = getenv("STREAM_SEED");
	unsigned int seed = seed_text ? strtoul(seed_text, NULL, 0) : time(NULL);
	char script[2000];

	for (unsigned int i = 0; i < 4; i++) {
		ASSERT_TRUE(open_connection(self));
		make_script(script, sizeof(script), seed + i, connection_kind(&self->connection), self->setup.role);
		ASSERT_TRUE(play(&self->connection, script, i % 2 ? IN_STEP : AT_ONCE) &&
			    play(&self->connection, "close", AT_ONCE) && ends_as(&self->connection, 0))
		{
			TH_LOG("STREAM_SEED=%u: \"%s\"", seed + i, script);
		}
	}
}

/* A peer that takes its time: whoever waits has one record after the other to wait for. */
static void *play_slowly(void *argument)
{
	struct connection *connection = argument;
	static const char *const scripts[][2] = {
		[TLS12] = {"pause warning pause data:5 pause canceled warning pause data:5 pause close",
			   "pause warning pause data:5 pause hello_request warning pause data:5 pause close"},
		[FIXED] = {"pause empty pause canceled pause empty pause data:5 pause data:5 empty pause empty close",
			   "pause empty pause ticket pause empty pause data:5 pause tickets pause data:5 close"},
		[TLS13] = {"pause update pause empty pause update! pause data:5 empty update pause data:5 close",
			   "pause empty pause ticket pause update pause empty pause data:5 update! pause data:5 close"},
	};
	const char *script = scripts[connection_kind(connection)][connection->role == KTLSD_CLIENT];

	return play(connection, script, UNREAD) ? NULL : "error";
}

TEST_F(stream, slowly)
{
	pthread_t peer;
	void *error;

	ASSERT_TRUE(open_connection(self));
	ASSERT_EQ(0, pthread_create(&peer, NULL, play_slowly, &self->connection));
	EXPECT_TRUE(stream_reads_until(&self->connection, 10));
	EXPECT_TRUE(ends_as(&self->connection, 0));
	ASSERT_EQ(0, pthread_join(peer, &error));
	EXPECT_EQ(NULL, error);
}

/* ---- how much, and how ---- */

/* Something that is not data, as the connection may have it. */
static const char *something(const struct connection *connection)
{
	switch (connection_kind(connection)) {
	case TLS13:
		return connection->role == KTLSD_CLIENT ? "ticket update!" : "update empty";
	case FIXED:
		return connection->role == KTLSD_CLIENT ? "ticket_1 ticket_2 ticket_3" : "canceled";
	default:
		return "warning";
	}
}

static bool play_mixture(struct connection *connection, enum pace pace)
{
	size_t large = connection->read_size < 1000 ? 500 : 20000;
	const char *other = something(connection);
	char script[200];

	snprintf(script, sizeof(script), "%s data:300 %s %s data:700 data:%zu %s data:1000", other, other, other, large,
		 other);
	return play(connection, script, pace);
}

TEST_F(stream, small_reads)
{
	static const size_t sizes[] = {1, 7, 1000};

	for (size_t i = 0; i < COUNT(sizes); i++) {
		ASSERT_TRUE(open_connection(self));
		self->connection.read_size = sizes[i];
		EXPECT_TRUE(play_mixture(&self->connection, AT_ONCE));
		EXPECT_TRUE(play(&self->connection, "close", AT_ONCE) && ends_as(&self->connection, 0));
	}
}

/* A call of the library instead of stream_receive(), repeated while there is nothing for the program. */
typedef ssize_t (*receive_function)(struct connection *connection, uint8_t *data, size_t size);

static bool receives_until(struct connection *connection, uint64_t offset, receive_function receive)
{
	static uint8_t data[65536];
	int64_t until = now_ms() + PATIENCE_MS;

	while (connection->received < offset) {
		uint64_t left = offset - connection->received;
		ssize_t n = receive(connection, data, left < sizeof(data) ? left : sizeof(data));

		if (n == -EAGAIN && now_ms() < until) {
			agent_turn(connection, 10);
			continue;
		}
		if (n <= 0)
			return fail("after %llu bytes: %s (%s)", (unsigned long long)connection->received, text_of(n),
				    ktlsd_stream_why(connection->stream));
		if (!is_filled(data, n, connection->received))
			return false;
		connection->received += n;
	}
	return true;
}

static ssize_t receive_parts(struct connection *connection, uint8_t *data, size_t size)
{
	static const size_t lengths[] = {1, 2, 0, 3, 1, 700};
	struct iovec parts[COUNT(lengths)];
	int count = 0;

	for (size_t i = 0, length; i < COUNT(lengths) && size > 0; i++) {
		length = lengths[i] < size ? lengths[i] : size;
		parts[count++] = (struct iovec){.iov_base = data, .iov_len = length};
		data += length;
		size -= length;
	}
	return ktlsd_stream_readv(connection->stream, parts, count, 0);
}

/* What a peek shows the next receive brings. */
static ssize_t receive_peeked(struct connection *connection, uint8_t *data, size_t size)
{
	static uint8_t peeked[65536];
	ssize_t n = ktlsd_stream_recv(connection->stream, peeked, size, MSG_PEEK);
	ssize_t again = n > 0 ? ktlsd_stream_recv(connection->stream, peeked, size, MSG_PEEK) : n;

	if (n <= 0)
		return n;
	if (again < n) {
		fail("a second peek brings %zd, the first %zd", again, n);
		return -EPROTO;
	}
	again = ktlsd_stream_recv(connection->stream, data, n, 0);
	if (again != n || memcmp(data, peeked, n) != 0) {
		fail("%zd bytes came after a peek of %zd", again, n);
		return -EPROTO;
	}
	return n;
}

static ssize_t receive_at_once(struct connection *connection, uint8_t *data, size_t size)
{
	return ktlsd_stream_recv(connection->stream, data, size, MSG_DONTWAIT);
}

static bool posts(enum way way)
{
	return way >= RING;
}

#define TEST_CALL(name)                                                                                                \
	TEST_F(stream, name)                                                                                           \
	{                                                                                                              \
		if (posts(self->setup.way))                                                                            \
			return;                                                                                        \
		ASSERT_TRUE(open_connection(self));                                                                    \
		ASSERT_TRUE(play_mixture(&self->connection, UNREAD));                                                  \
		EXPECT_TRUE(receives_until(&self->connection, self->connection.sent, receive_##name));                 \
	}

TEST_CALL(parts)
TEST_CALL(peeked)
TEST_CALL(at_once)

TEST_F(stream, dont_wait)
{
	struct connection *connection = &self->connection;
	uint8_t byte;

	if (posts(self->setup.way))
		return;
	ASSERT_TRUE(open_connection(self));
	EXPECT_EQ(-EAGAIN, ktlsd_stream_recv(connection->stream, &byte, 1, MSG_DONTWAIT));
	EXPECT_EQ(-EAGAIN, ktlsd_stream_recv(connection->stream, &byte, 1, MSG_DONTWAIT | MSG_PEEK));
	EXPECT_EQ(-EINVAL, ktlsd_stream_recv(connection->stream, &byte, 1, MSG_OOB));
	EXPECT_EQ(-EINVAL, ktlsd_stream_recv(connection->stream, &byte, 0, 0));
	ASSERT_TRUE(play(connection, "canceled", AT_ONCE));
	EXPECT_EQ(-EAGAIN, ktlsd_stream_recv(connection->stream, &byte, 1, MSG_DONTWAIT));
	ASSERT_TRUE(play(connection, "data:10 close", AT_ONCE));
	EXPECT_TRUE(ends_as(connection, 0));
}

/* ---- closing ---- */

/* Our half first: the peer's goes on, whatever is in it. */
TEST_F(stream, half_close)
{
	struct connection *connection = &self->connection;

	ASSERT_TRUE(open_connection(self));
	EXPECT_TRUE(stream_sends(connection, 1000));
	ASSERT_EQ(0, ktlsd_stream_shutdown(connection->stream));
	EXPECT_EQ(0, ktlsd_stream_shutdown(connection->stream));
	EXPECT_EQ(-EPIPE, ktlsd_stream_send(connection->stream, "x", 1, 0));
	EXPECT_TRUE(peer_reads_until(connection, 1000));
	EXPECT_TRUE(peer_sees_this(connection, WARNING(CLOSE_NOTIFY)));
	EXPECT_TRUE(peer_sees_this(connection, SEES_FIN));
	EXPECT_TRUE(play_mixture(connection, IN_STEP));
	EXPECT_TRUE(play(connection, "close fin", AT_ONCE));
	EXPECT_TRUE(ends_as(connection, 0));
}

/* Without its struct ktlsd a stream goes on as one that never had it, whatever was under way. */
TEST_F(stream, agent_closed)
{
	struct connection *connection = &self->connection;

	ASSERT_TRUE(open_connection(self));
	EXPECT_TRUE(play_mixture(connection, AT_ONCE));
	EXPECT_EQ(connection->can_rekey ? 0 : -EOPNOTSUPP, ktlsd_stream_rekey(connection->stream, true));
	ktlsd_close(connection->agent);
	connection->agent = NULL;
	EXPECT_TRUE(stream_sends(connection, 1000) && peer_reads_until(connection, 1000));
	EXPECT_TRUE(play_mixture(connection, IN_STEP));
	EXPECT_TRUE(play(connection, "close", AT_ONCE));
	EXPECT_TRUE(ends_as(connection, 0));
	EXPECT_TRUE(half_is_good(connection));
}

/* A stream goes while the agent is asked for its keys; others of the same struct ktlsd don't notice. */
TEST_F(stream, freed_while_asking)
{
	struct connection *connection = &self->connection, other;

	ASSERT_TRUE(open_connection(self));
	if (!connection->agent || !connection->can_rekey)
		return;
	ASSERT_TRUE(connection_open(&other, &self->setup));
	EXPECT_EQ(0, ktlsd_stream_rekey(connection->stream, false));
	ktlsd_stream_free(connection->stream);
	connection->stream = NULL;
	agent_turn(connection, 100);
	agent_turn(connection, 0);
	EXPECT_TRUE(peer_sends(connection, 100));
	EXPECT_EQ(0, ktlsd_stream_new(&connection->stream, connection->fd, connection->agent, NULL));
	EXPECT_TRUE(stream_reads_until(connection, connection->sent));
	EXPECT_TRUE(play_mixture(&other, AT_ONCE));
	connection_close(&other);
}

/* ---- what is said of it ---- */

TEST_F(stream, information)
{
	struct connection *connection = &self->connection;
	struct ktlsd_stream_info before, after;

	ASSERT_TRUE(open_connection(self));
	ASSERT_EQ(0, ktlsd_stream_info(connection->stream, &before));
	EXPECT_EQ(variant->version, before.socket.version);
	EXPECT_STREQ(variant->cipher, before.socket.cipher);
	EXPECT_EQ(KTLSD_RESULT_TX | KTLSD_RESULT_RX, before.socket.flags);
	EXPECT_EQ(variant->key_records, before.socket.key_records);
	EXPECT_EQ(variant->version == 0x0304 && kernel_can_rekey(), before.can_rekey);
	EXPECT_EQ(KTLSD_NO_ALERT, before.alert_sent);
	EXPECT_EQ(KTLSD_NO_ALERT, before.alert_received);
	EXPECT_STREQ("", ktlsd_stream_why(connection->stream));
	ASSERT_TRUE(play(connection, "data:10 canceled data:10", IN_STEP));
	ASSERT_TRUE(stream_sends(connection, 16384 + 10));
	ASSERT_EQ(0, ktlsd_stream_info(connection->stream, &after));
	EXPECT_EQ(before.socket.tx_records + 2, after.socket.tx_records);
	EXPECT_LE(before.socket.rx_records + 3, after.socket.rx_records);
	EXPECT_LE(before.control_records + 1, after.control_records);
	EXPECT_EQ(0, after.tx_rekeys + after.rx_rekeys);
	if (!connection->can_rekey)
		return;
	ASSERT_TRUE(play(connection, "update! data:10 update! data:10", IN_STEP));
	ASSERT_TRUE(stream_sends(connection, 10));
	ASSERT_EQ(0, ktlsd_stream_info(connection->stream, &after));
	EXPECT_EQ(2, after.tx_rekeys);
	EXPECT_EQ(2, after.rx_rekeys);
	EXPECT_EQ(1, after.socket.tx_records);
	EXPECT_EQ(1, after.socket.rx_records);
	EXPECT_EQ(variant->key_records, after.socket.key_records);
}

TEST(no_streams)
{
	struct ktlsd_socket_info info;
	struct ktlsd_stream *stream;
	int tcp = socket(AF_INET, SOCK_STREAM, 0), unix_socket = socket(AF_UNIX, SOCK_STREAM, 0), fds[2];

	ASSERT_EQ(0, pipe(fds));
	EXPECT_EQ(-ENOPROTOOPT, ktlsd_socket_info(tcp, &info));
	EXPECT_EQ(-EOPNOTSUPP, ktlsd_socket_info(unix_socket, &info));
	EXPECT_EQ(-ENOTSOCK, ktlsd_socket_info(fds[0], &info));
	EXPECT_GT(0, ktlsd_stream_new(&stream, tcp, NULL, NULL));
	EXPECT_EQ(-EOPNOTSUPP, ktlsd_stream_new(&stream, unix_socket, NULL, NULL));
	EXPECT_GT(0, ktlsd_stream_new(&stream, fds[0], NULL, NULL));
}

TEST_HARNESS_MAIN
