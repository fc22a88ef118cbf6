/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
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
#include "supervisor.h"

#define GRACE_MS 3000	  /* beyond a request's timeout, before we answer in the agent's place */
#define LONGEST_MS 120000 /* of a request without one */
#define START_MS 5000

struct pending { /* a request that the kernel waits for */
	TAILQ_ENTRY(pending) next;
	uint64_t id;
	int64_t deadline;
	int fd;
	int32_t links[KEYRING_LINKS_MAX];
	size_t link_count;
};

static TAILQ_HEAD(, pending) pending = TAILQ_HEAD_INITIALIZER(pending);
static struct family family;
static uint64_t last_id;
static int32_t mark;
static int agent; /* the agent's socket */

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
		log_limited(LOG_ERR, "request %lu: the kernel does not take its end: %s", request->id,
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
		if (request->id == answer->id) {
			finish(request, answer->error, answer->verified ? mark : answer->peer_id);
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
		log_limited(LOG_ERR, "request %lu: the agent did not answer in time", request->id);
		fail(request, ETIMEDOUT);
	}
}

/* ---- the way of a request ---- */

static bool pass_on(const struct kernel_request *request, int fd)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.head = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))}};
	struct iovec part = {.iov_base = (void *)request, .iov_len = sizeof(*request)};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

	memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	return sendmsg(agent, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(*request);
}

static void take_request(struct kernel_request *request, int fd, char *const *keyrings)
{
	struct pending *taken = calloc(1, sizeof(*taken));

	if (!taken)
		log_fatal("out of memory");
	taken->id = request->id = ++last_id;
	taken->fd = fd;
	taken->deadline = clock_ms() + (request->timeout_ms ? request->timeout_ms : LONGEST_MS) + GRACE_MS;
	taken->link_count = keyring_take(taken->links);
	while (*keyrings)
		keyring_link_named(*keyrings++);
	TAILQ_INSERT_TAIL(&pending, taken, next);
	if (pass_on(request, fd))
		return;
	log_limited(LOG_ERR, "request %lu: the agent takes no more: %s", request->id, strerror(errno));
	fail(taken, ETIMEDOUT);
}

static void take_requests(char *const *keyrings)
{
	struct kernel_request request;
	int fd, error;

	family_settle(&family);
	while ((error = family_accept(&family, &request, &fd)) == 0)
		take_request(&request, fd, keyrings);
	if (error == -EAGAIN)
		return;
	log_limited(LOG_ERR, "the kernel's request can't be taken: %s", strerror(-error));
	if (fd >= 0) {
		family_done(&family, fd, EIO, 0);
		close(fd);
	}
}

static int patience(void)
{
	return TAILQ_EMPTY(&pending) ? -1 : 500;
}

static int serve(char *const *keyrings)
{
	struct pollfd sources[] = {{.fd = agent, .events = POLLIN},
				   {.fd = family_descriptor(&family), .events = POLLIN}};

	take_requests(keyrings); /* some may wait from before */
	for (;;) {
		if (poll(sources, 2, patience()) < 0 && errno != EINTR)
			log_fatal("poll: %s", strerror(errno));
		if (sources[0].revents && !take_answers())
			break;
		if (sources[1].revents)
			take_requests(keyrings);
		fail_overdue(clock_ms());
	}
	fail_all();
	return EXIT_SUCCESS;
}

/* ---- start ---- */

static bool keep_one_capability(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct sets[2] = {{.effective = 1u << CAP_NET_ADMIN, .permitted = 1u << CAP_NET_ADMIN},
						 {0}};

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (syscall(SYS_capset, &head, sets) == 0)
		return true;
	log_line(LOG_ERR, "the kernel's requests are for who has CAP_NET_ADMIN: start as root, or with "
			  "AmbientCapabilities=CAP_NET_ADMIN in the unit file");
	return false;
}

static bool is_alone(void)
{
	char name[17];
	pid_t rival = family_rival(&family, name);

	if (rival)
		log_line(
			LOG_ERR,
			"process %d (%s) takes the kernel's requests already, and two would race for them; stop it first",
			rival, name);
	return rival == 0;
}

int supervisor_run(int argc, char **argv)
{
	struct rlimit no_core = {0, 0}, descriptors;

	if (argc < 3)
		return 2;
	agent = atoi(argv[2]);
	fcntl(agent, F_SETFD, FD_CLOEXEC);
	signal(SIGTERM, SIG_IGN); /* the agent ends first */
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	setrlimit(RLIMIT_CORE, &no_core);
	if (getrlimit(RLIMIT_NOFILE, &descriptors) == 0) {
		descriptors.rlim_cur = descriptors.rlim_max;
		setrlimit(RLIMIT_NOFILE, &descriptors);
	}
	prctl(PR_SET_NAME, "ktlsd-kernel");
	mark = keyring_mark();
	if (!keep_one_capability() || !family_open(&family) || !is_alone() || !family_join(&family))
		return EXIT_FAILURE;
	if (send(agent, &mark, 1, MSG_NOSIGNAL) != 1) /* we are ready */
		return EXIT_FAILURE;
	return serve(argv + 3);
}

static void become_supervisor(int fd, const char *const *keyrings)
{
	const char *arguments[32] = {"ktlsd", SUPERVISOR_OPTION};
	char number[16];
	size_t count = 3;
	sigset_t none;

	snprintf(number, sizeof(number), "%d", fd);
	arguments[2] = number;
	while (*keyrings && count < 31)
		arguments[count++] = *keyrings++;
	fcntl(fd, F_SETFD, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv("/proc/self/exe", (char *const *)arguments);
	log_line(LOG_ERR, "/proc/self/exe: %s", strerror(errno));
	_exit(EXIT_FAILURE);
}

int supervisor_start(const char *const *keyrings)
{
	struct pollfd ready;
	int pair[2];
	char byte;
	pid_t pid;

	if (!keyring_join())
		return -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0 || (pid = fork()) < 0) {
		log_line(LOG_ERR, "the kernel's requests: %s", strerror(errno));
		return -1;
	}
	if (pid == 0)
		become_supervisor(pair[1], keyrings);
	close(pair[1]);
	ready = (struct pollfd){.fd = pair[0], .events = POLLIN};
	if (poll(&ready, 1, START_MS) == 1 && recv(pair[0], &byte, 1, 0) == 1)
		return pair[0];
	close(pair[0]); /* it has said why */
	return -1;
}
