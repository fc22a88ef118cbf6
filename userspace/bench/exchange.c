/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <poll.h>
#include <string.h>

#include "exchange.h"
#include "resume.h"
#include "tls.h"

#define READS_AT_ONCE 16 /* then others have their turn */

enum operation { OP_CONNECT, OP_SEND, OP_SENT, OP_SHUTDOWN, OP_RECEIVE, OP_READY, OP_HANGUP };

/* ---- what OpenSSL says ---- */

static void fail_in_tls(struct connection *c)
{
	char words[160];
	int alert;
	enum failure failure = failure_of_tls(c->ssl, words, sizeof(words), &alert);

	if (alert >= 0 && connection_counts(c))
		c->loop->tally.failed.alerts[alert]++;
	connection_fail(c, failure, "%s", words);
}

/* What an SSL function with this result means for the connection; it does not want to be called again. */
static void fail_with(struct connection *c, int result)
{
	int error = errno;

	switch (SSL_get_error(c->ssl, result)) {
	case SSL_ERROR_ZERO_RETURN:
		if (c->state == CONNECTION_OPEN)
			exchange_go_on(c, c->loop->use->ended(c));
		else
			connection_cut(c);
		break;
	case SSL_ERROR_SYSCALL:
		ERR_clear_error();
		if (error)
			connection_broken(c, error, "TLS");
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

	connection_move(c, &loop->held);
	loop->tally.completed++;
	reserve(loop);
	io_uring_prep_poll_add(operation(c, OP_HANGUP), c->fd, POLLIN);
}

void exchange_go_on(struct connection *c, enum next next)
{
	if (next == NEXT_GONE)
		return;
	c->wants_sent = next == NEXT_SEND;
	switch (next) {
	case NEXT_REST:
		c->has_operation = false;
		connection_move(c, &c->loop->resting);
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

/* ---- the handshake ---- */

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

bool exchange_begin(struct connection *c)
{
	struct loop *loop = c->loop;
	struct io_uring_sqe *sqe;

	if (!loop->use->connected && !start_tls(c)) {
		fail_in_tls(c);
		return false;
	}
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

/* Where connections stay open, those from before the measurement matter, too. */
static void count_handshake(struct connection *c)
{
	struct tally *tally = &c->loop->tally;

	if (c->loop->settings->resume)
		resume_keep(c);
	if (c->loop->use->handshakes && !connection_counts(c))
		return;
	if (connection_counts(c) || c->loop->counting)
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
		exchange_go_on(c, next);
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
			exchange_go_on(c, next);
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
		connection_closed(c);
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
		connection_closed(c);
	} else if (result == 0) {
		connection_cut(c);
	} else {
		connection_broken(c, -result, "receive");
	}
}

static void sent(struct connection *c)
{
	BIO_reset(c->out);
	exchange_go_on(c, c->loop->use->sent(c));
}

/* With kernel TLS. */
static void ready(struct connection *c)
{
	if (c->plain_left > 0)
		exchange(c);
	else if (c->wants_sent)
		exchange_go_on(c, c->loop->use->sent(c));
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
		connection_broken(c, error, "send");
}

void exchange_complete(struct connection *c, unsigned int operation, int result)
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
			connection_broken(c, -result, "poll");
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

void exchange_cancel(struct connection *c)
{
	struct io_uring_sqe *sqe;

	c->late = true;
	reserve(c->loop);
	sqe = io_uring_get_sqe(&c->loop->ring);
	io_uring_prep_cancel_fd(sqe, c->fd, IORING_ASYNC_CANCEL_ALL);
	io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
	io_uring_sqe_set_data64(sqe, 0);
}
