/* SPDX-License-Identifier: MIT */
/*
 * Modes handshake and idle: connect, handshake, one request with its response, orderly close; or, the connection is held. The
 * response proves that the server has its keys in place. --bare: no request.
 */
#include "connection.h"
#include "crew.h"

#define INPUT 4096

static enum next finish(struct connection *c)
{
	connection_latency(c);
	return c->loop->holding ? NEXT_HOLD : NEXT_CLOSE;
}

static enum next established(struct connection *c)
{
	if (c->loop->settings->bare)
		return finish(c);
	http_begin(&c->http);
	connection_write(c, c->loop->request, c->loop->request_length);
	return NEXT_RECEIVE;
}

static enum next received(struct connection *c, const char *data, size_t length)
{
	const char *why;

	switch (http_take(&c->http, data, length, &why)) {
	case HTTP_BAD:
		return connection_fail(c, FAILED_IN_HTTP, "%s", why);
	case HTTP_DONE:
		return finish(c);
	default:
		return NEXT_RECEIVE;
	}
}

static enum next ended(struct connection *c)
{
	return c->http.state == HTTP_UNTIL_END ? finish(c) : connection_cut(c);
}

static const struct use use_handshake = {
	.name = "handshake",
	.operation = "connection",
	.input = INPUT,
	.handshakes = true,
	.established = established,
	.received = received,
	.ended = ended,
};

static const struct use use_idle = {
	.name = "idle",
	.operation = "connection",
	.input = INPUT,
	.handshakes = true,
	.holds = true,
	.established = established,
	.received = received,
	.ended = ended,
};

int mode_handshake(const struct settings *settings)
{
	return crew_measure(settings, &use_handshake);
}

int mode_idle(const struct settings *settings)
{
	return crew_hold(settings, &use_idle);
}
