/* SPDX-License-Identifier: MIT */
/* A TLS client: asks a server for a page and prints what comes until the server says that this was all. */
#include "example.h"
#include "ktlsd.h"

static const char usage[] =
	"usage: example-client [OPTION...] HOST [PATH]\n\n"
	"Prints the answer to GET PATH (default: /) of the TLS server HOST. Exit status 3 if the connection\n"
	"was cut: the answer may be incomplete.\n\n"
	"  --listen ADDR   where to connect instead of HOST\n"
	"  --port PORT     (default: 4433)\n"
	"  --service NAME  a client service of the agent's configuration (default: client)\n";

static struct ktlsd_stream *shake_hands(int fd, const char *service, const char *host)
{
	struct ktlsd_handoff handoff = {.alpn = "http/1.1"};
	struct ktlsd_stream *stream;
	char why[256];

	ktlsd_prep_client(&handoff, fd, service, host);
	if (ktlsd_handshake(&handoff, &stream, why, sizeof(why)) < 0)
		errx(1, "handshake with %s: %s", host, why);
	return stream;
}

static void ask(struct ktlsd_stream *stream, const char *host, const char *path)
{
	char *request;
	int length = asprintf(&request, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host);

	if (length < 0 || ktlsd_stream_send(stream, request, length, 0) != length)
		errx(1, "can't send the request");
	free(request);
}

static int print_answer(struct ktlsd_stream *stream)
{
	char data[16384];
	ssize_t n;

	while ((n = ktlsd_stream_recv(stream, data, sizeof(data), 0)) > 0)
		fwrite(data, 1, n, stdout);
	if (n == 0)
		return 0;
	warnx("the answer may be incomplete: %s", *ktlsd_stream_why(stream) ? ktlsd_stream_why(stream) : strerror(-n));
	return 3;
}

int main(int argc, char **argv)
{
	struct example_options options = {.port = "4433", .service = "client"};
	struct ktlsd_stream *stream;
	const char *host, *path;
	int fd, status;

	example_parse(&options, argc, argv, usage);
	if (optind >= argc)
		errx(2, "which host?");
	host = argv[optind];
	path = optind + 1 < argc ? argv[optind + 1] : "/";
	fd = example_connect(options.listen ? options.listen : host, options.port);
	if (fd < 0)
		err(1, "%s port %s", host, options.port);
	stream = shake_hands(fd, options.service, host);
	ask(stream, host, path);
	status = print_answer(stream);
	ktlsd_stream_shutdown(stream);
	ktlsd_stream_free(stream);
	close(fd);
	return status;
}
