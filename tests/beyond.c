// SPDX-License-Identifier: MIT
/*
 * beyond WAY: a server that ktls-run can't help, for run_limits.sh. It says "port N", and what it meets:
 *
 *	stdio		reads the connection by fgets()
 *	uring		accepts through an io_uring
 *	zerocopy	wants MSG_ZEROCOPY
 */
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit.h"

static int listener;

static void listen_somewhere(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);

	listener = socket(AF_INET, SOCK_STREAM, 0);
	must(bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, 16) == 0);
	must(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
	printf("port %u\n", ntohs(address.sin_port));
	fflush(stdout);
}

static void read_lines(void)
{
	FILE *file = fdopen(accept(listener, NULL, NULL), "r");
	char line[100];

	must(file != NULL);
	while (fgets(line, sizeof(line), file))
		printf("line %s", line);
	printf("then %s\n", ferror(file) ? strerrorname_np(errno) : "the end");
}

static void accept_by_ring(void)
{
	struct io_uring_cqe *cqe;
	struct io_uring ring;

	must(io_uring_queue_init(8, &ring, 0) == 0);
	io_uring_prep_accept(io_uring_get_sqe(&ring), listener, NULL, NULL, 0);
	must(io_uring_submit_and_wait(&ring, 1) == 1 && io_uring_peek_cqe(&ring, &cqe) == 0);
	printf("accept %s\n", cqe->res < 0 ? strerrorname_np(-cqe->res) : "a connection");
}

static void want_zerocopy(void)
{
	int fd = accept(listener, NULL, NULL), on = 1;

	must(fd >= 0);
	printf("SO_ZEROCOPY %s\n",
	       setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof(on)) < 0 ? strerrorname_np(errno) : "taken");
}

int main(int argc, char **argv)
{
	must(argc == 2);
	if (strcmp(argv[1], "uring") == 0) /* before listen(), where ktls-run looks for it */
		must(io_uring_queue_init(8, &(struct io_uring){0}, 0) == 0);
	listen_somewhere();
	if (strcmp(argv[1], "stdio") == 0)
		read_lines();
	else if (strcmp(argv[1], "uring") == 0)
		accept_by_ring();
	else
		want_zerocopy();
	return 0;
}
