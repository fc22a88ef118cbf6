/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

#include "records.h"
#include "relay.h"
#include "socket.h"

#define BUFFER 16384
#define PATIENCE_MS 2000

/* One direction: what was read and is not written yet. */
struct flow {
	char data[BUFFER];
	size_t start, length;
	bool ended;  /* nothing more comes */
	bool closed; /* and who it is for knows */
	uint64_t passed;
};

static bool is_passing(ssize_t n)
{
	return n == -EAGAIN || n == -EINTR;
}

static void fill(struct flow *flow, ssize_t n)
{
	flow->start = 0;
	flow->length = n > 0 ? n : 0;
	flow->ended = n == 0;
}

static void drop(struct flow *flow)
{
	flow->length = 0;
	flow->ended = flow->closed = true;
}

static void pass(struct flow *flow, ssize_t n)
{
	flow->start += n;
	flow->length -= n;
	flow->passed += n;
}

/* ---- from the connection to the command ---- */

static int receive(struct flow *in, struct ktlsd_stream *stream)
{
	ssize_t n = ktlsd_stream_recv(stream, in->data, sizeof(in->data), MSG_DONTWAIT);

	if (n < 0)
		return is_passing(n) ? 0 : n;
	fill(in, n);
	return 0;
}

/* A command that reads no more may still have something to say. */
static void give(struct flow *in, int command)
{
	ssize_t n = send(command, in->data + in->start, in->length, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && !is_passing(-errno)) {
		drop(in);
		return;
	}
	pass(in, n > 0 ? n : 0);
}

/* ---- from the command to the connection ---- */

static void take(struct flow *out, int command)
{
	ssize_t n = recv(command, out->data, sizeof(out->data), MSG_DONTWAIT);

	if (n < 0 && is_passing(-errno))
		return;
	fill(out, n > 0 ? n : 0);
}

static int transmit(struct flow *out, struct ktlsd_stream *stream)
{
	ssize_t n = ktlsd_stream_send(stream, out->data + out->start, out->length, MSG_DONTWAIT);

	if (n < 0)
		return is_passing(n) ? 0 : n;
	pass(out, n);
	return 0;
}

/* ---- both ---- */

static int end_flows(struct flow *in, struct flow *out, struct ktlsd_stream *stream, int command)
{
	int err;

	if (in->ended && in->length == 0 && !in->closed) {
		shutdown(command, SHUT_WR);
		in->closed = true;
	}
	if (!out->ended || out->length > 0 || out->closed)
		return 0;
	err = ktlsd_stream_shutdown(stream);
	out->closed = err != -EAGAIN;
	return out->closed ? err : 0;
}

static short wanted(const struct flow *reading, const struct flow *writing)
{
	bool read = !reading->ended && reading->length == 0;
	bool write = writing->length > 0 || (writing->ended && !writing->closed);

	return (read ? POLLIN : 0) | (write ? POLLOUT : 0);
}

static int move(struct flow *in, struct flow *out, struct ktlsd_stream *stream, const struct pollfd ends[static 2],
		int command)
{
	int err = 0;

	if (ends[1].revents & POLLHUP) /* it has ended: nobody reads what the peer says */
		drop(in);
	if (ends[0].revents & ~POLLOUT && !in->ended && in->length == 0)
		err = receive(in, stream);
	if (in->length > 0)
		give(in, command);
	if (ends[1].revents & ~POLLOUT && !out->ended && out->length == 0)
		take(out, command);
	if (err == 0 && out->length > 0)
		err = transmit(out, stream);
	return err < 0 ? err : end_flows(in, out, stream, command);
}

/* ---- time ---- */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

static int left_ms(int64_t deadline)
{
	int64_t left = deadline - now_ms();

	return left > 0 ? left : 0;
}

/* ---- the end ---- */

/* With something unread the end of this process would reset the connection, and the peer lose the last bytes. */
static void read_to_end(struct ktlsd_stream *stream, int connection)
{
	struct pollfd one = {.fd = connection, .events = POLLIN};
	int64_t deadline = now_ms() + PATIENCE_MS;
	char ignored[BUFFER];
	ssize_t n = 1;

	while ((n > 0 || is_passing(n)) && poll(&one, 1, left_ms(deadline)) == 1 && left_ms(deadline) > 0)
		n = ktlsd_stream_recv(stream, ignored, sizeof(ignored), MSG_DONTWAIT);
}

void relay_refuse(int connection)
{
	socket_send_alert(connection, ALERT_FATAL, ALERT_INTERNAL_ERROR, MSG_DONTWAIT);
	shutdown(connection, SHUT_WR);
}

int relay(struct ktlsd_stream *stream, int connection, int command, int idle_ms)
{
	static struct flow in, out;
	int64_t deadline = now_ms() + idle_ms;
	struct pollfd ends[2];
	uint64_t passed;
	int err = 0;

	while (err == 0 && !(in.closed && out.closed)) {
		ends[0] = (struct pollfd){.fd = connection, .events = wanted(&in, &out)};
		ends[1] = (struct pollfd){.fd = command, .events = wanted(&out, &in)};
		/* A hang-up is always reported: the connection's only matters where something is waited for. */
		if (!ends[0].events)
			ends[0].fd = -1;
		if (in.closed && !ends[1].events)
			ends[1].fd = -1;
		if (poll(ends, 2, idle_ms ? left_ms(deadline) : -1) < 0 && errno != EINTR)
			return -errno;
		passed = in.passed + out.passed;
		err = move(&in, &out, stream, ends, command);
		if (in.passed + out.passed != passed)
			deadline = now_ms() + idle_ms;
		else if (err == 0 && idle_ms && left_ms(deadline) == 0)
			err = -ETIME;
	}
	if (err == -ETIME)
		relay_refuse(connection);
	if (err == 0 || err == -ETIME)
		read_to_end(stream, connection);
	return err;
}
