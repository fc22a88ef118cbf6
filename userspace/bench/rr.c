/* SPDX-License-Identifier: MIT */
/*
 * Mode rr: connections stay open, and carry one request after the other. Raw, a request is so many bytes, the last a line's end,
 * and the response as many: what any echo server does. With --path it is an HTTP/1.1 GET.
 */
#include <err.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "crew.h"

#define INPUT 16384

static char *message;

static enum next ask(struct connection *c)
{
	const struct loop *loop = c->loop;

	http_begin(&c->http);
	if (loop->settings->path)
		connection_write(c, loop->request, loop->request_length);
	else
		connection_write(c, message, loop->settings->size);
	return NEXT_RECEIVE;
}

/* In an open loop the next request is an arrival's. */
static enum next next_request(struct connection *c)
{
	if (c->loop->stopping)
		return NEXT_CLOSE;
	if (c->loop->settings->rate > 0)
		return NEXT_REST;
	connection_begin(c, NULL);
	return ask(c);
}

/* One that replaces another has that one's request. */
static enum next established(struct connection *c)
{
	return c->has_operation && !c->loop->stopping ? ask(c) : next_request(c);
}

static enum next answered(struct connection *c)
{
	struct tally *tally = &c->loop->tally;

	connection_latency(c);
	connection_completed(c);
	if (c->loop->counting)
		tally->bytes += c->loop->settings->path ? c->http.body : c->got;
	c->reused = true;
	if (c->http.closes) {
		tally->reopened += c->loop->counting;
		return NEXT_CLOSE;
	}
	return next_request(c);
}

static enum next received(struct connection *c, const char *data, size_t length)
{
	const char *why;

	c->got += length;
	if (!c->loop->settings->path)
		return c->got >= c->loop->settings->size ? answered(c) : NEXT_RECEIVE;
	switch (http_take(&c->http, data, length, &why)) {
	case HTTP_BAD:
		return connection_fail(c, FAILED_IN_HTTP, "%s", why);
	case HTTP_DONE:
		return answered(c);
	default:
		return NEXT_RECEIVE;
	}
}

static enum next ended(struct connection *c)
{
	return c->http.state == HTTP_UNTIL_END ? answered(c) : connection_cut(c);
}

static const struct use use_rr = {
	.name = "rr",
	.operation = "request",
	.input = INPUT,
	.keeps = true,
	.established = established,
	.received = received,
	.ended = ended,
	.arrived = ask,
};

int mode_rr(const struct settings *settings)
{
	message = malloc(settings->size);
	if (!message)
		err(1, NULL);
	memset(message, 'k', settings->size);
	message[settings->size - 1] = '\n';
	return crew_measure(settings, &use_rr);
}
