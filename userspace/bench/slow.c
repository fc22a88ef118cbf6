/* SPDX-License-Identifier: MIT */
/*
 * Mode slow: clients that begin a handshake, a byte at a time, and never get to its end. So many are kept half open, and what
 * the server does with them is counted. None of it is a failure, but not to get a connection at all.
 */
#include <errno.h>
#include <openssl/err.h>
#include <string.h>

#include "connection.h"
#include "crew.h"
#include "tls.h"

#define INPUT 4096
#define HELLO_MAX 4096

/* One for all: a server that would tell them apart has to read them whole. */
static char hello[HELLO_MAX];
static size_t hello_length;

static void end(struct connection *c, uint64_t *counter)
{
	*counter += c->loop->counting;
	connection_latency(c);
	connection_completed(c);
	connection_end(c);
}

static void heard_from(struct connection *c, int length)
{
	struct tally *tally = &c->loop->tally;
	const uint8_t *record = c->input;

	if (length >= 7 && record[0] == SSL3_RT_ALERT) {
		if (c->loop->counting)
			tally->failed.alerts[record[6]]++;
		end(c, &tally->alerted);
	} else if (record[0] == SSL3_RT_HANDSHAKE) {
		if (!c->heard)
			tally->answered += c->loop->counting;
		c->heard = true;
		connection_receive(c);
	} else {
		connection_fail(c, FAILED_WITHOUT_TLS, "the server speaks no TLS");
	}
}

static void heard(struct connection *c, int result)
{
	struct tally *tally = &c->loop->tally;

	if (result > 0)
		heard_from(c, result);
	else if (result == 0)
		end(c, &tally->closed);
	else if (result == -ECONNRESET || result == -EPIPE)
		end(c, &tally->reset);
	else
		connection_fail(c, failure_of_transfer(-result), "receive: %s", strerror(-result));
}

static void connected(struct connection *c)
{
	c->loop->tally.opened += c->loop->counting;
	c->began = c->due = c->loop->now;
	connection_write(c, hello, hello_length);
	connection_receive(c);
}

/* An error shows where it receives, too. */
static void send_some(struct connection *c)
{
	double interval_s = c->loop->settings->interval_s;
	size_t length = interval_s > 0 ? 1 : c->plain_left;

	if (send(c->fd, c->plain, length, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)length) {
		c->plain += length;
		c->plain_left -= length;
	}
	c->due = c->loop->now + interval_s * 1e9;
}

static void turn(struct loop *loop)
{
	struct connection *c;

	TAILQ_FOREACH(c, &loop->in_flight.list, entry) {
		if (c->due == 0) /* not connected yet */
			continue;
		c->since = loop->now;
		if (c->plain_left > 0 && c->due <= loop->now)
			send_some(c);
	}
}

static const struct use use_slow = {
	.name = "slow",
	.operation = "connection",
	.input = INPUT,
	.abandons = true,
	.connected = connected,
	.heard = heard,
	.turn = turn,
};

static void make_hello(const struct settings *settings)
{
	SSL_CTX *context = tls_client(settings);
	SSL *ssl = SSL_new(context);
	int length;

	SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	tls_expect(ssl, settings, &settings->targets[0]);
	SSL_connect(ssl);
	length = BIO_read(SSL_get_wbio(ssl), hello, sizeof(hello));
	hello_length = length > 0 ? length - 1 : 0;
	if (settings->part)
		hello_length = settings->part < hello_length ? settings->part : hello_length + 1;
	ERR_clear_error();
	SSL_free(ssl);
	SSL_CTX_free(context);
}

int mode_slow(const struct settings *settings)
{
	struct settings cold = *settings;

	cold.warmup_s = 0;
	make_hello(settings);
	return crew_measure(&cold, &use_slow);
}
