/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>

#include "connection.h"
#include "family.h"
#include "ktlsd.h"
#include "say.h"
#include "settings.h"
#include "table.h"

#define PATIENCE_MS 10000
#define AGAIN_MS 300 /* later, a server that waits for events waits for this, too */

/* ---- what the kernel says of a socket; errno stays ---- */

static int option_of(int fd, int name)
{
	int value = -1, error = errno;
	socklen_t length = sizeof(value);

	if (getsockopt(fd, SOL_SOCKET, name, &value, &length) < 0)
		value = -1;
	errno = error;
	return value;
}

static bool is_inet(int fd)
{
	int domain = option_of(fd, SO_DOMAIN);

	return domain == AF_INET || domain == AF_INET6;
}

static bool is_tcp(int fd)
{
	return is_inet(fd) && option_of(fd, SO_PROTOCOL) == IPPROTO_TCP;
}

static uint16_t port_of(int fd)
{
	union {
		struct sockaddr address;
		struct sockaddr_in ipv4;
		struct sockaddr_in6 ipv6;
	} here = {.address.sa_family = AF_UNSPEC};
	socklen_t length = sizeof(here);

	if (getsockname(fd, &here.address, &length) < 0)
		return 0;
	switch (here.address.sa_family) {
	case AF_INET:
		return ntohs(here.ipv4.sin_port);
	case AF_INET6:
		return ntohs(here.ipv6.sin6_port);
	default:
		return 0;
	}
}

/* ---- handing over ---- */

static const char *remedy(int error)
{
	switch (error) {
	case -ENOENT:
	case -ECONNREFUSED:
		return "is it running? (systemctl start ktlsd; KTLSD_HANDOFF or --agent name its socket)";
	case -EACCES:
		return "allow_users or allow_groups in ktlsd.conf, and the socket's permissions, say who may";
	case -EAFNOSUPPORT:
		return "is AF_UNIX among the unit's RestrictAddressFamilies=?";
	case -EPROTO:
		return "the agent is older than this program";
	case -ETIMEDOUT:
		return "it does not answer; is it about to stop?";
	case -EBUSY:
		return "a limit of ktlsd.conf is reached";
	default:
		return "see the agent's log, and \"ktlsctl doctor\"";
	}
}

/* The receiving socket, or -errno. What was set for waiting on the listener goes for waiting on that. */
static int hand_over(const struct listener *listener, int patience_ms, char *why, size_t why_size)
{
	int receiver =
		connection_listen(listener->hidden, listener->service, 0, KTLSD_WANT_TOKEN, patience_ms, why, why_size);
	struct timeval patience;
	socklen_t length = sizeof(patience);

	if (receiver >= 0 && getsockopt(listener->hidden, SOL_SOCKET, SO_RCVTIMEO, &patience, &length) == 0)
		setsockopt(receiver, SOL_SOCKET, SO_RCVTIMEO, &patience, length);
	return receiver;
}

static void warn_of_rings(void)
{
	if (count_descriptors("[io_uring]") > 0)
		say("this program has an io_uring. What it accepts or receives through that does not come by here: if it serves "
		    "nobody, see ktls-run(1) for the other ways");
}

/* Has the agent accept on it, and puts the receiving socket in its place. */
static int begin(struct held *held, int fd)
{
	struct listener *listener = &held->listener;
	char why[300];
	int receiver, err;

	listener->hidden = table_hide_away(fd);
	if (listener->hidden < 0)
		return -errno;
	listener_match_close_on_exec(held);
	receiver = hand_over(listener, PATIENCE_MS, why, sizeof(why));
	if (receiver < 0) {
		say("port %u, service \"%s\": %s; %s", listener->port, listener->service, why, remedy(receiver));
		return receiver;
	}
	err = replace_descriptor(fd, receiver, &listener->registrations);
	if (err == 0 && !table_set(fd, held))
		err = -EMFILE;
	if (err < 0)
		return err;
	listener_match_close_on_exec(held);
	family_note_port(listener->port);
	say_more("port %u: the agent accepts, service \"%s\"", listener->port, listener->service);
	warn_of_rings();
	return 0;
}

enum choice {
	LISTENS_NOT,
	STAYS_CLEAR, /* it is not on a port that was chosen */
	IS_FOR_US,
	IS_UNFIT, /* it is, and serves TCP clients, but kernel TLS takes TCP alone: MPTCP, SMC */
};

/* The listener, or a connection of its. */
static bool is_on_chosen_port(int fd, struct port *port)
{
	return option_of(fd, SO_TYPE) == SOCK_STREAM && option_of(fd, SO_PROTOCOL) != IPPROTO_SCTP &&
	       settings_of_port(port_of(fd), port) && port->number != 0;
}

static enum choice choice_of(int fd, struct port *port)
{
	if (option_of(fd, SO_ACCEPTCONN) != 1)
		return LISTENS_NOT;
	if (!is_on_chosen_port(fd, port))
		return STAYS_CLEAR;
	return is_tcp(fd) ? IS_FOR_US : IS_UNFIT;
}

static int refuse_unfit(const struct port *port)
{
	say("port %u: the agent takes TCP listeners alone, and this is another protocol (MPTCP?): have the server use TCP",
	    port->number);
	return -EPROTONOSUPPORT;
}

static int take_over(int fd, const struct port *port)
{
	struct held *held = held_new(HELD_LISTENER);
	int err;

	if (!held)
		return -ENOMEM;
	held->listener.port = port->number;
	held->listener.service = port->service;
	held->listener.proxy = port->proxy;
	err = begin(held, fd);
	held_put(held);
	return err;
}

/* Whoever connects between listen() and here is the agent's, too. */
static int begin_listening(int fd, int backlog)
{
	struct port port;
	int err;

	if (listen(fd, backlog) < 0)
		return -errno;
	switch (choice_of(fd, &port)) {
	case IS_FOR_US:
		err = take_over(fd, &port);
		break;
	case IS_UNFIT:
		err = refuse_unfit(&port);
		break;
	default:
		return 0;
	}
	if (err < 0)
		shutdown(fd, SHUT_RDWR); /* or clients would be served in clear */
	return err;
}

static pthread_mutex_t meeting = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t room = PTHREAD_MUTEX_INITIALIZER; /* the descriptor that one thread finds free no other takes */

void listener_after_fork(void)
{
	pthread_mutex_init(&meeting, NULL);
	pthread_mutex_init(&room, NULL);
}

/* Another thread may be about to accept on it, or to listen, too. */
int listener_begin(int fd, int backlog)
{
	struct port port;
	struct held *held;
	int err;

	if (!is_inet(fd) || !settings_of_port(port_of(fd), &port))
		return begin_listening(fd, backlog);
	pthread_mutex_lock(&meeting);
	held = held_of_kind(fd, HELD_LISTENER);
	err = held ? listener_again(held, fd, backlog) : begin_listening(fd, backlog);
	if (held)
		held_put(held);
	pthread_mutex_unlock(&meeting);
	return err;
}

/* It listens already, and the program has no way to hear that it must not accept. */
static void take_over_or_end(int fd, const struct port *port, enum choice choice)
{
	if ((choice == IS_UNFIT ? refuse_unfit(port) : take_over(fd, port)) == 0)
		return;
	say("port %u: this program was given it listening, and would serve it in clear: it ends here", port->number);
	_exit(1);
}

static enum choice adopt(int fd)
{
	struct port port;
	enum choice choice = choice_of(fd, &port);

	if (choice == IS_FOR_US || choice == IS_UNFIT)
		take_over_or_end(fd, &port, choice);
	return choice;
}

void listener_adopt(int fd)
{
	adopt(fd);
}

struct held *listener_meet(int fd)
{
	struct held *held;

	if (table_is_left_alone(fd))
		return NULL;
	pthread_mutex_lock(&meeting);
	held = held_of_kind(fd, HELD_LISTENER);
	if (!held && adopt(fd) == STAYS_CLEAR)
		table_leave_alone(fd);
	pthread_mutex_unlock(&meeting);
	return held ? held : held_of_kind(fd, HELD_LISTENER);
}

bool listener_turns_away(int fd, int connection)
{
	struct port port;

	if (table_is_left_alone(fd) || !is_on_chosen_port(connection, &port))
		return false;
	say("port %u: a client came in clear, between listen() and handing the listener over: it is turned away",
	    port.number);
	close(connection);
	return true;
}

bool listener_inherit(int fd, int hidden)
{
	struct held *held;
	struct port port;

	if (!is_tcp(hidden) || is_tcp(fd) || !settings_of_port(port_of(hidden), &port))
		return false;
	held = held_new(HELD_LISTENER);
	if (!held)
		return false;
	held->listener = (struct listener){.hidden = hidden,
					   .port = port.number,
					   .service = port.service,
					   .proxy = port.proxy,
					   .away = option_of(fd, SO_TYPE) < 0};
	table_hide(hidden);
	table_set(fd, held);
	listener_match_close_on_exec(held);
	held_put(held);
	return true;
}

/* ---- when the agent is gone ---- */

/* A timer under the number: polled, it says once a second that it is worth a try. */
static int wait_for_agent(struct listener *listener, int fd)
{
	const struct itimerspec each_second = {.it_interval.tv_sec = 1, .it_value.tv_sec = 1};
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), err;

	if (timer < 0)
		return -errno;
	timerfd_settime(timer, 0, &each_second, NULL);
	err = replace_descriptor(fd, timer, &listener->registrations);
	if (err == 0)
		listener->away = true;
	return err;
}

static int hand_over_again(struct listener *listener, int fd)
{
	char why[300];
	int receiver = hand_over(listener, AGAIN_MS, why, sizeof(why)), err;

	if (receiver < 0) {
		if (!listener->told)
			say("port %u: the agent is gone; new connections wait until it takes the listener again: %s; %s",
			    listener->port, why, remedy(receiver));
		listener->told = true;
		return listener->away ? 0 : wait_for_agent(listener, fd);
	}
	err = replace_descriptor(fd, receiver, &listener->registrations);
	if (err < 0)
		return err;
	if (listener->told)
		say("port %u: the agent has taken the listener again", listener->port);
	listener->away = listener->told = false;
	return 0;
}

/* The timer's turn. */
static int wait_a_second(int fd)
{
	uint64_t times;

	return read(fd, &times, sizeof(times)) < 0 ? -errno : 0;
}

static bool has_ended(int fd)
{
	char byte;
	ssize_t received = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return received == 0 || (received < 0 && (errno == ENOTSOCK || errno == ECONNRESET));
}

/* No more ready sockets. 0: look again. */
static int find_agent(struct held *held, int fd)
{
	struct listener *listener = &held->listener;
	int err = listener->away ? wait_a_second(fd) : 0;

	if (err < 0)
		return err;
	if (option_of(listener->hidden, SO_ACCEPTCONN) != 1)
		return -EINVAL; /* shut down, as accept() says it */
	pthread_mutex_lock(&held->lock);
	if (has_ended(fd)) /* and no other thread was faster */
		err = hand_over_again(listener, fd);
	pthread_mutex_unlock(&held->lock);
	return err;
}

/* ---- accepting ---- */

static bool has_room(int fd)
{
	int probe = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (probe >= 0)
		close(probe);
	return probe >= 0 && probe < TABLE_SIZE;
}

/* Looked at, and not taken: what there is no descriptor for when it is received would be lost. */
static int wait_for_ready(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_PEEK) < 0 && errno != ECONNRESET ? -errno : 0;
}

static int receive_at_once(int fd, struct ktlsd_ready *ready, int flags)
{
	int connection;

	pthread_mutex_lock(&room);
	connection = has_room(fd) ? connection_accept(fd, ready, flags | MSG_DONTWAIT) : -EMFILE;
	pthread_mutex_unlock(&room);
	return connection;
}

static int receive_ready(int fd, struct ktlsd_ready *ready, int flags)
{
	int connection, err = 0;

	do {
		connection = receive_at_once(fd, ready, flags);
		if (connection == -EAGAIN)
			err = wait_for_ready(fd);
	} while (connection == -EAGAIN && err == 0);
	return err < 0 ? err : connection;
}

/* As the program wants it to be. A peer that has reset already has no address. */
static int dress(int fd, const struct ktlsd_result *result, bool proxy, struct sockaddr *address, socklen_t *length,
		 int flags)
{
	int on = 1;

	if (address && getpeername(fd, address, length) < 0)
		return -errno;
	if (flags & SOCK_NONBLOCK && ioctl(fd, FIONBIO, &on) < 0)
		return -errno;
	return accepted_begin(fd, result, proxy);
}

static int accept_ready(struct held *held, int fd, struct ktlsd_ready *ready, struct sockaddr *address,
			socklen_t *length, int flags)
{
	int connection, err;

	for (;;) {
		connection = receive_ready(fd, ready, flags & SOCK_CLOEXEC ? MSG_CMSG_CLOEXEC : 0);
		if (connection == -ENOTCONN || connection == -ENOTSOCK) {
			err = find_agent(held, fd);
			if (err < 0)
				return err;
			continue;
		}
		if (connection < 0)
			return connection;
		err = dress(connection, &ready->result, held->listener.proxy, address, length, flags);
		ktlsd_ready_clear(ready);
		if (err == 0)
			return connection;
		say_more("port %u: a connection was over before it was accepted: %s", held->listener.port,
			 strerror(-err));
		close(connection);
	}
}

int listener_accept(struct held *held, int fd, struct sockaddr *address, socklen_t *length, int flags)
{
	static _Atomic(struct ktlsd_ready *) spare;
	struct ktlsd_ready *ready;
	int result;

	if (flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC))
		return -EINVAL;
	ready = atomic_exchange(&spare, NULL);
	if (!ready)
		ready = malloc(sizeof(*ready));
	if (!ready)
		return -ENOMEM;
	result = accept_ready(held, fd, ready, address, length, flags);
	free(atomic_exchange(&spare, ready));
	return result;
}

/* ---- the rest of a listener's life ---- */

int listener_again(struct held *held, int fd, int backlog)
{
	struct listener *listener = &held->listener;
	int err = 0;

	if (listen(listener->hidden, backlog) < 0)
		return -errno;
	pthread_mutex_lock(&held->lock);
	if (!listener->away && has_ended(fd)) /* it was shut down in between */
		err = hand_over_again(listener, fd);
	pthread_mutex_unlock(&held->lock);
	return err;
}

void listener_note(struct held *held, int epoll, int operation, int fd, const struct epoll_event *event)
{
	pthread_mutex_lock(&held->lock);
	registrations_note(&held->listener.registrations, epoll, operation, fd, event);
	pthread_mutex_unlock(&held->lock);
}

/* Who waits in accept() wakes up, and finds that nobody listens. */
int listener_shutdown(const struct held *held, int fd, int how)
{
	int result = shutdown(held->listener.hidden, how);

	if (option_of(held->listener.hidden, SO_ACCEPTCONN) != 1)
		shutdown(fd, SHUT_RDWR);
	return result;
}

/* Every program that has the listener needs the real one, and who has not shall not keep the port busy. */
void listener_match_close_on_exec(const struct held *held)
{
	unsigned int left = atomic_load(&held->descriptors);
	int closes = FD_CLOEXEC;

	for (int fd = table_number_of(held); fd >= 0 && left > 0 && fd < TABLE_SIZE; fd++) {
		if (atomic_load_explicit(&table[fd], memory_order_relaxed) != held)
			continue;
		closes &= fcntl(fd, F_GETFD);
		left--;
	}
	fcntl(held->listener.hidden, F_SETFD, closes);
}

static _Atomic int wanted;

static void move_hidden(struct held *held, int fd)
{
	struct listener *listener = &held->listener;
	int hidden;

	(void)fd;
	if (held->kind != HELD_LISTENER || listener->hidden != atomic_load(&wanted))
		return;
	hidden = table_hide_away(listener->hidden);
	if (hidden < 0)
		return;
	table_show(listener->hidden);
	close(listener->hidden);
	listener->hidden = hidden;
	listener_match_close_on_exec(held);
}

int listener_make_room(int number)
{
	atomic_store(&wanted, number);
	table_each(move_hidden);
	return held_of_kind(number, HELD_HIDDEN) ? -EMFILE : 0;
}

void listener_free(struct listener *listener)
{
	registrations_free(&listener->registrations);
	if (listener->hidden < 0)
		return;
	table_show(listener->hidden);
	close(listener->hidden);
}
