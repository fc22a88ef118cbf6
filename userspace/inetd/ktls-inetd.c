/* SPDX-License-Identifier: MIT */
/* ktls-inetd: a command for each connection, on its standard input and output. The agent accepts and does the handshakes. */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "places.h"
#include "relay.h"

#define LISTEN_QUEUE 1024
#define RETRY_MS 200
#define MAX_MOST 100000
#define IDLE_MOST 1000000 /* seconds */

static const char usage_text[] =
	"Usage: ktls-inetd [OPTION...] --ready PATH [--] COMMAND [ARGUMENT...]\n"
	"       ktls-inetd [OPTION...] --listen ADDRESS:PORT [--service NAME] [--] COMMAND [ARGUMENT...]\n"
	"\n"
	"Runs a command for each TLS connection, with its bytes on standard input and output.\n"
	"The agent ktlsd accepts, does the handshakes, and puts the keys into the kernel.\n"
	"\n"
	"  --ready PATH            where the agent gives ready connections (ready_socket in ktlsd.conf)\n"
	"  --listen ADDRESS:PORT   listens there itself, and hands that to the agent; [ADDRESS]:PORT for IPv6\n"
	"  --service NAME          under which the agent does the handshakes (default \"default\")\n"
	"  --max N                 commands at a time (default 100)\n"
	"  --max-per-peer N        of these for one address (default: three quarters of them)\n"
	"  --idle SECONDS          a connection on which nothing goes either way is cut off (default 600; 0: never)\n"
	"  --direct                the command gets the TLS socket itself: no process between, and no bytes\n"
	"                          copied, but the end of the peer's stream reads as an error (EIO), and\n"
	"                          the peer sees the connection end without close_notify\n"
	"  --version, --help\n"
	"\n"
	"The command's environment says who the peer is: see ktls-inetd(1).\n";

static struct {
	const char *ready, *listen, *service;
	unsigned int max, max_per_peer, idle;
	int direct;
	char **command;
} options = {.service = "default", .max = 100, .idle = 600};

static int listener = -1; /* ours, while the agent accepts on it */
static struct ktlsd_ready ready;
static sigset_t signals_before;

/* ---- where connections come from ---- */

static int listen_on(const char *text)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICHOST};
	struct addrinfo *found;
	char host[64], port[32];
	int on = 1, fd, error;

	if (sscanf(text, "[%63[^]]]:%31s", host, port) != 2 && sscanf(text, "%63[^:]:%31s", host, port) != 2)
		errx(2, "--listen %s; expected ADDRESS:PORT or [ADDRESS]:PORT", text);
	error = getaddrinfo(host, port, &hints, &found);
	if (error)
		errx(2, "--listen %s: %s; expected a numeric address", text, gai_strerror(error));
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, LISTEN_QUEUE) != 0)
		err(1, "listen on %s", text);
	freeaddrinfo(found);
	return fd;
}

static int connect_to(const char *path, char *why, size_t why_size)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(address.sun_path))
		errx(2, "--ready %s: too long for a socket's path", path);
	strcpy(address.sun_path, path);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	snprintf(why, why_size, "%s: %s; does ktlsd run, with ready_socket = %s?", path, strerror(errno), path);
	if (fd >= 0)
		close(fd);
	return -1;
}

static int attach(char *why, size_t why_size)
{
	if (options.ready)
		return connect_to(options.ready, why, why_size);
	return ktlsd_listen(listener, options.service, 0, KTLSD_WANT_TOKEN, why, why_size);
}

/* An agent that went away comes back: it says so once, and tries again. A receiver, or -1. */
static int attach_again(void)
{
	static bool said;
	char why[256];
	int receiver = attach(why, sizeof(why));

	if (receiver < 0 && !said)
		warnx("%s; trying again", why);
	said = receiver < 0;
	return receiver < 0 ? -1 : receiver;
}

/* ---- a connection ---- */

static void set_number(const char *name, unsigned int value)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", value);
	setenv(name, text, 1);
}

static const char *host_of(const struct sockaddr_storage *address)
{
	const struct sockaddr_in *v4 = (const void *)address;
	const struct sockaddr_in6 *v6 = (const void *)address;
	bool six = address->ss_family == AF_INET6;
	static char host[INET6_ADDRSTRLEN];

	*host = '\0';
	inet_ntop(address->ss_family, six ? (const void *)&v6->sin6_addr : (const void *)&v4->sin_addr, host,
		  sizeof(host));
	return host;
}

static void set_end(const struct sockaddr_storage *address, const char *const *host_names,
		    const char *const *port_names)
{
	for (; *host_names; host_names++)
		setenv(*host_names, host_of(address), 1);
	for (; *port_names; port_names++) /* it is in the same place for both families */
		set_number(*port_names, ntohs(((const struct sockaddr_in *)address)->sin_port));
}

/* The names are those of tcpserver, of systemd's Accept=yes, and of what web servers tell about TLS. */
static void describe(int connection, const struct sockaddr_storage *peer)
{
	static const char *const remote_hosts[] = {"TCPREMOTEIP", "REMOTE_ADDR", "REMOTE_HOST", NULL};
	static const char *const remote_ports[] = {"TCPREMOTEPORT", "REMOTE_PORT", NULL};
	static const char *const local_hosts[] = {"TCPLOCALIP", "SERVER_ADDR", NULL};
	static const char *const local_ports[] = {"TCPLOCALPORT", "SERVER_PORT", NULL};
	const struct ktlsd_result *result = &ready.result;
	const struct {
		const char *name, *value;
	} texts[] = {
		{"PROTO", "TCP"},
		{"SSL_PROTOCOL", ktlsd_version_name(result->version)},
		{"SSL_CIPHER", ktlsd_cipher_name(result->cipher)},
		{"SSL_TLS_SNI", result->server_name},
		{"SSL_ALPN", result->alpn},
		{"SSL_CLIENT_VERIFY", result->flags & KTLSD_RESULT_VERIFIED ? "SUCCESS" : "NONE"},
		{"SSL_CLIENT_S_DN", result->peer ? result->peer->subject : ""},
		{"SSL_CLIENT_I_DN", result->peer ? result->peer->issuer : ""},
		{"SSL_CLIENT_NAME", result->peer ? result->peer->name : ""},
	};
	struct sockaddr_storage address = {0};
	socklen_t length = sizeof(address);

	set_end(peer, remote_hosts, remote_ports);
	getsockname(connection, (struct sockaddr *)&address, &length);
	set_end(&address, local_hosts, local_ports);
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		if (*texts[i].value)
			setenv(texts[i].name, texts[i].value, 1);
		else
			unsetenv(texts[i].name);
	}
}

static void run_command(int input_and_output)
{
	dup2(input_and_output, STDIN_FILENO);
	dup2(input_and_output, STDOUT_FILENO);
	signal(SIGPIPE, SIG_DFL);
	execvp(options.command[0], options.command);
	warn("%s", options.command[0]);
	_exit(127);
}

static void fail(int connection, const char *what)
{
	warn("%s: %s", getenv("REMOTE_ADDR"), what);
	relay_refuse(connection);
	_exit(1);
}

static void tell_why(int error, const struct ktlsd_stream *stream)
{
	if (error == -ETIME)
		warnx("%s: nothing went either way for %u s (--idle)", getenv("REMOTE_ADDR"), options.idle);
	else if (error)
		warnx("%s: %s", getenv("REMOTE_ADDR"), ktlsd_stream_why(stream));
}

/* In a process of its own, the parent of the command's. */
static void relay_to_command(int connection)
{
	struct ktlsd_stream *stream;
	int ends[2], error;
	pid_t command;

	if (ktlsd_stream_new(&stream, connection, NULL, &ready.result) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		fail(connection, "a connection");
	command = fork();
	if (command < 0)
		fail(connection, "fork");
	if (command == 0)
		run_command(ends[1]);
	close(ends[1]);
	error = relay(stream, connection, ends[0], options.idle * 1000);
	close(ends[0]);
	tell_why(error, stream);
	waitpid(command, NULL, 0);
	_exit(error ? 1 : 0);
}

/* Wherever it waits, also for an agent that is stopped. What the caller has it ignore stays ignored. */
static void end_by_signals(void (*how)(int))
{
	if (signal(SIGTERM, how) == SIG_IGN)
		signal(SIGTERM, SIG_IGN);
	if (signal(SIGINT, how) == SIG_IGN)
		signal(SIGINT, SIG_IGN);
}

/* A peer that has vanished without a word is noticed within two minutes. */
static void keep_alive(int connection)
{
	static const struct {
		int level, name, value;
	} set[] = {
		{IPPROTO_TCP, TCP_KEEPIDLE, 60},
		{IPPROTO_TCP, TCP_KEEPINTVL, 10},
		{IPPROTO_TCP, TCP_KEEPCNT, 6},
		{SOL_SOCKET, SO_KEEPALIVE, 1},
	};

	for (size_t i = 0; i < sizeof(set) / sizeof(*set); i++) {
		if (setsockopt(connection, set[i].level, set[i].name, &set[i].value, sizeof(set[i].value)) != 0)
			warn("keepalive");
	}
}

/* A crowd of one peer's shall not fill the log, too: once a second. */
static bool has_too_many(const struct sockaddr_storage *peer)
{
	static time_t said;
	time_t now = time(NULL);

	if (places_taken_by(peer) < options.max_per_peer)
		return false;
	if (now != said)
		warnx("%s: turned away, %u connections of its address are served (--max-per-peer)", host_of(peer),
		      options.max_per_peer);
	said = now;
	return true;
}

static void begin_child(int receiver, int signal_fd)
{
	close(receiver);
	close(signal_fd);
	if (listener >= 0)
		close(listener);
	signal(SIGPIPE, SIG_IGN);
	end_by_signals(SIG_DFL);
	sigprocmask(SIG_SETMASK, &signals_before, NULL);
}

static void serve(int receiver, int signal_fd, int connection)
{
	struct sockaddr_storage peer = {0};
	socklen_t length = sizeof(peer);
	pid_t child = -1;

	getpeername(connection, (struct sockaddr *)&peer, &length);
	keep_alive(connection);
	if (!has_too_many(&peer)) {
		child = fork();
		if (child < 0)
			warn("%s: fork", host_of(&peer));
	}
	if (child > 0)
		places_take(child, &peer);
	else if (child < 0)
		relay_refuse(connection);
	if (child != 0)
		return;
	begin_child(receiver, signal_fd);
	describe(connection, &peer);
	if (options.direct)
		run_command(connection);
	relay_to_command(connection);
}

/* ---- all of them ---- */

/* Commands that run go on. */
static void end(int number)
{
	(void)number;
	_exit(0);
}

static void reap(int signal_fd)
{
	struct signalfd_siginfo info;
	pid_t child;

	if (read(signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	while ((child = waitpid(-1, NULL, WNOHANG)) > 0)
		places_leave(child);
}

/* What a command writes shall never go out in clear: the kernel is asked, not who sent the socket. */
static bool has_tls(int connection)
{
	const unsigned int both = KTLSD_RESULT_TX | KTLSD_RESULT_RX;
	struct ktlsd_socket_info info;

	if (ktlsd_socket_info(connection, &info) == 0 && (info.flags & both) == both)
		return true;
	warnx("%s: a socket came without TLS keys, and is closed; is it ktlsd that sends them?",
	      options.ready ? options.ready : options.listen);
	return false;
}

/* The receiver, or -1: the agent is gone. */
static int receive_one(int receiver, int signal_fd)
{
	int connection;

	ready.result.error = 0;
	connection = ktlsd_accept(receiver, &ready, MSG_DONTWAIT);
	if (connection >= 0) {
		if (has_tls(connection))
			serve(receiver, signal_fd, connection);
		close(connection);
		ktlsd_ready_clear(&ready);
	} else if (connection == -ENOTCONN) {
		close(receiver);
		return -1;
	} else if (ready.result.error == -connection) {
		errx(1, "turned away by the agent: %s", ready.result.error_text);
	} else if (connection != -EAGAIN && connection != -EINTR) {
		warnx("a connection can't be received: %s", strerror(-connection));
	}
	return receiver;
}

static int open_signals(void)
{
	sigset_t children;

	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	sigprocmask(SIG_BLOCK, &children, &signals_before);
	return signalfd(-1, &children, SFD_CLOEXEC);
}

static void serve_all(int receiver)
{
	int signal_fd = open_signals();

	for (;;) {
		struct pollfd both[] = {{.fd = signal_fd, .events = POLLIN},
					{.fd = places_taken() < options.max ? receiver : -1, .events = POLLIN}};

		if (poll(both, 2, receiver < 0 ? RETRY_MS : -1) < 0 && errno != EINTR)
			err(1, "poll");
		if (both[0].revents)
			reap(signal_fd);
		if (receiver < 0)
			receiver = attach_again();
		else if (both[1].revents)
			receiver = receive_one(receiver, signal_fd);
	}
}

static int usage(FILE *stream)
{
	fputs(usage_text, stream);
	return stream == stdout ? 0 : 2;
}

static unsigned int read_number(const char *name, const char *text, unsigned int least, unsigned int most)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || value < least || value > most)
		errx(2, "--%s %s; expected a number from %u to %u", name, text, least, most);
	return value;
}

static int read_options(int argc, char **argv)
{
	static const struct option known[] = {{"ready", required_argument, NULL, 'r'},
					      {"listen", required_argument, NULL, 'l'},
					      {"service", required_argument, NULL, 's'},
					      {"max", required_argument, NULL, 'm'},
					      {"max-per-peer", required_argument, NULL, 'p'},
					      {"idle", required_argument, NULL, 'i'},
					      {"direct", no_argument, &options.direct, 1},
					      {"version", no_argument, NULL, 'v'},
					      {"help", no_argument, NULL, 'h'},
					      {0}};
	bool idle = false;
	int option;

	while ((option = getopt_long(argc, argv, "+h", known, NULL)) != -1) {
		switch (option) {
		case 0:
			break;
		case 'r':
			options.ready = optarg;
			break;
		case 'l':
			options.listen = optarg;
			break;
		case 's':
			options.service = optarg;
			break;
		case 'm':
			options.max = read_number("max", optarg, 1, MAX_MOST);
			break;
		case 'p':
			options.max_per_peer = read_number("max-per-peer", optarg, 1, MAX_MOST);
			break;
		case 'i':
			options.idle = read_number("idle", optarg, 0, IDLE_MOST);
			idle = true;
			break;
		case 'v':
			puts("ktls-inetd " KTLSD_VERSION);
			exit(0);
		case 'h':
			exit(usage(stdout));
		default:
			return usage(stderr);
		}
	}
	if (idle && options.direct)
		errx(2, "--idle does not go with --direct: what goes over its socket is the command's own business");
	if (options.max_per_peer == 0)
		options.max_per_peer = options.max - options.max / 4;
	options.command = argv + optind;
	if (optind == argc || !options.ready == !options.listen)
		return usage(stderr);
	return 0;
}

/* A socket that got one of these numbers would be the command's, or closed by what becomes it. */
static void open_standard_descriptors(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
		if (fd < 0)
			err(1, "/dev/null");
	} while (fd <= STDERR_FILENO);
	close(fd);
}

int main(int argc, char **argv)
{
	char why[256];
	int receiver;

	open_standard_descriptors();
	if (read_options(argc, argv) != 0)
		return 2;
	if (!places_open(options.max))
		err(1, "--max %u", options.max);
	if (options.listen)
		listener = listen_on(options.listen);
	end_by_signals(end);
	receiver = attach(why, sizeof(why));
	if (receiver < 0)
		errx(1, "%s", why);
	serve_all(receiver);
}
