// SPDX-License-Identifier: MIT
/*
 * Not one byte lost: a TLS peer sends what ends the handshake, and data behind it, in every way in which TCP may deliver
 * it. The server or client whose socket the agent had reads exactly what was sent, and can answer.
 *
 * The peer is OpenSSL with buffers for input and output, so that this program decides which bytes travel together.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ktlsd.h"
#include "receive.h"
#include "unit.h"

#define PATIENCE_MS 5000
#define DATA_MAX (256 * 1024)

static const struct suite {
	int version;
	const char *name;
	uint16_t id;
} suites[] = {
	{TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256", 0x1301},
	{TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384", 0x1302},
	{TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256", 0x1303},
	{TLS1_3_VERSION, "TLS_AES_128_CCM_SHA256", 0x1304},
	{TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", 0xc02b},
	{TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384", 0xc02c},
	{TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305", 0xcca9},
};

enum how { TOGETHER, SEPARATELY, BYTE_BY_BYTE, PART_FIRST };
enum end { STAYS, HALF_CLOSES, SAYS_GOODBYE };

static const struct delivery {
	const char *name;
	enum how how;
	size_t first; /* PART_FIRST: bytes that come with Finished; the rest comes when the handshake is over */
	unsigned int records, size;
	enum end end;
} deliveries[] = {
	{"nothing behind Finished", TOGETHER, 0, 0, 0, STAYS},
	{"one segment", TOGETHER, 0, 3, 500, STAYS},
	{"separate segments", SEPARATELY, 0, 3, 500, STAYS},
	{"one byte at a time", BYTE_BY_BYTE, 0, 3, 50, STAYS},
	{"a part of a record's header behind Finished", PART_FIRST, 3, 2, 700, STAYS},
	{"33 bytes behind Finished", PART_FIRST, 33, 2, 700, STAYS},
	{"a record and a half behind Finished", PART_FIRST, 1000, 2, 700, STAYS},
	{"100 records behind Finished", TOGETHER, 0, 100, 300, STAYS},
	{"the largest records behind Finished", TOGETHER, 0, 4, 16384, STAYS},
	{"half-closes right behind Finished", TOGETHER, 0, 0, 0, HALF_CLOSES},
	{"half-closes right behind its data", TOGETHER, 0, 3, 500, HALF_CLOSES},
	{"half-closes right behind its data, byte by byte", BYTE_BY_BYTE, 0, 3, 50, HALF_CLOSES},
	{"close_notify and half-close right behind its data", TOGETHER, 0, 3, 500, SAYS_GOODBYE},
};

struct test {
	const struct suite *suite;
	const struct delivery *delivery;
	enum ktlsd_role role; /* ours */
	bool nonblocking;     /* our socket */

	int fd; /* ours, handed over */
	int peer_fd;
	SSL *peer;
	BIO *in, *out; /* of the peer */
	uint8_t sent[DATA_MAX];
	size_t sent_length;
	bool answered;
};

static struct ktlsd *agent;
static SSL_CTX *client_context, *server_context;
static char why[512];

__attribute__((format(printf, 1, 2))) static bool fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(why, sizeof(why), format, arguments);
	va_end(arguments);
	return false;
}

/* ---- sockets ---- */

static void connect_pair(struct test *test)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
	int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	socklen_t length = sizeof(address);

	must(bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, 1) == 0 &&
	     getsockname(listener, (struct sockaddr *)&address, &length) == 0);
	test->peer_fd = socket(AF_INET, SOCK_STREAM, 0);
	must(connect(test->peer_fd, (struct sockaddr *)&address, length) == 0);
	test->fd = accept4(listener, NULL, NULL, test->nonblocking ? SOCK_NONBLOCK : 0);
	must(test->fd >= 0);
	close(listener);
	setsockopt(test->peer_fd, SOL_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(test->peer_fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(test->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
}

static bool send_bytes(struct test *test, const uint8_t *data, size_t length)
{
	while (length > 0) {
		ssize_t n = send(test->peer_fd, data, length, MSG_NOSIGNAL);

		if (n <= 0)
			return fail("the peer can't send: %s", strerror(errno));
		data += n;
		length -= n;
	}
	return true;
}

/* Sends what OpenSSL has written so far. */
static bool flush(struct test *test)
{
	uint8_t *data;
	size_t length = BIO_get_mem_data(test->out, &data);
	bool good = send_bytes(test, data, length);

	BIO_reset(test->out);
	return good;
}

static bool receive(struct test *test)
{
	uint8_t data[16384];
	ssize_t n = recv(test->peer_fd, data, sizeof(data), 0);

	if (n <= 0)
		return fail("the peer can't receive: %s", n == 0 ? "end of stream" : strerror(errno));
	BIO_write(test->in, data, n);
	return true;
}

/* ---- the peer ---- */

static void set_up_peer(struct test *test, SSL_SESSION *session)
{
	const struct suite *suite = test->suite;

	test->peer = SSL_new(test->role == KTLSD_SERVER ? client_context : server_context);
	test->in = BIO_new(BIO_s_mem());
	test->out = BIO_new(BIO_s_mem());
	SSL_set_bio(test->peer, test->in, test->out);
	must(SSL_set_min_proto_version(test->peer, suite->version) == 1 &&
	     SSL_set_max_proto_version(test->peer, suite->version) == 1);
	must((suite->version == TLS1_3_VERSION ? SSL_set_ciphersuites(test->peer, suite->name)
					       : SSL_set_cipher_list(test->peer, suite->name)) == 1);
	if (test->role == KTLSD_CLIENT) {
		SSL_set_accept_state(test->peer);
		return;
	}
	SSL_set_connect_state(test->peer);
	must(SSL_set1_host(test->peer, "localhost") == 1);
	if (session)
		must(SSL_set_session(test->peer, session) == 1);
}

/* Repeats a step of OpenSSL until it is through with it; what it wrote last waits in out. */
static bool drive(struct test *test, int (*step)(SSL *))
{
	for (;;) {
		int result = step(test->peer), error = SSL_get_error(test->peer, result);

		if (result > 0)
			return true;
		if (error != SSL_ERROR_WANT_READ)
			return fail("the peer's handshake fails (%d)", error);
		if (!flush(test) || !receive(test))
			return false;
	}
}

/* A TLS 1.3 server may send data right behind its Finished, before the client's (RFC 8446 §2, "0.5-RTT data"). */
static int answer_hello(SSL *ssl)
{
	uint8_t data[1];
	size_t length;

	return SSL_read_early_data(ssl, data, sizeof(data), &length) == SSL_READ_EARLY_DATA_FINISH ? 1 : -1;
}

static bool writes_early(const struct test *test)
{
	return test->role == KTLSD_CLIENT && test->suite->version == TLS1_3_VERSION;
}

static bool write_record(struct test *test, size_t size)
{
	uint8_t *data = test->sent + test->sent_length;
	size_t written;

	must(test->sent_length + size <= sizeof(test->sent));
	for (size_t i = 0; i < size; i++)
		data[i] = (test->sent_length + i) * 7 >> 3;
	test->sent_length += size;
	if (!SSL_is_init_finished(test->peer) ? SSL_write_early_data(test->peer, data, size, &written) == 1
					      : SSL_write_ex(test->peer, data, size, &written) == 1)
		return true;
	return fail("the peer can't write");
}

/* ---- our side ---- */

static bool hand_over(struct test *test)
{
	struct ktlsd_handoff *handoff = ktlsd_get_handoff(agent);

	if (test->role == KTLSD_SERVER)
		ktlsd_prep_server(handoff, test->fd, "server");
	else
		ktlsd_prep_client(handoff, test->fd, "client", "localhost");
	return ktlsd_submit(agent) == 1 || fail("can't hand over");
}

static bool take_result(struct test *test, bool resumed)
{
	unsigned int wanted = KTLSD_RESULT_TX | KTLSD_RESULT_RX | (resumed ? KTLSD_RESULT_RESUMED : 0) |
			      (test->role == KTLSD_CLIENT ? KTLSD_RESULT_VERIFIED : 0);
	struct ktlsd_result *result;
	bool good;

	if (test->answered)
		return true;
	if (ktlsd_wait_result(agent, &result, PATIENCE_MS) < 0)
		return fail("no result");
	good = result->error == 0 && result->version == test->suite->version && result->cipher == test->suite->id &&
	       result->flags == wanted;
	if (!good)
		fail("result: %s %s, version %x, cipher %x, flags %x", strerror(result->error), result->error_text,
		     result->version, result->cipher, result->flags);
	ktlsd_result_seen(agent);
	test->answered = true;
	return good;
}

static ssize_t receive_patiently(struct test *test, void *data, size_t size)
{
	struct pollfd readable = {.fd = test->fd, .events = POLLIN};
	ssize_t n;

	do {
		n = receive_once(test->fd, data, size, 0);
	} while (n == -EAGAIN && test->nonblocking && poll(&readable, 1, PATIENCE_MS) == 1);
	return n;
}

static bool read_all(struct test *test)
{
	static uint8_t data[DATA_MAX];
	size_t length = 0;

	while (length < test->sent_length) {
		ssize_t n = receive_patiently(test, data + length, test->sent_length - length);

		if (n <= 0)
			return fail("%zu of %zu bytes came, then: %s", length, test->sent_length,
				    n == 0 ? "end" : strerror(-n));
		length += n;
	}
	if (memcmp(data, test->sent, length) != 0)
		return fail("other bytes came than were sent");
	return true;
}

static bool read_end(struct test *test)
{
	ssize_t wanted = test->delivery->end == HALF_CLOSES ? -ECONNABORTED : 0;
	uint8_t byte;
	ssize_t n = receive_patiently(test, &byte, 1);

	return n == wanted || fail("at the end: %zd instead of %zd", n, wanted);
}

static bool answer(struct test *test)
{
	static const char text[] = "the answer";
	char got[sizeof(text)] = "";
	int n;

	if (send(test->fd, text, sizeof(text), MSG_NOSIGNAL) != sizeof(text))
		return fail("we can't send: %s", strerror(errno));
	while ((n = SSL_read(test->peer, got, sizeof(got))) <= 0) {
		if (SSL_get_error(test->peer, n) != SSL_ERROR_WANT_READ)
			return fail("the peer can't read our answer");
		if (!receive(test))
			return false;
	}
	return (n == sizeof(text) && strcmp(got, text) == 0) || fail("the peer reads something else");
}

/* ---- a test ---- */

/* The last flight of the peer's handshake lies in out; appends data and lets it all go as the test says. */
static bool deliver(struct test *test, bool resumed)
{
	const struct delivery *delivery = test->delivery;
	size_t finished = BIO_ctrl_pending(test->out), length, first;
	uint8_t *flight;
	bool good = true;

	for (unsigned int i = 0; i < delivery->records; i++)
		good &= write_record(test, delivery->size);
	if (delivery->end == SAYS_GOODBYE && SSL_is_init_finished(test->peer))
		SSL_shutdown(test->peer);
	length = BIO_get_mem_data(test->out, &flight);
	switch (delivery->how) {
	case TOGETHER:
		good = good && send_bytes(test, flight, length);
		break;
	case SEPARATELY:
		good = good && send_bytes(test, flight, finished) &&
		       send_bytes(test, flight + finished, length - finished);
		break;
	case BYTE_BY_BYTE:
		for (size_t i = 0; i < length && good; i++) {
			good = send_bytes(test, flight + i, 1);
			sched_yield();
		}
		break;
	case PART_FIRST:
		first = finished + delivery->first;
		must(first < length);
		good = good && send_bytes(test, flight, first) && take_result(test, resumed) &&
		       send_bytes(test, flight + first, length - first);
		break;
	}
	BIO_reset(test->out);
	return good;
}

/* The peer's side of the handshake may go on after its data: tickets, and more data behind them. */
static bool complete_peer(struct test *test)
{
	bool was_early = !SSL_is_init_finished(test->peer);

	if (!drive(test, SSL_do_handshake))
		return false;
	if (was_early && !write_record(test, 100))
		return false;
	if (was_early && test->delivery->end == SAYS_GOODBYE)
		SSL_shutdown(test->peer);
	return flush(test);
}

static bool run(struct test *test, SSL_SESSION *session)
{
	bool half_close = test->delivery->end != STAYS;

	connect_pair(test);
	set_up_peer(test, session);
	if (!hand_over(test) || !drive(test, writes_early(test) ? answer_hello : SSL_do_handshake))
		return false;
	if (session && !SSL_session_reused(test->peer))
		return fail("the session was not resumed");
	if (!deliver(test, session))
		return false;
	if (writes_early(test) && !complete_peer(test))
		return false;
	if (half_close)
		shutdown(test->peer_fd, SHUT_WR);
	return take_result(test, session) && read_all(test) && (!half_close || read_end(test)) && answer(test);
}

static void clean_up(struct test *test)
{
	struct ktlsd_result *result;

	close(test->peer_fd);
	SSL_set_shutdown(test->peer, SSL_SENT_SHUTDOWN); /* or its session would not be resumed any more */
	SSL_free(test->peer);
	if (!test->answered && ktlsd_wait_result(agent, &result, PATIENCE_MS) == 0)
		ktlsd_result_seen(agent);
	close(test->fd);
}

/* In TLS 1.2 the client has the last word only when it resumes: a session from a whole handshake. */
static SSL_SESSION *get_session(const struct suite *suite)
{
	static const struct delivery nothing = {.name = "a whole handshake"};
	static struct test test;
	SSL_SESSION *session = NULL;
	bool good;

	test = (struct test){.suite = suite, .delivery = &nothing, .role = KTLSD_SERVER};
	good = run(&test, NULL);
	if (good)
		session = SSL_get1_session(test.peer);
	check(good && SSL_SESSION_is_resumable(session), "%s: server: a whole handshake, which gives a ticket",
	      suite->name);
	if (!good)
		printf("# %s\n", why);
	clean_up(&test);
	return session;
}

static void test_deliveries(const struct suite *suite, enum ktlsd_role role, SSL_SESSION *session)
{
	static struct test test;

	for (size_t i = 0; i < 2 * COUNT(deliveries); i++) {
		bool good;

		test = (struct test){
			.suite = suite, .delivery = &deliveries[i / 2], .role = role, .nonblocking = i % 2};
		good = run(&test, session);
		check(good, "%s: %s, %s socket: %s", suite->name, role == KTLSD_SERVER ? "server" : "client",
		      test.nonblocking ? "non-blocking" : "blocking", test.delivery->name);
		if (!good)
			printf("# %s\n", why);
		clean_up(&test);
	}
}

static void read_pki(const char *directory)
{
	char file[256];

	client_context = SSL_CTX_new(TLS_client_method());
	server_context = SSL_CTX_new(TLS_server_method());
	snprintf(file, sizeof(file), "%s/ca.pem", directory);
	must(SSL_CTX_load_verify_file(client_context, file) == 1);
	SSL_CTX_set_verify(client_context, SSL_VERIFY_PEER, NULL);
	snprintf(file, sizeof(file), "%s/server-ecdsa.pem", directory);
	must(SSL_CTX_use_certificate_chain_file(server_context, file) == 1);
	snprintf(file, sizeof(file), "%s/server-ecdsa.key", directory);
	must(SSL_CTX_use_PrivateKey_file(server_context, file, SSL_FILETYPE_PEM) == 1);
}

int main(int argc, char **argv)
{
	must(argc == 2 && ktlsd_open(&agent, NULL) == 0);
	read_pki(argv[1]);
	for (size_t i = 0; i < COUNT(suites); i++) {
		SSL_SESSION *session = NULL;

		if (suites[i].version == TLS1_2_VERSION)
			session = get_session(&suites[i]);
		test_deliveries(&suites[i], KTLSD_SERVER, session);
		test_deliveries(&suites[i], KTLSD_CLIENT, NULL);
		SSL_SESSION_free(session);
	}
	ktlsd_close(agent);
	SSL_CTX_free(client_context);
	SSL_CTX_free(server_context);
	return finish();
}
