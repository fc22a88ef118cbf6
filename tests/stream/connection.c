// SPDX-License-Identifier: MIT
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "connection.h"

#define BUFFER (4 << 20) /* whatever a test sends at once */

bool fail(const char *format, ...)
{
	va_list arguments;

	printf("# ");
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
	fflush(stdout);
	return false;
}

int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

bool kernel_can_rekey(void)
{
	struct utsname name;
	int major = 0, minor = 0;

	return uname(&name) == 0 && sscanf(name.release, "%d.%d", &major, &minor) == 2 &&
	       (major > 6 || (major == 6 && minor >= 14));
}

/* ---- the sequence ---- */

static uint8_t byte_at(uint64_t offset)
{
	return offset * 31 >> 3 ^ offset ^ offset >> 13;
}

void fill(uint8_t *data, size_t length, uint64_t offset)
{
	for (size_t i = 0; i < length; i++)
		data[i] = byte_at(offset + i);
}

bool is_filled(const uint8_t *data, size_t length, uint64_t offset)
{
	for (size_t i = 0; i < length; i++)
		if (data[i] != byte_at(offset + i))
			return fail("byte %llu of the stream is another", (unsigned long long)(offset + i));
	return true;
}

/* ---- a connection ---- */

static void set_options(int fd)
{
	struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
	int buffer = BUFFER, on = 1;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof(buffer));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer));
	setsockopt(fd, SOL_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* The end of a ring can interrupt what comes next. */
static int connect_patiently(int fd, const struct sockaddr_in *address)
{
	int result;

	do {
		result = connect(fd, (const struct sockaddr *)address, sizeof(*address));
	} while (result != 0 && errno == EINTR);
	return result;
}

static bool connect_pair(int *server, int *client)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t length = sizeof(address);

	set_options(listener);
	*client = socket(AF_INET, SOCK_STREAM, 0);
	set_options(*client);
	if (bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, 1) != 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &length) != 0 ||
	    connect_patiently(*client, &address) != 0)
		return fail("no connection: %s", strerror(errno));
	*server = accept(listener, NULL, NULL);
	close(listener);
	set_options(*server);
	return *server >= 0;
}

static bool hand_over(struct ktlsd *agent, int server, int client, const struct setup *setup)
{
	struct ktlsd_handoff *handoff = ktlsd_get_handoff(agent);

	ktlsd_prep_server(handoff, server, setup->service);
	handoff->cookie = KTLSD_SERVER;
	if (setup->without_token && setup->role == KTLSD_SERVER)
		handoff->want = 0;
	handoff = ktlsd_get_handoff(agent);
	ktlsd_prep_client(handoff, client, "client", "localhost");
	handoff->cookie = KTLSD_CLIENT;
	if (setup->without_token && setup->role == KTLSD_CLIENT)
		handoff->want = 0;
	return ktlsd_submit(agent) == 2 || fail("can't hand over");
}

static bool take_result(struct connection *connection, struct ktlsd *agent, const struct ktlsd_result *result)
{
	bool ours = result->cookie == connection->role;
	int err;

	if (result->error)
		return fail("%s: %s", strerror(result->error), result->error_text);
	connection->version = result->version;
	if (!ours) {
		err = ktlsd_stream_new(&connection->peer, connection->peer_fd, NULL, result);
		return err == 0 || fail("the peer's stream: %s", strerror(-err));
	}
	connection->can_rekey = result->token;
	if (connection->way >= POLLING && connection->way <= EDGES)
		fcntl(connection->fd, F_SETFL, O_NONBLOCK);
	if (connection->way == RING_NONBLOCKING)
		fcntl(connection->fd, F_SETFL, O_NONBLOCK);
	if (connection->way != BLOCKING && connection->way != POLLING_ALONE)
		connection->agent = agent;
	err = ktlsd_stream_new(&connection->stream, connection->fd, connection->agent, result);
	return err == 0 || fail("the stream: %s", strerror(-err));
}

static bool take_results(struct connection *connection, struct ktlsd *agent)
{
	struct ktlsd_result *result;
	bool good = true;

	for (int i = 0; i < 2 && good; i++) {
		good = ktlsd_wait_result(agent, &result, PATIENCE_MS) == 0 || fail("no result");
		good = good && take_result(connection, agent, result);
		ktlsd_result_seen(agent);
	}
	return good;
}

bool connection_open(struct connection *connection, const struct setup *setup)
{
	static const struct ktlsd_stream_limits patient = {.control_burst = 1000000};
	struct ktlsd *agent;
	int server, client;
	bool good;

	*connection = (struct connection){.way = setup->way, .role = setup->role, .epoll_fd = -1, .read_size = 65536};
	if (!connect_pair(&server, &client))
		return false;
	connection->fd = setup->role == KTLSD_SERVER ? server : client;
	connection->peer_fd = setup->role == KTLSD_SERVER ? client : server;
	if (ktlsd_open(&agent, NULL) < 0)
		return fail("no agent");
	good = hand_over(agent, server, client, setup) && take_results(connection, agent);
	if (!connection->agent)
		ktlsd_close(agent);
	if (!good)
		return false;
	ktlsd_stream_set_limits(connection->stream, &setup->limits);
	ktlsd_stream_set_limits(connection->peer, &patient);
	return reader_open(connection);
}

void connection_close(struct connection *connection)
{
	reader_close(connection);
	ktlsd_stream_free(connection->stream);
	ktlsd_stream_free(connection->peer);
	ktlsd_close(connection->agent);
	if (connection->fd >= 0)
		close(connection->fd);
	if (connection->peer_fd >= 0)
		close(connection->peer_fd);
}
