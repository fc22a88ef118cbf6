// SPDX-License-Identifier: MIT
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "hostile.h"

#define MOST_DESCRIPTORS 253 /* that the kernel takes in one message */

void wire_open(struct wire *wire)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memset(wire, 0, sizeof(*wire));
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", getenv("KTLSD_HANDOFF"));
	wire->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (wire->fd < 0 || connect(wire->fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		die("connecting to the agent");
}

void wire_greet(struct wire *wire)
{
	struct ktlsd_msg_hello hello = {.header = {.length = sizeof(hello), .type = KTLSD_MSG_HELLO},
					.version = KTLSD_PROTOCOL_VERSION};
	struct answer answer;

	wire_open(wire);
	if (wire_send(wire, &hello, sizeof(hello), NULL, 0) != 0 || wire_answer(wire, 5000, &answer) != 1 ||
	    answer.type != KTLSD_MSG_HELLO)
		die("HELLO");
}

void wire_close(struct wire *wire)
{
	close(wire->fd);
}

int wire_send(struct wire *wire, const void *data, size_t length, const int *fds, size_t count)
{
	struct iovec part = {.iov_base = (void *)data, .iov_len = length};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(MOST_DESCRIPTORS * sizeof(int))];
	} control = {.header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};

	if (count > 0) {
		control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
	}
	return sendmsg(wire->fd, &message, MSG_NOSIGNAL) < 0 ? errno : 0;
}

static void read_message(const struct ktlsd_msg_header *header, struct answer *answer)
{
	const struct ktlsd_msg_result *result = (const void *)header;
	const struct ktlsd_msg_rekey *rekey = (const void *)header;
	const struct ktlsd_msg_challenge *challenge = (const void *)header;
	size_t body = 0;
	struct attribute_reader reader;
	struct attribute attribute;

	memset(answer, 0, sizeof(*answer));
	answer->type = header->type;
	answer->cookie = header->cookie;
	answer->message = header;
	switch (header->type) {
	case KTLSD_MSG_RESULT:
		body = sizeof(*result);
		answer->error = result->error;
		answer->flags = result->flags;
		break;
	case KTLSD_MSG_REKEY:
		body = sizeof(*rekey);
		answer->error = rekey->error;
		break;
	case KTLSD_MSG_CHALLENGE:
		body = sizeof(*challenge);
		answer->error = challenge->error;
		break;
	}
	if (!body || !attributes_begin(&reader, header, body))
		return;
	while (attributes_next(&reader, &attribute)) {
		if (attribute.type == KTLSD_ATTR_ERROR)
			attribute_text(&attribute, answer->why, sizeof(answer->why));
	}
}

int wire_answer(struct wire *wire, int timeout_ms, struct answer *answer)
{
	struct pollfd readable = {.fd = wire->fd, .events = POLLIN};
	const struct ktlsd_msg_header *header = message_next(&wire->reader);
	ssize_t length;

	while (!header) {
		if (poll(&readable, 1, timeout_ms) <= 0)
			return -1;
		/* No room for descriptors: those of a chain are dropped by the kernel. */
		length = recv(wire->fd, wire->data, sizeof(wire->data), MSG_DONTWAIT);
		if (length == 0 || (length < 0 && errno != ECONNRESET))
			return 0;
		if (length < 0)
			continue;
		wire->datagrams++;
		wire->reader = (struct datagram_reader){.data = wire->data, .length = length};
		header = message_next(&wire->reader);
	}
	read_message(header, answer);
	return 1;
}

size_t put_message(void *at, unsigned int type, size_t length, uint64_t cookie)
{
	struct ktlsd_msg_header *header = memset(at, 0, length);

	header->length = length;
	header->type = type;
	header->cookie = cookie;
	return length;
}

size_t put_handoff(void *at, uint64_t cookie, const char *service)
{
	struct datagram_writer datagram = {.data = at, .size = KTLSD_DATAGRAM_MAX};
	struct ktlsd_msg_handoff *message = message_begin(&datagram, KTLSD_MSG_HANDOFF, sizeof(*message), cookie);

	message->role = KTLSD_SERVER;
	message_text(&datagram, KTLSD_ATTR_SERVICE, service);
	message_end(&datagram);
	return datagram.length;
}
