// SPDX-License-Identifier: MIT
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../receive.h"
#include "hostile.h"

#define PATIENCE 10000 /* ms that a handshake without harm may take on a slow machine */

struct pair tcp_pair_from(const char *client_address)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in from = {.sin_family = AF_INET};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	socklen_t length = sizeof(address);
	struct pair pair;

	pair.client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	inet_pton(AF_INET, client_address, &from.sin_addr);
	setsockopt(pair.client, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(listener, 1) != 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &length) != 0 ||
	    bind(pair.client, (struct sockaddr *)&from, sizeof(from)) != 0 ||
	    connect(pair.client, (struct sockaddr *)&address, sizeof(address)) != 0)
		die("a connection on loopback");
	pair.server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (pair.server < 0)
		die("accept");
	close(listener);
	return pair;
}

struct pair tcp_pair(void)
{
	return tcp_pair_from("127.0.0.1");
}

void close_pair(struct pair pair)
{
	close(pair.server);
	close(pair.client);
}

static bool passes(int from, int to, const char *text)
{
	struct pollfd readable = {.fd = to, .events = POLLIN};
	char buffer[64] = "";

	return send(from, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text) && poll(&readable, 1, 2000) == 1 &&
	       recv(to, buffer, sizeof(buffer) - 1, MSG_DONTWAIT) > 0 && strcmp(buffer, text) == 0;
}

bool passes_plaintext(struct pair pair)
{
	return passes(pair.client, pair.server, "there") && passes(pair.server, pair.client, "back");
}

bool is_dead(int fd)
{
	return send(fd, "plaintext", 9, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
	       (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN);
}

struct ktlsd *open_agent(void)
{
	struct ktlsd *agent;
	int error = ktlsd_open(&agent, NULL);

	if (error == 0)
		return agent;
	errno = -error;
	die("ktlsd_open");
}

void hand_over(struct ktlsd *agent, int fd, const char *service, unsigned int timeout_ms, uint64_t cookie)
{
	struct ktlsd_handoff *handoff = ktlsd_get_handoff(agent);
	int error;

	if (strncmp(service, "client", 6) == 0)
		ktlsd_prep_client(handoff, fd, service, "localhost");
	else
		ktlsd_prep_server(handoff, fd, service);
	handoff->timeout_ms = timeout_ms;
	handoff->cookie = cookie;
	error = ktlsd_submit(agent);
	if (error == 1)
		return;
	errno = -error;
	die("ktlsd_submit");
}

struct ended wait_ended(struct ktlsd *agent, int timeout_ms, uint64_t *cookie)
{
	struct ended ended = {.error = ETIME};
	struct ktlsd_result *result;
	int64_t begin = now_ms();
	int error = ktlsd_wait_result(agent, &result, timeout_ms);

	ended.ms = now_ms() - begin;
	if (error != 0) {
		ended.error = -error;
		return ended;
	}
	ended.error = result->error;
	ended.flags = result->flags;
	ended.alert_sent = result->alert_sent;
	ended.alert_received = result->alert_received;
	snprintf(ended.why, sizeof(ended.why), "%s", result->error_text);
	if (cookie)
		*cookie = result->cookie;
	ktlsd_result_seen(agent);
	return ended;
}

struct ended serve(int fd, const char *service, unsigned int timeout_ms)
{
	struct ktlsd *agent = open_agent();
	struct ended ended;

	hand_over(agent, fd, service, timeout_ms, 0);
	ended = wait_ended(agent, PATIENCE, NULL);
	ktlsd_close(agent);
	return ended;
}

static bool receives(int fd, const char *text)
{
	char buffer[64] = "";

	return receive_once(fd, buffer, sizeof(buffer) - 1, 0) == (ssize_t)strlen(text) && strcmp(buffer, text) == 0;
}

bool good_handshake(void)
{
	struct ktlsd *agent = open_agent();
	struct pair pair = tcp_pair();
	struct ended first, second;
	bool good;

	hand_over(agent, pair.server, "web", 0, 0);
	hand_over(agent, pair.client, "client", 0, 1);
	first = wait_ended(agent, PATIENCE, NULL);
	second = wait_ended(agent, PATIENCE, NULL);
	good = first.error == 0 && second.error == 0 && send(pair.client, "there", 5, 0) == 5 &&
	       receives(pair.server, "there") && send(pair.server, "back", 4, 0) == 4 && receives(pair.client, "back");
	if (!good)
		note("a handshake without harm: %s %s, %s %s", name_of(first.error), first.why, name_of(second.error),
		     second.why);
	ktlsd_close(agent);
	close_pair(pair);
	return good;
}

int64_t handshakes_ms(unsigned int count)
{
	int64_t begin = now_ms();

	for (unsigned int i = 0; i < count; i++) {
		if (!good_handshake())
			return -1;
	}
	return now_ms() - begin;
}
