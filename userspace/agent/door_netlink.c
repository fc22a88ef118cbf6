/* SPDX-License-Identifier: MIT */
/*
 * The front door for the kernel: its own handshake requests (NFS, NVMe/TCP), as the supervisor passes them on (kernel/). They
 * carry no caller, so services have to be meant for them (kernel = ... in ktlsd.conf). One worker takes them in; whichever is least
 * busy runs them.
 */
#include <errno.h>
#include <linux/handshake.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include <ktlsd/protocol.h>

#include "admission.h"
#include "cipher.h"
#include "doors.h"
#include "kernel/keyring.h"
#include "kernel/request.h"
#include "kernel/supervisor.h"
#include "log.h"
#include "x509/explain.h"

#define KERNEL_USER ((uid_t)-1) /* nobody: the kernel's requests share a limit of their own */

enum operation { OP_RECEIVE, OP_SEND };

struct kernel_handshake {
	struct handshake handshake; /* first */
	TAILQ_ENTRY(kernel_handshake) next;
	struct kernel_answer answer;
	struct psk psk;
};

TAILQ_HEAD(kernel_handshakes, kernel_handshake);

static struct {
	struct completion completion;
	struct worker *worker; /* the first */
	int fd;		       /* to the supervisor; -1: no service is for the kernel */
	pid_t supervisor;
	bool draining, lost;
	_Atomic unsigned int open;
	struct kernel_handshakes running, answers; /* the first of the answers is being sent */
	struct kernel_answer said;		   /* on its way; the handshake may be gone by then */
	struct kernel_request request;		   /* received last */
	struct msghdr message;
	struct iovec part;
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
} door = {.fd = -1};

_Atomic bool door_lost;

/* ---- what a request may have ---- */

static const char *mode_name(uint32_t mode)
{
	static const char *const names[] = {
		[HANDSHAKE_AUTH_UNAUTH] = "anonymous", [HANDSHAKE_AUTH_PSK] = "psk", [HANDSHAKE_AUTH_X509] = "x509"};

	return mode >= HANDSHAKE_AUTH_UNAUTH && mode <= HANDSHAKE_AUTH_X509 ? names[mode] : "?";
}

static const char *role_name(uint32_t role)
{
	return role == KTLSD_CLIENT ? "client" : role == KTLSD_SERVER ? "server" : "?";
}

/* The first in the file that is for it. */
static const struct service *choose_service(const struct config *config, const struct kernel_request *request,
					    const struct sockaddr_storage *peer)
{
	const struct service *chosen = NULL;
	size_t i;

	for (i = 0; i < config->service_count; i++) {
		const struct service *service = config->services[i];

		if (service->role == request->role &&
		    kernel_use_allows(&service->kernel, request->mode, request->peer_name, peer) &&
		    (!chosen || service->settings->line < chosen->settings->line))
			chosen = service;
	}
	return chosen;
}

/* Of those that the kernel names, the first that can be read: OpenSSL offers one. */
static bool fetch_psk(struct psk *psk, const struct kernel_request *request, const char **why)
{
	uint32_t i;

	*why = "the kernel names no pre-shared key";
	for (i = 0; i < request->peer_id_count; i++) {
		if (psk_read(psk, request->peer_ids[i], why))
			return true;
	}
	return false;
}

/* Reads what the request names of keyrings. False with *why. */
static bool fetch_keys(struct kernel_handshake *kernel, const struct kernel_request *request, const char **why)
{
	struct handshake *hs = &kernel->handshake;

	if (request->mode == HANDSHAKE_AUTH_PSK) {
		hs->psk = &kernel->psk;
		return request->role == KTLSD_SERVER || fetch_psk(&kernel->psk, request, why);
	}
	hs->anonymous = request->mode == HANDSHAKE_AUTH_UNAUTH;
	hs->certificate_serial = request->certificate;
	hs->key_serial = request->private_key;
	*why = "the kernel names a certificate without a private key, or the other way round";
	if ((hs->certificate_serial == 0) != (hs->key_serial == 0))
		return false;
	*why = "the kernel asks for a handshake with a certificate of ours, and neither it nor the service has one";
	return hs->anonymous || hs->certificate_serial || !TAILQ_EMPTY(&hs->service->settings->certificates);
}

static int admit(struct kernel_handshake *kernel, const struct kernel_request *request, const char **why)
{
	struct handshake *hs = &kernel->handshake;
	struct config *config = door.worker->config;
	int error = admission_inspect(hs->fd, &hs->peer, why);

	if (error)
		return error;
	*why = "the agent is about to stop";
	if (door.draining)
		return ESHUTDOWN;
	hs->service = choose_service(config, request, &hs->peer);
	*why = "no service is for such a request of the kernel's (kernel, kernel_peers, kernel_networks)";
	if (!hs->service)
		return EACCES;
	if (!fetch_keys(kernel, request, why))
		return ENOKEY;
	return admission_enter(&hs->admission, config->settings, hs->service, admission_user(KERNEL_USER), &hs->peer,
			       why);
}

/* ---- a handshake's ends ---- */

/*
 * NFS's client knows two failures: a timeout makes it connect again, anything else refuses access to who waits for the mount or
 * the write (net/sunrpc/xprtsock.c, xs_tls_handshake_done). So what another attempt may mend is a timeout. NFSD and nvmet only ask
 * whether it failed; NVMe's host passes the number on to who connects.
 */
static uint32_t status_of(int error)
{
	switch (error) {
	case 0:
	case EACCES:
	case ENOKEY:
	case EKEYREJECTED:
		return error;
	case ETIMEDOUT:
	case ECONNRESET:
	case ECONNABORTED:
	case ENOTCONN:
	case ECANCELED:
	case ESHUTDOWN:
	case EBUSY:
		return ETIMEDOUT;
	}
	return EACCES;
}

static void send_answer(void)
{
	struct io_uring_sqe *sqe;

	door.said = TAILQ_FIRST(&door.answers)->answer;
	ring_reserve(&door.worker->ring);
	sqe = io_uring_get_sqe(&door.worker->ring);
	io_uring_prep_send(sqe, door.fd, &door.said, sizeof(door.said), MSG_NOSIGNAL);
	ring_last(sqe, ring_tag(&door.completion, OP_SEND));
}

static void forget(struct kernel_handshake *kernel)
{
	psk_clear(&kernel->psk);
	free(kernel->handshake.engine.output);
	free(kernel);
	door.open--;
}

/* A supervisor that does not read holds up answers, and no worker. */
static void enqueue(struct kernel_handshake *kernel, int error)
{
	kernel->answer.error = status_of(error);
	if (door.lost) {
		forget(kernel);
		return;
	}
	TAILQ_INSERT_TAIL(&door.answers, kernel, next);
	if (TAILQ_FIRST(&door.answers) == kernel)
		send_answer();
}

/* A failure has its line already. */
static void log_success(const struct kernel_handshake *kernel)
{
	const struct handshake *hs = &kernel->handshake;
	const char *peer = kernel->psk.serial ? kernel->psk.identity : "without a certificate";
	char subject[EXPLAIN_NAME], address[INET6_ADDRSTRLEN];

	if (hs->outcome.peer)
		peer = subject_of(hs->outcome.peer, subject);
	log_limited(LOG_INFO, "%016lx: the kernel's request %lu: done, %s, service %s, %s, peer %s, %s",
		    hs->connection_id, kernel->answer.id, role_name(hs->role), hs->service->name,
		    cipher_suite_find(hs->outcome.cipher)->name, admission_address(&hs->peer, address), peer);
}

static void answer(struct handshake *hs)
{
	struct kernel_handshake *kernel = (struct kernel_handshake *)hs;

	if (!hs->error)
		log_success(kernel);
	if (!hs->error)
		kernel->answer.peer_id = kernel->psk.serial;
	if (!hs->error && hs->outcome.flags & KTLSD_RESULT_VERIFIED)
		kernel->answer.peer_id = KERNEL_PEER_SHOWN;
	TAILQ_REMOVE(&door.running, kernel, next);
	outcome_clear(&hs->outcome);
	config_put(hs->config);
	enqueue(kernel, hs->error);
}

static void refuse(struct kernel_handshake *kernel, const struct kernel_request *request, int error, const char *why)
{
	struct handshake *hs = &kernel->handshake;
	char address[INET6_ADDRSTRLEN];

	log_limited(LOG_NOTICE, "%016lx: the kernel's request %lu (%s, %s, peer %s%s%s) is refused: %s",
		    hs->connection_id, request->id, role_name(request->role), mode_name(request->mode),
		    admission_address(&hs->peer, address), *request->peer_name ? ", " : "", request->peer_name, why);
	stats_add(&door.worker->stats.failed, 1);
	stats_add(&door.worker->stats.by_error[error], 1);
	shutdown(hs->fd, SHUT_RDWR);
	close(hs->fd);
	enqueue(kernel, error);
}

static void name_peer(struct handshake *hs, const struct kernel_request *request)
{
	if (request->role != KTLSD_CLIENT)
		return;
	if (*request->peer_name)
		memcpy(hs->server_name, request->peer_name, strnlen(request->peer_name, sizeof(hs->server_name) - 1));
	else /* who gave an address means it: no name is looked up */
		admission_address(&hs->peer, hs->server_name);
}

static struct kernel_handshake *new_handshake(const struct kernel_request *request, int fd)
{
	struct kernel_handshake *kernel = aligned_alloc(16, (sizeof(*kernel) + 15) / 16 * 16);
	struct handshake *hs = &kernel->handshake;

	if (!kernel)
		log_fatal("out of memory");
	memset(kernel, 0, sizeof(*kernel));
	kernel->answer.id = request->id;
	hs->door = &door_netlink;
	hs->home = door.worker;
	hs->fd = fd;
	hs->role = request->role;
	hs->connection_id = worker_connection_id(door.worker);
	door.open++;
	return kernel;
}

static void take_request(const struct kernel_request *request, int fd)
{
	struct kernel_handshake *kernel = new_handshake(request, fd);
	struct handshake *hs = &kernel->handshake;
	char address[INET6_ADDRSTRLEN];
	const char *why;
	int error = admit(kernel, request, &why);
	bool named;

	if (error) {
		refuse(kernel, request, error, why);
		return;
	}
	name_peer(hs, request);
	hs->config = config_get(door.worker->config);
	hs->timeout_ms = hs->service->timeout_ms;
	if (request->timeout_ms < hs->timeout_ms)
		hs->timeout_ms = request->timeout_ms;
	admission_address(&hs->peer, address);
	named = *hs->server_name && strcmp(hs->server_name, address) != 0;
	log_line(LOG_DEBUG, "%016lx: the kernel's request %lu: %s, %s, service %s, peer %s%s%s%s", hs->connection_id,
		 request->id, role_name(hs->role), mode_name(request->mode), hs->service->name, address,
		 named ? " (" : "", named ? hs->server_name : "", named ? ")" : "");
	TAILQ_INSERT_TAIL(&door.running, kernel, next);
	handshake_begin(hs);
}

/* There was no slot for its socket. */
static void miss_request(const struct kernel_request *request)
{
	log_limited(LOG_ERR, "the kernel's request %lu: too many open files (LimitNOFILE= in the unit file)",
		    request->id);
	enqueue(new_handshake(request, -1), EBUSY);
}

/* ---- the end of the supervisor ---- */

/*
 * Its capability is not ours to give to another: a new start brings both back. Nobody can tell the kernel how handshakes ended
 * until then, but peers see the end of those that run.
 */
static void lose_supervisor(void)
{
	struct kernel_handshake *kernel;

	door.lost = true;
	TAILQ_FOREACH(kernel, &door.running, next)
		handshake_cancel(&kernel->handshake);
	worker_request_sweep(door.worker);
	while ((kernel = TAILQ_FIRST(&door.answers))) {
		TAILQ_REMOVE(&door.answers, kernel, next);
		forget(kernel);
	}
	log_line(
		LOG_ERR,
		"the process that takes the kernel's requests (%d) has ended: the agent ends, too, for a new start of both",
		door.supervisor);
	atomic_store(&door_lost, true);
	kill(getpid(), SIGTERM);
}

/* ---- the supervisor's datagrams ---- */

static int take_descriptor(void)
{
	struct cmsghdr *control = CMSG_FIRSTHDR(&door.message);
	int fd = -1;

	if (control && control->cmsg_len >= CMSG_LEN(sizeof(fd)) && control->cmsg_level == SOL_SOCKET &&
	    control->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(control), sizeof(fd));
	return fd;
}

static void receive(void)
{
	struct io_uring_sqe *sqe;

	door.part = (struct iovec){&door.request, sizeof(door.request)};
	door.message = (struct msghdr){.msg_iov = &door.part,
				       .msg_iovlen = 1,
				       .msg_control = &door.control,
				       .msg_controllen = sizeof(door.control)};
	ring_reserve(&door.worker->ring);
	sqe = io_uring_get_sqe(&door.worker->ring);
	io_uring_prep_recvmsg(sqe, door.fd, &door.message, MSG_CMSG_CLOEXEC);
	ring_last(sqe, ring_tag(&door.completion, OP_RECEIVE));
}

static void received(int result)
{
	bool whole = result == sizeof(door.request);
	int fd = result > 0 ? take_descriptor() : -1;

	if (fd >= 0 && whole && !door.lost)
		take_request(&door.request, fd);
	else if (fd >= 0) {
		shutdown(fd, SHUT_RDWR);
		close(fd);
	} else if (whole && !door.lost)
		miss_request(&door.request);
	receive();
}

static void sent(void)
{
	struct kernel_handshake *kernel = TAILQ_FIRST(&door.answers);

	TAILQ_REMOVE(&door.answers, kernel, next);
	forget(kernel);
	if (!TAILQ_EMPTY(&door.answers))
		send_answer();
}

static bool is_passing(int result)
{
	return result == -EINTR || result == -EAGAIN || result == -ENOMEM || result == -ENOBUFS;
}

/* What the supervisor had sent before its end may come behind the news of that (ECONNRESET). */
static void complete(struct completion *completion, unsigned int operation, int result, unsigned int flags)
{
	(void)completion, (void)flags;
	if (result == -ECANCELED)
		return;
	if (result <= 0 && !is_passing(result) && !door.lost)
		lose_supervisor();
	if (operation == OP_RECEIVE && (result > 0 || is_passing(result) || result == -ECONNRESET))
		received(result);
	else if (operation == OP_SEND && !door.lost && result > 0)
		sent();
	else if (operation == OP_SEND && !door.lost)
		send_answer();
}

/* ---- the door ---- */

static bool open_door(const struct settings *settings)
{
	const char *names[SUPERVISOR_KEYRINGS_MAX + 1] = {NULL};
	const struct setting *keyring;
	size_t count = 0;

	if (!settings_use_kernel(settings))
		return true;
	TAILQ_FOREACH(keyring, &settings->keyrings, next) {
		if (count < SUPERVISOR_KEYRINGS_MAX)
			names[count++] = keyring->text;
	}
	door.fd = supervisor_start(names, &door.supervisor);
	return door.fd >= 0;
}

static bool start_door(struct worker *worker)
{
	if (worker->id != 0 || door.fd < 0)
		return true;
	door.worker = worker;
	door.completion.complete = complete;
	TAILQ_INIT(&door.running);
	TAILQ_INIT(&door.answers);
	receive();
	return true;
}

pid_t door_netlink_supervisor(unsigned int *open)
{
	*open = door.open;
	return door.fd >= 0 ? door.supervisor : 0;
}

static void nothing(struct worker *worker)
{
	(void)worker;
}

static void drain_door(struct worker *worker)
{
	if (worker == door.worker)
		door.draining = true;
}

static bool idle_door(struct worker *worker)
{
	return worker != door.worker || door.open == 0;
}

static void close_door(void)
{
	if (door.fd >= 0)
		close(door.fd);
}

const struct door door_netlink = {
	.name = "netlink",
	.open = open_door,
	.start = start_door,
	.sweep = nothing,
	.flush = nothing,
	.drain = drain_door,
	.idle = idle_door,
	.stop = nothing,
	.close = close_door,
	.answer = answer,
};
