/* SPDX-License-Identifier: MIT */
/*
 * Mode stream: connections that carry much. Downloads read what the server sends by itself, up to its end, or with --path GET it
 * over and over; uploads send raw bytes. What is counted is plaintext.
 */
#include "connection.h"
#include "crew.h"

#define INPUT 65536
#define PIECE 65536

static char piece[PIECE];

static enum next download(struct connection *c)
{
	if (c->loop->stopping)
		return NEXT_CLOSE;
	connection_begin(c, NULL);
	http_begin(&c->http);
	if (c->loop->settings->path)
		connection_write(c, c->loop->request, c->loop->request_length);
	return NEXT_RECEIVE;
}

static enum next upload(struct connection *c)
{
	if (c->loop->stopping)
		return NEXT_CLOSE;
	connection_write(c, piece, sizeof(piece));
	return NEXT_SEND;
}

static enum next established(struct connection *c)
{
	if (!c->loop->settings->upload)
		return download(c);
	connection_begin(c, NULL);
	return upload(c);
}

static enum next sent(struct connection *c)
{
	if (c->loop->counting)
		c->loop->tally.bytes += sizeof(piece);
	connection_progress(c);
	return upload(c);
}

static enum next transferred(struct connection *c)
{
	connection_latency(c);
	connection_completed(c);
	c->reused = true;
	return c->http.closes || !c->loop->settings->path ? NEXT_CLOSE : download(c);
}

static enum next received(struct connection *c, const char *data, size_t length)
{
	uint64_t before = c->http.body;
	const char *why;

	connection_progress(c);
	c->got += length;
	if (!c->loop->settings->path) {
		c->loop->tally.bytes += c->loop->counting ? length : 0;
		return NEXT_RECEIVE;
	}
	http_take(&c->http, data, length, &why);
	c->loop->tally.bytes += c->loop->counting ? c->http.body - before : 0;
	if (c->http.state == HTTP_BAD)
		return connection_fail(c, FAILED_IN_HTTP, "%s", why);
	return c->http.state == HTTP_DONE ? transferred(c) : NEXT_RECEIVE;
}

static enum next ended(struct connection *c)
{
	const struct settings *settings = c->loop->settings;
	bool whole = settings->path ? c->http.state == HTTP_UNTIL_END : c->got > 0;

	return whole && !settings->upload ? transferred(c) : connection_cut(c);
}

static const struct use use_stream = {
	.name = "stream",
	.operation = "transfer",
	.input = INPUT,
	.streams = true,
	.keeps = true,
	.abandons = true,
	.established = established,
	.received = received,
	.sent = sent,
	.ended = ended,
};

int mode_stream(const struct settings *settings)
{
	return crew_measure(settings, &use_stream);
}
