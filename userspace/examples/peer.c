/* SPDX-License-Identifier: MIT */
/*
 * One device among others: it listens for them and connects to them, both at once, with one certificate for both. Says whom it
 * met and what was said. A process for each connection.
 */
#include <signal.h>
#include <stdbool.h>
#include <sys/time.h>

#include "example.h"
#include "ktlsd.h"

static const char usage[] =
	"usage: example-peer [OPTION...] [NAME ADDR [PORT]]\n\n"
	"A device that listens for others, and connects to the one at ADDR if its certificate carries NAME, such\n"
	"as spiffe://example/device/a. It tries until that one is up.\n\n"
	"  --listen ADDR   where to listen (default: 127.0.0.1)\n"
	"  --port PORT     (default: 4433)\n"
	"  --service NAME  NAME-server and NAME-client are services of the agent's configuration (default: device)\n"
	"\n"
	"The agent is found through $KTLSD_HANDOFF, else at /run/ktlsd/handoff.\n";

struct meeting {
	int fd;
	const char *service; /* without -server or -client */
	const char *whom;    /* NULL: they connected to us */
	char called[128];    /* what our allow list calls them */
};

static const char *text_or(const char *text, const char *otherwise)
{
	return text && *text ? text : otherwise;
}

static void introduce(struct meeting *meeting, const struct ktlsd_result *result)
{
	const struct ktlsd_peer *peer = result->peer;

	snprintf(meeting->called, sizeof(meeting->called), "%s", text_or(peer ? peer->name : NULL, "somebody"));
	printf("%s %s: %s, %s\n", meeting->whom ? "connected to" : "was called by", meeting->called,
	       peer ? text_or(peer->names, peer->subject) : "without a certificate",
	       ktlsd_version_name(result->version));
}

/* Ends the process if the other is none whom the service admits. */
static struct ktlsd_stream *shake_hands(struct meeting *meeting)
{
	struct ktlsd_handoff *handoff;
	struct ktlsd_stream *stream;
	struct ktlsd_result *result;
	struct ktlsd *agent;
	char service[64];
	int bad;

	snprintf(service, sizeof(service), "%s-%s", meeting->service, meeting->whom ? "client" : "server");
	bad = ktlsd_open(&agent, NULL);
	if (bad < 0)
		errx(1, "no agent: %s", strerror(-bad));
	handoff = ktlsd_get_handoff(agent);
	if (meeting->whom)
		ktlsd_prep_client(handoff, meeting->fd, service, meeting->whom);
	else
		ktlsd_prep_server(handoff, meeting->fd, service);
	if (ktlsd_submit(agent) != 1 || ktlsd_wait_result(agent, &result, -1) < 0)
		errx(1, "the agent does not answer");
	if (result->error)
		errx(1, "%s: %s", text_or(meeting->whom, "who called us"), result->error_text);
	introduce(meeting, result);
	bad = ktlsd_stream_new(&stream, meeting->fd, NULL, result);
	if (bad < 0)
		errx(1, "no stream: %s", strerror(-bad));
	ktlsd_close(agent);
	return stream;
}

/*
 * In TLS 1.3 who connects is ready before the other has looked at his certificate. So until something was heard, the other may
 * still refuse; then that is what receiving says.
 */
static void talk(const struct meeting *meeting, struct ktlsd_stream *stream)
{
	char said[256], heard[512];
	int length;
	ssize_t n;

	length = snprintf(said, sizeof(said), "hello, %s\n%s\n", meeting->called,
			  meeting->whom ? "I called you" : "you called me");
	if (ktlsd_stream_send(stream, said, length, 0) < 0)
		warnx("%s: %s", meeting->called, ktlsd_stream_why(stream));
	ktlsd_stream_shutdown(stream);
	while ((n = ktlsd_stream_recv(stream, heard, sizeof(heard), 0)) > 0)
		printf("%s says:\n%.*s", meeting->called, (int)n, heard);
	if (n < 0)
		warnx("%s: %s", meeting->called, text_or(ktlsd_stream_why(stream), strerror(-n)));
}

static void meet(struct meeting meeting)
{
	struct timeval patience = {.tv_sec = 5};
	struct ktlsd_stream *stream = shake_hands(&meeting);

	setsockopt(meeting.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	talk(&meeting, stream);
	ktlsd_stream_free(stream);
	close(meeting.fd);
}

static void call(const char *service, const char *whom, const char *host, const char *port)
{
	int fd;

	while ((fd = example_connect(host, port)) < 0) {
		if (errno != ECONNREFUSED && errno != EHOSTUNREACH && errno != ENETUNREACH && errno != ETIMEDOUT)
			err(1, "%s port %s", host, port);
		usleep(200000);
	}
	meet((struct meeting){.fd = fd, .service = service, .whom = whom});
}

static bool in_child(void)
{
	pid_t child = fork();

	if (child < 0)
		warn("fork");
	return child == 0;
}

int main(int argc, char **argv)
{
	struct example_options options = {.listen = "127.0.0.1", .port = "4433", .service = "device"};
	int listener, left;

	example_parse(&options, argc, argv, usage);
	left = argc - optind;
	if (left == 1 || left > 3)
		errx(2, "whom to connect to: NAME ADDR [PORT] is expected");
	setlinebuf(stdout);
	signal(SIGCHLD, SIG_IGN);
	listener = example_listen(&options, 0);
	if (left && in_child()) {
		close(listener);
		call(options.service, argv[optind], argv[optind + 1], left == 3 ? argv[optind + 2] : options.port);
		return 0;
	}
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			err(1, "accept");
		if (in_child()) {
			close(listener);
			meet((struct meeting){.fd = fd, .service = options.service});
			return 0;
		}
		close(fd);
	}
}
