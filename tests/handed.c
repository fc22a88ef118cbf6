// SPDX-License-Identifier: MIT
/*
 * handed SERVICE [OPTION...]: hands a listener over and serves what is ready: greets, and ends the stream in order. For scripts.
 * Says "port N", then one line a connection: "ready: PEER VERSION ...".
 *
 *	--six			IPv6
 *	--count N		ends after so many connections
 *	--processes N		so many receive
 *	--backlog N
 *	--stall			receives nothing; a line on standard input begins it
 *	--again			when the agent is gone, hands the listener to the next one
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ktlsd.h"
#include "unit.h"

static int six, stall, again;
static unsigned int count = -1, processes = 1, backlog;
static const char *service;

static int listen_somewhere(void)
{
	struct sockaddr_in6 address = {.sin6_family = six ? AF_INET6 : AF_INET};
	socklen_t length = six ? sizeof(address) : sizeof(struct sockaddr_in);
	int fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;

	must(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0);
	if (six)
		address.sin6_addr = in6addr_loopback;
	else
		((struct sockaddr_in *)&address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	must(bind(fd, (struct sockaddr *)&address, length) == 0 && listen(fd, 4096) == 0);
	must(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
	printf("port %u\n", ntohs(address.sin6_port));
	fflush(stdout);
	return fd;
}

static void serve(struct ktlsd_ready *ready)
{
	const struct ktlsd_result *result = &ready->result;
	struct ktlsd_stream *stream;

	must(ktlsd_stream_new(&stream, result->fd, NULL, result) == 0);
	printf("ready: %s %s by %d\n", ktlsd_version_name(result->version), ktlsd_cipher_name(result->cipher),
	       getpid());
	fflush(stdout);
	ktlsd_stream_send(stream, "welcome\n", 8, 0);
	ktlsd_stream_shutdown(stream);
	ktlsd_stream_free(stream);
	close(result->fd);
}

static int hand_over(int listener)
{
	char why[256];
	int receiver = ktlsd_listen(listener, service, backlog, KTLSD_WANT_TOKEN | KTLSD_WANT_CHAIN, why, sizeof(why));

	if (receiver < 0)
		printf("refused: %s: %s\n", strerrorname_np(-receiver), why);
	else
		printf("handed\n");
	fflush(stdout);
	return receiver;
}

/* To the next agent, once it is there. */
static int hand_over_again(int listener, int receiver)
{
	close(receiver);
	while ((receiver = hand_over(listener)) < 0)
		usleep(200000);
	return receiver;
}

static int receive(int listener, int receiver)
{
	static struct ktlsd_ready ready;
	int fd;

	while (count > 0) {
		fd = ktlsd_accept(receiver, &ready, 0);
		if (fd < 0) {
			printf("end: %s\n", strerrorname_np(-fd));
			if (!again || fd != -ENOTCONN)
				return 1;
			receiver = hand_over_again(listener, receiver);
			continue;
		}
		serve(&ready);
		ktlsd_ready_clear(&ready);
		count--;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"six", no_argument, &six, 1},
						{"stall", no_argument, &stall, 1},
						{"again", no_argument, &again, 1},
						{"count", required_argument, NULL, 'c'},
						{"processes", required_argument, NULL, 'p'},
						{"backlog", required_argument, NULL, 'b'},
						{0}};
	int option, listener, receiver;
	char line[16];

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'c')
			count = atoi(optarg);
		else if (option == 'p')
			processes = atoi(optarg);
		else if (option == 'b')
			backlog = atoi(optarg);
		else
			must(option == 0);
	}
	must(optind + 1 == argc);
	service = argv[optind];
	listener = listen_somewhere();
	receiver = hand_over(listener);
	if (receiver < 0)
		return 1;
	if (stall)
		must(fgets(line, sizeof(line), stdin));
	while (processes > 1 && fork() > 0)
		processes--;
	return receive(listener, receiver);
}
