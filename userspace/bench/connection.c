/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exchange.h"

#define SOURCES 250 /* 127.1.0.1 and on: each has ports of its own, so connections in TIME_WAIT don't use them up */

/* ---- what is counted ---- */

static bool open_loop(const struct connection *c)
{
	return c->loop->arrivals.interval_ns > 0;
}

/* In an open loop it counts when an operation began, not when it ends: the slowest end behind the measurement. */
bool connection_counts(const struct connection *c)
{
	return open_loop(c) ? c->measured : c->loop->counting;
}

static void settle(struct connection *c)
{
	c->loop->measured -= c->measured;
	c->measured = false;
}

void connection_latency(struct connection *c)
{
	if (connection_counts(c))
		histogram_add(&c->loop->tally.response, now_ns() - c->began);
}

/* With a fixed number of arrivals, these are what completes; else all that complete in so many seconds. */
void connection_completed(struct connection *c)
{
	bool fixed = open_loop(c) && c->loop->settings->count;

	c->loop->tally.completed += fixed ? c->measured : c->loop->counting;
	settle(c);
}

static void begin(struct connection *c, const struct begin *when)
{
	c->began = when ? when->at : now_ns();
	c->measured = when && when->measured;
	c->loop->measured += c->measured;
	c->got = 0;
}

/* ---- the end ---- */

static void line_add(struct line *line, struct connection *c)
{
	TAILQ_INSERT_TAIL(&line->list, c, entry);
	line->count++;
	c->line = line;
}

static void line_remove(struct line *line, struct connection *c)
{
	TAILQ_REMOVE(&line->list, c, entry);
	line->count--;
}

void connection_move(struct connection *c, struct line *line)
{
	line_remove(c->line, c);
	line_add(line, c);
}

void connection_begin(struct connection *c, const struct begin *when)
{
	begin(c, when);
	c->has_operation = true;
	connection_progress(c);
}

void connection_progress(struct connection *c)
{
	c->since = c->loop->now;
	connection_move(c, &c->loop->in_flight);
}

void connection_end(struct connection *c)
{
	settle(c);
	line_remove(c->line, c);
	c->loop->over++;
	SSL_free(c->ssl);
	if (c->fd >= 0)
		close(c->fd);
	free(c);
}

/* A timeout counts even if it comes when the measurement is over: who stalls would never be found out in a short one. */
enum next connection_fail(struct connection *c, enum failure failure, const char *format, ...)
{
	struct failures *failures = &c->loop->tally.failed;
	bool stalled = failure == FAILED_BY_TIMEOUT && c->since < c->loop->measured_until;
	bool counted = connection_counts(c) || stalled;
	va_list arguments;

	if (counted && !c->silent) {
		va_start(arguments, format);
		if (!*failures->first)
			vsnprintf(failures->first, sizeof(failures->first), format, arguments);
		va_end(arguments);
		failures->of[failure]++;
	}
	connection_end(c);
	return NEXT_GONE;
}

static const char *moment(const struct connection *c)
{
	static const char *const moments[] = {"in the middle of the handshake", "before it had sent all",
					      "in the middle of the connection's end"};

	return c->state == CONNECTION_HANDSHAKE && !c->heard ? "before it said anything" : moments[c->state];
}

/* A server may close a connection between two requests, whenever it likes. Whether the request was begun anew on another. */
static bool reopen(struct connection *c)
{
	struct loop *loop = c->loop;
	struct begin same = {.at = c->began, .measured = c->measured};

	if (!c->reused || c->got || c->state != CONNECTION_OPEN || c->late)
		return false;
	loop->tally.reopened += loop->counting;
	connection_end(c);
	connection_start(loop, &same);
	return true;
}

enum next connection_cut(struct connection *c)
{
	if (!reopen(c))
		connection_fail(c, FAILED_BY_CLOSE, "the server closed %s", moment(c));
	return NEXT_GONE;
}

void connection_closed(struct connection *c)
{
	if (c->loop->use->handshakes)
		connection_completed(c);
	connection_end(c);
}

void connection_broken(struct connection *c, int error, const char *doing)
{
	if (c->state == CONNECTION_CLOSE && c->http.closes) /* its close and ours have crossed */
		connection_closed(c);
	else if (!reopen(c))
		connection_fail(c, failure_of_transfer(error), "%s: %s, %s", doing, strerror(error), moment(c));
}

/* ---- the beginning ---- */

static int open_socket(struct loop *loop, const struct target *target)
{
	const struct sockaddr_in *to = (const void *)&target->address;
	struct sockaddr_in from = {.sin_family = AF_INET};
	int fd = socket(target->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	if (fd < 0)
		return -1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (to->sin_family != AF_INET || ntohl(to->sin_addr.s_addr) >> 24 != IN_LOOPBACKNET)
		return fd;
	from.sin_addr.s_addr = htonl((IN_LOOPBACKNET << 24 | 1 << 16) + 1 + loop->next % SOURCES);
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&from, sizeof(from)) == 0)
		return fd;
	close(fd);
	return -1;
}

static struct connection *new_connection(struct loop *loop, const struct begin *when)
{
	size_t size = sizeof(struct connection) + loop->use->input;
	struct connection *c = aligned_alloc(16, (size + 15) / 16 * 16);

	if (!c)
		abort();
	memset(c, 0, sizeof(*c) - sizeof(c->http.text));
	c->loop = loop;
	c->target = &loop->settings->targets[loop->next % loop->settings->target_count];
	c->since = loop->now;
	begin(c, when);
	c->has_operation = when || loop->use->handshakes;
	c->connected = loop->use->handshakes ? c->began : now_ns();
	line_add(&loop->in_flight, c);
	return c;
}

bool connection_start(struct loop *loop, const struct begin *when)
{
	struct connection *c = new_connection(loop, when);

	c->fd = open_socket(loop, c->target);
	loop->next++;
	if (c->fd < 0) {
		connection_fail(c, failure_of_connect(errno), "socket: %s", strerror(errno));
		return false;
	}
	return exchange_begin(c);
}

void connection_write(struct connection *c, const char *data, size_t length)
{
	c->plain = data;
	c->plain_left = length;
}

void connection_wake(struct connection *c, const struct begin *when)
{
	connection_begin(c, when);
	exchange_go_on(c, c->loop->use->arrived(c));
}

void connection_complete(struct connection *c, unsigned int operation, int result)
{
	if (c->late)
		connection_fail(c, FAILED_BY_TIMEOUT, "no end after %g s: the server stalls %s",
				c->loop->settings->timeout_s, moment(c));
	else
		exchange_complete(c, operation, result);
}

/* ---- all of them ---- */

void connections_expire(struct loop *loop)
{
	int64_t oldest = loop->now - loop->settings->timeout_s * 1e9;
	struct connection *c;

	TAILQ_FOREACH(c, &loop->in_flight.list, entry) {
		if (c->since > oldest && !loop->use->turn)
			return;
		if (c->since <= oldest && !c->late)
			exchange_cancel(c);
	}
}

/* What a held one waits for in the ring is the end of the connection; it comes when our side is shut down. */
static void say_goodbye(struct connection *c)
{
	char *data;
	long length;

	SSL_shutdown(c->ssl);
	ERR_clear_error();
	if (c->out) {
		length = BIO_get_mem_data(c->out, &data);
		send(c->fd, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	shutdown(c->fd, SHUT_RDWR);
}

void connections_release(struct loop *loop)
{
	struct connection *c, *next;

	for (c = TAILQ_FIRST(&loop->resting.list); c; c = next) {
		next = TAILQ_NEXT(c, entry);
		say_goodbye(c);
		connection_end(c);
	}
	TAILQ_FOREACH(c, &loop->held.list, entry) {
		if (c->late)
			continue;
		c->late = c->silent = true;
		say_goodbye(c);
	}
	if (!loop->use->abandons)
		return;
	TAILQ_FOREACH(c, &loop->in_flight.list, entry) {
		if (c->late)
			continue;
		c->silent = true;
		exchange_cancel(c);
	}
}
