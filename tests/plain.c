// SPDX-License-Identifier: MIT
/*
 * plain [OPTION...]: a server that has never heard of TLS, for ktls-run: it sends back what it reads, and at the end "end", in
 * one of the many ways in which servers are written.
 *
 *	--wait WAY	blocking (default), poll, select, epoll, early, edge, exclusive: how it waits for connections and data;
 *			early: the listener is in the epoll set before listen(); edge: a short read has taken all, as nginx has it
 *	--read WAY	read (default), readv, recv, recvfrom, recvmsg, recvmmsg, waitall, peek, ioctl, splice, or one that is checked
 *			by the C library: read_chk, recv_chk, recvfrom_chk
 *	--size N	of its buffer (default: 4096)
 *	--processes N	that many, made after listen()
 *	--threads N	likewise
 *	--each WAY	fork: a child for each connection; exec: likewise, and the connection becomes descriptor 0 and 1 of cat;
 *			vfork, spawn: the same by vfork(), by posix_spawn(); helper: a child that execs has nothing to do with the
 *			connection, which is close-on-exec;
 *			stdout, fdopen, quick, at_once: the child reads once, answers and ends: by a stream of the C library that
 *			exit() writes out; by quick_exit(); by _exit(), which throws away what a stream holds
 *	--listeners N	with SO_REUSEPORT, all polled
 *	--dup		listens under a duplicate, and closes the first; and the same with each connection
 *	--again		becomes another program with the same listener, as a binary upgrade does it
 *	--chroot DIR	and user nobody, behind listen()
 *	--half		ends its own side after the first answer, and tells how many bytes came after that
 *	--raw-close	closes connections by a system call of its own, and uses their numbers for files and other sockets
 *	--count N	connections, then it ends (in each process)
 *	--limit N	of descriptors
 *	--left N	of them are left when files have taken all others
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

#define LISTENERS 4
#define EVENTS 16
#define SLOTS 256

static const char *wait_way = "blocking", *read_way = "read", *each_way = "", *root;
static int processes, threads, listener_count = 1, duplicates, again, half, raw_close, count = 1 << 30;
static int left_over = -1;
static unsigned int port;
static size_t size = 4096;
static int listeners[LISTENERS];
static int inherited = -1;

static bool is(const char *way, const char *name)
{
	return strcmp(way, name) == 0;
}

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
	va_list arguments;
	char line[256];
	int length;

	va_start(arguments, format);
	length = vsnprintf(line, sizeof(line) - 1, format, arguments);
	va_end(arguments);
	line[length] = '\n';
	must(write(1, line, length + 1) == length + 1);
}

/* ---- reading ---- */

ssize_t __read_chk(int fd, void *data, size_t length, size_t room);
ssize_t __recv_chk(int fd, void *data, size_t length, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *data, size_t length, size_t room, int flags, struct sockaddr *address,
		       socklen_t *address_length);

static ssize_t read_message(int fd, char *data)
{
	char control[100];
	struct iovec part = {.iov_base = data, .iov_len = size};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fd, &message, 0);

	must(n < 0 || (message.msg_controllen == 0 && message.msg_flags == 0));
	return n;
}

static ssize_t read_messages(int fd, char *data)
{
	struct iovec part = {.iov_base = data, .iov_len = size};
	struct mmsghdr messages[2] = {{.msg_hdr = {.msg_iov = &part, .msg_iovlen = 1}}};
	int n = recvmmsg(fd, messages, 1, 0, NULL);

	must(n <= 1);
	return n < 0 ? n : (ssize_t)messages[0].msg_len;
}

static ssize_t read_peeked(int fd, char *data)
{
	char copy[4096];
	ssize_t peeked = recv(fd, copy, size < sizeof(copy) ? size : sizeof(copy), MSG_PEEK), n;

	if (peeked <= 0)
		return peeked;
	n = recv(fd, data, peeked, 0);
	must(n == peeked && memcmp(copy, data, n) == 0);
	return n;
}

/* As much as FIONREAD says, and never less than a byte. */
static ssize_t read_announced(int fd, char *data)
{
	int announced = -1;
	ssize_t n;

	must(ioctl(fd, FIONREAD, &announced) == 0 && announced >= 0);
	n = read(fd, data, announced == 0 ? 1 : (size_t)announced < size ? (size_t)announced : size);
	must(announced == 0 || n > 0);
	return n;
}

static ssize_t read_through_pipe(int fd, char *data)
{
	int ends[2];
	ssize_t n;

	must(pipe(ends) == 0);
	n = splice(fd, NULL, ends[1], NULL, size, 0);
	if (n > 0)
		must(read(ends[0], data, n) == n);
	close(ends[0]);
	close(ends[1]);
	return n;
}

static ssize_t read_some(int fd, char *data)
{
	struct iovec parts[] = {{.iov_base = data, .iov_len = 0},
				{.iov_base = data, .iov_len = 3},
				{.iov_base = data + 3, .iov_len = size - 3}};
	struct sockaddr_storage from;
	socklen_t length = sizeof(from);

	if (is(read_way, "readv"))
		return readv(fd, parts, COUNT(parts));
	if (is(read_way, "recv"))
		return recv(fd, data, size, 0);
	if (is(read_way, "recvfrom"))
		return recvfrom(fd, data, size, 0, (struct sockaddr *)&from, &length);
	if (is(read_way, "recvmsg"))
		return read_message(fd, data);
	if (is(read_way, "recvmmsg"))
		return read_messages(fd, data);
	if (is(read_way, "waitall"))
		return recv(fd, data, size, MSG_WAITALL);
	if (is(read_way, "peek"))
		return read_peeked(fd, data);
	if (is(read_way, "ioctl"))
		return read_announced(fd, data);
	if (is(read_way, "splice"))
		return read_through_pipe(fd, data);
	if (is(read_way, "read_chk"))
		return __read_chk(fd, data, size, size);
	if (is(read_way, "recv_chk"))
		return __recv_chk(fd, data, size, size, 0);
	if (is(read_way, "recvfrom_chk"))
		return __recvfrom_chk(fd, data, size, size, 0, NULL, NULL);
	return read(fd, data, size);
}

/* ---- a connection ---- */

enum outcome { GOES_ON, OVER };

/* One read and its answer; edge: until nothing is left. hangs_up: EPOLLRDHUP was there. */
static enum outcome answer(int fd, bool edge, bool hangs_up)
{
	static _Thread_local char data[65536];
	ssize_t n;

	do {
		errno = 4711;
		n = read_some(fd, data);
		if (n < 0 && errno == EAGAIN)
			return GOES_ON;
		if (n < 0) {
			tell("error %s", strerrorname_np(errno));
			return OVER;
		}
		if (is(read_way, "read") || is(read_way, "readv"))
			must(errno == 4711);
		if (n == 0) {
			must(write(fd, "end\n", 4) == 4 || errno == EPIPE);
			return OVER;
		}
		must(send(fd, data, n, MSG_NOSIGNAL) == n);
	} while (edge && ((size_t)n == size || hangs_up));
	return GOES_ON;
}

/* A number's next use is its own, whatever it was before. */
static void close_raw(int fd)
{
	static int times;
	char byte = 1;
	int ends[2];

	must(syscall(SYS_close, fd) == 0);
	if (times++ % 2) {
		must(open("/proc/self/stat", O_RDONLY) == fd);
		must(read(fd, &byte, 1) == 1 && byte >= '0' && byte <= '9' && close(fd) == 0);
	} else {
		must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && ends[0] == fd && close(fd) == 0);
		must(read(ends[1], &byte, 1) == 0 && close(ends[1]) == 0);
	}
}

static volatile sig_atomic_t signals;

static void note_signal(int number)
{
	(void)number;
	signals++;
}

static void serve_half(int fd)
{
	char data[100];
	ssize_t n;
	int sum = 0;

	answer(fd, false, false);
	must(shutdown(fd, SHUT_WR) == 0);
	must(send(fd, data, 1, MSG_NOSIGNAL) < 0 && errno == EPIPE);
	signal(SIGPIPE, note_signal);
	must(write(fd, data, 1) < 0 && errno == EPIPE && signals == 1);
	while ((n = read(fd, data, sizeof(data))) > 0)
		sum += n;
	tell("behind the end %d, %s", sum, n == 0 ? "and an end" : strerrorname_np(errno));
	close(fd);
}

static void serve_blocking(int fd)
{
	while (answer(fd, false, false) == GOES_ON)
		;
	if (raw_close)
		close_raw(fd);
	else
		close(fd);
}

static int accept_one(int listener, int flags)
{
	struct sockaddr_in peer = {0}, name = {0}, own = {0};
	socklen_t length = sizeof(peer), name_length = sizeof(name), own_length = sizeof(own);
	int fd = accept4(listener, (struct sockaddr *)&peer, &length, flags), copy;

	if (fd < 0)
		return fd;
	must(length == sizeof(peer) && peer.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
	must(getpeername(fd, (struct sockaddr *)&name, &name_length) == 0 && name.sin_port == peer.sin_port);
	must(getsockname(fd, (struct sockaddr *)&own, &own_length) == 0 && ntohs(own.sin_port) == port);
	must(!(fcntl(fd, F_GETFL) & O_NONBLOCK) == !(flags & SOCK_NONBLOCK));
	must(!(fcntl(fd, F_GETFD) & FD_CLOEXEC) == !(flags & SOCK_CLOEXEC));
	if (!duplicates)
		return fd;
	copy = fcntl(fd, F_DUPFD, 40);
	must(copy >= 40 && close(fd) == 0);
	return copy;
}

static void become_cat(int fd)
{
	must(dup2(fd, 0) == 0 && dup2(fd, 1) == 1);
	close(fd);
	execl("/bin/cat", "cat", NULL);
	_exit(1);
}

/* Nothing but descriptors tells it that there is a connection. */
static void start_cat(int fd)
{
	char *const arguments[] = {"cat", NULL};
	posix_spawn_file_actions_t actions;
	pid_t child;

	must(fcntl(fd, F_SETFD, FD_CLOEXEC) == 0);
	must(posix_spawn_file_actions_init(&actions) == 0);
	must(posix_spawn_file_actions_adddup2(&actions, fd, 0) == 0);
	must(posix_spawn_file_actions_adddup2(&actions, fd, 1) == 0);
	must(posix_spawnp(&child, "cat", &actions, NULL, arguments, environ) == 0);
	posix_spawn_file_actions_destroy(&actions);
	close(fd);
}

static void vfork_cat(int fd)
{
	pid_t child;

	must(fcntl(fd, F_SETFD, FD_CLOEXEC) == 0);
	child = vfork();
	must(child >= 0);
	if (child == 0) {
		if (dup2(fd, 0) == 0 && dup2(fd, 1) == 1)
			execl("/bin/cat", "cat", NULL);
		_exit(1);
	}
	close(fd);
}

static void serve_beside_helper(int fd)
{
	pid_t child;

	must(fcntl(fd, F_SETFD, FD_CLOEXEC) == 0);
	child = fork();
	must(child >= 0);
	if (child == 0) {
		execlp("nonsense", "nonsense", NULL);
		execlp("sleep", "sleep", "3", NULL);
		_exit(1);
	}
	usleep(200000);
	serve_blocking(fd);
}

static void answer_once(int fd)
{
	char data[100];
	ssize_t n = read(fd, data, sizeof(data));
	FILE *file;

	must(n > 0);
	if (is(each_way, "stdout"))
		must(dup2(fd, 1) == 1 && close(fd) == 0);
	file = is(each_way, "stdout") ? stdout : fdopen(fd, "w");
	must(file && fwrite(data, 1, n, file) == (size_t)n);
	if (is(each_way, "at_once"))
		_exit(0);
	if (!is(each_way, "quick"))
		exit(0);
	fflush(file);
	quick_exit(0);
}

static void serve_in_child(int fd)
{
	pid_t child = fork();

	must(child >= 0);
	if (child > 0) {
		close(fd);
		return;
	}
	if (is(each_way, "exec"))
		become_cat(fd);
	if (!is(each_way, "fork"))
		answer_once(fd);
	serve_blocking(fd);
	exit(0);
}

static void serve_one(int fd)
{
	if (is(each_way, "spawn"))
		start_cat(fd);
	else if (is(each_way, "vfork"))
		vfork_cat(fd);
	else if (is(each_way, "helper"))
		serve_beside_helper(fd);
	else if (*each_way)
		serve_in_child(fd);
	else if (half)
		serve_half(fd);
	else
		serve_blocking(fd);
}

/* ---- waiting ---- */

/* Why there is no more to accept now. */
static void nothing_more(void)
{
	if (errno == EMFILE) {
		tell("accept EMFILE");
		usleep(50000);
		return;
	}
	must(errno == EAGAIN);
}

static void *serve_one_by_one(void *argument)
{
	int fd;

	(void)argument;
	for (int i = 0; i < count; i++) {
		fd = accept_one(listeners[0], i % 2 ? SOCK_CLOEXEC : 0);
		if (fd < 0) {
			tell("accept %s", strerrorname_np(errno));
			usleep(100000);
			continue;
		}
		serve_one(fd);
		while (*each_way && waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
	return NULL;
}

static bool is_listener(int fd)
{
	for (int i = 0; i < listener_count; i++)
		if (listeners[i] == fd)
			return true;
	return false;
}

/* Slots of poll(), the listeners first. */
static struct pollfd slots[SLOTS];
static int slot_count;

static void accept_into_slots(int listener)
{
	int fd;

	while (slot_count < SLOTS && (fd = accept_one(listener, SOCK_NONBLOCK)) >= 0) {
		slots[slot_count++] = (struct pollfd){.fd = fd, .events = POLLIN};
		count--;
	}
	nothing_more();
}

static void take_turn(int slot)
{
	if (slot < listener_count) {
		accept_into_slots(slots[slot].fd);
	} else if (answer(slots[slot].fd, false, false) == OVER) {
		close(slots[slot].fd);
		slots[slot] = slots[--slot_count];
	}
}

static void wait_for_slots(void)
{
	struct timeval long_enough = {.tv_sec = 30};
	fd_set set;

	if (is(wait_way, "poll")) {
		must(poll(slots, slot_count, 30000) > 0);
		return;
	}
	FD_ZERO(&set);
	for (int i = 0; i < slot_count; i++)
		FD_SET(slots[i].fd, &set);
	must(select(FD_SETSIZE, &set, NULL, NULL, &long_enough) > 0);
	for (int i = 0; i < slot_count; i++)
		slots[i].revents = FD_ISSET(slots[i].fd, &set) ? POLLIN : 0;
}

static void serve_slots(void)
{
	for (int i = 0; i < listener_count; i++)
		slots[slot_count++] = (struct pollfd){.fd = listeners[i], .events = POLLIN};
	while (count > 0 || slot_count > listener_count) {
		wait_for_slots();
		for (int i = slot_count - 1; i >= 0; i--)
			if (slots[i].revents)
				take_turn(i);
	}
}

static int epoll = -1;

static void watch(int fd, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.u64 = UINT64_C(0x100000000) + fd};

	if (is(wait_way, "edge"))
		event.events |= EPOLLET;
	must(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
}

static void watch_listener(int fd)
{
	watch(fd, is(wait_way, "exclusive") ? EPOLLIN | EPOLLEXCLUSIVE : EPOLLIN);
}

/* While somebody else has a connection, too, epoll may speak of it when it is closed here. */
static bool is_open[1024];

static void accept_into_epoll(int listener)
{
	int fd;

	while ((fd = accept_one(listener, SOCK_NONBLOCK)) >= 0) {
		must(fd < (int)COUNT(is_open));
		is_open[fd] = true;
		watch(fd, EPOLLIN | EPOLLRDHUP);
		count--;
	}
	nothing_more();
}

static void serve_epoll(void)
{
	struct epoll_event events[EVENTS];
	int n;

	if (!is(wait_way, "early")) { /* each process has its own */
		epoll = epoll_create1(EPOLL_CLOEXEC);
		for (int i = 0; i < listener_count; i++)
			watch_listener(listeners[i]);
	}
	while (count > 0) {
		n = epoll_wait(epoll, events, EVENTS, 30000);
		must(n > 0);
		for (int i = 0; i < n; i++) {
			int fd = (uint32_t)events[i].data.u64;

			must(events[i].data.u64 >> 32 == 1);
			if (is_listener(fd))
				accept_into_epoll(fd);
			else if (is_open[fd] && answer(fd, is(wait_way, "edge"), events[i].events & EPOLLRDHUP) == OVER)
				is_open[fd] = close(fd) != 0;
		}
	}
}

/* ---- listening ---- */

static int bound_socket(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	must(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0);
	if (listener_count > 1)
		must(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0);
	must(bind(fd, (struct sockaddr *)&address, length) == 0);
	must(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
	port = ntohs(address.sin_port);
	return fd;
}

static bool events_wanted(void)
{
	return !is(wait_way, "blocking");
}

static bool epoll_wanted(void)
{
	return events_wanted() && !is(wait_way, "poll") && !is(wait_way, "select");
}

static void start_listening(int i)
{
	int fd = inherited >= 0 ? inherited : bound_socket();

	if (events_wanted())
		must(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
	if (is(wait_way, "early"))
		watch_listener(fd);
	if (listen(fd, 64) < 0) {
		tell("listen %s", strerrorname_np(errno));
		exit(1);
	}
	if (duplicates) {
		int copy = dup(fd);

		must(copy >= 0 && close(fd) == 0);
		fd = copy;
	}
	listeners[i] = fd;
}

static void become_another(char **argv)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", listeners[0]);
	setenv("PLAIN_LISTENER", number, 1);
	execv("/proc/self/exe", argv);
	must(false);
}

static void drop_privileges(void)
{
	must(chroot(root) == 0 && chdir("/") == 0 && setgid(65534) == 0 && setuid(65534) == 0);
}

static void read_options(int argc, char **argv)
{
	static const struct option known[] = {
		{"wait", 1, NULL, 'w'},	     {"read", 1, NULL, 'r'},	{"size", 1, NULL, 's'},
		{"processes", 1, NULL, 'p'}, {"threads", 1, NULL, 't'}, {"each", 1, NULL, 'e'},
		{"listeners", 1, NULL, 'l'}, {"dup", 0, NULL, 'd'},	{"again", 0, NULL, 'a'},
		{"chroot", 1, NULL, 'c'},    {"count", 1, NULL, 'n'},	{"limit", 1, NULL, 'L'},
		{"raw-close", 0, NULL, 'R'}, {"left", 1, NULL, 'o'},	{"half", 0, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct rlimit limit;
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) >= 0) {
		switch (option) {
		case 'w':
			wait_way = optarg;
			break;
		case 'r':
			read_way = optarg;
			break;
		case 's':
			size = atoi(optarg);
			break;
		case 'p':
			processes = atoi(optarg);
			break;
		case 't':
			threads = atoi(optarg);
			break;
		case 'e':
			each_way = optarg;
			break;
		case 'l':
			listener_count = atoi(optarg);
			break;
		case 'd':
			duplicates = 1;
			break;
		case 'a':
			again = 1;
			break;
		case 'c':
			root = optarg;
			break;
		case 'h':
			half = 1;
			break;
		case 'R':
			raw_close = 1;
			break;
		case 'n':
			count = atoi(optarg);
			break;
		case 'o':
			left_over = atoi(optarg);
			break;
		case 'L':
			limit = (struct rlimit){.rlim_cur = atoi(optarg), .rlim_max = atoi(optarg)};
			must(setrlimit(RLIMIT_NOFILE, &limit) == 0);
			break;
		default:
			exit(2);
		}
	}
}

/* The lowest numbers stay free. */
static void take_descriptors(void)
{
	int files[1024], taken = 0;

	while ((files[taken] = open("/dev/null", O_RDONLY)) >= 0)
		taken++;
	for (int i = 0; i < left_over; i++)
		close(files[i]);
}

static void serve(void)
{
	pthread_t thread;

	for (int i = 1; i < threads; i++)
		must(pthread_create(&thread, NULL, serve_one_by_one, NULL) == 0);
	if (!events_wanted())
		serve_one_by_one(NULL);
	else if (epoll_wanted())
		serve_epoll();
	else
		serve_slots();
}

int main(int argc, char **argv)
{
	const char *number = getenv("PLAIN_LISTENER");

	read_options(argc, argv);
	if (number)
		inherited = atoi(number);
	if (inherited >= 0) {
		struct sockaddr_in own = {0};
		socklen_t length = sizeof(own);

		must(getsockname(inherited, (struct sockaddr *)&own, &length) == 0);
		port = ntohs(own.sin_port);
	}
	if (is(wait_way, "early"))
		epoll = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 0; i < listener_count; i++)
		start_listening(i);
	if (again && inherited < 0)
		become_another(argv);
	for (int i = 1; i < processes; i++)
		if (fork() == 0)
			break;
	if (root)
		drop_privileges();
	tell("port %u", port);
	if (left_over >= 0)
		take_descriptors();
	serve();
	return 0;
}
