/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "connection.h"
#include "stream.h"

#define MAGIC 0x6b746c73642d3031ULL

/* The kernel installs no more descriptors than there is room for. */
union control {
	struct cmsghdr header;
	char room[CMSG_SPACE(KTLSD_DATAGRAM_DESCRIPTORS * sizeof(int))];
};

bool connection_is_ours(const struct ktlsd *agent)
{
	return agent->magic == MAGIC;
}

const char *connection_path(const char *path)
{
	if (!path)
		path = getenv("KTLSD_HANDOFF");
	return path && *path ? path : KTLSD_HANDOFF_PATH;
}

static struct ktlsd *allocate(void)
{
	struct ktlsd *agent;

	agent = mmap(NULL, sizeof(*agent), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (agent == MAP_FAILED)
		return NULL;
	if (madvise(agent, sizeof(*agent), MADV_WIPEONFORK) < 0) {
		munmap(agent, sizeof(*agent));
		return NULL;
	}
	agent->magic = MAGIC;
	agent->fd = -1;
	agent->epoll_fd = -1;
	agent->timer_fd = -1;
	slots_init(&agent->slots);
	pthread_mutex_init(&agent->lock, NULL);
	TAILQ_INIT(&agent->asking);
	TAILQ_INIT(&agent->streams);
	TAILQ_INIT(&agent->suspects);
	return agent;
}

int connection_make(struct ktlsd **agent_out, const char *path, int flags)
{
	struct ktlsd *agent;
	int err;

	path = connection_path(path);
	if (strlen(path) >= sizeof(agent->path))
		return -ENAMETOOLONG;
	agent = allocate();
	if (!agent)
		return -ENOMEM;
	strcpy(agent->path, path);
	agent->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	err = agent->epoll_fd < 0 ? -errno : connection_establish(agent, flags);
	if (err < 0) {
		ktlsd_close(agent);
		return err;
	}
	*agent_out = agent;
	return 0;
}

int ktlsd_open(struct ktlsd **agent, const char *path)
{
	return connection_make(agent, path, 0);
}

static void close_unread_fds(struct inbound *inbound)
{
	int fd;

	while ((fd = inbound_take_fd(inbound)) >= 0)
		close(fd);
}

void ktlsd_close(struct ktlsd *agent)
{
	if (!agent || !connection_is_ours(agent))
		return;
	if (agent->shown)
		ktlsd_result_seen(agent);
	streams_abandon(agent);
	close_unread_fds(&agent->inbound);
	if (agent->fd >= 0)
		close(agent->fd);
	if (agent->epoll_fd >= 0)
		close(agent->epoll_fd);
	slots_destroy(&agent->slots);
	munmap(agent, sizeof(*agent));
}

int ktlsd_fd(const struct ktlsd *agent)
{
	return connection_is_ours(agent) ? agent->epoll_fd : -EOWNERDEAD;
}

static int say_hello(struct ktlsd *agent)
{
	struct datagram_writer datagram = {.data = agent->outbound, .size = sizeof(agent->outbound)};
	struct ktlsd_msg_hello *hello;

	hello = message_begin(&datagram, KTLSD_MSG_HELLO, sizeof(*hello), 0);
	hello->version = KTLSD_PROTOCOL_VERSION;
	message_end(&datagram);
	return connection_send(agent, &datagram, NULL, 0);
}

static int establish(struct ktlsd *agent, int flags)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct epoll_event event = {.events = EPOLLIN};

	strcpy(address.sun_path, agent->path);
	agent->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0);
	if (agent->fd < 0)
		return -errno;
	if (connect(agent->fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    epoll_ctl(agent->epoll_fd, EPOLL_CTL_ADD, agent->fd, &event) < 0)
		return -errno;
	agent->watched = EPOLLIN;
	return say_hello(agent);
}

int connection_establish(struct ktlsd *agent, int flags)
{
	int err;

	pthread_mutex_lock(&agent->lock);
	err = establish(agent, flags);
	if (err < 0 && agent->fd >= 0) {
		close(agent->fd);
		agent->fd = -1;
	}
	pthread_mutex_unlock(&agent->lock);
	/* The agent's backlog is full, or it went away at once: for the caller, it is not there just now. */
	return err == -EAGAIN || err == -EPIPE || err == -ECONNRESET ? -ECONNREFUSED : err;
}

void connection_lost(struct ktlsd *agent)
{
	close_unread_fds(&agent->inbound);
	agent->inbound.reader.length = agent->inbound.reader.offset = 0;
	explicit_bzero(agent->inbound.data, sizeof(agent->inbound.data)); /* keys may be in it that nobody took */
	pthread_mutex_lock(&agent->lock);
	/* By hand, because closing does not remove it while a child has the descriptor too. */
	epoll_ctl(agent->epoll_fd, EPOLL_CTL_DEL, agent->fd, NULL);
	close(agent->fd);
	agent->fd = -1;
	pthread_mutex_unlock(&agent->lock);
	agent->blocked = false;
	for (uint32_t i = 0; agent->slots.open > 0; i++)
		if (slot_is_open(&agent->slots, i))
			slot_end(&agent->slots, i, ECONNRESET, false);
	streams_interrupted(agent);
}

/* The socket has room most of the time, so waiting for room is how epoll_fd is made readable. */
void connection_update_watch(struct ktlsd *agent)
{
	bool waiting = agent->blocked || agent->slots.ended_first != NO_SLOT;
	struct epoll_event event = {.events = EPOLLIN | (waiting ? EPOLLOUT : 0)};

	if (agent->fd < 0 || event.events == agent->watched)
		return;
	if (epoll_ctl(agent->epoll_fd, EPOLL_CTL_MOD, agent->fd, &event) == 0)
		agent->watched = event.events;
}

int connection_send(struct ktlsd *agent, const struct datagram_writer *datagram, const int *fds, unsigned int fd_count)
{
	struct iovec data = {.iov_base = datagram->data, .iov_len = datagram->length};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};
	union control control;

	if (fd_count > 0) {
		control.header = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
						  .cmsg_type = SCM_RIGHTS,
						  .cmsg_len = CMSG_LEN(fd_count * sizeof(*fds))};
		memcpy(CMSG_DATA(&control.header), fds, fd_count * sizeof(*fds));
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(fd_count * sizeof(*fds));
	}
	return sendmsg(agent->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static void collect_fds(struct inbound *inbound, struct msghdr *message)
{
	inbound->fd_count = inbound->fd_next = 0;
	for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control; control = CMSG_NXTHDR(message, control)) {
		if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
			continue;
		inbound->fd_count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(inbound->fds, CMSG_DATA(control), inbound->fd_count * sizeof(int));
	}
}

int inbound_take_fd(struct inbound *inbound)
{
	return inbound->fd_next < inbound->fd_count ? inbound->fds[inbound->fd_next++] : -1;
}

int connection_receive(struct ktlsd *agent)
{
	struct inbound *inbound = &agent->inbound;
	struct iovec data = {.iov_base = inbound->data, .iov_len = sizeof(inbound->data)};
	union control control;
	struct msghdr message = {
		.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t length;

	close_unread_fds(inbound);
	do {
		length = recvmsg(agent->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		/* An agent that left unread messages behind says so first; its last answers come after that. */
	} while (length < 0 && errno == ECONNRESET);
	if (length < 0)
		return -errno;
	collect_fds(inbound, &message);
	agent->received_ns = now_ns();
	inbound->reader = (struct datagram_reader){.data = inbound->data, .length = length};
	return length > 0;
}

const struct ktlsd_msg_header *connection_answer(struct ktlsd *agent, uint64_t cookie, int timeout_ms)
{
	struct pollfd socket = {.fd = agent->fd, .events = POLLIN};
	const struct ktlsd_msg_header *message;
	int ready;

	while ((ready = poll(&socket, 1, timeout_ms)) != 0) {
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready < 0 || connection_receive(agent) != 1)
			return NULL;
		while ((message = message_next(&agent->inbound.reader)))
			if (message->type != KTLSD_MSG_HELLO && message->cookie == cookie)
				return message;
	}
	return NULL;
}

int connection_refusal(const struct ktlsd_msg_header *answer, char *why, size_t why_size)
{
	struct attribute_reader reader;
	struct attribute attribute;

	if (!attributes_begin(&reader, answer, sizeof(struct ktlsd_msg_result)))
		return -EBADMSG;
	while (attributes_next(&reader, &attribute))
		if (attribute.type == KTLSD_ATTR_ERROR && why)
			attribute_text(&attribute, why, why_size);
	return -(int)((const struct ktlsd_msg_result *)answer)->error;
}
