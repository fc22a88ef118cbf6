/* SPDX-License-Identifier: MIT */
/* An echo server on epoll: the listener, the agent and every connection in one loop. */
#include <stdbool.h>
#include <sys/epoll.h>

#include "example.h"
#include "ktlsd.h"

#define CONNECTIONS_MAX 10000
#define ACCEPT_AT_ONCE 64
#define RETRY_MS 200 /* how soon to try again when the agent is away */

static const char usage[] =
	"usage: example-epoll-echo [OPTION...]\n\nA TLS server that sends back what it gets.\n\n" EXAMPLE_USAGE;

struct connection {
	int fd;
	struct ktlsd_stream *stream; /* once it is ready */
	uint32_t watched;	     /* events */
	bool finished;		     /* the peer has sent all it had */
	size_t start, end;
	char data[16384]; /* [start, end) has to be sent back */
};

static int epoll_fd, listener;
static unsigned int connections;
static bool listening;
static struct ktlsd *agent;

static void watch(int operation, int fd, uint32_t events, void *tag)
{
	struct epoll_event event = {.events = events, .data.ptr = tag};

	if (epoll_ctl(epoll_fd, operation, fd, &event) < 0)
		err(1, "epoll_ctl");
}

static void listen_for_more(bool more)
{
	if (more != listening)
		watch(EPOLL_CTL_MOD, listener, more ? EPOLLIN : 0, &listener);
	listening = more;
}

static void wait_for(struct connection *connection, uint32_t events)
{
	if (events != connection->watched)
		watch(EPOLL_CTL_MOD, connection->fd, events, connection);
	connection->watched = events;
}

static void drop(struct connection *connection)
{
	/* By hand, because epoll watches as long as any process has the socket. */
	if (connection->watched)
		epoll_ctl(epoll_fd, EPOLL_CTL_DEL, connection->fd, NULL);
	ktlsd_stream_free(connection->stream);
	close(connection->fd);
	free(connection);
	connections--;
	listen_for_more(true);
}

/* Sends back what is there. False: the socket takes no more now, or the connection is over. */
static bool send_back(struct connection *connection)
{
	ssize_t n;

	while (connection->start < connection->end) {
		n = ktlsd_stream_send(connection->stream, connection->data + connection->start,
				      connection->end - connection->start, 0);
		if (n == -EAGAIN) {
			wait_for(connection, EPOLLOUT);
			return false;
		}
		if (n < 0) {
			drop(connection);
			return false;
		}
		connection->start += n;
	}
	return true;
}

/* The peer may still read after it said that it has no more to send, so all is sent back before we say the same. */
static void say_goodbye(struct connection *connection)
{
	if (ktlsd_stream_shutdown(connection->stream) == -EAGAIN) {
		wait_for(connection, EPOLLOUT);
		return;
	}
	drop(connection);
}

/* Reads once per wake-up, so that a busy peer does not keep the others waiting. */
static void serve(struct connection *connection)
{
	ssize_t n;

	if (!send_back(connection))
		return;
	if (!connection->finished) {
		n = ktlsd_stream_recv(connection->stream, connection->data, sizeof(connection->data), 0);
		if (n < 0 && n != -EAGAIN) {
			if (*ktlsd_stream_why(connection->stream))
				warnx("%s", ktlsd_stream_why(connection->stream));
			drop(connection);
			return;
		}
		connection->finished = n == 0;
		connection->start = 0;
		connection->end = n > 0 ? n : 0;
		if (!send_back(connection))
			return;
	}
	if (connection->finished)
		say_goodbye(connection);
	else
		wait_for(connection, EPOLLIN);
}

static void take_results(void)
{
	struct ktlsd_result *result;

	while (ktlsd_peek_result(agent, &result) == 0) {
		struct connection *connection = (void *)(uintptr_t)result->cookie;

		if (result->error) {
			warnx("handshake: %s", result->error_text);
			drop(connection);
		} else if (ktlsd_stream_new(&connection->stream, connection->fd, agent, result) < 0) {
			drop(connection);
		} else {
			watch(EPOLL_CTL_ADD, connection->fd, EPOLLIN, connection);
			connection->watched = EPOLLIN;
		}
		ktlsd_result_seen(agent);
	}
}

/* False: no room for it just now. */
static bool hand_over(int fd, const char *service)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	struct ktlsd_handoff *handoff = connection ? ktlsd_get_handoff(agent) : NULL;

	if (!handoff) {
		free(connection);
		return false;
	}
	connection->fd = fd;
	ktlsd_prep_server(handoff, fd, service);
	handoff->cookie = (uintptr_t)connection;
	connections++;
	return true;
}

static void accept_some(const char *service)
{
	for (int i = 0; i < ACCEPT_AT_ONCE && connections < CONNECTIONS_MAX; i++) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0) {
			listen_for_more(errno == EAGAIN || errno == ECONNABORTED);
			return;
		}
		if (!hand_over(fd, service))
			close(fd);
	}
	listen_for_more(connections < CONNECTIONS_MAX);
}

int main(int argc, char **argv)
{
	struct example_options options = EXAMPLE_DEFAULTS;
	struct epoll_event events[64];
	int n, bad;

	example_parse(&options, argc, argv, usage);
	bad = ktlsd_open(&agent, NULL);
	if (bad < 0)
		errx(1, "no agent: %s", strerror(-bad));
	listener = example_listen(&options, SOCK_NONBLOCK);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	watch(EPOLL_CTL_ADD, listener, EPOLLIN, &listener);
	listening = true;
	watch(EPOLL_CTL_ADD, ktlsd_fd(agent), EPOLLIN, agent);
	for (;;) {
		bad = ktlsd_submit(agent);
		n = epoll_wait(epoll_fd, events, 64, bad < 0 && bad != -EAGAIN ? RETRY_MS : -1);
		for (int i = 0; i < n; i++) {
			void *tag = events[i].data.ptr;

			if (tag == &listener)
				accept_some(options.service);
			else if (tag == agent)
				take_results();
			else
				serve(tag);
		}
	}
}
