/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "install.h"
#include "log.h"

#ifndef TLS_TX_MAX_PAYLOAD_LEN
#define TLS_TX_MAX_PAYLOAD_LEN 5
#endif
#ifndef SOL_TLS
#define SOL_TLS 282
#endif

#define TRIAL_ENTRIES 4

static enum install_way chosen;
static char ulp_name[] = "tls";

/* Fills a ring's submission queue several times over with commands that set something else. */
static void reuse_slots(struct io_uring *ring, int fd, int *value)
{
	unsigned int i;

	for (i = 0; i < TRIAL_ENTRIES * 2; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

		io_uring_prep_cmd_sock(sqe, SOCKET_URING_OP_SETSOCKOPT, fd, SOL_SOCKET, SO_BROADCAST, value,
				       sizeof(*value));
		io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
		io_uring_submit(ring);
	}
}

/* poll on the pipe -> set SO_KEEPALIVE; and before the pipe is ready, the place of that command is used again. */
static bool linked_command_works(struct io_uring *ring, int fd, const int pipes[2])
{
	int on = 1, off = 0, alive = 0;
	socklen_t length = sizeof(alive);
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;

	sqe = io_uring_get_sqe(ring);
	io_uring_prep_poll_add(sqe, pipes[0], POLLIN);
	io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS);
	io_uring_prep_cmd_sock(io_uring_get_sqe(ring), SOCKET_URING_OP_SETSOCKOPT, fd, SOL_SOCKET, SO_KEEPALIVE, &on,
			       sizeof(on));
	if (io_uring_submit(ring) != 2)
		return false;
	reuse_slots(ring, fd, &off);
	if (write(pipes[1], "", 1) != 1 || io_uring_wait_cqe(ring, &cqe) != 0 || cqe->res != 0)
		return false;
	return getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &alive, &length) == 0 && alive;
}

/*
 * Whether a ring sets socket options behind other members of a chain, tried out. Before Linux 6.14 a command that waits in
 * a chain is read from its place in the submission queue when its turn comes, whatever stands there by then: another
 * connection's keys, perhaps (io_uring/uring_cmd.c, io_uring_cmd_prep).
 */
static bool ring_sets_options(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), pipes[2] = {-1, -1};
	struct io_uring ring;
	bool works = false;

	if (fd >= 0 && pipe2(pipes, O_CLOEXEC) == 0 && io_uring_queue_init(TRIAL_ENTRIES, &ring, 0) == 0) {
		works = linked_command_works(&ring, fd, pipes);
		io_uring_queue_exit(&ring);
	}
	close(fd);
	close(pipes[0]);
	close(pipes[1]);
	return works;
}

bool install_init(enum install_way way)
{
	bool ring = way != INSTALL_SETSOCKOPT && ring_sets_options();

	chosen = ring ? INSTALL_IO_URING : INSTALL_SETSOCKOPT;
	if (way == INSTALL_IO_URING && !ring) {
		log_line(
			LOG_ERR,
			"install = io_uring, but this kernel has no io_uring socket commands that can be linked (Linux "
			"6.14); expected install = auto or setsockopt");
		return false;
	}
	return true;
}

enum install_way install_way(void)
{
	return chosen;
}

static void add(struct io_uring *ring, int fd, int level, int option, void *value, int length, uint64_t user_data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_cmd_sock(sqe, SOCKET_URING_OP_SETSOCKOPT, fd, level, option, value, length);
	io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS);
	io_uring_sqe_set_data64(sqe, user_data);
}

void install_prepare_ulp(struct io_uring *ring, int fd, uint64_t user_data)
{
	if (chosen == INSTALL_IO_URING)
		add(ring, fd, SOL_TCP, TCP_ULP, ulp_name, sizeof(ulp_name), user_data);
}

int install_complete_ulp(int fd)
{
	if (chosen == INSTALL_IO_URING)
		return 0;
	return setsockopt(fd, SOL_TCP, TCP_ULP, ulp_name, sizeof(ulp_name)) == 0 ? 0 : -errno;
}

void install_prepare(struct io_uring *ring, int fd, struct session_keys *keys, uint64_t user_data)
{
	if (chosen != INSTALL_IO_URING)
		return;
	add(ring, fd, SOL_TLS, TLS_TX, &keys->tx, keys->tx.length, user_data);
	if (keys->max_payload)
		add(ring, fd, SOL_TLS, TLS_TX_MAX_PAYLOAD_LEN, &keys->max_payload, sizeof(keys->max_payload),
		    user_data);
	add(ring, fd, SOL_TLS, TLS_RX, &keys->rx, keys->rx.length, user_data);
}

int install_complete(int fd, struct session_keys *keys)
{
	if (chosen == INSTALL_IO_URING)
		return 0;
	if (setsockopt(fd, SOL_TLS, TLS_TX, &keys->tx, keys->tx.length) != 0)
		return -errno;
	if (keys->max_payload &&
	    setsockopt(fd, SOL_TLS, TLS_TX_MAX_PAYLOAD_LEN, &keys->max_payload, sizeof(keys->max_payload)))
		return -errno;
	return setsockopt(fd, SOL_TLS, TLS_RX, &keys->rx, keys->rx.length) == 0 ? 0 : -errno;
}
