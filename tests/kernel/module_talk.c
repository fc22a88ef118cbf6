// SPDX-License-Identifier: GPL-2.0
/*
 * A client or a server of TLS by /dev/ktlsd, for peers that bring their own: openssl, gnutls-cli, curl.
 *
 *	module_talk [OPTION...] server PORT	takes one connection, sends back the first line and ends
 *	module_talk [OPTION...] client ADDRESS PORT	sends a line by a chain behind connect, prints what comes back
 *
 * It prints "result NUMBER", "version", "cipher", "peer" as the command has them, then what it received.
 *
 *	--ioctl		instead of a ring
 *	--name NAME	whom the server has to be
 *	--auth N	enum ktlsd_handshake_auth
 *	--timeout MS
 *	--key SERIAL	a pre-shared key
 *	--count N	so many connections, one behind the other
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "module/device.h"

static struct device device;
static struct request *request;
static const char *name;
static unsigned int auth, timeout_ms, key;

static void say(int result)
{
	const struct ktlsd_handshake *handshake = &request->handshake;

	printf("result %d\n", result);
	if (result == 0)
		printf("version %#x\ncipher %u\npeer %d\n", handshake->tls_version, handshake->cipher_type,
		       handshake->peer_id);
	fflush(stdout);
}

static void fill(int fd, bool client)
{
	struct ktlsd_handshake *handshake;

	request = device_request(fd);
	handshake = &request->handshake;
	handshake->timeout_ms = timeout_ms;
	if (client) {
		handshake->role = KTLSD_HANDSHAKE_CLIENT;
		handshake->auth = KTLSD_HANDSHAKE_ANONYMOUS;
		handshake->peer_name = (uintptr_t)name;
		handshake->peer_name_length = name ? strlen(name) : 0;
	}
	if (auth)
		handshake->auth = auth;
	if (key) {
		handshake->auth = KTLSD_HANDSHAKE_PSK;
		handshake->peer_id_count = 1;
		handshake->peer_ids[0] = (int32_t)key;
	}
}

#define SOL_TLS_LEVEL 282
#define RECORD_TYPE 1 /* to be set */
#define RECORD_TYPE_SEEN 2
#define ALERT 21
#define DATA 23

/* Returns the record's type; length: 0 at the end of TCP's stream. */
static uint8_t receive_record(int fd, char *buffer, size_t size, ssize_t *length)
{
	char control[CMSG_SPACE(1)];
	struct iovec part = {buffer, size};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	const struct cmsghdr *header;

	*length = recvmsg(fd, &message, 0);
	header = *length > 0 ? CMSG_FIRSTHDR(&message) : NULL;
	return header && header->cmsg_level == SOL_TLS_LEVEL && header->cmsg_type == RECORD_TYPE_SEEN
		       ? *CMSG_DATA(header)
		       : DATA;
}

/* Data, until the stream ends; tickets are left out. */
static void print_rest(int fd)
{
	char buffer[4096];
	ssize_t n;

	for (;;) {
		uint8_t type = receive_record(fd, buffer, sizeof(buffer), &n);

		if (n <= 0 || type == ALERT)
			break;
		if (type == DATA)
			fwrite(buffer, 1, n, stdout);
	}
	fflush(stdout);
}

/* As TLS ends a stream (RFC 8446 §6.1). */
static void close_notify(int fd)
{
	char alert[2] = {1, 0}, control[CMSG_SPACE(1)] = {0};
	struct iovec part = {alert, sizeof(alert)};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_TLS_LEVEL;
	header->cmsg_type = RECORD_TYPE;
	header->cmsg_len = CMSG_LEN(1);
	*CMSG_DATA(header) = ALERT;
	sendmsg(fd, &message, MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
}

static int serve(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), result;
	char line[4096];
	ssize_t n;

	fill(fd, false);
	result = device_handshake(&device, request);
	say(result);
	if (result == 0) {
		n = recv(fd, line, sizeof(line), 0);
		if (n > 0) {
			fwrite(line, 1, n, stdout);
			fflush(stdout);
			if (send(fd, line, n, MSG_NOSIGNAL) == n)
				close_notify(fd);
		}
		print_rest(fd);
	}
	close(fd);
	return result;
}

static int serve_all(const char *port, int count)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, worst = 0;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(listener, 16) < 0)
		err(2, "port %s", port);
	puts("listening");
	fflush(stdout);
	while (count-- > 0)
		worst = serve(listener) ?: worst;
	return worst;
}

static const char line[] = "GET / HTTP/1.0\r\n\r\n";

static int by_chain(int fd, const struct sockaddr_in *address)
{
	struct request *connected = device_request(-1), *sent = device_request(-1);
	unsigned int behind = device_features(device.fd) & KTLSD_FEATURE_LINKED ? 0 : IOSQE_ASYNC;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&device.ring);

	io_uring_prep_connect(sqe, fd, (const struct sockaddr *)address, sizeof(*address));
	io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK);
	io_uring_sqe_set_data(sqe, connected);
	device_prepare(&device, request, IOSQE_IO_LINK | behind);
	sqe = io_uring_get_sqe(&device.ring);
	io_uring_prep_send(sqe, fd, line, strlen(line), MSG_NOSIGNAL);
	io_uring_sqe_set_data(sqe, sent);
	sent->result = NOT_YET;
	device_submit(&device);
	device_wait(&device, sent, 30000);
	if (request->result == 0 && sent->result != (int)strlen(line))
		errx(2, "sent: %d", sent->result);
	return request->result;
}

static int by_steps(int fd, const struct sockaddr_in *address)
{
	int result;

	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		err(2, "connect");
	result = device_handshake(&device, request);
	if (result == 0 && send(fd, line, strlen(line), MSG_NOSIGNAL) < 0)
		err(2, "send");
	return result;
}

static int ask(const char *host, const char *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), result;

	if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
		errx(2, "%s: no address", host);
	fill(fd, true);
	result = device_has_ring(&device) ? by_chain(fd, &address) : by_steps(fd, &address);
	say(result);
	if (result == 0)
		print_rest(fd);
	close(fd);
	return result;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"ioctl", no_argument, NULL, 'i'},
		{"name", required_argument, NULL, 'n'},
		{"auth", required_argument, NULL, 'a'},
		{"timeout", required_argument, NULL, 't'},
		{"key", required_argument, NULL, 'k'},
		{"count", required_argument, NULL, 'c'},
		{NULL, 0, NULL, 0},
	};
	enum way way = BY_RING;
	int option, bad, count = 1;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 'i':
			way = BY_IOCTL;
			break;
		case 'n':
			name = optarg;
			break;
		case 'a':
			auth = strtoul(optarg, NULL, 0);
			break;
		case 't':
			timeout_ms = strtoul(optarg, NULL, 0);
			break;
		case 'k':
			key = strtoul(optarg, NULL, 0);
			break;
		case 'c':
			count = atoi(optarg);
			break;
		default:
			return 2;
		}
	}
	bad = device_open(&device, way);
	if (bad < 0)
		errx(2, DEVICE ": %s", strerror(-bad));
	if (argc - optind == 2 && strcmp(argv[optind], "server") == 0)
		return serve_all(argv[optind + 1], count) ? 1 : 0;
	if (argc - optind == 3 && strcmp(argv[optind], "client") == 0)
		return ask(argv[optind + 1], argv[optind + 2]) ? 1 : 0;
	errx(2, "server PORT, or client ADDRESS PORT");
}
