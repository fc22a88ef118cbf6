/* SPDX-License-Identifier: MIT */
/*
 * libktlsd: hand a connected TCP socket to the TLS agent ktlsd and get it back encrypting in the kernel.
 *
 * The life of a handoff follows liburing: get a handoff, prepare it, submit, then wait for (or peek at) a result and
 * say that it was seen. ktlsd_fd() polls readable when an answer is there, so the agent fits any event loop. For a
 *first try, ktlsd_handshake() does it all in one blocking call.
 *
 *	struct ktlsd *agent;
 *	ktlsd_open(&agent, NULL);
 *	ktlsd_prep_server(ktlsd_get_handoff(agent), fd, "web");
 *	ktlsd_submit(agent);
 *	ktlsd_wait_result(agent, &result, -1);
 *	if (result->error == 0)
 *		write(fd, "hello", 5);		// encrypted by the kernel
 *	ktlsd_result_seen(agent);
 *
 * The socket. The caller keeps its descriptor open until the result is there. Meanwhile it neither reads, writes, polls
 * nor arms a receive on it. Then the socket is ready (error 0) or dead (close it), or was refused untouched
 * (KTLSD_RESULT_REFUSED: it may be handed over again, or used otherwise). No socket option is changed; O_NONBLOCK is
 *left alone.
 *
 * Errors. Functions return 0 or a count, or a negative errno. Results carry a positive errno: see struct ktlsd_result.
 *
 * Threads. A struct ktlsd is used by one thread at a time, like a ring; threads open one each. Functions that take only
 * a socket are as thread-safe as recvmsg() and sendmsg() on it.
 *
 * Fork. A struct ktlsd belongs to the process that opened it. In a child every function on it returns -EOWNERDEAD and
 * touches nothing (the memory is MADV_WIPEONFORK); the child opens its own. The descriptor is close-on-exec.
 *
 * Blocking. Only ktlsd_wait_result(), ktlsd_handshake() and the connect() in ktlsd_open() may block; the receive and
 * close helpers block exactly if the socket does.
 */
#ifndef KTLSD_H
#define KTLSD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <ktlsd/protocol.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ktlsd; /* a connection to the agent */

/*
 * Connects to the agent. path: the handoff socket; NULL means $KTLSD_HANDOFF, else KTLSD_HANDOFF_PATH.
 * -ENOENT, -ECONNREFUSED: no agent there. -EACCES: the socket's permissions. -ENOMEM. -ENAMETOOLONG.
 */
int ktlsd_open(struct ktlsd **agent, const char *path);

/* Closes the connection. The agent gives up handoffs that are still open and shuts their sockets down. NULL is fine. */
void ktlsd_close(struct ktlsd *agent);

/*
 * The descriptor to poll for POLLIN: then take results until there are none (-EAGAIN, -ENODATA), and submit what is
 * still queued. It is an epoll descriptor around the connection, so it stays the same, and registered, when the library
 * reconnects. Only poll it.
 */
int ktlsd_fd(const struct ktlsd *agent);

/* One handoff to be made. Fill it through the prep functions; strings stay valid until ktlsd_submit() took it. */
struct ktlsd_handoff {
	int fd; /* connected TCP socket, no ULP */
	enum ktlsd_role role;
	const char *service;	 /* a service of the agent's configuration; NULL: "default" */
	const char *server_name; /* client role: DNS name or IP address that the peer's certificate has to carry */
	const char *alpn;	 /* client role: protocols to offer, "h2,http/1.1"; NULL: the service's */
	unsigned int timeout_ms; /* for the whole handshake; 0: the service's own, which is also the most */
	unsigned int want;	 /* enum ktlsd_want, or-ed */
	uint64_t cookie;	 /* returned with the result */
};

/* Room for one more handoff, blank, in the queue that ktlsd_submit() sends. NULL: the queue is full, submit first. */
struct ktlsd_handoff *ktlsd_get_handoff(struct ktlsd *agent);

void ktlsd_prep_server(struct ktlsd_handoff *handoff, int fd, const char *service);
void ktlsd_prep_client(struct ktlsd_handoff *handoff, int fd, const char *service, const char *server_name);

/*
 * Sends what was queued, as few datagrams as it takes, without blocking. Returns how many handoffs were taken from the
 * front of the queue; a handoff that the agent can't be sent (too long a name: EMSGSIZE; bad descriptor: EBADF; bad
 * ALPN list or role: EINVAL; name missing in the client role: EDESTADDRREQ) is reported as its result instead, with
 * KTLSD_RESULT_REFUSED. Otherwise handoffs stay queued: -EAGAIN: no room now, ktlsd_fd() polls readable when there is.
 * -ECONNREFUSED, -ENOENT: the agent is away; take the results that are there, call again later (it reconnects by
 * itself). -ETOOMANYREFS: this user has more descriptors under way than RLIMIT_NOFILE. -ENOMEM.
 */
int ktlsd_submit(struct ktlsd *agent);

struct ktlsd_peer {
	const char *subject; /* RFC 2253 */
	const char *issuer;
	const char *
		names; /* of subjectAltName, DNS, IP, email and URI: "DNS:a.example, IP:192.0.2.1"; "" if it has none. None
			     holds a comma: those that would, and what is beyond 2 KB, are left out */
	const char *serial; /* hexadecimal */
	int64_t not_before; /* seconds since 1970 */
	int64_t not_after;
	uint8_t sha256[32]; /* of the certificate's DER */
};

/*
 * How a handoff ended.
 *
 * error: 0, or
 *	EKEYREJECTED	the peer's certificate was refused (error_text says why)
 *	EPROTO		TLS failed otherwise: no common version, cipher, group; malformed message; alert from the peer
 *	ECONNABORTED	the peer closed the connection in the middle of the handshake
 *	ECONNRESET	the peer reset it; or, with connection_id 0, the agent went away
 *	ETIMEDOUT	not finished within the time limit
 *	ECANCELED	ktlsd_cancel()
 *	EIO		the kernel refused the keys
 * and, with KTLSD_RESULT_REFUSED in flags,
 *	EBUSY		a limit is reached: try again later
 *	ENOENT, EACCES	no such service; this user may not use it
 *	EINVAL		the service is for the other role, or the handoff is malformed
 *	ENOTSOCK, EPROTONOSUPPORT, ENOTCONN	not a socket; not TCP; not connected (or the peer is closing already)
 *	EEXIST		the socket already has a ULP
 *	ESHUTDOWN	the agent is draining before it stops
 */
struct ktlsd_result {
	uint64_t cookie;
	int error;
	unsigned int flags;	/* enum ktlsd_result_flags */
	const char *error_text; /* "" if none */
	uint64_t connection_id; /* the agent logs it as 16 hexadecimal digits */
	uint16_t version;	/* 0x0304, 0x0303; see ktlsd_version_name() */
	uint16_t cipher;	/* IANA numbers */
	uint16_t group;
	uint8_t alert_sent;		/* or KTLSD_NO_ALERT */
	uint8_t alert_received;		/* or KTLSD_NO_ALERT */
	const char *server_name;	/* server role: SNI; "" if none */
	const char *alpn;		/* "" if none */
	const struct ktlsd_peer *peer;	/* NULL: the peer showed no certificate */
	const uint8_t *channel_binding; /* 32 bytes, tls-exporter; NULL unless asked for */
	const uint8_t *chain;		/* (uint32_t length, DER)*, leaf first; NULL unless asked for and present */
	size_t chain_length;		/* bytes */
};

/*
 * The next result, valid until ktlsd_result_seen() or ktlsd_close(). peek: -EAGAIN if none is there. wait: blocks up to
 * timeout_ms (-1: for ever); -ETIME, -EINTR. Both: -ENODATA if no handoff is open. When the agent goes away every open
 * handoff gets a result with error ECONNRESET; its socket is to be closed.
 */
int ktlsd_peek_result(struct ktlsd *agent, struct ktlsd_result **result);
int ktlsd_wait_result(struct ktlsd *agent, struct ktlsd_result **result, int timeout_ms);
void ktlsd_result_seen(struct ktlsd *agent);

/*
 * Gives up the submitted handoffs with this cookie. Their results still come: ECANCELED, or how they ended before.
 * -ENOENT: there is none. -EAGAIN: no room to tell the agent, call again.
 */
int ktlsd_cancel(struct ktlsd *agent, uint64_t cookie);

/* Walks a chain: the next certificate's DER, *offset starts at 0. False at the end. */
bool ktlsd_chain_next(const struct ktlsd_result *result, size_t *offset, const uint8_t **der, size_t *length);

/*
 * One handshake, blocking, over a connection to the agent of its own: handoff filled by ktlsd_prep_server() or
 * ktlsd_prep_client(). Returns 0, or the negative of the result's error. why (may be NULL) gets the text.
 */
int ktlsd_handshake(const struct ktlsd_handoff *handoff, char *why, size_t why_size);

/*
 * Reads application data from a ready socket. > 0: bytes. 0: the peer ended the stream in order (close_notify).
 * -ECONNABORTED: the connection was cut without close_notify, data may be missing. -EPROTO: the peer sent a fatal
 * alert, its number in *alert (may be NULL), or something that has no place here. -EAGAIN and others as recvmsg() has
 * them. Session tickets and other handshake messages are skipped; a KeyUpdate, which needs new keys, gives
 * -EKEYEXPIRED. flags: MSG_DONTWAIT only. size: not 0.
 */
ssize_t ktlsd_recv(int fd, void *data, size_t size, int flags, uint8_t *alert);

/*
 * The same for those who call recvmsg() themselves, as io_uring programs do: what did it bring? message: as recvmsg()
 * left it, with CMSG_SPACE(1) of control room; received: its return value, or a CQE's res. Returns what ktlsd_recv()
 * returns, and -EAGAIN where there was nothing for the application: receive again. -EMSGSIZE: a control record did not
 * fit; a buffer of 16 KiB takes them all.
 */
struct msghdr;
ssize_t ktlsd_received(const struct msghdr *message, ssize_t received, uint8_t *alert);

/*
 * Sends close_notify: the peer knows that the stream is complete. Then shutdown(fd, SHUT_WR) and read to the end, or
 * close(fd). As with any TCP socket, close() with data unread resets the connection, and the peer may lose the last bytes.
 */
int ktlsd_send_close_notify(int fd);

/* Names for people: "TLS 1.3", "TLS_AES_128_GCM_SHA256", "X25519", "bad_certificate"; "unknown" for others. */
const char *ktlsd_version_name(uint16_t version);
const char *ktlsd_cipher_name(uint16_t cipher);
const char *ktlsd_group_name(uint16_t group);
const char *ktlsd_alert_name(uint8_t alert);

#ifdef __cplusplus
}
#endif

#endif
