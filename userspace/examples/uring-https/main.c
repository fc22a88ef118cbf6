/* SPDX-License-Identifier: MIT */
/*
 * An HTTPS file server on io_uring, without a line of TLS: sockets come from a multishot accept, go to the agent in
 * batches, and come back encrypting. Each connection has one operation in the ring at a time. With --handed the agent accepts, too.
 * With --device the handshake is an operation in the ring: a command on /dev/ktlsd, and the agent is the kernel's affair.
 */
#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/sendfile.h>

#include "../example.h"
#include "http.h"
#include "ktlsd.h"
#include "ktlsd_uring.h"

#define RING_ENTRIES 128
#define CONNECTIONS_MAX 8192
#define IDLE_MAX_S 30
#define REQUEST_MAX 4096
#define SENDFILE_ONCE (1024 * 1024) /* then it is another connection's turn */

static const char usage[] =
	"usage: example-uring-https [OPTION...] [DIRECTORY]\n\nServes the files of a directory "
	"over HTTPS.\n\n"
	"  --device        handshakes through " KTLSD_DEVICE_PATH ", by whoever takes the kernel's requests\n"
	"  --handed        the agent accepts, and only ready sockets come here\n" EXAMPLE_USAGE;

enum state {
	HANDSHAKE, /* the agent has the socket: hands off */
	REQUEST,
	RESPONSE,
	RESPONSE_WAITS, /* for room, or for a new key */
	BODY,
	GOODBYE,
	GOODBYE_WAITS, /* for another sender of the stream's: a KeyUpdate */
	LINGER,	       /* all is sent; waits for the peer to close, or a reset might destroy the last bytes under way */
};

struct connection {
	struct connection *next, **link;
	int fd;
	struct ktlsd_stream *stream; /* once it is ready */
	enum state state;
	unsigned int active_s; /* when something last happened */
	bool nonblocking;
	bool polling; /* for something to receive */

	struct msghdr message;
	struct iovec buffer;
	char control[CMSG_SPACE(1)];
	char request[REQUEST_MAX];
	size_t received;
	size_t parsed; /* of what was received: the request that is being answered */

	struct ktlsd_handshake handshake; /* the command, with --device */
	struct ktlsd_close_notify close_notify;
	struct response response;
	size_t sent;  /* of its text */
	off_t offset; /* in its file */
};

/* user_data of what belongs to no connection */
static char accepted, answered, received_ready, ticked;

static struct io_uring ring;
static struct ktlsd *agent; /* NULL with --device */
static int device;
static struct connection *connections;
static unsigned int connection_count, now_s;
static struct example_options options = EXAMPLE_DEFAULTS;
static int listener, directory, receiver = -1;
static struct ktlsd_ready ready;
static bool listening;
static struct __kernel_timespec second = {.tv_sec = 1};

/* So many can be linked then: a chain is submitted as a whole. */
static void reserve(unsigned int count)
{
	if (io_uring_sq_space_left(&ring) < count)
		io_uring_submit(&ring);
}

static struct io_uring_sqe *next_sqe(void *tag)
{
	struct io_uring_sqe *sqe;

	reserve(1);
	sqe = io_uring_get_sqe(&ring);
	io_uring_sqe_set_data(sqe, tag);
	return sqe;
}

static void prep_accept(void)
{
	io_uring_prep_multishot_accept(next_sqe(&accepted), listener, NULL, NULL, SOCK_CLOEXEC);
	listening = true;
}

static void prep_agent(void)
{
	io_uring_prep_poll_multishot(next_sqe(&answered), ktlsd_fd(agent), POLLIN);
}

static void prep_ready(void)
{
	io_uring_prep_poll_multishot(next_sqe(&received_ready), receiver, POLLIN);
}

static void prep_tick(void)
{
	io_uring_prep_timeout(next_sqe(&ticked), &second, 0, IORING_TIMEOUT_MULTISHOT);
}

static void prep_receive(struct connection *c)
{
	c->buffer = (struct iovec){c->request + c->received, sizeof(c->request) - c->received};
	c->message = (struct msghdr){.msg_iov = &c->buffer,
				     .msg_iovlen = 1,
				     .msg_control = c->control,
				     .msg_controllen = sizeof(c->control)};
	io_uring_prep_recvmsg(next_sqe(c), c->fd, &c->message, 0);
}

static void prep_writable(struct connection *c)
{
	io_uring_prep_poll_add(next_sqe(c), c->fd, POLLOUT);
}

static void prep_readable(struct connection *c)
{
	io_uring_prep_poll_add(next_sqe(c), c->fd, POLLIN);
	c->polling = true;
}

/* NULL: more than this server takes. */
static struct connection *new_connection(int fd)
{
	struct connection *c = connection_count < CONNECTIONS_MAX ? calloc(1, sizeof(*c)) : NULL;

	if (!c) {
		close(fd);
		return NULL;
	}
	c->fd = fd;
	c->active_s = now_s;
	c->next = connections;
	c->link = &connections;
	if (c->next)
		c->next->link = &c->next;
	connections = c;
	connection_count++;
	return c;
}

static void drop(struct connection *c)
{
	struct io_uring_sqe *sqe = next_sqe(NULL);

	io_uring_prep_close(sqe, c->fd);
	io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
	http_free(&c->response);
	ktlsd_stream_free(c->stream);
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	free(c);
	connection_count--;
}

/* It goes to the agent with the next ktlsd_submit(). */
static bool hand_over(struct connection *c)
{
	struct ktlsd_handoff *handoff = ktlsd_get_handoff(agent);

	if (!handoff && ktlsd_submit(agent) > 0)
		handoff = ktlsd_get_handoff(agent);
	if (!handoff)
		return false;
	ktlsd_prep_server(handoff, c->fd, options.service);
	handoff->cookie = (uintptr_t)c;
	return true;
}

static void prep_handshake(struct connection *c)
{
	ktlsd_handshake_server(&c->handshake, c->fd);
	ktlsd_uring_prep_handshake(next_sqe(c), device, &c->handshake);
}

static void add_connection(int fd)
{
	struct connection *c = new_connection(fd);

	if (c && options.way == BY_DEVICE)
		prep_handshake(c);
	else if (c && !hand_over(c))
		drop(c);
}

static void send_response(struct connection *c)
{
	/* Until end_write() the stream leaves our key alone. */
	int err = ktlsd_stream_begin_write(c->stream, MSG_DONTWAIT);

	if (err == -EAGAIN) {
		c->state = RESPONSE_WAITS;
		prep_writable(c);
	} else if (err < 0) {
		drop(c);
	} else {
		c->state = RESPONSE;
		io_uring_prep_send(next_sqe(c), c->fd, c->response.text + c->sent, c->response.length - c->sent,
				   c->response.file ? MSG_MORE : 0);
	}
}

/* The ring waits where sockets block; sendfile() must not, so that switches. */
static void set_nonblocking(struct connection *c, bool nonblocking)
{
	if (c->nonblocking != nonblocking)
		fcntl(c->fd, F_SETFL, nonblocking ? O_NONBLOCK : 0);
	c->nonblocking = nonblocking;
}

/*
 * close_notify, and behind it the end of our half; then the peer is waited for. The chain's last member is the one that says it is
 * through: one that were still to come when its connection is closed would find another connection under the same number.
 */
static void say_goodbye(struct connection *c)
{
	int err = ktlsd_stream_begin_shutdown(c->stream, &c->close_notify, MSG_DONTWAIT);
	struct io_uring_sqe *sqe;

	c->state = GOODBYE;
	if (err == -EAGAIN) {
		c->state = GOODBYE_WAITS;
		prep_writable(c);
	} else if (err < 0) {
		drop(c);
	} else {
		set_nonblocking(c, false);
		reserve(2);
		sqe = next_sqe(c);
		io_uring_prep_sendmsg(sqe, c->fd, &c->close_notify.message, MSG_NOSIGNAL);
		io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS);
		io_uring_prep_shutdown(next_sqe(c), c->fd, SHUT_WR);
	}
}

static void said_goodbye(struct connection *c, int result)
{
	ktlsd_stream_end_shutdown(c->stream, result);
	if (result < 0) {
		drop(c);
		return;
	}
	c->state = LINGER;
	c->received = 0;
	prep_receive(c);
}

/* Answers the next request if all of it is here; else receives more. */
static void next_request(struct connection *c)
{
	char *end = memmem(c->request, c->received, "\r\n\r\n", 4);

	if (!end && c->received < sizeof(c->request)) {
		c->state = REQUEST;
		set_nonblocking(c, false);
		prep_receive(c);
		return;
	}
	if (end) {
		c->parsed = end + 4 - c->request;
		*end = '\0';
		c->response = http_answer(c->request, directory, now_s);
	} else {
		c->response = http_error("431 Request Header Fields Too Large");
	}
	if (!c->response.text) {
		drop(c);
		return;
	}
	c->sent = c->offset = 0;
	set_nonblocking(c, false);
	send_response(c);
}

static void finish_response(struct connection *c)
{
	http_free(&c->response);
	if (!c->response.keep_alive) {
		say_goodbye(c);
		return;
	}
	c->received -= c->parsed;
	memmove(c->request, c->request + c->parsed, c->received);
	next_request(c);
}

static void send_body(struct connection *c)
{
	off_t left = c->response.size - c->offset;
	ssize_t n;

	c->state = BODY;
	set_nonblocking(c, true);
	n = ktlsd_stream_sendfile(c->stream, c->response.file->fd, &c->offset,
				  left < SENDFILE_ONCE ? left : SENDFILE_ONCE);
	if (n == 0 || (n < 0 && n != -EAGAIN)) /* the file became shorter, or the peer is gone */
		drop(c);
	else if (c->offset == c->response.size)
		finish_response(c);
	else
		prep_writable(c);
}

/* What a receive brought, as the stream sees it; false: nothing yet, and the ring has what to do next. */
static bool take(struct connection *c, int result, ssize_t *received)
{
	if (c->polling) {
		c->polling = false;
		prep_receive(c);
		return false;
	}
	*received = ktlsd_stream_completed(c->stream, &c->message, result);
	if (*received == -EAGAIN)
		prep_receive(c);
	else if (*received == -EINPROGRESS)
		prep_readable(c);
	return *received != -EAGAIN && *received != -EINPROGRESS;
}

static void received(struct connection *c, int result)
{
	ssize_t n;

	if (!take(c, result, &n))
		return;
	if (n > 0) {
		c->received += n;
		next_request(c);
	} else if (n == 0) {
		say_goodbye(c);
	} else {
		if (*ktlsd_stream_why(c->stream))
			warnx("%s", ktlsd_stream_why(c->stream));
		drop(c);
	}
}

static void sent(struct connection *c, int result)
{
	ktlsd_stream_end_write(c->stream, result > 0 ? result : 0);
	if (result <= 0) {
		drop(c);
		return;
	}
	c->sent += result;
	if (c->sent < c->response.length)
		send_response(c);
	else if (c->response.file)
		send_body(c);
	else
		finish_response(c);
}

static void linger(struct connection *c, int result)
{
	ssize_t n;

	if (!take(c, result, &n))
		return;
	if (n > 0)
		prep_receive(c);
	else
		drop(c);
}

/* result: what the agent says; the kernel says no more than an error. */
static void shaken_hands(struct connection *c, int error, const struct ktlsd_result *result)
{
	if (error == 0 && ktlsd_stream_new(&c->stream, c->fd, agent, result) == 0)
		next_request(c);
	else
		drop(c);
}

static void go_on(struct connection *c, int result)
{
	c->active_s = now_s;
	switch (c->state) {
	case REQUEST:
		received(c, result);
		break;
	case RESPONSE:
		sent(c, result);
		break;
	case RESPONSE_WAITS:
		send_response(c);
		break;
	case BODY:
		send_body(c);
		break;
	case GOODBYE:
		said_goodbye(c, result);
		break;
	case GOODBYE_WAITS:
		say_goodbye(c);
		break;
	case LINGER:
		linger(c, result);
		break;
	case HANDSHAKE:
		shaken_hands(c, result, NULL);
		break;
	}
}

static void take_results(void)
{
	struct ktlsd_result *result;

	while (ktlsd_peek_result(agent, &result) == 0) {
		struct connection *c = (void *)(uintptr_t)result->cookie;

		c->active_s = now_s;
		shaken_hands(c, -result->error, result);
		ktlsd_result_seen(agent);
	}
}

static void hand_listener_over(void)
{
	char why[256];

	receiver = ktlsd_listen(listener, options.service, 0, KTLSD_WANT_TOKEN, why, sizeof(why));
	if (receiver < 0)
		errx(1, "%s", why);
	prep_ready();
}

static void take_ready(void)
{
	struct connection *c;
	int fd;

	while ((fd = ktlsd_accept(receiver, &ready, MSG_DONTWAIT)) >= 0) {
		c = new_connection(fd);
		if (c)
			shaken_hands(c, 0, &ready.result);
		ktlsd_ready_clear(&ready);
	}
	if (fd == -ENOTCONN)
		errx(1, "the agent has let the listener go");
}

/* A connection that has been idle for too long is shut down; its operation in the ring then ends, and so does it. */
static void tick(void)
{
	now_s++;
	if (!listening && options.way != HANDED)
		prep_accept();
	for (struct connection *c = connections; c; c = c->next)
		if (c->state != HANDSHAKE && now_s - c->active_s > IDLE_MAX_S)
			shutdown(c->fd, SHUT_RDWR);
}

static void handle(const struct io_uring_cqe *cqe)
{
	void *tag = io_uring_cqe_get_data(cqe);
	bool more = (cqe->flags & IORING_CQE_F_MORE) != 0;

	if (!tag) {
		return; /* a failed close: there is nothing left to do about it */
	} else if (tag == &accepted) {
		if (cqe->res >= 0)
			add_connection(cqe->res);
		listening = more; /* it ends when descriptors run out: the next tick tries again */
	} else if (tag == &answered) {
		take_results();
		if (!more)
			prep_agent();
	} else if (tag == &received_ready) {
		take_ready();
		if (!more)
			prep_ready();
	} else if (tag == &ticked) {
		tick();
		if (!more)
			prep_tick();
	} else {
		go_on(tag, cqe->res);
	}
}

/* To who makes the handshakes. */
static void open_way_out(void)
{
	int bad;

	if (options.way == BY_DEVICE) {
		device = open(KTLSD_DEVICE_PATH, O_RDWR | O_CLOEXEC);
		if (device < 0)
			err(1, "%s", KTLSD_DEVICE_PATH);
		return;
	}
	bad = ktlsd_open(&agent, NULL);
	if (bad < 0)
		errx(1, "no agent: %s", strerror(-bad));
}

int main(int argc, char **argv)
{
	struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
						  IORING_SETUP_CQSIZE,
					 .cq_entries = 4096};
	const char *path;
	int bad;

	options.has_ways = true;
	example_parse(&options, argc, argv, usage);
	path = optind < argc ? argv[optind] : ".";
	directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		err(1, "%s", path);
	signal(SIGPIPE, SIG_IGN);
	open_way_out();
	bad = io_uring_queue_init_params(RING_ENTRIES, &ring, &params);
	if (bad < 0)
		errx(1, "io_uring: %s", strerror(-bad));
	listener = example_listen(&options, 0);
	if (options.way == HANDED)
		hand_listener_over();
	else
		prep_accept();
	if (agent)
		prep_agent();
	prep_tick();
	for (;;) {
		struct io_uring_cqe *cqe;
		unsigned int head, count = 0;

		io_uring_submit_and_wait(&ring, 1);
		io_uring_for_each_cqe(&ring, head, cqe) {
			handle(cqe);
			count++;
		}
		io_uring_cq_advance(&ring, count);
		if (agent)
			ktlsd_submit(agent); /* all that were accepted in this pass, in one go */
	}
}
