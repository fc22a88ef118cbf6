/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/handshake.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../clock.h"
#include "../log.h"
#include "family.h"
#include "keyring.h"
#include "registered.h"
#include "supervisor.h"

#define GRACE_MS 1000	/* beyond a request's timeout, before we answer in the agent's place */
#define RETRY_MS 500	/* for what could not be taken or passed on */
#define FAILURES_MAX 16 /* in a row, of taking requests */
#define RIVAL_MS 1000	/* how long one who is about to end may take: the supervisor of an agent that was killed */
#define RIVAL_LOOK_MS 5000
#define START_MS 5000

struct pending { /* a request that the kernel waits for */
	TAILQ_ENTRY(pending) next;
	struct kernel_request request;
	bool passed; /* to the agent */
	int64_t deadline;
	int fd;
	int32_t links[KEYRING_LINKS_MAX];
	size_t link_count;
};

static TAILQ_HEAD(, pending) pending = TAILQ_HEAD_INITIALIZER(pending);
static struct family family;
static uint64_t last_id;
static char **keyrings; /* names */
static bool retry;	/* requests may wait of which no notification comes any more */
static int agent;	/* the agent's socket */

/* ---- the end of a request ---- */

static bool is_linked(int32_t serial)
{
	const struct pending *other;
	size_t i;

	TAILQ_FOREACH(other, &pending, next) {
		for (i = 0; i < other->link_count; i++) {
			if (other->links[i] == serial)
				return true;
		}
	}
	return false;
}

static void finish(struct pending *request, uint32_t error, int32_t peer_id)
{
	int result = family_done(&family, request->fd, error, peer_id);
	size_t i;

	/* EBUSY: the consumer has canceled it. */
	if (result != 0 && result != -EBUSY)
		log_limited(LOG_ERR, "request %lu: the kernel does not take its end: %s", request->request.id,
			    strerror(-result));
	TAILQ_REMOVE(&pending, request, next);
	for (i = 0; i < request->link_count; i++) {
		if (!is_linked(request->links[i]))
			keyring_unlink(request->links[i]);
	}
	close(request->fd);
	free(request);
}

/* The agent's descriptor is of the same socket, and must not be good for anything any more. */
static void fail(struct pending *request, uint32_t error)
{
	shutdown(request->fd, SHUT_RDWR);
	finish(request, error, 0);
}

static void take_answer(const struct kernel_answer *answer)
{
	struct pending *request;

	TAILQ_FOREACH(request, &pending, next) {
		if (request->request.id == answer->id) {
			finish(request, answer->error, answer->peer_id);
			return;
		}
	}
}

/* False: the agent is gone. */
static bool take_answers(void)
{
	struct kernel_answer answer;
	ssize_t length;

	while ((length = recv(agent, &answer, sizeof(answer), MSG_DONTWAIT)) > 0) {
		if (length == sizeof(answer))
			take_answer(&answer);
	}
	return length < 0 && (errno == EAGAIN || errno == EINTR);
}

/* A timeout makes consumers try again, and by then there may be another agent. */
static void fail_all(void)
{
	struct pending *request;

	while ((request = TAILQ_FIRST(&pending)))
		fail(request, ETIMEDOUT);
}

static void fail_overdue(int64_t now)
{
	struct pending *request, *following;

	for (request = TAILQ_FIRST(&pending); request; request = following) {
		following = TAILQ_NEXT(request, next);
		if (request->deadline > now)
			continue;
		log_limited(LOG_ERR, "request %lu: the agent did not answer in time", request->request.id);
		fail(request, ETIMEDOUT);
	}
}

/* ---- the way of a request ---- */

static bool pass_on(struct pending *request)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.head = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))}};
	struct iovec part = {.iov_base = &request->request, .iov_len = sizeof(request->request)};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

	memcpy(CMSG_DATA(&control.head), &request->fd, sizeof(request->fd));
	request->passed = sendmsg(agent, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(request->request);
	return request->passed;
}

/* In the order in which they came. False: the agent's queue is full, and the rest waits here. */
static bool pass_all_on(void)
{
	struct pending *request;

	TAILQ_FOREACH(request, &pending, next) {
		if (!request->passed && !pass_on(request))
			return false;
	}
	return true;
}

static void take_keys(struct pending *taken)
{
	const struct kernel_request *request = &taken->request;
	char **name;

	taken->link_count = keyring_take(taken->links, request->keyring);
	if (request->peer_id_count == 0 && request->mode != HANDSHAKE_AUTH_PSK && request->certificate == 0)
		return;
	for (name = keyrings; *name; name++)
		keyring_link_named(*name);
}

static struct pending *take_request(const struct kernel_request *request, int fd)
{
	struct pending *taken = calloc(1, sizeof(*taken));

	if (!taken)
		log_fatal("out of memory");
	taken->request = *request;
	taken->request.id = ++last_id;
	if (request->timeout_ms == 0)
		taken->request.timeout_ms = KERNEL_TIMEOUT_MS;
	taken->fd = fd;
	taken->deadline = clock_ms() + taken->request.timeout_ms + GRACE_MS;
	take_keys(taken);
	TAILQ_INSERT_TAIL(&pending, taken, next);
	return taken;
}

/* Requests that are gone when we look were canceled, or another agent has joined after us and takes some. */
static void look_for_rival(void)
{
	static int64_t looked;
	struct registered rival;

	if (clock_ms() - looked < RIVAL_LOOK_MS)
		return;
	looked = clock_ms();
	if (registered((unsigned int)family.group, family_port(&family), &rival) && rival.agent)
		log_line(
			LOG_ERR,
			"process %d (%s) takes the kernel's requests, too, and the two race for them; stop one of them",
			rival.pid, rival.name);
}

static void take_requests(void)
{
	struct kernel_request request;
	unsigned int failures = 0;
	bool gone = true;
	int fd, error;

	family_settle(&family);
	while (failures < FAILURES_MAX && (error = family_accept(&family, &request, &fd)) != -EAGAIN) {
		struct pending *taken = fd >= 0 ? take_request(&request, fd) : NULL;

		gone = false;
		failures = error ? failures + 1 : 0;
		if (error)
			log_limited(LOG_ERR, "a request of the kernel's can't be taken: %s", strerror(-error));
		if (error && taken)
			fail(taken, EIO);
	}
	retry = failures > 0;
	if (gone)
		look_for_rival();
}

static int patience(void)
{
	return retry || !TAILQ_EMPTY(&pending) ? RETRY_MS : -1;
}

static int serve(void)
{
	struct pollfd sources[] = {{.fd = agent}, {.fd = family_descriptor(&family), .events = POLLIN}};

	take_requests(); /* some may wait from before */
	for (;;) {
		sources[0].events = pass_all_on() ? POLLIN : POLLIN | POLLOUT;
		if (poll(sources, 2, patience()) < 0 && errno != EINTR)
			log_fatal("poll: %s", strerror(errno));
		if (sources[0].revents & ~POLLOUT && !take_answers())
			break;
		if (sources[1].revents || retry)
			take_requests();
		fail_overdue(clock_ms());
	}
	fail_all();
	return EXIT_SUCCESS;
}

/* ---- start ---- */

/* For sockets and keyrings, which the kernel hands to whoever takes a request; not for what root may do else. */
static void keep_one_capability(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct sets[2] = {{.effective = 1u << CAP_NET_ADMIN, .permitted = 1u << CAP_NET_ADMIN},
						 {0}};

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	syscall(SYS_capset, &head, sets); /* if it fails, we are refused below */
}

static bool may_accept(void)
{
	if (family_may_accept(&family))
		return true;
	log_line(LOG_ERR,
		 "the kernel's requests are for who has CAP_NET_ADMIN, not in a user namespace: start as root, or with "
		 "AmbientCapabilities=CAP_NET_ADMIN in the unit file");
	return false;
}

/* Joined before it looks: of two who start at a time, one at least sees the other. */
static bool is_alone(void)
{
	int64_t deadline = clock_ms() + RIVAL_MS;
	struct registered rival;
	bool any;

	while ((any = registered((unsigned int)family.group, family_port(&family), &rival)) && rival.agent &&
	       clock_ms() < deadline)
		poll(NULL, 0, 20);
	if (any && rival.agent)
		log_line(
			LOG_ERR,
			"process %d (%s) takes the kernel's requests already, and two would race for them; stop it first",
			rival.pid, rival.name);
	else if (any)
		log_line(
			LOG_WARNING,
			"process %d (%s) listens to the kernel's requests; it is no agent that is known, or may not take them",
			rival.pid, rival.name);
	return !any || !rival.agent;
}

static void raise_limits(void)
{
	struct rlimit no_core = {0, 0}, descriptors;

	setrlimit(RLIMIT_CORE, &no_core);
	if (getrlimit(RLIMIT_NOFILE, &descriptors) == 0) {
		descriptors.rlim_cur = descriptors.rlim_max;
		setrlimit(RLIMIT_NOFILE, &descriptors);
	}
}

int supervisor_run(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	log_open();
	agent = atoi(argv[2]);
	keyrings = argv + 3;
	fcntl(agent, F_SETFD, FD_CLOEXEC);
	signal(SIGTERM, SIG_IGN); /* the agent ends first */
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	raise_limits();
	prctl(PR_SET_NAME, SUPERVISOR_NAME);
	keep_one_capability();
	if (!family_open(&family) || !may_accept() || !family_join(&family) || !is_alone())
		return EXIT_FAILURE;
	if (send(agent, "", 1, MSG_NOSIGNAL) != 1) /* we are ready */
		return EXIT_FAILURE;
	return serve();
}

static void become_supervisor(int fd, const char *const *names)
{
	const char *arguments[3 + SUPERVISOR_KEYRINGS_MAX + 1] = {"ktlsd", SUPERVISOR_OPTION};
	char number[16];
	size_t count = 3;
	sigset_t none;

	snprintf(number, sizeof(number), "%d", fd);
	arguments[2] = number;
	while (*names)
		arguments[count++] = *names++;
	fcntl(fd, F_SETFD, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv("/proc/self/exe", (char *const *)arguments);
	log_line(LOG_ERR, "/proc/self/exe: %s", strerror(errno));
	_exit(EXIT_FAILURE);
}

int supervisor_start(const char *const *names, pid_t *pid)
{
	struct pollfd ready;
	int pair[2];
	char byte;

	if (!keyring_join())
		return -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0 || (*pid = fork()) < 0) {
		log_line(LOG_ERR, "the kernel's requests: %s", strerror(errno));
		return -1;
	}
	if (*pid == 0)
		become_supervisor(pair[1], names);
	close(pair[1]);
	ready = (struct pollfd){.fd = pair[0], .events = POLLIN};
	if (poll(&ready, 1, START_MS) == 1 && recv(pair[0], &byte, 1, 0) == 1)
		return pair[0];
	close(pair[0]); /* it has said why */
	return -1;
}
