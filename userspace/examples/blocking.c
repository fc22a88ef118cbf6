/* SPDX-License-Identifier: MIT */
/* A TLS server in twenty lines: greets everybody, one after the other. */
#include <signal.h>
#include <sys/time.h>

#include "example.h"
#include "ktlsd.h"

static const char usage[] = "usage: example-blocking [OPTION...]\n\nA TLS server that greets.\n\n" EXAMPLE_USAGE;

static void greet(int fd, const char *service)
{
	static const char hello[] = "hello\n";
	struct timeval patience = {.tv_sec = 5};
	struct ktlsd_handoff handoff = {0};
	struct ktlsd_stream *stream;
	char why[256], ignored[512];

	ktlsd_prep_server(&handoff, fd, service);
	if (ktlsd_handshake(&handoff, &stream, why, sizeof(why)) < 0) {
		warnx("handshake: %s", why);
		return;
	}
	if (ktlsd_stream_send(stream, hello, sizeof(hello) - 1, 0) < 0) /* the kernel encrypts */
		warnx("send: %s", ktlsd_stream_why(stream));
	ktlsd_stream_shutdown(stream);
	/* Closing with something unread would reset the connection, and the greeting might be lost. */
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	while (ktlsd_stream_recv(stream, ignored, sizeof(ignored), 0) > 0)
		;
	ktlsd_stream_free(stream);
}

int main(int argc, char **argv)
{
	struct example_options options = EXAMPLE_DEFAULTS;
	int listener;

	example_parse(&options, argc, argv, usage);
	listener = example_listen(&options, 0);
	signal(SIGPIPE, SIG_IGN);
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			err(1, "accept");
		greet(fd, options.service);
		close(fd);
	}
}
