/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "connection.h"

#define SOURCES 250 /* 127.1.0.1 and on: each has ports of its own, so connections in TIME_WAIT don't use them up */

const char *const failure_names[FAILURES] = {
	[FAILED_LOCALLY] = "local",   [FAILED_TO_CONNECT] = "connect", [FAILED_BY_RESET] = "reset",
	[FAILED_BY_CLOSE] = "closed", [FAILED_BY_TIMEOUT] = "timeout", [FAILED_IN_TLS] = "tls",
	[FAILED_IN_HTTP] = "http",
};

enum operation { OP_CONNECT, OP_SEND, OP_SHUTDOWN, OP_RECEIVE, OP_HANGUP };

/* ---- the end ---- */

static void destroy(struct connection *c)
{
	struct loop *loop = c->loop;

	if (c->state == CONNECTION_HELD) {
		TAILQ_REMOVE(&loop->held, c, entry);
		loop->held_count--;
	} else {
		TAILQ_REMOVE(&loop->in_flight, c, entry);
		loop->in_flight_count--;
	}
	loop->over++;
	SSL_free(c->ssl);
	if (c->fd >= 0)
		close(c->fd);
	free(c);
}

static void fail(struct connection *c, enum failure failure, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void fail(struct connection *c, enum failure failure, const char *format, ...)
{
	struct tally *tally = &c->loop->tally;
	va_list arguments;

	if (c->loop->counting) {
		va_start(arguments, format);
		if (!*tally->first_failure)
			vsnprintf(tally->first_failure, sizeof(tally->first_failure), format, arguments);
		va_end(arguments);
		tally->failed[failure]++;
	}
	destroy(c);
}

static void fail_in_tls(struct connection *c)
{
	const char *reason = ERR_reason_error_string(ERR_peek_error());

	fail(c, FAILED_IN_TLS, "TLS: %s", reason ? reason : "OpenSSL gives no reason");
	ERR_clear_error();
}

static void complete(struct connection *c)
{
	c->loop->tally.completed += c->loop->counting;
	destroy(c);
}

/* ---- operations ---- */

static struct io_uring_sqe *operation(struct connection *c, enum operation operation)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&c->loop->ring);

	io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)c | operation);
	return sqe;
}

/* Silent unless it fails, and the next follows when it is done. */
static void link_to_next(struct io_uring_sqe *sqe)
{
	io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS);
}

static void reserve(struct loop *loop)
{
	while (io_uring_sq_space_left(&loop->ring) < 4)
		io_uring_submit(&loop->ring);
}

static void add_send(struct connection *c)
{
	char *data;
	long length = BIO_get_mem_data(c->out, &data);
	struct io_uring_sqe *sqe;

	if (length <= 0)
		return;
	sqe = operation(c, OP_SEND);
	io_uring_prep_send(sqe, c->fd, data, length, MSG_NOSIGNAL | MSG_WAITALL);
	link_to_next(sqe);
}

static void add_receive(struct connection *c)
{
	io_uring_prep_recv(operation(c, OP_RECEIVE), c->fd, c->input, sizeof(c->input), 0);
}

static void exchange(struct connection *c)
{
	reserve(c->loop);
	add_send(c);
	add_receive(c);
}

static void close_in_order(struct connection *c)
{
	struct io_uring_sqe *sqe;

	c->state = CONNECTION_CLOSE;
	SSL_shutdown(c->ssl);
	reserve(c->loop);
	add_send(c);
	sqe = operation(c, OP_SHUTDOWN);
	io_uring_prep_shutdown(sqe, c->fd, SHUT_WR);
	link_to_next(sqe);
	add_receive(c);
}

static void hold(struct connection *c)
{
	struct loop *loop = c->loop;

	TAILQ_REMOVE(&loop->in_flight, c, entry);
	loop->in_flight_count--;
	TAILQ_INSERT_TAIL(&loop->held, c, entry);
	loop->held_count++;
	loop->tally.completed++;
	c->state = CONNECTION_HELD;
	reserve(loop);
	io_uring_prep_poll_add(operation(c, OP_HANGUP), c->fd, POLLIN);
}

/* ---- the way through ---- */

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

static struct pool *pool_of(struct connection *c)
{
	return &c->loop->pools[c->target - c->loop->settings->targets];
}

int connection_new_session(SSL *ssl, SSL_SESSION *session)
{
	struct connection *c = SSL_get_app_data(ssl);

	if (c->fed || !pool_put(pool_of(c), session))
		return 0;
	c->fed = true;
	c->loop->pooled++;
	return 1;
}

/* The share of resumptions is kept exactly, and evenly. Without a session to resume the handshake is a full one. */
static void resume(struct connection *c)
{
	struct loop *loop = c->loop;
	SSL_SESSION *session;

	SSL_set_app_data(c->ssl, c);
	loop->resumption += loop->settings->resume;
	if (loop->resumption < 100)
		return;
	loop->resumption -= 100;
	c->to_resume = true;
	session = pool_take(pool_of(c));
	if (!session)
		return;
	loop->pooled--;
	SSL_set_session(c->ssl, session);
	SSL_SESSION_free(session);
}

/* OpenSSL announces no session when one of TLS 1.2 was resumed. */
static void keep_session(struct connection *c)
{
	SSL_SESSION *session;

	if (c->loop->settings->version != TLS1_2_VERSION || !SSL_session_reused(c->ssl))
		return;
	session = SSL_get1_session(c->ssl);
	if (!connection_new_session(c->ssl, session))
		SSL_SESSION_free(session);
}

static void count_handshake(struct connection *c)
{
	struct tally *tally = &c->loop->tally;

	if (c->loop->settings->resume)
		keep_session(c);
	if (!c->loop->counting)
		return;
	histogram_add(&tally->handshake, now_ns() - c->began);
	tally->to_resume += c->to_resume;
	if (SSL_session_reused(c->ssl))
		tally->resumed++;
	else
		tally->full++;
}

static bool start_tls(struct connection *c)
{
	c->ssl = SSL_new(c->loop->context);
	c->in = BIO_new(BIO_s_mem());
	c->out = BIO_new(BIO_s_mem());
	if (!c->ssl || !c->in || !c->out)
		return false;
	BIO_set_mem_eof_return(c->in, -1);
	SSL_set_bio(c->ssl, c->in, c->out);
	SSL_set_connect_state(c->ssl);
	if (c->loop->settings->resume)
		resume(c);
	return SSL_do_handshake(c->ssl) == -1 && BIO_pending(c->out) > 0;
}

bool connection_start(struct loop *loop)
{
	struct connection *c = aligned_alloc(16, (sizeof(*c) + 15) / 16 * 16);
	struct io_uring_sqe *sqe;

	if (!c)
		abort();
	memset(c, 0, sizeof(*c) - sizeof(c->input));
	c->loop = loop;
	c->target = &loop->settings->targets[loop->next % loop->settings->target_count];
	TAILQ_INSERT_TAIL(&loop->in_flight, c, entry);
	loop->in_flight_count++;
	c->began = now_ns();
	c->fd = open_socket(loop, c->target);
	loop->next++;
	if (c->fd < 0) {
		fail(c, FAILED_LOCALLY, "socket: %s", strerror(errno));
		return false;
	}
	if (!start_tls(c)) {
		fail_in_tls(c);
		return false;
	}
	reserve(loop);
	sqe = operation(c, OP_CONNECT);
	io_uring_prep_connect(sqe, c->fd, (const struct sockaddr *)&c->target->address, c->target->length);
	link_to_next(sqe);
	add_send(c);
	add_receive(c);
	return true;
}

/* Looks for the header's end in what has come so far, then counts the body. False with a reason. */
static bool take_response(struct connection *c, const char *data, size_t length, const char **why)
{
	char *end, *field;
	size_t taken = sizeof(c->header) - 1 - c->header_length;

	if (c->in_body) {
		c->body_left -= length < c->body_left ? length : c->body_left;
		return true;
	}
	taken = length < taken ? length : taken;
	memcpy(c->header + c->header_length, data, taken);
	c->header_length += taken;
	end = strstr(c->header, "\r\n\r\n");
	if (!end) {
		*why = "the response's header is too long";
		return c->header_length < sizeof(c->header) - 1;
	}
	field = strcasestr(c->header, "\r\nContent-Length:");
	*why = "the response is not \"200\" with a Content-Length";
	if (strncmp(c->header, "HTTP/1.1 200", 12) != 0 || !field || field > end)
		return false;
	c->in_body = true;
	c->body_left = strtoull(field + strlen("\r\nContent-Length:"), NULL, 10);
	length -= taken - (c->header + c->header_length - (end + 4));
	c->body_left -= length < c->body_left ? length : c->body_left;
	return true;
}

static void read_response(struct connection *c)
{
	char data[CONNECTION_INPUT];
	const char *why;
	int n;

	while ((n = SSL_read(c->ssl, data, sizeof(data))) > 0) {
		if (!take_response(c, data, n, &why)) {
			fail(c, FAILED_IN_HTTP, "%s", why);
			return;
		}
	}
	if (c->in_body && c->body_left == 0) {
		if (c->loop->counting)
			histogram_add(&c->loop->tally.response, now_ns() - c->began);
		if (c->loop->hold)
			hold(c);
		else
			close_in_order(c);
		return;
	}
	switch (SSL_get_error(c->ssl, n)) {
	case SSL_ERROR_WANT_READ:
		exchange(c);
		break;
	case SSL_ERROR_ZERO_RETURN:
		fail(c, FAILED_BY_CLOSE, "the server closed before its response was complete");
		break;
	default:
		fail_in_tls(c);
	}
}

static void go_on(struct connection *c)
{
	int result;

	if (c->state == CONNECTION_CLOSE) {
		add_receive(c);
		return;
	}
	if (c->state == CONNECTION_RESPONSE) {
		read_response(c);
		return;
	}
	result = SSL_do_handshake(c->ssl);
	if (result == 1) {
		count_handshake(c);
		c->state = CONNECTION_RESPONSE;
		SSL_write(c->ssl, c->loop->request, c->loop->request_length);
	} else if (SSL_get_error(c->ssl, result) != SSL_ERROR_WANT_READ) {
		fail_in_tls(c);
		return;
	}
	exchange(c);
}

static void received(struct connection *c, int result)
{
	static const char *const moments[] = {"in the middle of the handshake", "before its response was complete"};

	BIO_reset(c->out); /* has been sent, or there would be nothing received */
	if (result > 0) {
		BIO_write(c->in, c->input, result);
		go_on(c);
	} else if (c->state == CONNECTION_CLOSE && result == 0) {
		complete(c);
	} else if (result == 0) {
		fail(c, FAILED_BY_CLOSE, "the server closed %s", moments[c->state]);
	} else {
		fail(c, FAILED_BY_RESET, "receive: %s", strerror(-result));
	}
}

void connection_complete(struct connection *c, unsigned int operation, int result)
{
	if (operation == OP_HANGUP && c->late) {
		destroy(c);
		return;
	}
	if (c->late) {
		fail(c, FAILED_BY_TIMEOUT, "no end after %g s", c->loop->settings->timeout_s);
		return;
	}
	switch (operation) {
	case OP_CONNECT:
		fail(c, FAILED_TO_CONNECT, "connect: %s", strerror(-result));
		break;
	case OP_RECEIVE:
		received(c, result);
		break;
	case OP_HANGUP:
		c->loop->tally.completed--;
		fail(c, FAILED_BY_CLOSE, "the server closed a connection that was to stay open");
		break;
	default:
		fail(c, FAILED_BY_RESET, "send: %s", strerror(result < 0 ? -result : EIO));
	}
}

void connections_expire(struct loop *loop)
{
	int64_t oldest = now_ns() - loop->settings->timeout_s * 1e9;
	struct connection *c;
	struct io_uring_sqe *sqe;

	TAILQ_FOREACH(c, &loop->in_flight, entry) {
		if (c->began > oldest)
			return;
		if (c->late)
			continue;
		c->late = true;
		reserve(loop);
		sqe = io_uring_get_sqe(&loop->ring);
		io_uring_prep_cancel_fd(sqe, c->fd, IORING_ASYNC_CANCEL_ALL);
		io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
		io_uring_sqe_set_data64(sqe, 0);
	}
}

/* What they wait for in the ring is the end of the connection; it comes when our side is shut down. */
void connections_release(struct loop *loop)
{
	struct connection *c;
	char *data;
	long length;

	TAILQ_FOREACH(c, &loop->held, entry) {
		if (c->late)
			continue;
		c->late = true;
		SSL_shutdown(c->ssl);
		length = BIO_get_mem_data(c->out, &data);
		send(c->fd, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
		shutdown(c->fd, SHUT_RDWR);
	}
}
