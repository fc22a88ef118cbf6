// SPDX-License-Identifier: MIT
/* Descriptors that are no connected TCP socket, and callers that may not. All are refused, and left as they were. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#define LOGGED 8

/* Two descriptors, of which the first is handed over; the other, or -1, is kept open meanwhile. */
struct both {
	int fd, other;
};

static struct both a_file(void)
{
	return (struct both){open("/etc/passwd", O_RDONLY), -1};
}

static struct both a_directory(void)
{
	return (struct both){open("/tmp", O_RDONLY | O_DIRECTORY), -1};
}

static struct both a_path(void)
{
	return (struct both){open("/tmp", O_PATH), -1};
}

static struct both a_terminal(void)
{
	return (struct both){open("/dev/ptmx", O_RDWR | O_NOCTTY), -1};
}

static struct both a_pipe(void)
{
	int ends[2];

	return pipe(ends) == 0 ? (struct both){ends[1], ends[0]} : (struct both){-1, -1};
}

static struct both an_eventfd(void)
{
	return (struct both){eventfd(0, 0), -1};
}

static struct both an_epoll(void)
{
	return (struct both){epoll_create1(0), -1};
}

static struct both a_memfd(void)
{
	return (struct both){memfd_create("hostile", 0), -1};
}

static struct both of_type(int domain, int type, int protocol)
{
	return (struct both){socket(domain, type, protocol), -1};
}

static struct both unix_pair(int type)
{
	int ends[2];

	return socketpair(AF_UNIX, type, 0, ends) == 0 ? (struct both){ends[0], ends[1]} : (struct both){-1, -1};
}

static struct both a_unix_stream(void)
{
	return unix_pair(SOCK_STREAM);
}

static struct both a_unix_seqpacket(void)
{
	return unix_pair(SOCK_SEQPACKET);
}

static struct both connected(int type, int protocol)
{
	struct sockaddr_in nowhere = {
		.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct both both = of_type(AF_INET, type, protocol);

	if (both.fd >= 0 && connect(both.fd, (struct sockaddr *)&nowhere, sizeof(nowhere)) != 0)
		die("connecting a datagram socket");
	return both;
}

static struct both a_udp(void)
{
	return connected(SOCK_DGRAM, 0);
}

static struct both a_raw_tcp(void)
{
	return connected(SOCK_RAW, IPPROTO_TCP);
}

static struct both an_unconnected_tcp(void)
{
	return of_type(AF_INET, SOCK_STREAM, 0);
}

static struct both listening(int protocol)
{
	struct both both = of_type(AF_INET, SOCK_STREAM, protocol);

	if (both.fd >= 0 && listen(both.fd, 1) != 0)
		die("listen");
	return both;
}

static struct both a_listener(void)
{
	return listening(0);
}

/* Connected, MPTCP at both ends. */
static struct both an_mptcp(void)
{
	struct both both = listening(IPPROTO_MPTCP);
	struct sockaddr_in address;
	socklen_t length = sizeof(address);
	int listener = both.fd;

	if (listener < 0 || getsockname(listener, (struct sockaddr *)&address, &length) != 0)
		return (struct both){-1, -1};
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	both.fd = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
	if (connect(both.fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		die("connecting MPTCP");
	both.other = accept(listener, NULL, NULL);
	close(listener);
	return both;
}

static struct both a_tcp(void)
{
	struct pair pair = tcp_pair();

	return (struct both){pair.server, pair.client};
}

static struct both closing_by(int how)
{
	struct both both = a_tcp();

	shutdown(how == SHUT_RD ? both.other : both.fd, SHUT_WR);
	usleep(20000); /* until the FIN is there */
	return both;
}

static struct both closing_by_peer(void)
{
	return closing_by(SHUT_RD);
}

static struct both closing_by_us(void)
{
	return closing_by(SHUT_WR);
}

static struct both a_tcp_with_ulp(void)
{
	struct both both = a_tcp();

	if (setsockopt(both.fd, SOL_TCP, TCP_ULP, "tls", sizeof("tls")) != 0)
		die("TCP_ULP");
	return both;
}

static struct both the_door_itself(void)
{
	struct wire wire;

	wire_greet(&wire);
	return (struct both){wire.fd, -1};
}

static const struct {
	const char *name;
	struct both (*make)(void);
	int error;
	const char *why;
} kinds[] = {
	{"a regular file", a_file, ENOTSOCK, "not a socket"},
	{"a UDP socket", a_udp, EPROTONOSUPPORT, "not TCP"},
	{"a UNIX socket", a_unix_stream, EPROTONOSUPPORT, "not TCP"},
	{"a listening TCP socket", a_listener, ENOTCONN, "not connected"},
	{"an unconnected TCP socket", an_unconnected_tcp, ENOTCONN, "not connected"},
	{"a socket whose peer is closing", closing_by_peer, ENOTCONN, "not open in both directions"},
	{"a socket that we are closing", closing_by_us, ENOTCONN, "not open in both directions"},
	{"a socket that has the ULP", a_tcp_with_ulp, EEXIST, "already has a ULP"},
	{"a directory", a_directory, ENOTSOCK, "not a socket"},
	{"an O_PATH descriptor", a_path, ENOTSOCK, "not a socket"},
	{"a terminal", a_terminal, ENOTSOCK, "not a socket"},
	{"a pipe", a_pipe, ENOTSOCK, "not a socket"},
	{"an eventfd", an_eventfd, ENOTSOCK, "not a socket"},
	{"an epoll descriptor", an_epoll, ENOTSOCK, "not a socket"},
	{"a memfd", a_memfd, ENOTSOCK, "not a socket"},
	{"a UNIX SEQPACKET socket", a_unix_seqpacket, EPROTONOSUPPORT, "not TCP"},
	{"a connection to the agent", the_door_itself, EPROTONOSUPPORT, "not TCP"},
	{"a raw socket for TCP", a_raw_tcp, EPROTONOSUPPORT, ""},
	{"an MPTCP socket", an_mptcp, EPROTONOSUPPORT, "not TCP"},
};

static struct answer offer(int fd, const char *service, unsigned int role)
{
	uint8_t datagram[256] __attribute__((aligned(8)));
	struct ktlsd_msg_handoff *message = (void *)datagram;
	struct answer answer = {.error = ETIME};
	size_t length = put_handoff(datagram, 7, service);
	struct wire wire;

	message->role = role;
	if (role == KTLSD_CLIENT) {
		struct datagram_writer datagram_writer = {.data = datagram, .size = sizeof(datagram)};

		message = message_begin(&datagram_writer, KTLSD_MSG_HANDOFF, sizeof(*message), 7);
		message->role = role;
		message_text(&datagram_writer, KTLSD_ATTR_SERVICE, service);
		message_text(&datagram_writer, KTLSD_ATTR_SERVER_NAME, "localhost");
		message_end(&datagram_writer);
		length = datagram_writer.length;
	}
	wire_greet(&wire);
	wire_send(&wire, datagram, length, &fd, 1);
	wire_answer(&wire, 3000, &answer);
	wire_close(&wire);
	return answer;
}

static bool is_refused(const struct answer *answer, int error, const char *why)
{
	bool good = answer->error == (unsigned int)error && answer->flags == KTLSD_RESULT_REFUSED &&
		    strstr(answer->why, why);

	if (!good)
		note("answer: %s (%s), flags %#x; expected %s (%s)", name_of(answer->error), answer->why, answer->flags,
		     name_of(error), why);
	return good;
}

/* A file system in a process that does not answer when files are closed (hostile_fuse): by name, in FUSE_FILE. */
static void hanging_files(void)
{
	const char *file = getenv("FUSE_FILE");
	unsigned int before = agent_descriptors(), i;
	uint8_t datagram[64] __attribute__((aligned(8)));
	struct answer answer = {0};
	struct wire wire;
	bool good = true;
	pid_t child;
	int fd;

	if (!file) {
		report(true, "files whose closing hangs # SKIP no FUSE here");
		return;
	}
	child = fork(); /* its own end hangs, too */
	if (child == 0) {
		wire_greet(&wire);
		for (i = 0; i < 16; i++) {
			fd = open(file, O_RDONLY);
			wire_send(&wire, datagram, put_handoff(datagram, 7, "web"), &fd, 1);
			good = fd >= 0 && wire_answer(&wire, 3000, &answer) == 1 && good &&
			       is_refused(&answer, ENOTSOCK, "not a socket");
		}
		report(good, "16 files whose closing hangs: ENOTSOCK, at once");
		_exit(0);
	}
	usleep(500000);
	report(good_handshake(), "meanwhile handshakes go on");
	for (i = 0; i < 100 && good; i++) {
		struct both pipe_ends = a_pipe();

		answer = offer(pipe_ends.fd, "web", KTLSD_SERVER);
		good = is_refused(&answer, ENOTSOCK, "not a socket");
		close(pipe_ends.fd);
		close(pipe_ends.other);
	}
	report(good, "meanwhile 100 pipes of another caller are refused");
	report(agent_settles(before + 17), "and closed: what hangs for one caller holds up no other");
	note("%u descriptors before, %u now", before, agent_descriptors());
	(void)child; /* init gets it: it ends with the file system */
}

/* hang: hands over one such file and stays until it ends. */
void hang(int argc, char **argv)
{
	uint8_t datagram[64] __attribute__((aligned(8)));
	struct answer answer;
	struct wire wire;
	int fd = open(getenv("FUSE_FILE"), O_RDONLY);

	(void)argc, (void)argv;
	wire_greet(&wire);
	wire_send(&wire, datagram, put_handoff(datagram, 7, "web"), &fd, 1);
	report(fd >= 0 && wire_answer(&wire, 3000, &answer) == 1, "a file whose closing hangs");
}

void descriptors(int argc, char **argv)
{
	(void)argc, (void)argv;
	for (size_t i = 0; i < COUNT(kinds); i++) {
		unsigned int before = agent_descriptors();
		struct both both = kinds[i].make();
		long log = agent_log_length();
		struct answer answer;
		bool good;

		if (both.fd < 0) {
			report(true, "%s # SKIP not here: %s", kinds[i].name, strerror(errno));
			continue;
		}
		answer = offer(both.fd, "web", KTLSD_SERVER);
		good = is_refused(&answer, kinds[i].error, kinds[i].why);
		close(both.fd);
		if (both.other >= 0)
			close(both.other);
		good = agent_settles(before) && good;
		if (i < LOGGED && !agent_logged(log, kinds[i].why, "")) {
			note("the log does not say \"%s\"", kinds[i].why);
			good = false;
		}
		report(good, "%s: %s", kinds[i].name, name_of(kinds[i].error));
	}
	hanging_files();
	report(good_handshake(), "the next handshake is unharmed");
}

/* ---- who may ---- */

#define NOBODY 65534
#define STRANGER 4321
#define MANY_GROUPS 300

static const struct {
	uid_t user;
	gid_t group;
	size_t others; /* supplementary groups: the first is 60, the last is 61 */
	const char *service;
	unsigned int role;
	int error;
	const char *why;
} uses[] = {
	/* user, group, others, service, role, error */
	{0, 0, 0, "missing", KTLSD_SERVER, ENOENT, "no such service"},
	{0, 0, 0, "web", KTLSD_CLIENT, EINVAL, "other role"},
	{0, 0, 0, "client", KTLSD_SERVER, EINVAL, "other role"},
	{STRANGER, STRANGER, 0, "root", KTLSD_SERVER, EACCES, "may not use"},
	{STRANGER, STRANGER, 0, "users", KTLSD_SERVER, EACCES, "may not use"},
	{STRANGER, STRANGER, 0, "groups", KTLSD_SERVER, EACCES, "may not use"},
	{0, 0, 0, "root", KTLSD_SERVER, 0, ""},
	{NOBODY, STRANGER, 0, "root", KTLSD_SERVER, EACCES, "may not use"},
	{NOBODY, STRANGER, 0, "users", KTLSD_SERVER, 0, ""},
	{STRANGER, NOBODY, 0, "users", KTLSD_SERVER, EACCES, "may not use"},
	{STRANGER, 61, 0, "groups", KTLSD_SERVER, 0, ""},
	{STRANGER, STRANGER, 1, "groups", KTLSD_SERVER, EACCES, "may not use"},
	{STRANGER, STRANGER, 2, "groups", KTLSD_SERVER, 0, ""},
	{STRANGER, STRANGER, MANY_GROUPS, "groups", KTLSD_SERVER, 0, ""},
	{STRANGER, STRANGER, 0, "web", KTLSD_SERVER, 0, ""},
};

static bool use(size_t i)
{
	struct pair pair = tcp_pair();
	gid_t others[MANY_GROUPS];
	struct answer answer;
	int kept = dup(pair.server);
	size_t n;

	for (n = 0; n < uses[i].others; n++)
		others[n] = n == 0 ? 60 : n + 1 == uses[i].others ? 61 : 10000 + n;
	if (setgroups(uses[i].others, others) != 0 || setresgid(uses[i].group, uses[i].group, uses[i].group) != 0 ||
	    setresuid(uses[i].user, uses[i].user, uses[i].user) != 0)
		die("becoming another user");
	if (uses[i].error) {
		answer = offer(pair.server, uses[i].service, uses[i].role);
		return is_refused(&answer, uses[i].error, uses[i].why) && passes_plaintext(pair);
	}
	close(pair.client); /* which ends the handshake that was let in */
	answer = offer(kept, uses[i].service, uses[i].role);
	if (answer.error != EACCES)
		return true;
	note("it is refused: %s", answer.why);
	return false;
}

/* Whatever a socket's owner does with its lock, the agent waits for it only where the owner may use a service. */
static void strangers_descriptor(void)
{
	pid_t child = fork();
	struct answer answer;
	int ends[2], status;

	if (child == 0) {
		if (pipe(ends) != 0 || setgroups(0, NULL) != 0 || setresuid(STRANGER, STRANGER, STRANGER) != 0)
			die("becoming another user");
		answer = offer(ends[0], "root", KTLSD_SERVER);
		_exit(!is_refused(&answer, EACCES, "may not use"));
	}
	if (waitpid(child, &status, 0) != child)
		die("fork");
	report(status == 0, "a descriptor of who may not use the service is not looked at");
}

void authority(int argc, char **argv)
{
	(void)argc, (void)argv;
	for (size_t i = 0; i < COUNT(uses); i++) {
		long log = agent_log_length();
		pid_t child = fork();
		int status;

		if (child == 0)
			_exit(!use(i));
		if (waitpid(child, &status, 0) != child)
			die("fork");
		report(status == 0 && (!uses[i].error || i >= LOGGED || agent_logged(log, uses[i].why, "refused")),
		       "user %u, group %u, %zu other groups, service %s: %s", uses[i].user, uses[i].group,
		       uses[i].others, uses[i].service, uses[i].error ? name_of(uses[i].error) : "let in");
	}
	strangers_descriptor();
	report(good_handshake(), "the next handshake is unharmed");
}
