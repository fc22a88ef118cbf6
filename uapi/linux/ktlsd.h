/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * /dev/ktlsd: a TLS handshake on a connected TCP socket as one command, IORING_OP_URING_CMD or ioctl(2). The kernel has
 * the handshake agent that is registered with net/handshake in the socket's network namespace do it; when the command
 * completes with 0, the socket encrypts (kTLS), both directions.
 *
 * io_uring: cmd_op is the command, cmd[] is a struct ktlsd_command. ioctl: the request is the command, the argument the
 * address that struct ktlsd_command has; it blocks, and of signals only those end it that end the process.
 */
#ifndef _UAPI_LINUX_KTLSD_H
#define _UAPI_LINUX_KTLSD_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* What the 16 bytes sqe->cmd are. */
struct ktlsd_command {
	__aligned_u64 argument; /* address of the command's structure, which has to stay until the completion */
	__aligned_u64 reserved; /* 0 */
};

enum ktlsd_handshake_role {
	KTLSD_HANDSHAKE_CLIENT = 1,
	KTLSD_HANDSHAKE_SERVER = 2,
};

/* enum handshake_auth of <linux/handshake.h> */
enum ktlsd_handshake_auth {
	KTLSD_HANDSHAKE_ANONYMOUS = 1, /* client only: shows no certificate */
	KTLSD_HANDSHAKE_PSK = 2,
	KTLSD_HANDSHAKE_X509 = 3,
};

#define KTLSD_HANDSHAKE_TIMEOUT_MS 20000 /* where timeout_ms is 0 */
#define KTLSD_HANDSHAKE_TIMEOUT_MAX_MS 600000
#define KTLSD_HANDSHAKE_NAME_MAX 255 /* bytes, without NUL */
#define KTLSD_HANDSHAKE_PEER_IDS_MAX 5

/*
 * KTLSD_HANDSHAKE. Completes with 0, or with a negative errno. Refused, the socket is as it was:
 *
 *   -EBADF, -ENOTSOCK, -EPROTONOSUPPORT	no descriptor, no socket, none of TCP
 *   -ENOTCONN, -EINVAL			not connected; a listening socket; a field that has no such value
 *   -E2BIG				newer than the module: bytes it does not know are not zero
 *   -EFAULT, -ENOMEM			memory that can't be read, or is not there
 *   -EEXIST, -EBUSY			the socket has TLS; a handshake was tried on it before
 *   -EOVERFLOW				more handshakes are under way than the module takes on (parameter "limit")
 *   -ENOKEY, -EACCES, -ENOTDIR, ...	a key that the caller may not use; no keyring
 *   -EPERM				a keyring, without CAP_NET_ADMIN
 *   -ESTALE				the SQE was overwritten before it was its turn in a chain (KTLSD_FEATURE_LINKED)
 *   -ESRCH				no agent is registered in the socket's network namespace
 *
 * Failed, the socket is shut down:
 *
 *   -ETIMEDOUT				timeout_ms passed, or the agent says so
 *   -ECANCELED				KTLSD_CANCEL, or the ring or the process ended
 *   -EPROTO				the agent says that all is well, but the socket does not encrypt
 *   -EFAULT				the result can't be written
 *   others				what the agent says: -EACCES, -EKEYREJECTED, ...
 */
struct ktlsd_handshake {
	__u32 size;		 /* sizeof(struct ktlsd_handshake) */
	__u32 flags;		 /* 0 */
	__s32 fd;		 /* a connected TCP socket; no direct descriptor */
	__u16 role;		 /* enum ktlsd_handshake_role */
	__u16 auth;		 /* enum ktlsd_handshake_auth */
	__u32 timeout_ms;	 /* up to KTLSD_HANDSHAKE_TIMEOUT_MAX_MS */
	__u32 peer_name_length;	 /* bytes */
	__aligned_u64 peer_name; /* client: the address of whom the certificate has to name; 0: the peer's address */
	__aligned_u64 cookie;	 /* by which KTLSD_CANCEL finds it */

	/* Serial numbers of keys (keyrings(7)) that the caller may use; 0: none. */
	__s32 keyring;	   /* X509, PSK: to find the keys in; the caller may link it, and has CAP_NET_ADMIN */
	__s32 certificate; /* X509, with private_key; the caller may read them */
	__s32 private_key;
	__u32 peer_id_count;			      /* PSK: of the client 1 or more, of the server 0 or 1 */
	__s32 peer_ids[KTLSD_HANDSHAKE_PEER_IDS_MAX]; /* the caller may read them; behind the last one: 0 */
	__u32 reserved;				      /* 0 */

	/* Written if it completes with 0. */
	__s32 peer_id;	   /* of the peer, 0: it is anonymous */
	__u16 tls_version; /* TLS_1_3_VERSION, ... of <linux/tls.h> */
	__u16 cipher_type; /* TLS_CIPHER_AES_GCM_128, ... */
};

/*
 * KTLSD_CANCEL: has the handshakes of this open /dev/ktlsd end that have the cookie; IORING_OP_ASYNC_CANCEL does not
 * reach them. Completes with how many; their completions say how they ended. -ENOENT: none.
 */
struct ktlsd_cancel {
	__u32 size;  /* sizeof(struct ktlsd_cancel) */
	__u32 flags; /* 0 */
	__aligned_u64 cookie;
};

/*
 * A command in a chain of linked ones, or behind IOSQE_IO_DRAIN, keeps what its SQE said. Without this, give it
 * IOSQE_ASYNC: it may find another SQE in its place, which is -ESTALE if it is another one by opcode, descriptor,
 * command or user_data.
 */
#define KTLSD_FEATURE_LINKED (1u << 0)

/* KTLSD_INFO: what the module and its kernel can do. */
struct ktlsd_info {
	__u32 size;	/* sizeof(struct ktlsd_info) */
	__u32 features; /* KTLSD_FEATURE_... */
};

#define KTLSD_HANDSHAKE _IOWR('k', 0xd0, struct ktlsd_handshake)
#define KTLSD_CANCEL _IOW('k', 0xd1, struct ktlsd_cancel)
#define KTLSD_INFO _IOWR('k', 0xd2, struct ktlsd_info)

#endif
