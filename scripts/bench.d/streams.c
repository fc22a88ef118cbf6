// SPDX-License-Identifier: MIT
/*
 * streams WAY WORK COUNT: a program to be counted (scripts/bench.d/streams), which does its work on one kTLS socket:
 *
 *	plain		recv() and send()
 *	plain-poll	likewise, after poll(), on a non-blocking socket
 *	stream		ktlsd_stream_recv() and ktlsd_stream_send()
 *	stream-poll	likewise, after poll() of the socket and ktlsd_fd(), non-blocking, with a struct ktlsd
 *
 *	read, hash	receives COUNT times 16 KiB, and does nothing with them, or looks at every byte
 *	write		sends so many
 *	answer		takes COUNT times 100 bytes into 16 KiB, and sends 100 bytes back
 *	update		likewise; each comes behind a KeyUpdate
 *	request		likewise; each asks for another
 *
 * The other end is a child, which is not counted. It prints its pid.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ktlsd.h"

#define LARGE 16384
#define SMALL 100

enum work { READ, HASH, WRITE, ANSWER, UPDATE, REQUEST, WORKS };

static const char *const works[] = {"read", "hash", "write", "answer", "update", "request"};

static char data[LARGE];
static enum work work;
static long count;
static bool plain, polling;

static int fd;
static struct ktlsd *agent;
static struct ktlsd_stream *stream;
static unsigned int hash = 2166136261;

/* ---- the end that is counted ---- */

static void wait_until(short events)
{
	struct pollfd watched[] = {{.fd = fd, .events = events}, {.fd = -1, .events = POLLIN}};
	struct ktlsd_result *result;

	if (!polling)
		return;
	if (!plain)
		watched[1].fd = ktlsd_fd(agent);
	do {
		if (poll(watched, 2, -1) < 0)
			err(1, "poll");
		if (watched[1].revents)
			while (ktlsd_peek_result(agent, &result) == 0)
				ktlsd_result_seen(agent);
	} while (!watched[0].revents);
}

static ssize_t receive(size_t size)
{
	ssize_t n;

	do {
		wait_until(POLLIN);
		n = plain ? recv(fd, data, size, 0) : ktlsd_stream_recv(stream, data, size, 0);
	} while (n == -EAGAIN);
	if (n <= 0)
		errx(1, "receive: %zd %s", n, plain ? strerror(errno) : ktlsd_stream_why(stream));
	return n;
}

static void transmit(size_t size)
{
	ssize_t n;

	for (size_t done = 0; done < size; done += n) {
		wait_until(POLLOUT);
		n = plain ? send(fd, data + done, size - done, MSG_NOSIGNAL)
			  : ktlsd_stream_send(stream, data + done, size - done, 0);
		if (n < 0)
			errx(1, "send: %zd", n);
	}
}

static void look_at(ssize_t size)
{
	for (ssize_t i = 0; i < size; i++)
		hash = (hash ^ (unsigned char)data[i]) * 16777619; /* FNV-1a */
}

static void read_all(void)
{
	ssize_t n;

	for (size_t left = count * LARGE; left > 0; left -= n) {
		n = receive(LARGE);
		if (work == HASH)
			look_at(n);
	}
}

static void work_through(void)
{
	if (work == READ || work == HASH) {
		read_all();
		return;
	}
	for (long i = 0; i < count; i++) {
		if (work == WRITE) {
			transmit(LARGE);
			continue;
		}
		receive(LARGE);
		transmit(SMALL);
	}
}

/* ---- the other ---- */

static void meet(void)
{
	ssize_t n;

	for (long i = 0; i < count; i++) {
		if (work == READ || work == HASH) {
			ktlsd_stream_send(stream, data, LARGE, 0);
			continue;
		}
		if (work == UPDATE || work == REQUEST)
			ktlsd_stream_rekey(stream, work == REQUEST);
		ktlsd_stream_send(stream, data, SMALL, 0);
		n = ktlsd_stream_recv(stream, data, LARGE, 0);
		if (n <= 0)
			errx(1, "peer: %s", ktlsd_stream_why(stream));
	}
}

static void take_all(void)
{
	for (ssize_t n, left = count * LARGE; left > 0; left -= n) {
		n = ktlsd_stream_recv(stream, data, LARGE, 0);
		if (n <= 0)
			errx(1, "peer: %s", ktlsd_stream_why(stream));
	}
}

/* ---- both ---- */

static void shake_hands(enum ktlsd_role role)
{
	struct ktlsd_stream_limits limits = {.control_burst = 1000000};
	struct ktlsd_result *result;
	struct ktlsd_handoff *handoff;

	if (ktlsd_open(&agent, NULL) < 0)
		errx(1, "no agent");
	handoff = ktlsd_get_handoff(agent);
	if (role == KTLSD_SERVER)
		ktlsd_prep_server(handoff, fd, "web");
	else
		ktlsd_prep_client(handoff, fd, "client", "localhost");
	ktlsd_submit(agent);
	if (ktlsd_wait_result(agent, &result, -1) < 0 || result->error)
		errx(1, "handshake: %s", result->error_text);
	if (ktlsd_stream_new(&stream, fd, polling && role == KTLSD_SERVER ? agent : NULL, result) < 0)
		errx(1, "stream");
	ktlsd_result_seen(agent);
	ktlsd_stream_set_limits(stream, &limits);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
}

static void be_peer(const struct sockaddr_in *address)
{
	polling = false;
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		err(1, "connect");
	shake_hands(KTLSD_CLIENT);
	if (work == WRITE)
		take_all();
	else
		meet();
	ktlsd_stream_shutdown(stream);
	while (ktlsd_stream_recv(stream, data, LARGE, 0) > 0) /* or a reset would take away what is under way */
		;
	exit(0);
}

static void parse(char **argv)
{
	plain = strncmp(argv[1], "plain", 5) == 0;
	polling = strstr(argv[1], "-poll");
	while (work < WORKS && strcmp(works[work], argv[2]) != 0)
		work++;
	count = atol(argv[3]);
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM, 0), status;
	socklen_t length = sizeof(address);
	pid_t peer;

	if (argc != 4)
		return 2;
	parse(argv);
	if (bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &length) < 0)
		err(1, "listen");
	printf("%d\n", getpid());
	fflush(stdout);
	peer = fork();
	if (peer == 0)
		be_peer(&address);
	fd = accept(listener, NULL, NULL);
	shake_hands(KTLSD_SERVER);
	if (polling)
		fcntl(fd, F_SETFL, O_NONBLOCK);
	work_through();
	shutdown(fd, SHUT_WR);
	wait(&status);
	fprintf(stderr, "%08x\n", hash);
	return status ? 1 : 0;
}
