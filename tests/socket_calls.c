// SPDX-License-Identifier: MIT
/* Under ktls-run: what a program does with a listening socket, asks of it and sets, is as if nobody else had it. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

#define HIGH 900 /* from here on there may be what ktls-run hides */

static struct sockaddr_in here = {.sin_family = AF_INET};

static int bound(in_port_t port)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	here.sin_port = port;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&here, sizeof(here)) == 0)
		return fd;
	close(fd);
	return -1;
}

static in_port_t port_of(int fd)
{
	struct sockaddr_in own = {0};
	socklen_t length = sizeof(own);

	return getsockname(fd, (struct sockaddr *)&own, &length) == 0 && length == sizeof(own) ? own.sin_port : 0;
}

static int listening(void)
{
	int fd = bound(0);

	must(fd >= 0 && listen(fd, 5) == 0);
	return fd;
}

static int option(int fd, int level, int name)
{
	int value = -1;
	socklen_t length = sizeof(value);

	return getsockopt(fd, level, name, &value, &length) == 0 ? value : -errno;
}

static int accept_error(int fd)
{
	int accepted = accept(fd, NULL, NULL);

	must(accepted < 0);
	return errno;
}

static void check_questions(int fd)
{
	struct sockaddr_in peer;
	socklen_t length = sizeof(peer);
	struct tcp_info info;
	char byte;

	check(port_of(fd) != 0, "getsockname");
	check(getpeername(fd, (struct sockaddr *)&peer, &length) < 0 && errno == ENOTCONN, "getpeername: ENOTCONN");
	check(option(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1, "SO_ACCEPTCONN");
	check(option(fd, SOL_SOCKET, SO_TYPE) == SOCK_STREAM, "SO_TYPE");
	check(option(fd, SOL_SOCKET, SO_DOMAIN) == AF_INET, "SO_DOMAIN");
	check(option(fd, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_TCP, "SO_PROTOCOL");
	check(option(fd, SOL_SOCKET, SO_ERROR) == 0, "SO_ERROR");
	check(option(fd, SOL_SOCKET, SO_REUSEADDR) == 1, "SO_REUSEADDR");
	length = sizeof(info);
	check(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 && info.tcpi_state == TCP_LISTEN, "TCP_INFO");
	check(read(fd, &byte, 1) < 0 && errno == ENOTCONN, "read: ENOTCONN");
	check(recv(fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == ENOTCONN, "recv: ENOTCONN");
}

static unsigned int backlog_of(int fd)
{
	struct tcp_info info = {0};
	socklen_t length = sizeof(info);

	getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length);
	return info.tcpi_sacked;
}

static void check_settings(int fd)
{
	struct timeval patience = {.tv_usec = 200000}, told = {0};
	socklen_t length = sizeof(told);
	struct timespec before, after;
	int seconds = 3;

	check(setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds)) == 0 &&
		      option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT) >= 3,
	      "TCP_DEFER_ACCEPT");
	check(listen(fd, 7) == 0 && backlog_of(fd) == 7, "a second listen() changes the backlog");
	must(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0);
	check(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &told, &length) == 0 && told.tv_usec == 200000,
	      "SO_RCVTIMEO is told");
	clock_gettime(CLOCK_MONOTONIC, &before);
	check(accept_error(fd) == EAGAIN, "and accept() waits no longer");
	clock_gettime(CLOCK_MONOTONIC, &after);
	check((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 >= 150, "nor shorter");
	must(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
	check(accept_error(fd) == EAGAIN, "O_NONBLOCK: EAGAIN");
	check(accept4(fd, NULL, NULL, 1) < 0 && errno == EINVAL, "accept4, flags that are none: EINVAL");
}

static void check_settings_before(void)
{
	struct timeval patience = {.tv_usec = 200000};
	int fd = bound(0);

	must(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0 && listen(fd, 5) == 0);
	check(accept_error(fd) == EAGAIN, "SO_RCVTIMEO from before listen()");
	close(fd);
}

static void check_duplicates(int fd)
{
	in_port_t port = port_of(fd);
	int copy = dup(fd), high = fcntl(fd, F_DUPFD_CLOEXEC, 50), third = dup2(fd, 60), other;

	check(port_of(copy) == port && port_of(high) == port && port_of(third) == port, "dup, F_DUPFD_CLOEXEC, dup2");
	close(fd);
	close(third);
	check(accept_error(copy) == EAGAIN && option(high, SOL_SOCKET, SO_ACCEPTCONN) == 1, "two of four are closed");
	check(bound(port) < 0 && errno == EADDRINUSE, "the port is taken");
	close(copy);
	must(dup2(0, high) == high);
	other = bound(port);
	check(other >= 0, "the last has become something else: the port is free");
	close(other);
	close(high);
}

static void check_hidden(void)
{
	int fd = listening(), closed = 0;
	in_port_t port = port_of(fd);

	for (int number = fd + 1; number < 1024; number++)
		closed += close(number) == 0;
	check(closed == 0 && port_of(fd) == port, "a program that closes all numbers closes nothing of ours");
	check(close_range(fd + 1, ~0U, 0) == 0 && port_of(fd) == port, "nor does close_range");
	check(close_range(fd + 1, ~0U, CLOSE_RANGE_UNSHARE) == 0 && port_of(fd) == port,
	      "with CLOSE_RANGE_UNSHARE, too");
	for (int number = HIGH; number < HIGH + 8; number++)
		must(dup2(0, number) == number);
	check(port_of(fd) == port && option(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1, "the program may have every number");
	for (int number = HIGH; number < HIGH + 8; number++)
		must(close(number) == 0);
	check(port_of(fd) == port, "and give it back");
	close(fd);
}

/* How many listening sockets of the process stay open in the next program. */
static int left_open(void)
{
	int count = 0;

	for (int fd = 3; fd < 1024; fd++)
		count += option(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1 && !(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	return count;
}

static void check_close_on_exec(void)
{
	int fd = listening(), on = 1;

	check(left_open() == 2, "the next program gets the listener, and what belongs to it");
	must(fcntl(fd, F_SETFD, FD_CLOEXEC) == 0);
	check(left_open() == 0, "FD_CLOEXEC: nothing");
	must(ioctl(fd, FIONCLEX, &on) == 0);
	check(left_open() == 2, "FIONCLEX: both");
	must(close_range(fd, fd, CLOSE_RANGE_CLOEXEC) == 0);
	check(left_open() == 0, "close_range, CLOSE_RANGE_CLOEXEC: nothing");
	close(fd);
}

static bool child_is_well(pid_t child)
{
	int status;

	return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void check_children(void)
{
	int fd = listening();
	in_port_t port = port_of(fd);
	pid_t child = fork();

	if (child == 0) {
		bool good = port_of(fd) == port;

		close(fd);
		_exit(!good || port_of(fd) != 0);
	}
	check(child_is_well(child) && port_of(fd) == port, "a child by fork() closes its own");
	child = vfork();
	if (child == 0) {
		close(fd);
		_exit(0);
	}
	check(child_is_well(child) && port_of(fd) == port, "and by vfork()");
	check(bound(port) < 0, "the port is taken");
	close(fd);
}

static void check_shutdown(void)
{
	int fd = listening();

	must(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
	check(shutdown(fd, SHUT_RD) == 0 && option(fd, SOL_SOCKET, SO_ACCEPTCONN) == 0, "shutdown");
	check(accept_error(fd) == EINVAL, "accept: EINVAL");
	check(listen(fd, 5) == 0 && option(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1 && accept_error(fd) == EAGAIN,
	      "listen again");
	close(fd);
}

static void check_others(void)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), tcp = bound(0);
	FILE *file;
	in_port_t port;

	check(bind(fd, (struct sockaddr *)&name, sizeof(sa_family_t)) == 0 && listen(fd, 5) == 0 &&
		      option(fd, SOL_SOCKET, SO_DOMAIN) == AF_UNIX,
	      "a UNIX socket is left alone");
	check(accept_error(tcp) == EINVAL, "accept without listen: EINVAL");
	close(tcp);
	close(fd);
	fd = listening();
	port = port_of(fd);
	file = fdopen(fd, "r");
	fclose(file);
	fd = bound(port);
	check(fd >= 0, "fclose closes");
	close(fd);
	check(listen(1000, 5) < 0 && errno == EBADF, "listen: EBADF");
	errno = 4711;
	fd = listening();
	check(errno == 4711, "errno stays");
	close(fd);
}

int main(void)
{
	int fd = listening();

	check_questions(fd);
	check_settings(fd);
	check_settings_before();
	check_duplicates(fd);
	check_hidden();
	check_close_on_exec();
	check_children();
	check_shutdown();
	check_others();
	return finish();
}
