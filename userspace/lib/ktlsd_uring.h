/* SPDX-License-Identifier: MIT */
/*
 * A TLS handshake as one io_uring command: IORING_OP_URING_CMD on /dev/ktlsd (docs/kernel.md), prepared as liburing
 * prepares its own. For programs that live in a ring; nothing here takes libktlsd or a connection to the agent's socket.
 *
 *	struct ktlsd_handshake handshake;	// stays until the completion
 *
 *	ktlsd_handshake_server(&handshake, fd);
 *	sqe = io_uring_get_sqe(&ring);
 *	ktlsd_uring_prep_handshake(sqe, device, &handshake);
 *	io_uring_sqe_set_data(sqe, connection);
 *
 * device: a descriptor of /dev/ktlsd, or, with IOSQE_FIXED_FILE, its index among the ring's files. The socket in the structure
 * is a descriptor in any case: direct descriptors are no sockets to anybody but the ring.
 *
 * The completion's result is 0, and then the socket encrypts and the structure has peer_id, tls_version and cipher_type; or
 * a negative errno: <linux/ktlsd.h> lists them, and says after which of them the socket is dead. Meanwhile nobody reads,
 * writes, polls or arms a receive on the socket. Then it is as every ready socket is: what else TLS sends (tickets,
 * close_notify) takes a receive with control room, or a stream: ktlsd_stream_new() with neither agent nor result.
 *
 * Chains. connect, handshake, send (and handshake, recv) go with IOSQE_IO_LINK: a handshake that fails cancels what stands behind
 * it. On kernels without KTLSD_FEATURE_LINKED (KTLSD_INFO, by ioctl) a handshake that is not the first of its chain needs IOSQE_ASYNC,
 * too, or it may end with -ESTALE. A socket that the chain itself makes (accept, socket) has no number yet when the
 * handshake is prepared: link to the completion instead, that is, submit when it came.
 *
 * To end one early: ktlsd_uring_prep_cancel(). IORING_OP_ASYNC_CANCEL and linked timeouts do not reach it; timeout_ms does.
 */
#ifndef KTLSD_URING_H
#define KTLSD_URING_H

/* liburing's own copy, where there is one, so that the order in which headers are included does not matter */
#if defined(__has_include)
#if __has_include(<liburing/io_uring.h>)
#include <liburing/io_uring.h>
#endif
#endif
#include <linux/io_uring.h>
#include <linux/ktlsd.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KTLSD_DEVICE_PATH "/dev/ktlsd"

/* A server that shows the certificate which the agent has for the kernel's requests. fd: a connected TCP socket. */
static inline void ktlsd_handshake_server(struct ktlsd_handshake *handshake, int fd)
{
	memset(handshake, 0, sizeof(*handshake));
	handshake->size = sizeof(*handshake);
	handshake->fd = fd;
	handshake->role = KTLSD_HANDSHAKE_SERVER;
	handshake->auth = KTLSD_HANDSHAKE_X509;
}

/*
 * A client that shows no certificate (set auth to KTLSD_HANDSHAKE_X509 for the agent's). name: whom the server's has to name,
 * which stays until the completion; NULL: its address.
 */
static inline void ktlsd_handshake_client(struct ktlsd_handshake *handshake, int fd, const char *name)
{
	memset(handshake, 0, sizeof(*handshake));
	handshake->size = sizeof(*handshake);
	handshake->fd = fd;
	handshake->role = KTLSD_HANDSHAKE_CLIENT;
	handshake->auth = KTLSD_HANDSHAKE_ANONYMOUS;
	handshake->peer_name = (uintptr_t)name;
	handshake->peer_name_length = name ? (uint32_t)strlen(name) : 0;
}

/* As liburing's: flags (IOSQE_*) and user_data are for the caller to set, behind this. */
static inline void ktlsd_uring_prep(struct io_uring_sqe *sqe, int device, uint32_t command, const void *argument)
{
	struct ktlsd_command text;

	memset(&text, 0, sizeof(text));
	text.argument = (uintptr_t)argument;
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = device;
	sqe->off = 0; /* of which cmd_op is a half */
	sqe->cmd_op = command;
	sqe->addr = 0;
	sqe->len = 0;
	sqe->rw_flags = 0;
	memcpy(sqe->cmd, &text, sizeof(text));
}

/* handshake: stays where it is until the completion. */
static inline void ktlsd_uring_prep_handshake(struct io_uring_sqe *sqe, int device, struct ktlsd_handshake *handshake)
{
	ktlsd_uring_prep(sqe, device, KTLSD_HANDSHAKE, handshake);
}

/*
 * Ends the handshakes of this open device that have cancel->cookie: their completions come with -ECANCELED. Its own says how
 * many; -ENOENT: none. cancel: stays until then.
 */
static inline void ktlsd_uring_prep_cancel(struct io_uring_sqe *sqe, int device, struct ktlsd_cancel *cancel)
{
	cancel->size = sizeof(*cancel);
	cancel->flags = 0;
	ktlsd_uring_prep(sqe, device, KTLSD_CANCEL, cancel);
}

#ifdef __cplusplus
}
#endif

#endif
