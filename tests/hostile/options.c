// SPDX-License-Identifier: MIT
/* Sockets with options and flags of their own: the handshake works with them, and leaves them as they were. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "hostile.h"

static const struct linger ten_seconds = {.l_onoff = 1, .l_linger = 10}, reset = {.l_onoff = 1, .l_linger = 0};
static const struct timeval moment = {.tv_usec = 10000};
static const int yes = 1, no = 0, much = 4096, few = 3, small = 1;

static const struct {
	const char *name;
	int flags;
	int level, option;
	const void *value;
	socklen_t size;
} settings[] = {
	{"plain", 0, 0, 0, NULL, 0},
	{"O_NONBLOCK", O_NONBLOCK, 0, 0, NULL, 0},
	{"TCP_NODELAY", 0, SOL_TCP, TCP_NODELAY, &yes, sizeof(yes)},
	{"TCP_NODELAY off", 0, SOL_TCP, TCP_NODELAY, &no, sizeof(no)},
	{"TCP_QUICKACK off", 0, SOL_TCP, TCP_QUICKACK, &no, sizeof(no)},
	{"TCP_CORK", 0, SOL_TCP, TCP_CORK, &yes, sizeof(yes)},
	{"SO_RCVLOWAT = 3", 0, SOL_SOCKET, SO_RCVLOWAT, &few, sizeof(few)},
	{"SO_RCVLOWAT = 4096", 0, SOL_SOCKET, SO_RCVLOWAT, &much, sizeof(much)},
	{"SO_RCVLOWAT = 4096, O_NONBLOCK", O_NONBLOCK, SOL_SOCKET, SO_RCVLOWAT, &much, sizeof(much)},
	{"SO_RCVTIMEO of 10 ms", 0, SOL_SOCKET, SO_RCVTIMEO, &moment, sizeof(moment)},
	{"SO_SNDTIMEO of 10 ms", 0, SOL_SOCKET, SO_SNDTIMEO, &moment, sizeof(moment)},
	{"SO_LINGER of 10 s", 0, SOL_SOCKET, SO_LINGER, &ten_seconds, sizeof(ten_seconds)},
	{"SO_LINGER of 0 s", 0, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)},
	{"SO_OOBINLINE", 0, SOL_SOCKET, SO_OOBINLINE, &yes, sizeof(yes)},
	{"SO_TIMESTAMP", 0, SOL_SOCKET, SO_TIMESTAMP, &yes, sizeof(yes)},
	{"SO_KEEPALIVE", 0, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes)},
	{"SO_PEEK_OFF = 0", 0, SOL_SOCKET, SO_PEEK_OFF, &no, sizeof(no)},
	{"SO_SNDBUF and SO_RCVBUF as small as can be", 0, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)},
};

struct looks {
	int flags, nodelay, low_water, send_buffer;
	struct linger linger;
	struct timeval receive_timeout;
};

static void read_option(int fd, int level, int option, void *value, socklen_t size)
{
	if (getsockopt(fd, level, option, value, &size) != 0)
		die("getsockopt");
}

static struct looks look(int fd)
{
	struct looks looks;

	memset(&looks, 0, sizeof(looks));
	looks.flags = fcntl(fd, F_GETFL);
	read_option(fd, SOL_TCP, TCP_NODELAY, &looks.nodelay, sizeof(looks.nodelay));
	read_option(fd, SOL_SOCKET, SO_RCVLOWAT, &looks.low_water, sizeof(looks.low_water));
	read_option(fd, SOL_SOCKET, SO_SNDBUF, &looks.send_buffer, sizeof(looks.send_buffer));
	read_option(fd, SOL_SOCKET, SO_LINGER, &looks.linger, sizeof(looks.linger));
	read_option(fd, SOL_SOCKET, SO_RCVTIMEO, &looks.receive_timeout, sizeof(looks.receive_timeout));
	return looks;
}

static void set(int fd, size_t i)
{
	if (settings[i].flags && fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | settings[i].flags) != 0)
		die("O_NONBLOCK");
	if (settings[i].value &&
	    setsockopt(fd, settings[i].level, settings[i].option, settings[i].value, settings[i].size) != 0)
		die(settings[i].name);
	if (settings[i].value == &small)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
}

static bool unchanged(int fd, const struct looks *before)
{
	struct looks after = look(fd);

	if (memcmp(&after, before, sizeof(after)) == 0)
		return true;
	note("flags %o, were %o; nodelay %d, was %d; low water %d, was %d; send buffer %d, was %d", after.flags,
	     before->flags, after.nodelay, before->nodelay, after.low_water, before->low_water, after.send_buffer,
	     before->send_buffer);
	return false;
}

static void handshake(size_t i, const char *service)
{
	struct ktlsd *agent = open_agent();
	struct pair pair = tcp_pair();
	struct looks server, client;
	struct ended one, two;

	set(pair.server, i);
	set(pair.client, i);
	server = look(pair.server);
	client = look(pair.client);
	hand_over(agent, pair.server, service, 3000, 0);
	hand_over(agent, pair.client, "client", 3000, 1);
	one = wait_ended(agent, 5000, NULL);
	two = wait_ended(agent, 5000, NULL);
	report(one.error == 0 && two.error == 0 && unchanged(pair.server, &server) && unchanged(pair.client, &client),
	       "%s, service %s: %s %s", settings[i].name, service, name_of(one.error), one.why);
	close_pair(pair);
	ktlsd_close(agent);
}

static void refusal(size_t i)
{
	struct pair pair = tcp_pair();
	struct looks before;
	struct ended ended;

	set(pair.server, i);
	before = look(pair.server);
	ended = serve(pair.server, "none", 0);
	report(ended.error == ENOENT && unchanged(pair.server, &before), "%s, after a refusal", settings[i].name);
	close_pair(pair);
}

void options(int argc, char **argv)
{
	(void)argc, (void)argv;
	for (size_t i = 0; i < COUNT(settings); i++) {
		handshake(i, "web");
		handshake(i, "web12");
		refusal(i);
	}
}
