// SPDX-License-Identifier: MIT
/*
 * talk [OPTION...]: a conversation over a stream, for scripts. Lines from standard input are sent, what comes is printed.
 * What happens besides is told in lines that begin with "talk: ". Lines that begin with a colon are orders:
 *
 *	:rekey		replaces our key
 *	:request	likewise, and asks for the peer's
 *	:end		ends our half
 *	:info		says how often keys were replaced
 *
 * It ends with the peer's stream: status 0 if that ended in order, else 3.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ktlsd.h"
#include "unit.h"

static int polling, listening; /* options */
static const char *service, *port = "0";
static struct ktlsd_stream_limits limits;

static struct ktlsd *agent; /* if polling */
static struct ktlsd_stream *stream;
static int fd;

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
	va_list arguments;

	fputs("talk: ", stdout);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
	fflush(stdout);
}

/* ---- a connection ---- */

static int connect_or_accept(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_port = htons(atoi(port)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int sock = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t length = sizeof(address);

	if (!listening) {
		/* A server that was started just now may not listen yet. */
		for (int tries = 0; connect(sock, (struct sockaddr *)&address, length) != 0; tries++) {
			must(errno == ECONNREFUSED && tries < 100);
			usleep(50000);
		}
		return sock;
	}
	must(bind(sock, (struct sockaddr *)&address, length) == 0 && listen(sock, 1) == 0);
	must(getsockname(sock, (struct sockaddr *)&address, &length) == 0);
	tell("port %u", ntohs(address.sin_port));
	return accept(sock, NULL, NULL);
}

static void prepare(struct ktlsd_handoff *handoff)
{
	if (listening)
		ktlsd_prep_server(handoff, fd, service ? service : "server");
	else
		ktlsd_prep_client(handoff, fd, service ? service : "client", "localhost");
}

static void shake_hands_polling(void)
{
	struct ktlsd_result *result;

	must(ktlsd_open(&agent, NULL) == 0);
	prepare(ktlsd_get_handoff(agent));
	must(ktlsd_submit(agent) == 1 && ktlsd_wait_result(agent, &result, -1) == 0);
	if (result->error) {
		tell("handshake: %s", result->error_text);
		exit(2);
	}
	must(ktlsd_stream_new(&stream, fd, agent, result) == 0);
	ktlsd_result_seen(agent);
	fcntl(fd, F_SETFL, O_NONBLOCK);
}

static void shake_hands_blocking(void)
{
	struct ktlsd_handoff handoff = {0};
	char why[256];

	prepare(&handoff);
	if (ktlsd_handshake(&handoff, &stream, why, sizeof(why)) < 0) {
		tell("handshake: %s", why);
		exit(2);
	}
}

/* ---- what happens ---- */

static void tell_info(void)
{
	struct ktlsd_stream_info info;

	must(ktlsd_stream_info(stream, &info) == 0);
	tell("%s %s, rekeys: %llu sent, %llu received, %s", ktlsd_version_name(info.socket.version), info.socket.cipher,
	     (unsigned long long)info.tx_rekeys, (unsigned long long)info.rx_rekeys,
	     info.can_rekey ? "can rekey" : "can't rekey");
	if (info.alert_sent != KTLSD_NO_ALERT)
		tell("alert sent: %s", ktlsd_alert_name(info.alert_sent));
	if (info.alert_received != KTLSD_NO_ALERT)
		tell("alert received: %s", ktlsd_alert_name(info.alert_received));
}

static void tell_result(const char *what, int result)
{
	const char *why = ktlsd_stream_why(stream);

	if (result == 0)
		tell("%s", what);
	else
		tell("%s: %s%s%s", what, strerrorname_np(-result), *why ? ": " : "", why);
}

static void end(int result)
{
	tell_result(result == 0 ? "the end" : "receive", result);
	tell_info();
	ktlsd_stream_shutdown(stream);
	fflush(stdout);
	_exit(result == 0 ? 0 : 3); /* the other thread has the lock of stdin */
}

static void obey(const char *order)
{
	if (strcmp(order, ":info") == 0)
		tell_info();
	else if (strcmp(order, ":rekey") == 0)
		tell_result("rekey", ktlsd_stream_rekey(stream, false));
	else if (strcmp(order, ":request") == 0)
		tell_result("rekey", ktlsd_stream_rekey(stream, true));
	else if (strcmp(order, ":end") == 0)
		tell_result("our end", ktlsd_stream_shutdown(stream));
	else
		tell("what is %s?", order);
}

static void take_line(char *line)
{
	ssize_t n, length = strlen(line);

	if (line[0] == ':') {
		line[length - 1] = '\0';
		obey(line);
		return;
	}
	n = ktlsd_stream_send(stream, line, length, 0);
	if (n != length)
		tell_result("send", n < 0 ? n : -EMSGSIZE);
}

/* Whether there may be more. */
static bool receive(void)
{
	char data[4096];
	ssize_t n = ktlsd_stream_recv(stream, data, sizeof(data), 0);

	if (n == -EAGAIN)
		return false;
	if (n <= 0)
		end(n);
	fwrite(data, 1, n, stdout);
	fflush(stdout);
	return true;
}

static void *receive_all(void *unused)
{
	while (receive())
		;
	return unused;
}

static void talk_blocking(void)
{
	char line[256];
	pthread_t receiver;

	must(pthread_create(&receiver, NULL, receive_all, NULL) == 0);
	while (fgets(line, sizeof(line), stdin))
		take_line(line);
	pthread_join(receiver, NULL);
}

static void take_results(void)
{
	struct ktlsd_result *result;

	while (ktlsd_peek_result(agent, &result) == 0)
		ktlsd_result_seen(agent);
	ktlsd_submit(agent);
}

/* Lines come whole: each is one write to a pipe. */
static void talk_polling(void)
{
	struct pollfd watched[] = {
		{.fd = 0, .events = POLLIN}, {.fd = fd, .events = POLLIN}, {.fd = ktlsd_fd(agent), .events = POLLIN}};
	char line[256];

	setvbuf(stdin, NULL, _IONBF, 0);
	for (;;) {
		must(poll(watched, COUNT(watched), -1) > 0);
		if (watched[2].revents)
			take_results();
		if (watched[1].revents)
			receive();
		if (!watched[0].revents)
			continue;
		if (fgets(line, sizeof(line), stdin))
			take_line(line);
		else
			watched[0].fd = -1;
	}
}

static void parse(int argc, char **argv)
{
	static const struct option options[] = {
		{"polling", no_argument, &polling, 1},	      {"listen", no_argument, &listening, 1},
		{"port", required_argument, NULL, 'p'},	      {"service", required_argument, NULL, 's'},
		{"timeout-ms", required_argument, NULL, 't'}, {NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 'p':
			port = optarg;
			break;
		case 's':
			service = optarg;
			break;
		case 't':
			limits.rekey_timeout_ms = atoi(optarg);
			break;
		case 0:
			break;
		default:
			exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	parse(argc, argv);
	fd = connect_or_accept();
	must(fd >= 0);
	if (polling)
		shake_hands_polling();
	else
		shake_hands_blocking();
	ktlsd_stream_set_limits(stream, &limits);
	tell("ready");
	if (polling)
		talk_polling();
	else
		talk_blocking();
	return 0;
}
