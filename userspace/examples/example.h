/* SPDX-License-Identifier: MIT */
/* What every example needs before TLS comes into it: options, and a socket. */
#ifndef KTLSD_EXAMPLE_H
#define KTLSD_EXAMPLE_H

#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct example_options {
	const char *listen;
	const char *port;
	const char *service;
	bool has_ways; /* the program knows --device and --handed */
	enum { BY_HANDOFF, BY_DEVICE, HANDED } way;
};

#define EXAMPLE_USAGE                                                                                                  \
	"  --listen ADDR   where to listen (default: 127.0.0.1)\n"                                                     \
	"  --port PORT     0 takes a free one (default: 4433)\n"                                                       \
	"  --service NAME  a service of the agent's configuration (default: web)\n"                                    \
	"\n"                                                                                                           \
	"The agent is found through $KTLSD_HANDOFF, else at /run/ktlsd/handoff.\n"

#define EXAMPLE_DEFAULTS                                                                                               \
	{                                                                                                              \
		.listen = "127.0.0.1", .port = "4433", .service = "web"                                                \
	}

/* Leaves optind at the first argument that is no option. */
static inline void example_parse(struct example_options *parsed, int argc, char **argv, const char *usage)
{
	static const struct option options[] = {
		{"listen", required_argument, NULL, 'l'},
		{"port", required_argument, NULL, 'p'},
		{"service", required_argument, NULL, 's'},
		{"device", no_argument, NULL, 'd'},
		{"handed", no_argument, NULL, 'H'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 'l':
			parsed->listen = optarg;
			break;
		case 'p':
			parsed->port = optarg;
			break;
		case 's':
			parsed->service = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			exit(0);
		case 'd':
		case 'H':
			if (parsed->has_ways) {
				parsed->way = option == 'd' ? BY_DEVICE : HANDED;
				break;
			}
			/* fall through */
		default:
			fputs(usage, stderr);
			exit(2);
		}
	}
}

static inline void example_say_where(int listener)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	char host[64], port[16];

	getsockname(listener, (struct sockaddr *)&address, &length);
	getnameinfo((struct sockaddr *)&address, length, host, sizeof(host), port, sizeof(port),
		    NI_NUMERICHOST | NI_NUMERICSERV);
	printf("listening on %s port %s\n", host, port);
	fflush(stdout);
}

/*
 * flags: SOCK_NONBLOCK or 0. TCP_NODELAY, which accepted sockets inherit: a small answer would else wait until the peer has
 * acknowledged the session tickets that went before it, 40 ms with its delayed ACK.
 */
static inline int example_listen(const struct example_options *options, int flags)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *address;
	int fd, on = 1, bad;

	bad = getaddrinfo(options->listen, options->port, &hints, &address);
	if (bad)
		errx(1, "%s port %s: %s", options->listen, options->port, gai_strerror(bad));
	fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
	    bind(fd, address->ai_addr, address->ai_addrlen) < 0 || listen(fd, SOMAXCONN) < 0)
		err(1, "%s port %s", options->listen, options->port);
	freeaddrinfo(address);
	example_say_where(fd);
	return fd;
}

/* -1 with errno: nobody there. */
static inline int example_connect(const char *host, const char *port)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *addresses;
	int fd = -1, bad;

	bad = getaddrinfo(host, port, &hints, &addresses);
	if (bad)
		errx(1, "%s: %s", host, gai_strerror(bad));
	for (struct addrinfo *a = addresses; a && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
			bad = errno;
			close(fd);
			fd = -1;
			errno = bad;
		}
	}
	freeaddrinfo(addresses);
	return fd;
}

#endif
