// SPDX-License-Identifier: MIT
/* Peers of the server role that speak no TLS, or stop, or flood. The caller learns why; an alert, if one was sent, arrives. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hostile.h"

#define TIMEOUT 600 /* ms, of every handoff here */
#define LATE 300    /* ms that its answer may take longer */
#define LOGGED 8
#define MEGABYTE (1 << 20)

enum then { WAIT, CLOSE, RESET };

#define NO_ALERT KTLSD_NO_ALERT
#define ANY_ALERT 254 /* whichever OpenSSL takes; or none */
#define TEXT(text) text, sizeof(text) - 1

static const struct {
	const char *name;
	const char *bytes;
	size_t length, times;
	enum then then;
	int error;
	uint8_t sent, received;
} tricks[] = {
	{"garbage", TEXT("\xff\xfe\xfd\xfc"), 64, WAIT, EPROTO, ANY_ALERT, NO_ALERT},
	{"an HTTP request", TEXT("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"), 1, WAIT, EPROTO, ANY_ALERT, NO_ALERT},
	{"an SSLv2 hello",
	 TEXT("\x80\x2b\x01\x00\x02\x00\x12\x00\x00\x00\x10\x07\x00\xc0\x03\x00\x80\x01\x00\x80\x06\x00"
	      "\x40\x04\x00\x80\x02\x00\x80sixteen bytes !!"),
	 1, WAIT, EPROTO, ANY_ALERT, NO_ALERT},
	{"nothing, then the end", TEXT(""), 0, CLOSE, ECONNABORTED, NO_ALERT, NO_ALERT},
	{"nothing, then a reset", TEXT(""), 0, RESET, ECONNRESET, NO_ALERT, NO_ALERT},
	{"nothing at all", TEXT(""), 0, WAIT, ETIMEDOUT, NO_ALERT, NO_ALERT},
	{"an alert", TEXT("\x15\x03\x03\x00\x02\x02\x28"), 1, WAIT, EPROTO, ANY_ALERT, ANY_ALERT},
	{"one byte, then nothing", TEXT("\x16"), 1, WAIT, ETIMEDOUT, NO_ALERT, NO_ALERT},
	{"one byte, then the end", TEXT("\x16"), 1, CLOSE, ECONNABORTED, NO_ALERT, NO_ALERT},
	{"half a record's head, then a reset", TEXT("\x16\x03\x01"), 1, RESET, ECONNRESET, NO_ALERT, NO_ALERT},
	{"a record of 65535 bytes", TEXT("\x16\x03\x01\xff\xff\x01"), 1, WAIT, EPROTO, ANY_ALERT, NO_ALERT},
	{"a record of 20000 bytes", TEXT("\x16\x03\x01\x4e\x20\x01"), 1, WAIT, EPROTO, ANY_ALERT, NO_ALERT},
	{"half of a record", TEXT("\x16\x03\x01\x00\x40\x01"), 1, WAIT, ETIMEDOUT, NO_ALERT, NO_ALERT},
	{"a record without content", TEXT("\x16\x03\x01\x00\x00"), 1000, WAIT, EPROTO, ANY_ALERT, NO_ALERT},
	{"application data first", TEXT("\x17\x03\x03\x00\x04 data"), 1, WAIT, EPROTO, 10, NO_ALERT},
	{"a ServerHello", TEXT("\x16\x03\x03\x00\x04\x02\x00\x00\x00"), 1, WAIT, EPROTO, 10, NO_ALERT},
	{"an empty ClientHello", TEXT("\x16\x03\x01\x00\x04\x01\x00\x00\x00"), 1, WAIT, EPROTO, 50, NO_ALERT},
	{"a ClientHello of 16 MB", TEXT("\x16\x03\x01\x00\x04\x01\xff\xff\xff"), 1, WAIT, EPROTO, ANY_ALERT, NO_ALERT},
	{"16 MB of records of one byte", TEXT("\x16\x03\x01\x00\x01\x01"), 16 * MEGABYTE / 6, WAIT, EPROTO, ANY_ALERT,
	 NO_ALERT},
	{"16 MB of ChangeCipherSpec", TEXT("\x14\x03\x03\x00\x01\x01"), 16 * MEGABYTE / 6, WAIT, EPROTO, ANY_ALERT,
	 NO_ALERT},
	{"16 MB of warnings", TEXT("\x15\x03\x03\x00\x02\x01\x5a"), 16 * MEGABYTE / 7, WAIT, EPROTO, ANY_ALERT,
	 ANY_ALERT},
	{"16 MB of zeroes", TEXT("\0\0\0\0"), 4 * MEGABYTE, WAIT, EPROTO, ANY_ALERT, NO_ALERT},
	{"16 MB of garbage in a record", TEXT("\x16\x03\x01\x40\x00"), 16 * MEGABYTE / 5, WAIT, EPROTO, ANY_ALERT,
	 NO_ALERT},
};

static char *repeat(const char *bytes, size_t length, size_t times)
{
	char *all = malloc(length * times + 1);

	for (size_t i = 0; all && i < times; i++)
		memcpy(all + i * length, bytes, length);
	return all;
}

/* Sends while the agent takes it. */
static void send_until_answer(int fd, const char *bytes, size_t length, struct ktlsd *agent)
{
	struct pollfd ready[2] = {{.fd = fd, .events = POLLOUT}, {.fd = ktlsd_fd(agent), .events = POLLIN}};
	struct ktlsd_result *result;
	ssize_t n;

	while (length > 0 && poll(ready, 2, 5000) > 0 && ktlsd_peek_result(agent, &result) == -EAGAIN) {
		n = send(fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN)
			return;
		bytes += n > 0 ? n : 0;
		length -= n > 0 ? n : 0;
	}
}

static void end(int fd, enum then then)
{
	const struct linger at_once = {.l_onoff = 1};

	if (then == WAIT)
		return;
	usleep(20000); /* what was sent is to be seen first */
	if (then == RESET)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(fd);
}

/* What the peer can read up to the end of the stream: the alert in the last record. -1 after a reset. */
static int read_alert(int fd)
{
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	uint8_t data[65536];
	size_t length = 0, at = 0;
	int alert = NO_ALERT;
	ssize_t n;

	while (length < sizeof(data) && poll(&readable, 1, 3000) > 0 &&
	       (n = recv(fd, data + length, sizeof(data) - length, 0)) > 0)
		length += n;
	if (n < 0)
		return -1;
	for (; at + 7 <= length; at += 5 + (data[at + 3] << 8 | data[at + 4]))
		alert = data[at] == 21 ? data[at + 6] : NO_ALERT;
	return alert;
}

static bool alert_is(uint8_t alert, uint8_t expected)
{
	return alert == expected || expected == ANY_ALERT;
}

static bool play(size_t i, bool logged)
{
	char *bytes = repeat(tricks[i].bytes, tricks[i].length, tricks[i].times);
	unsigned int before = agent_descriptors();
	long log = agent_log_length();
	struct ktlsd *agent = open_agent();
	struct pair pair = tcp_pair();
	int64_t begin = now_ms();
	struct ended ended;
	int alert = NO_ALERT;
	bool good;

	hand_over(agent, pair.server, "web", TIMEOUT, 0);
	send_until_answer(pair.client, bytes, tricks[i].length * tricks[i].times, agent);
	end(pair.client, tricks[i].then);
	/* A peer that reads, so that the agent need not wait for it. */
	if (tricks[i].then == WAIT)
		alert = read_alert(pair.client);
	ended = wait_ended(agent, 5000, NULL);
	ended.ms = now_ms() - begin;
	/* What comes without end may meet the deadline first, on a slow machine. */
	good = (ended.error == tricks[i].error || (ended.error == ETIMEDOUT && tricks[i].times > MEGABYTE)) &&
	       ended.flags == 0 && alert_is(ended.alert_sent, tricks[i].sent) &&
	       alert_is(ended.alert_received, tricks[i].received);
	if (!good || ended.alert_sent != alert)
		note("%s (%s), flags %#x, alert sent %u, arrived %d, received %u", name_of(ended.error), ended.why,
		     ended.flags, ended.alert_sent, alert, ended.alert_received);
	/* What is sent behind the alert's cause without end can only be answered by a reset, in the end. */
	if (ended.alert_sent != alert && tricks[i].length * tricks[i].times < MEGABYTE)
		good = false;
	if (ended.error == ETIMEDOUT && (ended.ms < TIMEOUT || ended.ms > TIMEOUT + LATE)) {
		note("the deadline of %d ms came after %d ms", TIMEOUT, (int)ended.ms);
		good = false;
	}
	if (!is_dead(pair.server)) {
		note("the socket is not dead");
		good = false;
	}
	if (logged && !agent_logged(log, ended.why, name_of(tricks[i].error))) {
		note("the log does not say so");
		good = false;
	}
	ktlsd_close(agent);
	close(pair.server);
	if (tricks[i].then == WAIT)
		close(pair.client);
	free(bytes);
	return agent_settles(before) && good;
}

/* A ClientHello as the client role sends it. */
static size_t client_hello(uint8_t *data, size_t size)
{
	struct ktlsd *agent = open_agent();
	struct pair pair = tcp_pair();
	ssize_t length;

	hand_over(agent, pair.client, "client", 0, 0);
	length = recv(pair.server, data, size, 0);
	if (length <= 0)
		die("a ClientHello");
	close_pair(pair);
	ktlsd_close(agent);
	return length;
}

/* The alert is behind 20 KB that the agent has no use for: a close without reading them would be a reset. */
static void alert_behind_data(void)
{
	static const char bad[] = "\x16\x03\x01\x00\x04\x01\x00\x00\x00", junk[20000];
	struct ktlsd *agent = open_agent();
	struct pair pair = tcp_pair();
	struct ended ended;
	int alert;

	send(pair.client, bad, sizeof(bad) - 1, MSG_NOSIGNAL);
	send(pair.client, junk, sizeof(junk), MSG_NOSIGNAL);
	hand_over(agent, pair.server, "web", TIMEOUT, 0);
	usleep(100000);
	send(pair.client, junk, sizeof(junk), MSG_NOSIGNAL);
	alert = read_alert(pair.client);
	ended = wait_ended(agent, 3000, NULL);
	close(pair.server);
	report(alert == 50 && ended.alert_sent == 50, "an alert arrives although 40 KB lie before it (%d)", alert);
	close(pair.client);
	ktlsd_close(agent);
}

/* A peer that neither reads the alert nor closes holds the socket for a bounded moment only. */
static void alert_unread(void)
{
	static const char bad[] = "\x16\x03\x01\x00\x04\x01\x00\x00\x00";
	struct pair pair = tcp_pair();
	struct ended ended;

	send(pair.client, bad, sizeof(bad) - 1, MSG_NOSIGNAL);
	ended = serve(pair.server, "web", TIMEOUT);
	report(ended.error == EPROTO && ended.ms < 1000 + LATE, "a peer that does not close after an alert: %d ms",
	       (int)ended.ms);
	close_pair(pair);
}

/* The peer's window and our buffer are full before the handshake begins. */
static void never_reads(bool nonblocking)
{
	uint8_t hello[8192];
	size_t length = client_hello(hello, sizeof(hello));
	static const char full[65536];
	struct pair pair = tcp_pair();
	struct ended ended;

	while (send(pair.server, full, sizeof(full), MSG_DONTWAIT) > 0)
		;
	if (nonblocking)
		fcntl(pair.server, F_SETFL, O_NONBLOCK);
	send(pair.client, hello, length, MSG_NOSIGNAL);
	ended = serve(pair.server, "web", TIMEOUT);
	report(ended.error == ETIMEDOUT && ended.ms >= TIMEOUT - 1 && ended.ms <= TIMEOUT + LATE &&
		       is_dead(pair.server),
	       "a peer that never reads, %sblocking: %s after %d ms", nonblocking ? "non-" : "", name_of(ended.error),
	       (int)ended.ms);
	close_pair(pair);
}

static void drips(void)
{
	uint8_t hello[8192];
	size_t length = client_hello(hello, sizeof(hello)), sent;
	struct ktlsd *agent = open_agent();
	struct pair pair = tcp_pair();
	int64_t begin = now_ms();
	struct ended ended;
	long cpu;

	hand_over(agent, pair.server, "web", TIMEOUT, 0);
	cpu = agent_cpu_ms();
	for (sent = 0; sent < length && now_ms() < begin + TIMEOUT + LATE; sent++) {
		if (send(pair.client, hello + sent, 1, MSG_NOSIGNAL) != 1)
			break;
		usleep(5000);
	}
	ended = wait_ended(agent, 3000, NULL);
	report(ended.error == ETIMEDOUT && now_ms() - begin <= TIMEOUT + LATE,
	       "a ClientHello that comes byte by byte and too slowly: %s", name_of(ended.error));
	report(agent_cpu_ms() - cpu < TIMEOUT / 2, "the agent does not spin on it (%ld ms of CPU)",
	       agent_cpu_ms() - cpu);
	ktlsd_close(agent);
	close_pair(pair);
}

static void urgent(void)
{
	uint8_t hello[8192];
	size_t length = client_hello(hello, sizeof(hello));
	struct pair pair = tcp_pair();
	struct ended ended;
	long cpu;

	send(pair.client, hello, 100, MSG_NOSIGNAL);
	send(pair.client, "!", 1, MSG_OOB);
	send(pair.client, hello + 100, length - 100, MSG_NOSIGNAL);
	send(pair.client, "!", 1, MSG_OOB);
	cpu = agent_cpu_ms();
	ended = serve(pair.server, "web", TIMEOUT);
	report(ended.error && ended.ms <= 1000 + LATE && agent_cpu_ms() - cpu < TIMEOUT / 2,
	       "urgent data amid a ClientHello: %s (%s), %ld ms of CPU", name_of(ended.error), ended.why,
	       agent_cpu_ms() - cpu);
	close_pair(pair);
}

static void cancel(bool before_hello)
{
	uint8_t hello[8192];
	size_t length = client_hello(hello, sizeof(hello));
	struct ktlsd *agent = open_agent();
	struct pair pair = tcp_pair();
	struct ended ended;
	char data[8192];
	int64_t begin;
	ssize_t n;

	if (!before_hello)
		send(pair.client, hello, length, MSG_NOSIGNAL);
	hand_over(agent, pair.server, "web", 0, 5);
	usleep(100000);
	begin = now_ms();
	if (ktlsd_cancel(agent, 6) != -ENOENT)
		report(false, "canceling what is not there");
	if (ktlsd_cancel(agent, 5) != 0)
		report(false, "canceling");
	ended = wait_ended(agent, 3000, NULL);
	report(ended.error == ECANCELED && !(ended.flags & KTLSD_RESULT_REFUSED) && now_ms() - begin < LATE,
	       "a cancel %s the ClientHello: %s (%s) after %d ms", before_hello ? "before" : "behind",
	       name_of(ended.error), ended.why, (int)(now_ms() - begin));
	report(is_dead(pair.server), "then the socket is dead");
	close(pair.server);
	while ((n = recv(pair.client, data, sizeof(data), 0)) > 0 && !memmem(data, n, "plaintext", 9))
		;
	report(n <= 0, "and no plaintext went out");
	close(pair.client);
	ktlsd_close(agent);
}

static void timeouts(void)
{
	static const unsigned int timeouts_ms[] = {1, 50, 100, 250, 1000};

	for (size_t i = 0; i < COUNT(timeouts_ms); i++) {
		struct pair pair = tcp_pair();
		struct ended ended = serve(pair.server, "web", timeouts_ms[i]);

		report(ended.error == ETIMEDOUT && ended.ms >= timeouts_ms[i] - 1 && ended.ms <= timeouts_ms[i] + LATE,
		       "timeout_ms = %u: %s after %d ms", timeouts_ms[i], name_of(ended.error), (int)ended.ms);
		close_pair(pair);
	}
}

void peers(int argc, char **argv)
{
	(void)argc, (void)argv;
	for (size_t i = 0; i < COUNT(tricks); i++)
		report(play(i, i < LOGGED), "%s: %s", tricks[i].name, name_of(tricks[i].error));
	alert_behind_data();
	alert_unread();
	never_reads(false);
	never_reads(true);
	drips();
	urgent();
	cancel(true);
	cancel(false);
	timeouts();
	report(good_handshake(), "the next handshake is unharmed");
}
