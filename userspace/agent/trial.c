/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "trial.h"

#define TRIAL_ENTRIES 4

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

bool trial_linked_commands(void)
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
