/* SPDX-License-Identifier: MIT */
/* Handed listeners: the listening socket to the agent, ready sockets from it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "connection.h"
#include "filling.h"

#define ANSWER_MS 10000
#define READY_DESCRIPTORS 2 /* the connection, and a chain */

/* ---- to the agent ---- */

static int send_listen(struct ktlsd *agent, int listener, int end, const char *service, unsigned int backlog,
		       unsigned int want)
{
	struct datagram_writer datagram = {.data = agent->outbound, .size = sizeof(agent->outbound)};
	const int fds[] = {listener, end};
	struct ktlsd_msg_listen *message;

	message = message_begin(&datagram, KTLSD_MSG_LISTEN, sizeof(*message), 0);
	message->want = want;
	message->backlog = backlog;
	message_text(&datagram, KTLSD_ATTR_SERVICE, service);
	if (!message_end(&datagram))
		return -EMSGSIZE;
	return connection_send(agent, &datagram, fds, 2);
}

/* An agent that does not know the message counts descriptors that nothing takes. */
static int read_answer(struct ktlsd *agent, int answer_ms, char *why, size_t why_size)
{
	const struct ktlsd_msg_header *answer = connection_answer(agent, 0, answer_ms);
	int err;

	if (!answer)
		return -ETIMEDOUT;
	if (answer->type != KTLSD_MSG_RESULT)
		return -EBADMSG;
	err = connection_refusal(answer, why, why_size);
	return err == -EBADMSG ? -EPROTO : err;
}

static int hand_over(int listener, int end, const char *service, unsigned int backlog, unsigned int want, int answer_ms,
		     char *why, size_t why_size)
{
	struct ktlsd *agent;
	int err = connection_make(&agent, NULL, answer_ms < ANSWER_MS ? SOCK_NONBLOCK : 0);

	if (err < 0)
		return err;
	err = send_listen(agent, listener, end, service, backlog, want);
	if (err == 0)
		err = read_answer(agent, answer_ms, why, why_size);
	ktlsd_close(agent);
	return err;
}

int connection_listen(int listener, const char *service, unsigned int backlog, unsigned int want, int answer_ms,
		      char *why, size_t why_size)
{
	int ends[2], err;

	if (why && why_size > 0)
		*why = '\0';
	err = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0 ? -errno : 0;
	if (err == 0) {
		err = hand_over(listener, ends[1], service, backlog, want, answer_ms, why, why_size);
		close(ends[1]);
		if (err == 0)
			return ends[0];
		close(ends[0]);
	}
	if (why && why_size > 0 && !*why)
		snprintf(why, why_size, "the agent did not take the listener: %s", strerror(-err));
	return err;
}

int ktlsd_listen(int listener, const char *service, unsigned int backlog, unsigned int want, char *why, size_t why_size)
{
	return connection_listen(listener, service, backlog, want, ANSWER_MS, why, why_size);
}

/* ---- from the agent ---- */

static unsigned int take_descriptors(struct msghdr *message, int fds[static READY_DESCRIPTORS])
{
	struct cmsghdr *control = CMSG_FIRSTHDR(message);
	unsigned int count;

	if (!control || control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
		return 0;
	count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(fds, CMSG_DATA(control), count * sizeof(int)); /* there was no room for more */
	return count;
}

/* The messages of a datagram: a chain where one was wanted, then the ready socket. */
static int read_ready(struct ktlsd_ready *ready, struct datagram_reader *datagram, int chain_fd)
{
	struct filling filling = {
		.result = &ready->result, .peer = &ready->peer, .room = ready->buffer, .size = sizeof(ready->buffer)};
	const struct ktlsd_msg_header *header = message_next(datagram);
	const struct ktlsd_msg_chain *chain = NULL;

	filling_begin(&filling);
	if (header && header->type == KTLSD_MSG_CHAIN && header->length >= sizeof(*chain)) {
		chain = (const void *)header;
		header = message_next(datagram);
	}
	if (!header || header->type != KTLSD_MSG_READY || !filling_take(&filling, header) || ready->result.error)
		return -EBADMSG;
	ready->result.cookie = header->cookie;
	ready->result.role = KTLSD_SERVER;
	if (chain && chain_fd >= 0) {
		ready->result.chain = chain_map(chain_fd, chain->bytes);
		ready->result.chain_length = ready->result.chain ? chain->bytes : 0;
	}
	return 0;
}

/* What the agent says to who may not receive. */
static int read_refusal(struct ktlsd_ready *ready, struct datagram_reader *datagram)
{
	struct filling filling = {
		.result = &ready->result, .peer = &ready->peer, .room = ready->buffer, .size = sizeof(ready->buffer)};
	const struct ktlsd_msg_header *header = message_next(datagram);

	filling_begin(&filling);
	if (!header || header->type != KTLSD_MSG_RESULT || !filling_take(&filling, header) || ready->result.error <= 0)
		return -EBADMSG;
	return -ready->result.error;
}

/* flags: recvmsg()'s */
static int receive(int receiver, struct ktlsd_ready *ready, int flags, int fds[static READY_DESCRIPTORS],
		   unsigned int *fd_count)
{
	alignas(8) uint8_t data[KTLSD_DATAGRAM_MAX];
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(READY_DESCRIPTORS * sizeof(int))];
	} control;
	struct iovec part = {.iov_base = data, .iov_len = sizeof(data)};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	struct datagram_reader datagram = {.data = data};
	ssize_t length = recvmsg(receiver, &message, flags);

	if (length <= 0)
		return length < 0 && errno != ECONNRESET ? -errno : -ENOTCONN;
	datagram.length = length;
	*fd_count = take_descriptors(&message, fds);
	/* The kernel drops what there is no descriptor for, and only says so here. */
	if (*fd_count == 0)
		return message.msg_flags & MSG_CTRUNC ? -EMFILE : read_refusal(ready, &datagram);
	return read_ready(ready, &datagram, *fd_count == READY_DESCRIPTORS ? fds[1] : -1);
}

int connection_accept(int receiver, struct ktlsd_ready *ready, int flags)
{
	int fds[READY_DESCRIPTORS] = {-1, -1}, err;
	unsigned int fd_count = 0;

	ready->result.chain = NULL;
	err = receive(receiver, ready, flags & (MSG_DONTWAIT | MSG_CMSG_CLOEXEC), fds, &fd_count);
	if (fds[1] >= 0)
		close(fds[1]);
	if (err == 0 && flags & SOCK_NONBLOCK && fcntl(fds[0], F_SETFL, fcntl(fds[0], F_GETFL) | O_NONBLOCK) < 0)
		err = -errno;
	if (err < 0) {
		if (fds[0] >= 0)
			close(fds[0]);
		ktlsd_ready_clear(ready);
		return err;
	}
	ready->result.fd = fds[0];
	return fds[0];
}

int ktlsd_accept(int receiver, struct ktlsd_ready *ready, int flags)
{
	return connection_accept(receiver, ready, flags | MSG_CMSG_CLOEXEC);
}

void ktlsd_ready_clear(struct ktlsd_ready *ready)
{
	if (ready->result.chain)
		munmap((void *)ready->result.chain, ready->result.chain_length);
	ready->result.chain = NULL;
}
