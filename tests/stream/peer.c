// SPDX-License-Identifier: MIT
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "connection.h"
#include "records.h"
#include "socket.h"

bool peer_sends(struct connection *connection, size_t length)
{
	uint8_t data[16384];

	while (length > 0) {
		size_t part = length < sizeof(data) ? length : sizeof(data);
		ssize_t n;

		fill(data, part, connection->sent);
		n = send(connection->peer_fd, data, part, MSG_NOSIGNAL);
		if (n <= 0)
			return fail("the peer can't send: %s", strerror(errno));
		connection->sent += n;
		length -= n;
	}
	return true;
}

bool peer_sends_record(struct connection *connection, uint8_t type, const void *data, size_t length)
{
	int err = socket_send_record(connection->peer_fd, type, data, length, 0);

	return err == 0 || fail("the peer can't send a record of type %u: %s", type, strerror(-err));
}

bool peer_updates(struct connection *connection, bool request)
{
	uint8_t message[5] = {24, 0, 0, 1, request};
	int err = ktlsd_stream_rekey(connection->peer, request);

	if (err == -EOPNOTSUPP)
		return peer_sends_record(connection, RECORD_HANDSHAKE, message, sizeof(message));
	return err == 0 || fail("the peer can't replace its key: %s", strerror(-err));
}

bool peer_reads_until(struct connection *connection, uint64_t offset)
{
	static uint8_t data[65536];

	while (connection->received_back < offset) {
		uint64_t left = offset - connection->received_back;
		ssize_t n = ktlsd_stream_recv(connection->peer, data, left < sizeof(data) ? left : sizeof(data), 0);

		if (n <= 0)
			return fail("the peer gets %s (%s) instead of data", n ? strerror(-n) : "the end",
				    ktlsd_stream_why(connection->peer));
		if (!is_filled(data, n, connection->received_back))
			return false;
		connection->received_back += n;
	}
	return true;
}

/* The record at the front as the kernel shows it, or an error. */
static int look(const struct connection *connection, uint8_t *data, size_t size)
{
	struct iovec part = {.iov_base = data, .iov_len = size};
	union record_control control;
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(connection->peer_fd, &message, MSG_PEEK);

	return n < 0 ? -errno : socket_record_type(&message);
}

static int what_error(int error)
{
	switch (error) {
	case -EAGAIN:
		return SEES_NOTHING;
	case -ECONNRESET:
		return SEES_RESET;
	}
	fail("the peer gets %s", strerror(-error));
	return SEES_ODD;
}

/* Takes the record at the front. */
static int take(struct connection *connection)
{
	union record_control control;
	uint8_t data[16384];
	struct iovec part = {.iov_base = data, .iov_len = sizeof(data)};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

	if (recvmsg(connection->peer_fd, &message, 0) != 2)
		return SEES_ODD;
	return SEES_ALERT | data[0] << 8 | data[1];
}

/* What is neither alert nor data the stream of the peer takes in; it then waits for what follows. */
int peer_sees(struct connection *connection)
{
	uint8_t data[16384];
	ssize_t n;
	int type;

	for (;;) {
		type = look(connection, data, sizeof(data));
		if (type == RECORD_ALERT)
			return take(connection);
		if (type == RECORD_APPLICATION_DATA)
			return SEES_DATA;
		if (type == 0)
			return SEES_FIN;
		if (type < 0 && type != -EKEYEXPIRED)
			return what_error(type);
		n = ktlsd_stream_recv(connection->peer, data, sizeof(data), MSG_PEEK);
		if (n == 0)
			return WARNING(ALERT_CLOSE_NOTIFY);
		if (n == -EREMOTEIO) {
			struct ktlsd_stream_info info;

			ktlsd_stream_info(connection->peer, &info);
			return FATAL(info.alert_received);
		}
		if (n == -ECONNABORTED)
			return SEES_FIN;
		if (n < 0)
			return what_error(n);
	}
}
