// SPDX-License-Identifier: GPL-2.0
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "device.h"

#define RING_ENTRIES 128

/* ---- time ---- */

int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void sleep_ms(int ms)
{
	nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}

/* ---- ioctl ---- */

/* The call that a 32-bit program makes: the kernel takes it from any. */
static int compat_ioctl(int fd, uint32_t command, void *argument)
{
#ifdef __x86_64__
	long result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(54L), "b"((long)fd), "c"((long)command), "d"(argument)
			 : "memory", "r8", "r9", "r10", "r11");
	return (int)result;
#else
	(void)fd, (void)command, (void)argument;
	return -ENOSYS;
#endif
}

static int call(const struct device *device, uint32_t command, void *argument)
{
	int result;

	if (device->way == BY_COMPAT_IOCTL)
		return compat_ioctl(device->fd, command, argument);
	result = ioctl(device->fd, command, argument);
	return result < 0 ? -errno : result;
}

static void *call_in_thread(void *argument)
{
	struct request *request = argument;
	int result = call(request->device, request->command, request->argument);

	__atomic_store_n(&request->result, result, __ATOMIC_RELEASE);
	return NULL;
}

static int wait_for_thread(struct request *request, int timeout_ms)
{
	int64_t end = now_ms() + timeout_ms;

	while (__atomic_load_n(&request->result, __ATOMIC_ACQUIRE) == NOT_YET && now_ms() < end)
		sleep_ms(1);
	return __atomic_load_n(&request->result, __ATOMIC_ACQUIRE);
}

/* ---- ring ---- */

bool device_has_ring(const struct device *device)
{
	return device->way >= BY_RING;
}

void device_prepare(struct device *device, struct request *request, unsigned int flags)
{
	struct ktlsd_command command = {.argument = (uintptr_t)request->argument};
	struct io_uring_sqe *sqe = io_uring_get_sqe(&device->ring);

	request->result = NOT_YET;
	if (!sqe)
		abort();
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = device->way == BY_FIXED_FILE ? 0 : device->fd;
	sqe->cmd_op = request->command;
	memcpy(sqe->cmd, &command, sizeof(command));
	if (device->way == BY_ASYNC)
		flags |= IOSQE_ASYNC;
	if (device->way == BY_FIXED_FILE)
		flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_flags(sqe, flags);
	io_uring_sqe_set_data(sqe, request);
}

void device_submit(struct device *device)
{
	if (io_uring_submit(&device->ring) < 0)
		abort();
}

static void take_completions(struct device *device)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&device->ring, &cqe) == 0) {
		struct request *request = io_uring_cqe_get_data(cqe);

		if (request)
			request->result = cqe->res;
		io_uring_cqe_seen(&device->ring, cqe);
	}
}

static int wait_for_completion(struct device *device, struct request *request, int timeout_ms)
{
	int64_t end = now_ms() + timeout_ms, left;
	struct io_uring_cqe *cqe;

	take_completions(device);
	while (request->result == NOT_YET && (left = end - now_ms()) > 0) {
		struct __kernel_timespec most = {left / 1000, left % 1000 * 1000000};

		io_uring_wait_cqe_timeout(&device->ring, &cqe, &most);
		take_completions(device);
	}
	return request->result;
}

static int open_ring(struct device *device)
{
	unsigned int flags =
		device->way == BY_DEFERRED_RING ? IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN : 0;
	int err = io_uring_queue_init(RING_ENTRIES, &device->ring, flags);

	if (err == 0 && device->way == BY_FIXED_FILE)
		err = io_uring_register_files(&device->ring, &device->fd, 1);
	return err;
}

/* ---- both ---- */

int device_open(struct device *device, enum way way)
{
	int err = 0;

	memset(device, 0, sizeof(*device));
	device->way = way;
	device->fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (device->fd < 0)
		return -errno;
	if (device_has_ring(device))
		err = open_ring(device);
	else if (way == BY_COMPAT_IOCTL && compat_ioctl(-1, KTLSD_INFO, NULL) != -EBADF)
		err = -EOPNOTSUPP;
	if (err < 0)
		close(device->fd);
	return err;
}

void device_close(struct device *device)
{
	if (device_has_ring(device))
		io_uring_queue_exit(&device->ring);
	close(device->fd);
}

#ifndef MAP_32BIT
#define MAP_32BIT 0
#endif

struct request *device_request(int fd)
{
	static char *pool;
	static size_t left;
	struct request *request;

	if (left < sizeof(*request)) {
		left = 256 * sizeof(*request);
		pool = mmap(NULL, left, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
		if (pool == MAP_FAILED)
			abort();
	}
	request = (void *)pool;
	pool += sizeof(*request);
	left -= sizeof(*request);
	request->handshake = (struct ktlsd_handshake){
		.size = sizeof(request->handshake),
		.fd = fd,
		.role = KTLSD_HANDSHAKE_SERVER,
		.auth = KTLSD_HANDSHAKE_X509,
	};
	request->command = KTLSD_HANDSHAKE;
	request->argument = &request->handshake;
	return request;
}

void device_start(struct device *device, struct request *request)
{
	request->result = NOT_YET;
	request->device = device;
	if (device_has_ring(device)) {
		device_prepare(device, request, 0);
		device_submit(device);
	} else if (pthread_create(&request->thread, NULL, call_in_thread, request) != 0) {
		abort();
	}
}

int device_wait(struct device *device, struct request *request, int timeout_ms)
{
	return device_has_ring(device) ? wait_for_completion(device, request, timeout_ms)
				       : wait_for_thread(request, timeout_ms);
}

int device_handshake(struct device *device, struct request *request)
{
	device_start(device, request);
	return device_wait(device, request, PATIENCE_MS);
}

int device_cancel(struct device *device, uint64_t cookie)
{
	struct request *request = device_request(-1);

	request->cancel = (struct ktlsd_cancel){.size = sizeof(request->cancel), .cookie = cookie};
	request->command = KTLSD_CANCEL;
	request->argument = &request->cancel;
	device_start(device, request);
	return device_wait(device, request, PATIENCE_MS);
}

int device_features(int fd)
{
	struct ktlsd_info info = {.size = sizeof(info)};

	return ioctl(fd, KTLSD_INFO, &info) < 0 ? -errno : (int)info.features;
}

/* ---- around it ---- */

int network_make(void)
{
	struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd, err;

	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	err = fd < 0 || ioctl(fd, SIOCSIFFLAGS, &loopback) < 0 ? -errno : 0;
	close(fd);
	return err;
}

int listener_make(struct sockaddr_in *address)
{
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t length = sizeof(*address);

	*address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (listener < 0 || bind(listener, (struct sockaddr *)address, length) < 0 || listen(listener, 128) < 0 ||
	    getsockname(listener, (struct sockaddr *)address, &length) < 0)
		return -errno;
	return listener;
}

int connection_make(struct connection *connection)
{
	struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
	struct sockaddr_in address;
	int listener = listener_make(&address);

	if (listener < 0)
		return listener;
	connection->peers = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(connection->peers, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	connection->ours = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	close(listener);
	setsockopt(connection->ours, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(connection->peers, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return connection->ours < 0 ? -errno : 0;
}

void connection_close(struct connection *connection)
{
	close(connection->ours);
	close(connection->peers);
}

static bool goes(int from, int to)
{
	char byte = 0;

	return send(from, "x", 1, MSG_NOSIGNAL) == 1 && recv(to, &byte, 1, 0) == 1 && byte == 'x';
}

bool connection_carries(const struct connection *connection)
{
	return goes(connection->ours, connection->peers) && goes(connection->peers, connection->ours);
}

bool connection_is_dead(const struct connection *connection)
{
	ssize_t n;
	char byte;

	send(connection->ours, "x", 1, MSG_NOSIGNAL); /* TLS may take it, and has nowhere to send it */
	n = recv(connection->peers, &byte, 1, 0);
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		return true;
	fprintf(stderr, "# the peer sees no end: %zd, %s\n", n, n < 0 ? strerror(errno) : "data");
	return false;
}

long counter(const char *name)
{
	char path[128], text[32] = "";
	int fd;

	snprintf(path, sizeof(path), "/sys/class/misc/ktlsd/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (read(fd, text, sizeof(text) - 1) <= 0)
		strcpy(text, "-1");
	close(fd);
	return strtol(text, NULL, 10);
}

bool counter_becomes(const char *name, long value)
{
	int64_t end = now_ms() + PATIENCE_MS;

	while (counter(name) != value) {
		if (now_ms() > end)
			return false;
		sleep_ms(5);
	}
	return true;
}
