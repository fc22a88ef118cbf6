/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
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
#include "resume.h"
#include "tls.h"

#define SOURCES 250 /* 127.1.0.1 and on: each has ports of its own, so connections in TIME_WAIT don't use them up */
#define READS_AT_ONCE 16 /* then others have their turn */

enum operation { OP_CONNECT, OP_SEND, OP_SENT, OP_SHUTDOWN, OP_RECEIVE, OP_READY, OP_HANGUP };

/* ---- what is counted ---- */

static bool open_loop(const struct connection *c)
{
	return c->loop->arrivals.interval_ns > 0;
}

/* In an open loop it counts when an operation began, not when it ends: the slowest end behind the measurement. */
static bool counts(const struct connection *c)
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
	if (counts(c))
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
	c->begun_measuring = c->loop->counting;
	c->measured = when && when->measured;
	c->loop->measured += c->measured;
	c->got = 0;
}

/* ---- the end ---- */

void line_add(struct line *line, struct connection *c)
{
	TAILQ_INSERT_TAIL(&line->list, c, entry);
	line->count++;
	c->line = line;
}

void line_remove(struct line *line, struct connection *c)
{
	TAILQ_REMOVE(&line->list, c, entry);
	line->count--;
}

static void move(struct connection *c, struct line *line)
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
	move(c, &c->loop->in_flight);
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
	bool counted = counts(c) || (failure == FAILED_BY_TIMEOUT && c->begun_measuring);
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

static void closed(struct connection *c)
{
	if (c->loop->use->handshakes)
		connection_completed(c);
	connection_end(c);
}

static void fail_by_errno(struct connection *c, int error, const char *doing)
{
	if (c->state == CONNECTION_CLOSE && c->http.closes) /* its close and ours have crossed */
		closed(c);
	else if (!reopen(c))
		connection_fail(c, failure_of_transfer(error), "%s: %s, %s", doing, strerror(error), moment(c));
}

static void fail_in_tls(struct connection *c)
{
	char words[160];
	int alert;
	enum failure failure = failure_of_tls(c->ssl, words, sizeof(words), &alert);

	if (alert >= 0 && counts(c))
		c->loop->tally.failed.alerts[alert]++;
	connection_fail(c, failure, "%s", words);
}

static void go_on_as(struct connection *c, enum next next);

/* What an SSL function with this result means for the connection; it does not want to be called again. */
static void fail_with(struct connection *c, int result)
{
	int error = errno;

	switch (SSL_get_error(c->ssl, result)) {
	case SSL_ERROR_ZERO_RETURN:
		if (c->state == CONNECTION_OPEN)
			go_on_as(c, c->loop->use->ended(c));
		else
			connection_cut(c);
		break;
	case SSL_ERROR_SYSCALL:
		ERR_clear_error();
		if (error)
			fail_by_errno(c, error, "TLS");
		else
			connection_cut(c);
		break;
	default:
		if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
			ERR_clear_error();
			connection_cut(c);
		} else {
			fail_in_tls(c);
		}
	}
}

/* ---- operations ---- */

static bool in_kernel(const struct connection *c)
{
	return c->loop->settings->kernel_tls;
}

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

static void add_poll(struct connection *c, unsigned int events)
{
	reserve(c->loop);
	io_uring_prep_poll_add(operation(c, OP_READY), c->fd, events);
}

/* False if there was nothing to send. */
static bool add_send(struct connection *c, bool last)
{
	struct io_uring_sqe *sqe;
	long length;
	char *data;

	length = in_kernel(c) ? 0 : BIO_get_mem_data(c->out, &data);
	if (length <= 0)
		return false;
	sqe = operation(c, last ? OP_SENT : OP_SEND);
	io_uring_prep_send(sqe, c->fd, data, length, MSG_NOSIGNAL | MSG_WAITALL);
	if (!last)
		link_to_next(sqe);
	return true;
}

static void add_receive(struct connection *c)
{
	if (in_kernel(c))
		io_uring_prep_poll_add(operation(c, OP_READY), c->fd, POLLIN);
	else
		io_uring_prep_recv(operation(c, OP_RECEIVE), c->fd, c->input, c->loop->use->input, 0);
}

void connection_receive(struct connection *c)
{
	reserve(c->loop);
	io_uring_prep_recv(operation(c, OP_RECEIVE), c->fd, c->input, c->loop->use->input, 0);
}

/* Whether OpenSSL has taken all that is to be sent; if not, the connection waits, or it has failed. */
static bool write_plain(struct connection *c)
{
	int n;

	while (c->plain_left > 0) {
		errno = 0;
		n = SSL_write(c->ssl, c->plain, c->plain_left);
		if (n > 0) {
			c->plain += n;
			c->plain_left -= n;
		} else if (SSL_get_error(c->ssl, n) == SSL_ERROR_WANT_WRITE) {
			add_poll(c, POLLOUT);
			return false;
		} else {
			fail_with(c, n);
			return false;
		}
	}
	return true;
}

static void exchange(struct connection *c)
{
	if (!write_plain(c))
		return;
	reserve(c->loop);
	if (c->wants_sent && in_kernel(c))
		add_poll(c, POLLOUT);
	else if (!add_send(c, c->wants_sent) || !c->wants_sent)
		add_receive(c);
}

static void close_in_order(struct connection *c)
{
	struct io_uring_sqe *sqe;

	c->state = CONNECTION_CLOSE;
	SSL_shutdown(c->ssl);
	ERR_clear_error();
	reserve(c->loop);
	add_send(c, false);
	sqe = operation(c, OP_SHUTDOWN);
	io_uring_prep_shutdown(sqe, c->fd, SHUT_WR);
	link_to_next(sqe);
	add_receive(c);
}

static void hold(struct connection *c)
{
	struct loop *loop = c->loop;

	move(c, &loop->held);
	loop->tally.completed++;
	reserve(loop);
	io_uring_prep_poll_add(operation(c, OP_HANGUP), c->fd, POLLIN);
}

static void go_on_as(struct connection *c, enum next next)
{
	if (next == NEXT_GONE)
		return;
	c->wants_sent = next == NEXT_SEND;
	switch (next) {
	case NEXT_REST:
		c->has_operation = false;
		move(c, &c->loop->resting);
		break;
	case NEXT_HOLD:
		hold(c);
		break;
	case NEXT_CLOSE:
		close_in_order(c);
		break;
	default:
		exchange(c);
	}
}

void connection_write(struct connection *c, const char *data, size_t length)
{
	c->plain = data;
	c->plain_left = length;
}

void connection_wake(struct connection *c, const struct begin *when)
{
	connection_begin(c, when);
	go_on_as(c, c->loop->use->arrived(c));
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

static bool start_tls(struct connection *c)
{
	c->ssl = SSL_new(c->loop->context);
	if (!c->ssl || !tls_expect(c->ssl, c->loop->settings, c->target))
		return false;
	SSL_set_connect_state(c->ssl);
	if (c->loop->settings->resume)
		resume_begin(c);
	if (in_kernel(c))
		return true;
	c->in = BIO_new(BIO_s_mem());
	c->out = BIO_new(BIO_s_mem());
	if (!c->in || !c->out)
		return false;
	BIO_set_mem_eof_return(c->in, -1);
	SSL_set_bio(c->ssl, c->in, c->out);
	return SSL_do_handshake(c->ssl) == -1 && BIO_pending(c->out) > 0;
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

static bool start_connecting(struct connection *c)
{
	struct loop *loop = c->loop;
	struct io_uring_sqe *sqe;

	reserve(loop);
	sqe = operation(c, OP_CONNECT);
	io_uring_prep_connect(sqe, c->fd, (const struct sockaddr *)&c->target->address, c->target->length);
	if (loop->use->connected || in_kernel(c))
		return true;
	link_to_next(sqe);
	add_send(c, false);
	add_receive(c);
	return true;
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
	if (!loop->use->connected && !start_tls(c)) {
		fail_in_tls(c);
		return false;
	}
	return start_connecting(c);
}

/* Where connections stay open, those from before the measurement matter, too. */
static void count_handshake(struct connection *c)
{
	struct tally *tally = &c->loop->tally;

	if (c->loop->settings->resume)
		resume_keep(c);
	if (c->loop->use->handshakes && !counts(c))
		return;
	if (counts(c) || c->loop->counting)
		histogram_add(&tally->handshake, now_ns() - c->connected);
	tally->to_resume += c->to_resume;
	tally->resumed += SSL_session_reused(c->ssl);
	tally->full += !SSL_session_reused(c->ssl);
	if (in_kernel(c)) {
		tally->kernel_send += BIO_get_ktls_send(SSL_get_wbio(c->ssl));
		tally->kernel_receive += BIO_get_ktls_recv(SSL_get_rbio(c->ssl));
	}
}

static void read_plain(struct connection *c)
{
	struct loop *loop = c->loop;
	enum next next = NEXT_RECEIVE;
	int n = 1, reads = 0;

	while (next == NEXT_RECEIVE) {
		if (in_kernel(c) && reads++ == READS_AT_ONCE)
			break;
		errno = 0;
		n = SSL_read(c->ssl, loop->plain, sizeof(loop->plain));
		if (n <= 0)
			break;
		next = loop->use->received(c, loop->plain, n);
	}
	if (n > 0 || SSL_get_error(c->ssl, n) == SSL_ERROR_WANT_READ)
		go_on_as(c, next);
	else
		fail_with(c, n);
}

static void shake_hands(struct connection *c)
{
	enum next next;
	int result;

	errno = 0;
	result = SSL_do_handshake(c->ssl);
	if (result == 1) {
		count_handshake(c);
		c->state = CONNECTION_OPEN;
		next = c->loop->use->established(c);
		if (next == NEXT_RECEIVE && c->in && BIO_pending(c->in))
			read_plain(c);
		else
			go_on_as(c, next);
		return;
	}
	switch (SSL_get_error(c->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		exchange(c);
		break;
	case SSL_ERROR_WANT_WRITE:
		add_poll(c, POLLOUT);
		break;
	default:
		fail_with(c, result);
	}
}

static bool wants_ticket(const struct connection *c)
{
	return c->loop->settings->resume && !c->fed;
}

/* Tickets may still come, and then the server's close. */
static void wait_for_close(struct connection *c)
{
	int n = 1;

	if (in_kernel(c) || wants_ticket(c)) {
		while (n > 0)
			n = SSL_read(c->ssl, c->loop->plain, sizeof(c->loop->plain));
		n = SSL_get_error(c->ssl, n);
		ERR_clear_error();
	}
	if (in_kernel(c) && n != SSL_ERROR_WANT_READ) {
		closed(c);
		return;
	}
	reserve(c->loop);
	add_receive(c);
}

static void go_on(struct connection *c)
{
	if (c->state == CONNECTION_CLOSE)
		wait_for_close(c);
	else if (c->state == CONNECTION_OPEN)
		read_plain(c);
	else
		shake_hands(c);
}

/* True if what the server says first can be TLS. */
static bool is_tls(struct connection *c, int length)
{
	char words[24];
	int i;

	c->heard = true;
	if (c->input[0] >= SSL3_RT_CHANGE_CIPHER_SPEC && c->input[0] <= SSL3_RT_APPLICATION_DATA)
		return true;
	for (i = 0; i < length && i < (int)sizeof(words) - 1; i++)
		words[i] = isprint(c->input[i]) ? c->input[i] : '.';
	words[i] = '\0';
	connection_fail(c, FAILED_WITHOUT_TLS, "the server speaks no TLS, but says \"%s\"", words);
	return false;
}

static void received(struct connection *c, int result)
{
	BIO_reset(c->out); /* has been sent, or there would be nothing received */
	if (result > 0 && c->state == CONNECTION_CLOSE && !wants_ticket(c)) {
		connection_receive(c);
	} else if (result > 0) {
		if (!c->heard && !is_tls(c, result))
			return;
		BIO_write(c->in, c->input, result);
		go_on(c);
	} else if (c->state == CONNECTION_CLOSE && result == 0) {
		closed(c);
	} else if (result == 0) {
		connection_cut(c);
	} else {
		fail_by_errno(c, -result, "receive");
	}
}

static void sent(struct connection *c)
{
	BIO_reset(c->out);
	go_on_as(c, c->loop->use->sent(c));
}

/* With kernel TLS. */
static void ready(struct connection *c)
{
	if (c->plain_left > 0)
		exchange(c);
	else if (c->wants_sent)
		go_on_as(c, c->loop->use->sent(c));
	else
		go_on(c);
}

static void connected(struct connection *c)
{
	if (c->loop->use->connected) {
		c->loop->use->connected(c);
		return;
	}
	fcntl(c->fd, F_SETFL, O_NONBLOCK);
	if (SSL_set_fd(c->ssl, c->fd) == 1)
		go_on(c);
	else
		fail_in_tls(c);
}

/* Behind a failure to send there may be an alert that says why. */
static void send_failed(struct connection *c, int error)
{
	char alert[64];
	ssize_t length = recv(c->fd, alert, sizeof(alert), MSG_DONTWAIT | MSG_PEEK);

	if (length > 0 && c->state != CONNECTION_CLOSE)
		connection_receive(c);
	else
		fail_by_errno(c, error, "send");
}

static void take_result(struct connection *c, unsigned int operation, int result)
{
	switch (operation) {
	case OP_CONNECT:
		if (result < 0)
			connection_fail(c, failure_of_connect(-result), "connect: %s", strerror(-result));
		else
			connected(c);
		break;
	case OP_RECEIVE:
		if (c->loop->use->heard)
			c->loop->use->heard(c, result);
		else
			received(c, result);
		break;
	case OP_HANGUP:
		c->loop->tally.completed--;
		connection_fail(c, FAILED_BY_CLOSE, "the server closed a connection that was to stay open");
		break;
	case OP_READY:
		if (result < 0)
			fail_by_errno(c, -result, "poll");
		else
			ready(c);
		break;
	case OP_SENT:
		if (result > 0) {
			sent(c);
			break;
		}
		/* fall through */
	default:
		send_failed(c, result < 0 ? -result : EIO);
	}
}

void connection_complete(struct connection *c, unsigned int operation, int result)
{
	if (c->late)
		connection_fail(c, FAILED_BY_TIMEOUT, "no end after %g s: the server stalls %s",
				c->loop->settings->timeout_s, moment(c));
	else
		take_result(c, operation, result);
}

/* ---- all of them ---- */

static void cancel(struct connection *c)
{
	struct io_uring_sqe *sqe;

	c->late = true;
	reserve(c->loop);
	sqe = io_uring_get_sqe(&c->loop->ring);
	io_uring_prep_cancel_fd(sqe, c->fd, IORING_ASYNC_CANCEL_ALL);
	io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
	io_uring_sqe_set_data64(sqe, 0);
}

void connections_expire(struct loop *loop)
{
	int64_t oldest = loop->now - loop->settings->timeout_s * 1e9;
	struct connection *c;

	TAILQ_FOREACH(c, &loop->in_flight.list, entry) {
		if (c->since > oldest && !loop->use->turn)
			return;
		if (c->since <= oldest && !c->late)
			cancel(c);
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
	struct connection *c;

	while ((c = TAILQ_FIRST(&loop->resting.list))) {
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
		cancel(c);
	}
}
