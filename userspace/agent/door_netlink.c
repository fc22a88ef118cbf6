/* SPDX-License-Identifier: MIT */
/*
 * The front door for the kernel: its own handshake requests (NFS, NVMe/TCP), as the supervisor passes them on (kernel/). They
 * carry no caller, so services have to be meant for them (kernel = ... in ktlsd.conf). One worker takes them in; whichever is least
 * busy runs them.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/handshake.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ktlsd/protocol.h>

#include "admission.h"
#include "doors.h"
#include "kernel/keyring.h"
#include "kernel/request.h"
#include "kernel/supervisor.h"
#include "log.h"

struct kernel_handshake {
	struct handshake handshake; /* first */
	uint64_t id;
	struct psk psk;
};

static struct {
	struct completion completion;
	struct worker *worker; /* the first */
	int fd;		       /* to the supervisor; -1: no service is for the kernel */
	bool receiving, draining;
	unsigned int open;
	struct kernel_request request;
	struct msghdr message;
	struct iovec part;
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
} door = {.fd = -1};

/* ---- what a request may have ---- */

static const char *mode_name(uint32_t mode)
{
	static const char *const names[] = {
		[HANDSHAKE_AUTH_UNAUTH] = "anonymous", [HANDSHAKE_AUTH_PSK] = "psk", [HANDSHAKE_AUTH_X509] = "x509"};

	return mode >= HANDSHAKE_AUTH_UNAUTH && mode <= HANDSHAKE_AUTH_X509 ? names[mode] : "?";
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

/* Reads what the request names of keyrings. False with *why. */
static bool fetch_keys(struct kernel_handshake *kernel, const struct kernel_request *request, const char **why)
{
	struct handshake *hs = &kernel->handshake;

	if (request->mode == HANDSHAKE_AUTH_PSK)
		hs->psk = &kernel->psk;
	if (request->mode == HANDSHAKE_AUTH_PSK && request->role == KTLSD_CLIENT) {
		*why = "the kernel names no pre-shared key";
		return request->peer_id_count > 0 && psk_read(&kernel->psk, request->peer_ids[0], why);
	}
	hs->anonymous = request->mode == HANDSHAKE_AUTH_UNAUTH;
	hs->certificate_serial = request->certificate;
	hs->key_serial = request->private_key;
	*why = "the kernel names a certificate without a private key, or the other way round";
	return (hs->certificate_serial == 0) == (hs->key_serial == 0);
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
	return admission_enter(&hs->admission, config->settings, hs->service, admission_user(0), &hs->peer, why);
}

/* ---- a handshake's ends ---- */

/* What consumers understand: a timeout is tried again, anything else refuses access for good (net/sunrpc/xprtsock.c). */
static uint32_t status_of(int error)
{
	switch (error) {
	case 0:
	case EACCES:
	case ENOKEY:
		return error;
	case ETIMEDOUT:
	case ECONNRESET:
	case ECONNABORTED:
	case ESHUTDOWN:
	case EBUSY:
		return ETIMEDOUT;
	}
	return EACCES;
}

static void answer_request(const struct kernel_answer *answer)
{
	if (send(door.fd, answer, sizeof(*answer), MSG_NOSIGNAL) != sizeof(*answer))
		log_limited(LOG_ERR, "the supervisor does not take an answer: %s", strerror(errno));
}

static void answer(struct handshake *hs)
{
	struct kernel_handshake *kernel = (struct kernel_handshake *)hs;
	const struct kernel_answer said = {.id = kernel->id,
					   .error = status_of(hs->error),
					   .peer_id = hs->error ? 0 : kernel->psk.serial,
					   .verified = !hs->error && hs->outcome.flags & KTLSD_RESULT_VERIFIED};

	answer_request(&said);
	outcome_clear(&hs->outcome);
	config_put(hs->config);
	psk_clear(&kernel->psk);
	free(kernel);
	door.open--;
}

static void refuse(struct kernel_handshake *kernel, const struct kernel_request *request, int error, const char *why)
{
	const struct kernel_answer said = {.id = request->id, .error = status_of(error)};

	log_limited(LOG_NOTICE, "%016lx: the kernel's request %lu (%s, %s%s%s) is refused: %s",
		    kernel->handshake.connection_id, request->id, request->role == KTLSD_CLIENT ? "client" : "server",
		    mode_name(request->mode), *request->peer_name ? ", " : "", request->peer_name, why);
	stats_add(&door.worker->stats.failed, 1);
	stats_add(&door.worker->stats.by_error[error], 1);
	shutdown(kernel->handshake.fd, SHUT_RDWR);
	close(kernel->handshake.fd);
	answer_request(&said);
	psk_clear(&kernel->psk);
	free(kernel);
}

static void name_peer(struct handshake *hs, const struct kernel_request *request)
{
	const struct sockaddr_in *v4 = (const void *)&hs->peer;
	const struct sockaddr_in6 *v6 = (const void *)&hs->peer;

	if (request->role != KTLSD_CLIENT)
		return;
	if (*request->peer_name)
		memcpy(hs->server_name, request->peer_name, strnlen(request->peer_name, sizeof(hs->server_name) - 1));
	else /* who gave an address means it: no name is looked up */
		inet_ntop(hs->peer.ss_family,
			  hs->peer.ss_family == AF_INET ? (const void *)&v4->sin_addr : &v6->sin6_addr, hs->server_name,
			  sizeof(hs->server_name));
}

static void take_request(const struct kernel_request *request, int fd)
{
	struct kernel_handshake *kernel = aligned_alloc(16, (sizeof(*kernel) + 15) / 16 * 16);
	struct handshake *hs = &kernel->handshake;
	const char *why;
	int error;

	if (!kernel)
		log_fatal("out of memory");
	memset(kernel, 0, sizeof(*kernel));
	kernel->id = request->id;
	hs->door = &door_netlink;
	hs->home = door.worker;
	hs->fd = fd;
	hs->role = request->role;
	hs->connection_id = worker_connection_id(door.worker);
	error = admit(kernel, request, &why);
	if (error) {
		refuse(kernel, request, error, why);
		return;
	}
	name_peer(hs, request);
	hs->config = config_get(door.worker->config);
	hs->timeout_ms = hs->service->timeout_ms;
	if (request->timeout_ms && request->timeout_ms < hs->timeout_ms)
		hs->timeout_ms = request->timeout_ms;
	log_line(LOG_INFO, "%016lx: the kernel's request %lu: %s, %s, service %s%s%s", hs->connection_id, request->id,
		 hs->role == KTLSD_CLIENT ? "client" : "server", mode_name(request->mode), hs->service->name,
		 *hs->server_name ? ", " : "", hs->server_name);
	door.open++;
	handshake_begin(hs);
}

/* ---- the supervisor's datagrams ---- */

static int take_descriptor(void)
{
	struct cmsghdr *control = CMSG_FIRSTHDR(&door.message);
	int fd = -1;

	if (control && control->cmsg_level == SOL_SOCKET && control->cmsg_type == SCM_RIGHTS)
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
	ring_last(sqe, ring_tag(&door.completion, 0));
	door.receiving = true;
}

static void received(struct completion *completion, unsigned int operation, int result, unsigned int flags)
{
	int fd = take_descriptor();

	(void)completion, (void)operation, (void)flags;
	door.receiving = false;
	if (result == -ECANCELED)
		return;
	if (result <= 0)
		log_fatal("the supervisor of the kernel's requests has ended: a new start brings both back");
	if (result == sizeof(door.request) && fd >= 0)
		take_request(&door.request, fd);
	else if (fd >= 0)
		close(fd);
	receive();
}

/* ---- the door ---- */

static bool open_door(const struct settings *settings)
{
	const char *names[16] = {NULL};
	const struct service_settings *service;
	const struct setting *keyring;
	bool wanted = false;
	size_t count = 0;

	TAILQ_FOREACH(service, &settings->services, next)
		wanted |= !TAILQ_EMPTY(&service->kernel);
	if (!wanted)
		return true;
	TAILQ_FOREACH(keyring, &settings->keyrings, next) {
		if (count < 15)
			names[count++] = keyring->text;
	}
	door.fd = supervisor_start(names);
	return door.fd >= 0;
}

static bool start_door(struct worker *worker)
{
	if (worker->id != 0 || door.fd < 0)
		return true;
	door.worker = worker;
	door.completion.complete = received;
	receive();
	return true;
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
