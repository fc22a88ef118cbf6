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

static int six, stall;
static unsigned int count = -1, processes = 1, backlog;
static const char *service;

static int listen_somewhere(void)
{
	struct sockaddr_in6 address = {.sin6_family = six ? AF_INET6 : AF_INET};
	socklen_t length = six ? sizeof(address) : sizeof(struct sockaddr_in);
	int fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

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

static int receive(int receiver)
{
	static struct ktlsd_ready ready;
	int fd;

	for (; count > 0; count--) {
		fd = ktlsd_accept(receiver, &ready, 0);
		if (fd < 0) {
			printf("end: %s\n", strerrorname_np(-fd));
			return 1;
		}
		serve(&ready);
		ktlsd_ready_clear(&ready);
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"six", no_argument, &six, 1},
						{"stall", no_argument, &stall, 1},
						{"count", required_argument, NULL, 'c'},
						{"processes", required_argument, NULL, 'p'},
						{"backlog", required_argument, NULL, 'b'},
						{0}};
	int option, listener, receiver;
	char why[256], line[16];

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
	receiver = ktlsd_listen(listener, service, backlog, KTLSD_WANT_TOKEN | KTLSD_WANT_CHAIN, why, sizeof(why));
	if (receiver < 0) {
		printf("refused: %s: %s\n", strerrorname_np(-receiver), why);
		return 1;
	}
	printf("handed\n");
	fflush(stdout);
	if (stall)
		must(fgets(line, sizeof(line), stdin));
	while (processes > 1 && fork() > 0)
		processes--;
	return receive(receiver);
}
