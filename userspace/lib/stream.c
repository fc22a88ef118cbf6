/* SPDX-License-Identifier: MIT */
/*
 * Reading and ending a kTLS connection. The kernel hands out the plaintext of every record; what is not application
 * data comes alone in its recvmsg(), with the record's type in a control message, and is ours to understand.
 */
#include <errno.h>
#include <string.h>
#include <linux/tls.h>
#include <sys/socket.h>

#include "ktlsd.h"

/* RFC 8446 §5.1, §6, §4 */
#define RECORD_ALERT 21
#define RECORD_HANDSHAKE 22
#define RECORD_APPLICATION 23

#define ALERT_WARNING 1
#define ALERT_CLOSE_NOTIFY 0
#define ALERT_USER_CANCELED 90

#define HANDSHAKE_HELLO_REQUEST 0 /* TLS 1.2; a client may ignore it (RFC 5246 §7.4.1.1) */
#define HANDSHAKE_NEW_SESSION_TICKET 4
#define HANDSHAKE_KEY_UPDATE 24

/* How many records without data one call skips: no peer may keep a caller busy for nothing. */
#define SKIP_MAX 32

union record_type {
	struct cmsghdr header;
	char room[CMSG_SPACE(sizeof(uint8_t))];
};

/* 0 if there is none: the end of the TCP stream, or a socket without kTLS. */
static uint8_t record_type(const struct msghdr *message)
{
	const struct cmsghdr *control = CMSG_FIRSTHDR(message);

	for (; control; control = CMSG_NXTHDR((struct msghdr *)message, (struct cmsghdr *)control))
		if (control->cmsg_level == SOL_TLS && control->cmsg_type == TLS_GET_RECORD_TYPE)
			return *CMSG_DATA(control);
	return 0;
}

static ssize_t judge_alert(uint8_t description, uint8_t *alert)
{
	if (description == ALERT_CLOSE_NOTIFY)
		return 0;
	if (description == ALERT_USER_CANCELED) /* a close_notify follows */
		return -EAGAIN;
	if (alert)
		*alert = description;
	return -EPROTO;
}

static ssize_t judge_handshake(uint8_t first_byte)
{
	switch (first_byte) {
	case HANDSHAKE_HELLO_REQUEST:
	case HANDSHAKE_NEW_SESSION_TICKET:
		return -EAGAIN;
	case HANDSHAKE_KEY_UPDATE:
		return -EKEYEXPIRED;
	default:
		return -EPROTO;
	}
}

/* What a control record means; its first two bytes tell. */
static ssize_t judge(uint8_t type, const uint8_t head[2], size_t length, uint8_t *alert)
{
	if (type == RECORD_ALERT && length == 2)
		return judge_alert(head[1], alert);
	if (type == RECORD_HANDSHAKE && length > 0)
		return judge_handshake(head[0]);
	return -EPROTO;
}

ssize_t ktlsd_received(const struct msghdr *message, ssize_t received, uint8_t *alert)
{
	uint8_t type;

	if (alert)
		*alert = KTLSD_NO_ALERT;
	if (received < 0)
		return received;
	type = record_type(message);
	if (type == RECORD_APPLICATION)
		return received > 0 ? received : -EAGAIN;
	if (type == 0)
		return received == 0 ? -ECONNABORTED : -EPROTO;
	if (!(message->msg_flags & MSG_EOR))
		return -EMSGSIZE;
	return judge(type, message->msg_iov->iov_base, received, alert);
}

static ssize_t receive(int fd, struct msghdr *message, void *data, size_t size, int flags, union record_type *type)
{
	struct iovec *iov = message->msg_iov;
	ssize_t received;

	*iov = (struct iovec){.iov_base = data, .iov_len = size};
	message->msg_iovlen = 1;
	message->msg_control = type;
	message->msg_controllen = sizeof(*type);
	received = recvmsg(fd, message, flags);
	return received < 0 ? -errno : received;
}

/* The caller's buffer was smaller than a control record: takes the rest of it away, which is there already. */
static ssize_t finish_record(int fd, const uint8_t *data, size_t length, uint8_t *alert)
{
	uint8_t head[2] = {data[0], length > 1 ? data[1] : 0}, rest[512];
	struct iovec iov;
	struct msghdr message = {.msg_iov = &iov};
	union record_type type;
	ssize_t received;

	do {
		received = receive(fd, &message, rest, sizeof(rest), MSG_DONTWAIT, &type);
		if (received <= 0)
			return received < 0 ? received : -ECONNABORTED;
		if (length == 1)
			head[1] = rest[0];
		length += received;
	} while (!(message.msg_flags & MSG_EOR));
	return judge(record_type(&message), head, length, alert);
}

ssize_t ktlsd_recv(int fd, void *data, size_t size, int flags, uint8_t *alert)
{
	struct iovec iov;
	struct msghdr message = {.msg_iov = &iov};
	union record_type type;
	ssize_t received, result;

	if (size == 0 || (flags & ~MSG_DONTWAIT) != 0)
		return -EINVAL;
	for (int skipped = 0; skipped < SKIP_MAX; skipped++) {
		received = receive(fd, &message, data, size, flags, &type);
		if (received == -EAGAIN)
			return -EAGAIN;
		result = ktlsd_received(&message, received, alert);
		if (result == -EMSGSIZE && received > 0)
			result = finish_record(fd, data, received, alert);
		if (result != -EAGAIN)
			return result;
	}
	return -EPROTO;
}

int ktlsd_send_close_notify(int fd)
{
	uint8_t alert[2] = {ALERT_WARNING, ALERT_CLOSE_NOTIFY};
	struct iovec data = {.iov_base = alert, .iov_len = sizeof(alert)};
	union record_type type = {.header = {.cmsg_level = SOL_TLS,
					     .cmsg_type = TLS_SET_RECORD_TYPE,
					     .cmsg_len = CMSG_LEN(sizeof(uint8_t))}};
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = &type, .msg_controllen = sizeof(type)};

	*CMSG_DATA(&type.header) = RECORD_ALERT;
	return sendmsg(fd, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}
