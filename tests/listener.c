// SPDX-License-Identifier: MIT
/*
 * Handed listeners, for listener.sh: what the agent takes and what it refuses, who receives, and what happens when nobody does.
 * Clients are OpenSSL's, on threads of their own. Services: see listener.sh. AGENT_PID: whose descriptors are counted.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "connection.h"
#include "ktlsd.h"
#include "unit.h"

#define PATIENCE_MS 60000 /* more than a loaded machine needs for 600 handshakes */

static SSL_CTX *client_context;
static struct ktlsd_ready ready;

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

static bool readable(int fd, int timeout_ms)
{
	struct pollfd one = {.fd = fd, .events = POLLIN};

	return poll(&one, 1, timeout_ms) == 1;
}

/* ---- our listening sockets ---- */

struct place {
	int listener;
	socklen_t length;
	struct sockaddr_storage address;
};

static struct place open_place(int family, uint16_t port)
{
	struct place place = {.listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	int on = 1;
	struct sockaddr_in *v4 = (void *)&place.address;
	struct sockaddr_in6 *v6 = (void *)&place.address;

	place.address.ss_family = family;
	place.length = family == AF_INET ? sizeof(*v4) : sizeof(*v6);
	if (family == AF_INET)
		*v4 = (struct sockaddr_in){AF_INET, port, {htonl(INADDR_LOOPBACK)}, {0}};
	else
		*v6 = (struct sockaddr_in6){AF_INET6, port, 0, in6addr_loopback, 0};
	setsockopt(place.listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(place.listener, (struct sockaddr *)&place.address, place.length) == 0 &&
	    listen(place.listener, 1024) == 0 &&
	    getsockname(place.listener, (struct sockaddr *)&place.address, &place.length) == 0)
		return place;
	close(place.listener);
	place.listener = -1;
	return place;
}

static uint16_t port_of(const struct place *place)
{
	return ((const struct sockaddr_in *)&place->address)->sin_port; /* that of IPv6 stands in the same place */
}

static int dial(const struct place *place)
{
	int fd = socket(place->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};

	must(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(fd, (const struct sockaddr *)&place->address, place->length) == 0)
		return fd;
	close(fd);
	return -1;
}

static int hand_over(const struct place *place, const char *service, unsigned int backlog, unsigned int want)
{
	char why[256];
	int receiver = ktlsd_listen(place->listener, service, backlog, want, why, sizeof(why));

	if (receiver < 0)
		printf("# ktlsd_listen: %s\n", why);
	must(receiver >= 0);
	return receiver;
}

/* ---- clients ---- */

struct client {
	const struct place *place;
	pthread_t thread;
	int fd;
	SSL *ssl;
	bool shaken, greeted; /* the handshake was done; "hello" came */
	_Atomic bool ended;
};

static void *be_client(void *argument)
{
	struct client *client = argument;
	char text[6] = "";

	client->fd = dial(client->place);
	client->ssl = SSL_new(client_context);
	client->shaken = client->fd >= 0 && SSL_set_fd(client->ssl, client->fd) == 1 &&
			 SSL_set1_host(client->ssl, "localhost") == 1 &&
			 SSL_set_tlsext_host_name(client->ssl, "localhost") == 1 && SSL_connect(client->ssl) == 1;
	client->greeted = client->shaken && SSL_read(client->ssl, text, 5) == 5 && strcmp(text, "hello") == 0;
	client->ended = true;
	return NULL;
}

static void start_client(struct client *client, const struct place *place)
{
	*client = (struct client){.place = place, .fd = -1};
	must(pthread_create(&client->thread, NULL, be_client, client) == 0);
}

static void end_client(struct client *client)
{
	must(pthread_join(client->thread, NULL) == 0);
	SSL_free(client->ssl);
	if (client->fd >= 0)
		close(client->fd);
}

static bool send_text(int fd, const char *text)
{
	return send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text);
}

/* Receives one, greets, and closes. The result is in ready. */
static int serve_one(int receiver)
{
	int fd;

	if (!readable(receiver, PATIENCE_MS))
		return -ETIMEDOUT;
	fd = ktlsd_accept(receiver, &ready, MSG_DONTWAIT);
	if (fd < 0)
		return fd;
	send_text(fd, "hello");
	close(fd);
	return 0;
}

/* What is ready, until the last of them has ended: one that failed is not waited for. */
static unsigned int serve_all(int receiver, struct client *clients, unsigned int count)
{
	unsigned int greeted = 0, i = 0;

	while (i < count) {
		if (clients[i].ended)
			i++;
		else if (readable(receiver, 10))
			serve_one(receiver);
	}
	for (i = 0; i < count; i++) {
		end_client(&clients[i]);
		greeted += clients[i].greeted;
	}
	return greeted;
}

/* One client from one end to the other. */
static bool serves(const struct place *place, int receiver)
{
	struct client client;
	int err;

	start_client(&client, place);
	err = serve_one(receiver);
	ktlsd_ready_clear(&ready);
	end_client(&client);
	return err == 0 && client.greeted;
}

static void let_go(const struct place *place, int receiver)
{
	close(receiver);
	close(place->listener);
}

static unsigned int agent_descriptors(void)
{
	char path[64];
	unsigned int count = 0;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%s/fd", getenv("AGENT_PID"));
	folder = opendir(path);
	must(folder != NULL);
	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

/* ---- what is taken ---- */

static int bound_socket(int type, bool connected)
{
	struct place place = open_place(AF_INET, 0);
	int fd = socket(AF_INET, type, 0);

	if (connected)
		must(connect(fd, (struct sockaddr *)&place.address, place.length) == 0);
	return fd;
}

static int end_of_pair(int type)
{
	int ends[2];

	must(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) == 0);
	return ends[0]; /* the other stays open: it has a peer */
}

/* What the agent says to these descriptors. */
static int answer_to(int listener, int end, const char *service, unsigned int want, unsigned int backlog, char *why)
{
	struct datagram_writer datagram;
	struct ktlsd_msg_listen *message;
	const struct ktlsd_msg_header *answer;
	const int fds[] = {listener, end};
	struct ktlsd *agent;
	int err;

	must(ktlsd_open(&agent, NULL) == 0);
	datagram = (struct datagram_writer){.data = agent->outbound, .size = sizeof(agent->outbound)};
	message = message_begin(&datagram, KTLSD_MSG_LISTEN, sizeof(*message), 0);
	message->want = want;
	message->backlog = backlog;
	message_text(&datagram, KTLSD_ATTR_SERVICE, service);
	must(message_end(&datagram) && connection_send(agent, &datagram, fds, 2) == 0);
	answer = connection_answer(agent, 0, PATIENCE_MS);
	must(answer && answer->type == KTLSD_MSG_RESULT);
	*why = '\0';
	err = connection_refusal(answer, why, 256);
	ktlsd_close(agent);
	return -err;
}

static void check_refusal(int wanted, int listener, int end, const char *service, unsigned int want,
			  unsigned int backlog, const char *what)
{
	char why[256];
	int error = answer_to(listener, end, service, want, backlog, why);

	check(error == wanted && *why, "%s: %s, %s", what, strerrorname_np(error), why);
}

static int file(void)
{
	return open("/dev/null", O_RDONLY);
}

static int listener(void)
{
	return open_place(AF_INET, 0).listener;
}

static void test_refusals(void)
{
	const int pair = SOCK_SEQPACKET;

	check_refusal(ENOTSOCK, file(), end_of_pair(pair), "web", 0, 0, "a file for a listener");
	check_refusal(EINVAL, bound_socket(SOCK_STREAM, true), end_of_pair(pair), "web", 0, 0, "a connection");
	check_refusal(EINVAL, bound_socket(SOCK_STREAM, false), end_of_pair(pair), "web", 0, 0, "a closed socket");
	check_refusal(EPROTONOSUPPORT, bound_socket(SOCK_DGRAM, false), end_of_pair(pair), "web", 0, 0, "UDP");
	check_refusal(EPROTONOSUPPORT, end_of_pair(SOCK_STREAM), end_of_pair(pair), "web", 0, 0, "a UNIX socket");
	check_refusal(ENOTSOCK, listener(), file(), "web", 0, 0, "a file to send to");
	check_refusal(EPROTONOSUPPORT, listener(), bound_socket(SOCK_STREAM, true), "web", 0, 0, "TCP to send to");
	check_refusal(EPROTONOSUPPORT, listener(), end_of_pair(SOCK_STREAM), "web", 0, 0, "a stream to send to");
	check_refusal(EPROTONOSUPPORT, listener(), end_of_pair(SOCK_DGRAM), "web", 0, 0, "datagrams to send to");
	check_refusal(ENOTCONN, listener(), socket(AF_UNIX, pair, 0), "web", 0, 0, "nobody to send to");
	check_refusal(ENOENT, listener(), end_of_pair(pair), "nobody", 0, 0, "a service that is not there");
	check_refusal(EINVAL, listener(), end_of_pair(pair), "client", 0, 0, "a service for clients");
	check_refusal(EINVAL, listener(), end_of_pair(pair), "web", 1U << 31, 0, "something unknown wanted");
	check_refusal(EINVAL, listener(), end_of_pair(pair), "web", 0, KTLSD_BACKLOG_MAX + 1, "too large a backlog");
}

/* A file whose closing hangs, also for us: the script lets it go. */
static void test_hanging_file(const char *path)
{
	struct place place = open_place(AF_INET, 0);
	int receiver;

	check_refusal(ENOTSOCK, open(path, O_RDONLY), end_of_pair(SOCK_SEQPACKET), "web", 0, 0, "a hanging file");
	check_refusal(ENOTSOCK, listener(), open(path, O_RDONLY), "web", 0, 0, "a hanging file to send to");
	receiver = hand_over(&place, "web", 0, 0);
	check(serves(&place, receiver), "while they close, a listener is served");
}

/* In a child with another user's rights. */
static int listen_as(uid_t user, const char *service)
{
	struct place place = open_place(AF_INET, 0);
	char why[256];
	int status = -1;
	pid_t child = fork();

	if (child == 0) {
		must(setresgid(user, user, user) == 0 && setresuid(user, user, user) == 0);
		status = ktlsd_listen(place.listener, service, 0, 0, why, sizeof(why));
		_exit(status < 0 ? -status : 0);
	}
	waitpid(child, &status, 0);
	close(place.listener);
	return WEXITSTATUS(status);
}

static void test_users(void)
{
	check(listen_as(65534, "web") == EACCES, "a user who may not have the service");
	check(listen_as(65534, "everyone") == 0, "one who may");
}

/* ---- serving ---- */

static void check_served(int family, const char *what)
{
	struct place place = open_place(family, 0);
	int receiver = hand_over(&place, "web", 0, 0);
	struct sockaddr_storage ours = {0}, theirs = {0};
	socklen_t length = sizeof(ours);
	struct client client;
	int fd;

	start_client(&client, &place);
	fd = ktlsd_accept(receiver, &ready, 0);
	must(fd >= 0);
	getpeername(fd, (struct sockaddr *)&theirs, &length);
	send_text(fd, "hello");
	pthread_join(client.thread, NULL);
	length = sizeof(ours);
	getsockname(client.fd, (struct sockaddr *)&ours, &length);
	check(client.greeted && memcmp(&ours, &theirs, length) == 0, "%s, and the peer's address is the client's",
	      what);
	check(ready.result.error == 0 && ready.result.version == 0x0304 && ready.result.fd == fd &&
		      strcmp(ready.result.server_name, "localhost") == 0 && !ready.result.peer && !ready.result.token,
	      "what is said of it is true");
	check((fcntl(fd, F_GETFL) & O_NONBLOCK) == 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC,
	      "it blocks, and ends with exec");
	close(fd);
	SSL_free(client.ssl);
	close(client.fd);
	let_go(&place, receiver);
}

static void test_several(void)
{
	struct place places[6];
	int receivers[6];
	bool good = true;

	for (size_t i = 0; i < COUNT(places); i++) {
		places[i] = open_place(i % 2 ? AF_INET6 : AF_INET, 0);
		receivers[i] = hand_over(&places[i], "web", 0, 0);
	}
	for (size_t i = 0; i < COUNT(places); i++)
		good &= serves(&places[i], receivers[i]);
	check(good, "several listeners, each with its own clients");
	let_go(&places[0], receivers[0]);
	for (size_t i = 1; i < COUNT(places); i++)
		good &= serves(&places[i], receivers[i]);
	check(good, "when one is let go the others stay");
	for (size_t i = 1; i < COUNT(places); i++)
		let_go(&places[i], receivers[i]);
}

static void test_nonblocking(void)
{
	struct place place = open_place(AF_INET, 0);
	struct client client;
	int receiver, fd;

	must(fcntl(place.listener, F_SETFL, O_NONBLOCK) == 0);
	receiver = hand_over(&place, "web", 0, 0);
	check(ktlsd_accept(receiver, &ready, MSG_DONTWAIT) == -EAGAIN, "nothing is ready yet");
	check(serves(&place, receiver) && serves(&place, receiver), "a listener with O_NONBLOCK");
	start_client(&client, &place);
	must(readable(receiver, PATIENCE_MS));
	fd = ktlsd_accept(receiver, &ready, MSG_DONTWAIT | SOCK_NONBLOCK);
	check(fd >= 0 && fcntl(fd, F_GETFL) & O_NONBLOCK, "a connection with O_NONBLOCK, as was asked for");
	close(fd);
	end_client(&client);
	let_go(&place, receiver);
}

/* Two that received the same listener, and both get something: the kernel decides who. */
static void test_twice(void)
{
	struct place place = open_place(AF_INET, 0);
	int receivers[] = {hand_over(&place, "web", 0, 0), hand_over(&place, "web", 0, 0)};
	struct pollfd both[] = {{.fd = receivers[0], .events = POLLIN}, {.fd = receivers[1], .events = POLLIN}};
	struct client client;
	unsigned int served = 0;

	for (int i = 0; i < 20; i++) {
		start_client(&client, &place);
		must(poll(both, 2, PATIENCE_MS) > 0);
		serve_one(receivers[both[0].revents ? 0 : 1]);
		end_client(&client);
		served += client.greeted;
	}
	check(served == 20, "a listener that was handed over twice");
	close(receivers[0]);
	usleep(300000); /* what the kernel gives it until it knows is lost */
	check(serves(&place, receivers[1]), "one let go, the other stays");
	let_go(&place, receivers[1]);
}

#define CROWD 100

static void test_processes(void)
{
	struct place place = open_place(AF_INET, 0);
	int receiver = hand_over(&place, "web", 0, 0), status;
	static struct client clients[CROWD];
	unsigned int greeted = 0, lazy = 0;
	pid_t children[4];

	for (size_t i = 0; i < COUNT(children); i++) {
		children[i] = fork();
		if (children[i] == 0) {
			int served = 0, err;

			while ((err = serve_one(receiver)) != -ENOTCONN && err != -ETIMEDOUT)
				served += err == 0;
			_exit(served > 0 ? 0 : 1);
		}
	}
	for (size_t i = 0; i < CROWD; i++)
		start_client(&clients[i], &place);
	for (size_t i = 0; i < CROWD; i++) {
		end_client(&clients[i]);
		greeted += clients[i].greeted;
	}
	shutdown(receiver, SHUT_RDWR); /* the children's, too */
	for (size_t i = 0; i < COUNT(children); i++) {
		waitpid(children[i], &status, 0);
		lazy += status != 0;
	}
	check(greeted == CROWD, "%d clients at once, received by four processes: %u served", CROWD, greeted);
	printf("# %u of them received nothing\n", lazy);
	let_go(&place, receiver);
}

/* ---- appetite ---- */

static unsigned int shaken(struct client *clients, unsigned int count)
{
	unsigned int done = 0;

	for (unsigned int i = 0; i < count; i++)
		done += clients[i].shaken;
	return done;
}

static void test_stalled(unsigned int backlog)
{
	struct place place = open_place(AF_INET, 0), other = open_place(AF_INET, 0);
	int receiver = hand_over(&place, "web", backlog, 0), busy = hand_over(&other, "web", 0, 0);
	struct client clients[64];
	unsigned int count = backlog + 4, greeted;
	int64_t before;

	must(count <= COUNT(clients));
	/* One after the other: what is in flight when it is enough comes on top. */
	for (unsigned int i = 0; i < count; i++) {
		start_client(&clients[i], &place);
		for (int tries = 0; tries < (i < backlog ? 500 : 10) && !clients[i].shaken; tries++)
			usleep(10000);
		usleep(i < backlog ? 100000 : 20000); /* for the agent to hear that it is enough */
	}
	check(shaken(clients, count) == backlog, "nobody receives: %u of %u clients get in, backlog %u",
	      shaken(clients, count), count, backlog);
	before = now_ms();
	check(serves(&other, busy) && now_ms() - before < 2000, "another listener does not feel it");
	greeted = serve_all(receiver, clients, count);
	check(greeted == count, "when it receives again, all are served: %u", greeted);
	check(serves(&place, receiver), "and the next");
	let_go(&place, receiver);
	let_go(&other, busy);
}

/* More than the receiving socket holds, whatever the backlog: the rest waits in the listen queue. */
static void test_flood(void)
{
	enum { FLOOD = 600 };
	struct place place = open_place(AF_INET, 0);
	int receiver = hand_over(&place, "web", 1000, KTLSD_WANT_CHAIN);
	static struct client clients[FLOOD];
	unsigned int greeted, count = 0;

	for (unsigned int i = 0; i < FLOOD; i++)
		start_client(&clients[i], &place);
	usleep(500000);
	while (count < shaken(clients, FLOOD)) {
		count = shaken(clients, FLOOD);
		usleep(500000);
	}
	check(count >= 100, "%u of %u clients get in while nobody receives", count, FLOOD);
	greeted = serve_all(receiver, clients, FLOOD);
	check(greeted == FLOOD, "and all are served then: %u", greeted);
	let_go(&place, receiver);
}

/* ---- its end ---- */

static bool place_is_free(const struct place *place, int within_ms)
{
	int64_t until = now_ms() + within_ms;
	struct place again;

	do {
		again = open_place(place->address.ss_family, port_of(place));
		if (again.listener >= 0)
			close(again.listener);
		else
			usleep(5000);
	} while (again.listener < 0 && now_ms() < until);
	return again.listener >= 0;
}

static bool ends(int fd)
{
	char text[64];
	ssize_t n;

	do
		n = recv(fd, text, sizeof(text), 0); /* an alert, perhaps */
	while (n > 0);
	return n == 0 || errno != EAGAIN;
}

static void test_hang_up(void)
{
	struct place place = open_place(AF_INET, 0);
	int receiver = hand_over(&place, "web", 0, 0), copy = dup(receiver), silent[CROWD];
	int64_t before;
	unsigned int told = 0;
	bool ended = true, is_free;
	char text[8];

	close(receiver);
	check(serves(&place, copy), "with a copy of the receiving socket it goes on");
	for (unsigned int i = 0; i < CROWD; i++)
		silent[i] = dial(&place);
	usleep(200000);
	before = now_ms();
	let_go(&place, copy);
	is_free = place_is_free(&place, 1000);
	check(is_free, "nobody receives any more: the port is free after %d ms", (int)(now_ms() - before));
	for (unsigned int i = 0; i < CROWD; i++) {
		told += recv(silent[i], text, sizeof(text), 0) == 7 && text[0] == 21;
		ended &= ends(silent[i]);
		close(silent[i]);
	}
	check(ended && now_ms() - before < 2000, "%d connections that were under way end, after %d ms", CROWD,
	      (int)(now_ms() - before));
	check(told == CROWD, "with an alert: %u", told);
}

/* Ready, and never received: the client hears that this was no end in order. */
static void test_undelivered(void)
{
	struct place place = open_place(AF_INET, 0);
	int receiver = hand_over(&place, "web", 1, 0);
	struct client clients[2];

	start_client(&clients[0], &place);
	must(readable(receiver, PATIENCE_MS));
	let_go(&place, receiver);
	end_client(&clients[0]);
	check(clients[0].shaken && !clients[0].greeted, "a ready socket that nobody received is closed");
}

static void test_owner_stops_listening(void)
{
	struct place place = open_place(AF_INET, 0);
	int receiver = hand_over(&place, "web", 0, 0);

	shutdown(place.listener, SHUT_RDWR);
	check(readable(receiver, PATIENCE_MS) && ktlsd_accept(receiver, &ready, 0) == -ENOTCONN,
	      "the owner shut it down: the receiving socket ends");
	let_go(&place, receiver);
	place = open_place(AF_INET, 0);
	receiver = hand_over(&place, "web", 0, 0);
	shutdown(receiver, SHUT_RDWR);
	check(serve_one(receiver) == -ENOTCONN && (close(place.listener), place_is_free(&place, 1000)),
	      "the receiving socket shut down: it is let go");
	close(receiver);
}

static ssize_t send_over(int fd, int sent)
{
	struct iovec part = {"x", 1};
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))}};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

	memcpy(CMSG_DATA(&control.header), &sent, sizeof(sent));
	return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* In the agent's queue it would have a holder for ever. */
static void test_sent_over_itself(void)
{
	struct place place = open_place(AF_INET, 0);
	int receiver = hand_over(&place, "web", 0, 0);

	must(send_over(receiver, receiver) == 1);
	let_go(&place, receiver);
	check(place_is_free(&place, 1000), "the receiving end, sent over itself, does not keep the port");
}

static void test_no_descriptor(void)
{
	struct place place = open_place(AF_INET, 0);
	int receiver = hand_over(&place, "web", 0, 0);
	struct rlimit before, none;
	struct client client;

	start_client(&client, &place);
	must(readable(receiver, PATIENCE_MS) && getrlimit(RLIMIT_NOFILE, &before) == 0);
	none = before;
	none.rlim_cur = 3;
	must(setrlimit(RLIMIT_NOFILE, &none) == 0);
	check(ktlsd_accept(receiver, &ready, MSG_DONTWAIT) == -EMFILE, "no descriptor for it: EMFILE");
	must(setrlimit(RLIMIT_NOFILE, &before) == 0);
	end_client(&client);
	check(client.shaken && !client.greeted, "the connection is lost");
	check(serves(&place, receiver), "the next is served");
	let_go(&place, receiver);
}

/* While nothing is accepted, nobody notices that the owner makes a connection of it whose closing takes a minute. */
static void test_listener_connects(void)
{
	static const char full[65536];
	const struct linger minute = {.l_onoff = 1, .l_linger = 60};
	struct place place = open_place(AF_INET, 0), other = open_place(AF_INET, 0), sink = open_place(AF_INET, 0);
	int receiver = hand_over(&place, "web", 1, 0), busy = hand_over(&other, "web", 0, 0);
	struct client client;
	int64_t before;

	start_client(&client, &place);
	must(readable(receiver, PATIENCE_MS));
	usleep(200000);
	must(shutdown(place.listener, SHUT_RDWR) == 0);
	must(connect(place.listener, (struct sockaddr *)&sink.address, sink.length) == 0);
	while (send(place.listener, full, sizeof(full), MSG_DONTWAIT) > 0)
		;
	must(setsockopt(place.listener, SOL_SOCKET, SO_LINGER, &minute, sizeof(minute)) == 0);
	close(place.listener); /* not the last: that is the agent's */
	close(receiver);
	usleep(100000);
	before = now_ms();
	check(serves(&other, busy) && now_ms() - before < 2000,
	      "a listener that became a connection and lingers is let go, and others don't feel it");
	end_client(&client);
	close(sink.listener);
	let_go(&other, busy);
}

/* ---- bad clients ---- */

static void test_bad_clients(void)
{
	static const uint8_t nonsense[] = {22, 3, 1, 0, 5, 99, 0, 0, 1, 0};
	struct linger reset = {.l_onoff = 1};
	struct place place = open_place(AF_INET, 0);
	int receiver = hand_over(&place, "hasty", 0, 0), fd, silent = dial(&place);
	int64_t before = now_ms();
	char text[64];

	for (int i = 0; i < 10; i++) {
		close(dial(&place));
		fd = dial(&place);
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(fd);
	}
	fd = dial(&place);
	send(fd, nonsense, sizeof(nonsense), 0);
	check(recv(fd, text, sizeof(text), 0) >= 7 && text[0] == 21, "who speaks no TLS gets an alert");
	close(fd);
	check(serves(&place, receiver), "a good client among bad ones");
	check(recv(silent, text, sizeof(text), 0) <= 0 && now_ms() - before < 3000,
	      "one that says nothing ends in time");
	check(ktlsd_accept(receiver, &ready, MSG_DONTWAIT) == -EAGAIN, "none of them is received");
	close(silent);
	let_go(&place, receiver);
}

static unsigned int threads_that_close(void)
{
	char path[64], name[32] = "";
	unsigned int count = 0;
	struct dirent *entry;
	DIR *folder;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%s/task", getenv("AGENT_PID"));
	folder = opendir(path);
	must(folder != NULL);
	while ((entry = readdir(folder))) {
		snprintf(path, sizeof(path), "/proc/%s/task/%.16s/comm", getenv("AGENT_PID"), entry->d_name);
		file = fopen(path, "r");
		if (!file)
			continue;
		count += fgets(name, sizeof(name), file) && strncmp(name, "iou-wrk", 7) == 0;
		fclose(file);
	}
	closedir(folder);
	return count;
}

/* Says its ClientHello, and takes no more than a first packet of the answer: the rest lies in the agent's socket for good. */
static int start_deaf_client(const struct place *place)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), least = 1, length;
	BIO *out = BIO_new(BIO_s_mem());
	SSL *ssl = SSL_new(client_context);
	char hello[4096];

	SSL_set_bio(ssl, BIO_new(BIO_s_mem()), out);
	SSL_connect(ssl);
	length = BIO_read(out, hello, sizeof(hello));
	must(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least)) == 0);
	must(connect(fd, (const struct sockaddr *)&place->address, place->length) == 0);
	must(length > 0 && send(fd, hello, length, 0) == length);
	SSL_free(ssl);
	return fd;
}

/* Connections inherit SO_LINGER from their listener. */
static void test_lingering_connections(void)
{
	enum { DEAF = 40 };
	const struct linger minute = {.l_onoff = 1, .l_linger = 60};
	struct place place = open_place(AF_INET, 0);
	unsigned int before = threads_that_close(), after;
	int receiver, clients[DEAF];

	must(setsockopt(place.listener, SOL_SOCKET, SO_LINGER, &minute, sizeof(minute)) == 0);
	receiver = hand_over(&place, "hasty", 0, 0);
	for (int i = 0; i < DEAF; i++)
		clients[i] = start_deaf_client(&place);
	usleep(1500000);
	after = threads_that_close();
	check(after < before + DEAF / 4, "connections that would linger hold up no thread when they fail: %u, %u",
	      before, after);
	check(serves(&place, receiver), "and the next is served");
	for (int i = 0; i < DEAF; i++)
		close(clients[i]);
	let_go(&place, receiver);
}

/* The service takes three handshakes at a time: others wait, and none is refused. */
static void test_limits(void)
{
	struct place place = open_place(AF_INET, 0), other = open_place(AF_INET, 0);
	int receiver = hand_over(&place, "small", 0, 0), busy = hand_over(&other, "web", 0, 0), silent[9];
	struct client client;
	int64_t before = now_ms();

	for (size_t i = 0; i < COUNT(silent); i++)
		silent[i] = dial(&place);
	start_client(&client, &place);
	check(serves(&other, busy), "a limit is reached: another service does not feel it");
	check(serve_one(receiver) == 0, "and who waited is served");
	end_client(&client);
	check(client.greeted && now_ms() - before > 1000, "when there was room: after %d ms", (int)(now_ms() - before));
	for (size_t i = 0; i < COUNT(silent); i++)
		close(silent[i]);
	let_go(&place, receiver);
	let_go(&other, busy);
}

/* ---- what is wanted ---- */

static void echo_over_stream(SSL *ssl, int fd, bool rekeys)
{
	struct ktlsd_stream *stream;
	char text[8] = "";

	must(ktlsd_stream_new(&stream, fd, NULL, &ready.result) == 0);
	must(SSL_write(ssl, "one", 3) == 3);
	check(ktlsd_stream_recv(stream, text, 3, 0) == 3 && strcmp(text, "one") == 0, "a stream of it receives");
	if (rekeys) {
		must(SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1 && SSL_write(ssl, "two", 3) == 3);
		check(ktlsd_stream_recv(stream, text, 3, 0) == 3 && strcmp(text, "two") == 0,
		      "through a KeyUpdate, by its token");
	}
	check(ktlsd_stream_send(stream, "three", 5, 0) == 5 && SSL_read(ssl, text, 5) == 5 &&
		      memcmp(text, "three", 5) == 0,
	      "and sends");
	ktlsd_stream_shutdown(stream);
	check(SSL_read(ssl, text, 1) <= 0 && SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN, "and ends in order");
	ktlsd_stream_free(stream);
}

static void test_wants(void)
{
	struct place place = open_place(AF_INET, 0);
	int receiver = hand_over(&place, "mutual", 0, KTLSD_WANT_CHAIN | KTLSD_WANT_CHANNEL_BINDING | KTLSD_WANT_TOKEN);
	const char *pki = getenv("PKI");
	size_t offset = 0, length;
	const uint8_t *der;
	char path[256];
	SSL *ssl;
	int fd, sock;
	bool rekeys;

	ssl = SSL_new(client_context);
	snprintf(path, sizeof(path), "%s/client.pem", pki);
	must(SSL_use_certificate_chain_file(ssl, path) == 1);
	snprintf(path, sizeof(path), "%s/client.key", pki);
	must(SSL_use_PrivateKey_file(ssl, path, SSL_FILETYPE_PEM) == 1);
	sock = dial(&place);
	must(SSL_set_fd(ssl, sock) == 1 && SSL_set1_host(ssl, "localhost") == 1 && SSL_connect(ssl) == 1);
	fd = ktlsd_accept(receiver, &ready, 0);
	must(fd >= 0);
	check(ready.result.peer && ready.result.flags & KTLSD_RESULT_VERIFIED && *ready.result.peer->subject,
	      "the peer: %s", ready.result.peer ? ready.result.peer->subject : "nobody");
	check(ktlsd_chain_next(&ready.result, &offset, &der, &length) && length > 100 && der[0] == 0x30, "its chain");
	check(ready.result.channel_binding != NULL, "a channel binding");
	rekeys = ready.result.token_length > 0;
	printf("# %s rekey token\n", rekeys ? "a" : "this kernel replaces no keys: no");
	echo_over_stream(ssl, fd, rekeys);
	ktlsd_ready_clear(&ready);
	close(fd);
	SSL_free(ssl);
	close(sock);
	let_go(&place, receiver);
}

static SSL_CTX *make_client_context(void)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	char path[256];

	snprintf(path, sizeof(path), "%s/ca.pem", getenv("PKI"));
	must(context && SSL_CTX_load_verify_file(context, path) == 1);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	return context;
}

int main(int argc, char **argv)
{
	unsigned int before, after;

	signal(SIGPIPE, SIG_IGN);
	client_context = make_client_context();
	if (argc > 1) {
		test_hanging_file(argv[1]);
		return finish();
	}
	before = agent_descriptors();
	test_refusals();
	test_users();
	check_served(AF_INET, "IPv4");
	check_served(AF_INET6, "IPv6");
	test_several();
	test_nonblocking();
	test_twice();
	test_processes();
	test_stalled(1);
	test_stalled(5);
	test_flood();
	test_hang_up();
	test_undelivered();
	test_owner_stops_listening();
	test_sent_over_itself();
	test_no_descriptor();
	test_listener_connects();
	test_bad_clients();
	test_lingering_connections();
	test_limits();
	for (int tries = 0; tries < 150 && (after = agent_descriptors()) > before; tries++)
		usleep(20000);
	check(after <= before, "the agent has no descriptor left of all this: %u, %u", before, after);
	test_wants(); /* its stream keeps a connection to the agent for rekeys */
	SSL_CTX_free(client_context);
	return finish();
}
