/* SPDX-License-Identifier: MIT */
/*
 * libktlsd: hand a connected TCP socket to the TLS agent ktlsd and get it back encrypting in the kernel.
 *
 * The life of a handoff follows liburing: get a handoff, prepare it, submit, then wait for (or peek at) a result and
 * say that it was seen. ktlsd_fd() polls readable when an answer is there, so the agent fits any event loop. For a
 * first try, ktlsd_handshake() does it all in one blocking call.
 *
 *	struct ktlsd *agent;
 *	ktlsd_open(&agent, NULL);
 *	ktlsd_prep_server(ktlsd_get_handoff(agent), fd, "web");
 *	ktlsd_submit(agent);
 *	ktlsd_wait_result(agent, &result, -1);
 *	if (result->error == 0)
 *		ktlsd_stream_new(&stream, fd, agent, result);
 *	ktlsd_result_seen(agent);
 *	ktlsd_stream_send(stream, "hello", 5, 0);	// encrypted by the kernel
 *
 * The socket. The caller keeps its descriptor open until the result is there. Meanwhile it neither reads, writes, polls
 * nor arms a receive on it. Then the socket is ready (error 0) or dead (close it), or was refused untouched
 * (KTLSD_RESULT_REFUSED: it may be handed over again, or used otherwise). No socket option is changed; O_NONBLOCK is
 * left alone.
 *
 * Errors. Functions return 0 or a count, or a negative errno. Results carry a positive errno: see struct ktlsd_result.
 *
 * Threads. A struct ktlsd is used by one thread at a time, like a ring; threads open one each. For streams see there.
 *
 * Fork. A struct ktlsd belongs to the process that opened it. In a child every function on it returns -EOWNERDEAD and
 * touches nothing (the memory is MADV_WIPEONFORK); the child opens its own. The descriptor is close-on-exec.
 *
 * Blocking. Only ktlsd_wait_result(), ktlsd_handshake(), ktlsd_challenge() and the connect() in ktlsd_open() may block; what receives and
 * sends on a stream blocks if the socket does, and otherwise only where it says so.
 */
#ifndef KTLSD_H
#define KTLSD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <ktlsd/protocol.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ktlsd;	     /* a connection to the agent */
struct ktlsd_stream; /* a connection to a peer, after the handshake */

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
	const char *service; /* a service of the agent's configuration; NULL: "default" */
	/*
	 * Client role: what the peer's certificate has to carry, in subjectAltName: a DNS name, an IP address, a URI (with ":",
	 * compared byte by byte: "spiffe://a.example/b") or an e-mail address (with "@"). Up to 255 bytes. The peer sees
	 * only a DNS name, as SNI.
	 */
	const char *server_name;
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
	const char *name;   /* what the service's allow list calls the peer (allow_peer = ... as NAME); "" if nothing */
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
	uint8_t alert_sent;	/* or KTLSD_NO_ALERT */
	uint8_t alert_received; /* or KTLSD_NO_ALERT */
	enum ktlsd_role role;	/* as it was handed over, like the next */
	int fd;
	const char *server_name;	/* server role: SNI; "" if none */
	const char *alpn;		/* "" if none */
	const struct ktlsd_peer *peer;	/* NULL: the peer showed no certificate */
	const uint8_t *channel_binding; /* 32 bytes, tls-exporter; NULL unless asked for */
	const uint8_t *chain;		/* (uint32_t length, DER)*, leaf first; NULL unless asked for and present */
	size_t chain_length;		/* bytes */
	const uint8_t *token;		/* for ktlsd_stream_new(); NULL: the connection can't be rekeyed */
	size_t token_length;
	uint32_t token_lifetime_s;
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
 * ktlsd_prep_client(). Returns 0, or the negative of the result's error. stream (may be NULL) gets the connection as a
 * stream, why (may be NULL) the text.
 */
int ktlsd_handshake(const struct ktlsd_handoff *handoff, struct ktlsd_stream **stream, char *why, size_t why_size);

/* ---- handed listeners ---- */

/*
 * The fastest way: the agent accepts, too, and only ready sockets reach the server. The listening socket is bound and listening
 * already, and stays the caller's; while the agent has it nobody else accepts on it. Returns the receiving socket (AF_UNIX,
 * SOCK_SEQPACKET, close-on-exec), which polls readable when ready sockets wait. Any number of threads and processes that have it may receive;
 * when the last copy is closed, the agent lets the listening socket go, and once the caller has closed it, too, the port is free.
 * The agent gone: it reads 0, unless the agent's service manager keeps listeners for its next start (docs/protocol.md).
 *
 * service: NULL: "default". backlog: ready sockets that may wait to be received, 0: KTLSD_BACKLOG_DEFAULT. want: enum ktlsd_want.
 *
 * Blocking, over a connection to the agent of its own, up to 10 seconds. Returns a descriptor, or a negative errno; why (may be
 * NULL) gets the text. -ENOENT, -EACCES: no such service; this user may not use it. -EINVAL: the service is for the other role; the
 * socket does not listen; backlog beyond KTLSD_BACKLOG_MAX. -ENOTSOCK, -EPROTONOSUPPORT: no socket, none of TCP. -EBUSY: a limit.
 * -ESHUTDOWN. -ETIMEDOUT. -EBADMSG: the agent's answer is malformed. -EPROTO: the agent is older than this. And those of ktlsd_open().
 */
int ktlsd_listen(int listener, const char *service, unsigned int backlog, unsigned int want, char *why,
		 size_t why_size);

#define KTLSD_READY_MAX 16384 /* bytes */

/* A ready socket and what is said of it. About 20 KB: reuse it. */
struct ktlsd_ready {
	struct ktlsd_result result; /* error 0; fd is the connection, close-on-exec, the caller's to close */
	struct ktlsd_peer peer;
	char buffer[KTLSD_READY_MAX] __attribute__((aligned(8))); /* what result points to */
};

/*
 * Takes the next ready socket. flags: MSG_DONTWAIT; SOCK_NONBLOCK in flags has the connection O_NONBLOCK. Thread-safe: the receiver is a
 * descriptor. ready: valid until it is used again, ktlsd_ready_clear() is due then. Returns the connection, or a negative errno: -EAGAIN,
 * -EINTR; -ENOTCONN: the agent is gone; -EMFILE: no descriptor was free, and the connection is lost; -EBADMSG.
 */
int ktlsd_accept(int receiver, struct ktlsd_ready *ready, int flags);
void ktlsd_ready_clear(struct ktlsd_ready *ready); /* the chain, if it was wanted */

/* ---- proof of possession ---- */

struct ktlsd_proof {
	uint16_t scheme; /* how it is signed: SignatureScheme, RFC 8446 §4.2.3 */
	uint8_t signature[KTLSD_SIGNATURE_MAX];
	size_t signature_length;
	const uint8_t *chain; /* as in struct ktlsd_result; in one of those, ktlsd_chain_next() walks it */
	size_t chain_length;
};

/*
 * Has the agent sign a nonce with the key of a service's (first) certificate; for users that the service names in
 * allow_challenge. nonce: 16 to 64 bytes that were never used before, chosen by who is to be convinced. What is signed, and
 * so how to verify it, is in docs/protocol.md; "ktlsctl challenge" does both. ktlsd_proof_clear() is due after success.
 *
 * Blocking, over a connection to the agent of its own, up to 10 seconds. Returns 0, or a negative errno; why (may be NULL)
 * gets the text. -ENOENT, -EACCES: no such service; it does not name this user. -EINVAL: the nonce or the name has a length
 * that none has. -EBUSY, -ESHUTDOWN: try again later. -ETIMEDOUT. -EBADMSG: the agent's answer is malformed. -EIO: it can't
 * sign. -ENOMEM. -EPROTO: the agent is older than this. And those of ktlsd_open().
 */
int ktlsd_challenge(const char *service, const void *nonce, size_t nonce_length, struct ktlsd_proof *proof, char *why,
		    size_t why_size);
void ktlsd_proof_clear(struct ktlsd_proof *proof);

/* ---- after the handshake ---- */

/*
 * A ready socket carries records. Plain read() and write() do, too, until the peer sends one that is not data: a session
 * ticket, a close_notify, a KeyUpdate; then read() fails with EIO. A stream deals with them: what is left is data, its end,
 * and errors that say what happened. It also replaces the connection's keys (RFC 8446 §4.6.3): when the peer does, when
 * the program wishes, and before a key has protected as many records as is safe (§5.5).
 *
 * Keys come from the agent. With a struct ktlsd nothing waits for it: requests go over that connection, its ktlsd_fd()
 * polls readable for their answers, and ktlsd_peek_result() takes them in. Meanwhile a receive says -EAGAIN, and the socket
 * polls readable when the new key is in. Only a receive that may block, because the socket does, waits for a key that it
 * needs, and a send whose key has come to its very end, an eighth of its life after the agent was first asked. Without a struct ktlsd every request waits for its answer. An agent that is away is asked again for up to
 * rekey_timeout_ms; until our new key is there, what is sent goes on with the old one.
 *
 * Who polls, and then receives only what came, gives a struct ktlsd, or has a non-blocking socket when the stream is made:
 * the kernel may hide a KeyUpdate from poll() that it met at the end of a receive, and the stream has to look for it.
 *
 * Rekeying takes TLS 1.3, Linux 6.14 or newer, and KTLSD_WANT_TOKEN, which ktlsd_prep_server() and ktlsd_prep_client()
 * set. Without them a KeyUpdate ends the connection: the peer gets an alert, the program -EKEYEXPIRED. A token is good for
 * the agent's token_lifetime, and renewed at half of it; without a struct ktlsd only while the stream is used.
 *
 * Errors of what receives and sends, beyond those that recvmsg() and sendmsg() have. They stay: the connection is over, the
 * peer was sent an alert where there is one to send, and close() is what is left. ktlsd_stream_why() has the text.
 *	EREMOTEIO	the peer sent a fatal alert, see struct ktlsd_stream_info
 *	EPROTO		the peer sent what has no place here
 *	EBADMSG		a record did not decrypt: it was changed on its way
 *	EDQUOT		the peer sent more control records than the limits allow
 *	EKEYEXPIRED	keys had to be replaced and can't be
 *	EOWNERDEAD	likewise, in a child of the process that made the stream
 * and, of what receives only: our half is not concerned,
 *	ECONNABORTED	cut off: the TCP stream ended without close_notify, data may be missing
 * Never EIO.
 *
 * Threads. One at a time receives, any number send. Records of different senders are never mixed, and none comes between a
 * KeyUpdate and its key. With a struct ktlsd, making and freeing the stream and receiving are for the thread that uses it.
 *
 * Fork. Parent or child, one of them goes on with a stream, because each would think itself alone in sending. A child may
 * go on with data; replacing keys is for the process that made the stream.
 */

/*
 * fd: a ready socket; it stays the caller's, who closes it after ktlsd_stream_free(). result: what it came with; may be NULL
 * for a socket that got its keys otherwise, which then can't be rekeyed. agent: see above; NULL: none. ktlsd_close() leaves
 * its streams as if they had none. -ENOTCONN, -EOPNOTSUPP, -EINVAL: not a socket with keys in both directions. -ENOMEM.
 */
int ktlsd_stream_new(struct ktlsd_stream **stream, int fd, struct ktlsd *agent, const struct ktlsd_result *result);
void ktlsd_stream_free(struct ktlsd_stream *stream); /* NULL is fine */

/*
 * Receives as recv() and readv() do. 0: the peer ended its stream in order (close_notify). flags: MSG_DONTWAIT, MSG_PEEK.
 * size: not 0. One system call, as long as data comes.
 */
ssize_t ktlsd_stream_recv(struct ktlsd_stream *stream, void *data, size_t size, int flags);
ssize_t ktlsd_stream_readv(struct ktlsd_stream *stream, const struct iovec *parts, int count, int flags);

/*
 * For who receives by other means, as io_uring programs do: what did this completion bring? message: as a recvmsg with
 * CMSG_SPACE(1) of control room left it, or ktlsd_multishot_message() made it; NULL: it was a splice. result: the
 * completion's. No flags but MSG_DONTWAIT at the receive. Each completion, in order, goes through here.
 *	> 0		so many bytes of data are there
 *	0		the end
 *	-EAGAIN		nothing for the program: receive again (a multishot that has IORING_CQE_F_MORE goes on by itself)
 *	-EINPROGRESS	nothing yet: have the ring poll the socket for POLLIN, then receive again
 * and the errors above; -ENOBUFS, -ECANCELED, -EINTR pass through.
 */
ssize_t ktlsd_stream_completed(struct ktlsd_stream *stream, const struct msghdr *message, int result);

/*
 * A multishot recvmsg's completion as a message: armed: what it was armed with; buffer: the provided buffer that the
 * completion filled; result: the completion's. Returns what to give ktlsd_stream_completed() as result; data is in part.
 */
int ktlsd_multishot_message(const struct msghdr *armed, void *buffer, int result, struct msghdr *message,
			    struct iovec *part);

/*
 * Sends as send() and writev() do, without SIGPIPE. flags: MSG_DONTWAIT (not for another sender either), MSG_MORE. A blocking
 * socket sends all.
 */
ssize_t ktlsd_stream_send(struct ktlsd_stream *stream, const void *data, size_t size, int flags);
ssize_t ktlsd_stream_writev(struct ktlsd_stream *stream, const struct iovec *parts, int count, int flags);

/* As sendfile(2): from a file to the connection, without a copy. */
ssize_t ktlsd_stream_sendfile(struct ktlsd_stream *stream, int file, off_t *offset, size_t size);

/* As splice(2), from the connection into a pipe (0: the end) and from a pipe into the connection. flags: SPLICE_F_*. */
ssize_t ktlsd_stream_splice_in(struct ktlsd_stream *stream, int pipe, size_t size, unsigned int flags);
ssize_t ktlsd_stream_splice_out(struct ktlsd_stream *stream, int pipe, size_t size, unsigned int flags);

/*
 * For who sends by other means: write(), io_uring. Between the two calls our key stays, and nobody else sends through the
 * stream. bytes: how many were sent. Any thread may end what another began. flags: MSG_DONTWAIT: -EAGAIN instead of waiting
 * for another sender, or for room (then poll for POLLOUT).
 */
int ktlsd_stream_begin_write(struct ktlsd_stream *stream, int flags);
void ktlsd_stream_end_write(struct ktlsd_stream *stream, size_t bytes);

/*
 * Replaces our key, and with request_peer has the peer replace its own. 0: done or under way. -EOPNOTSUPP: no token.
 * -EPIPE: we send nothing more. -EKEYEXPIRED: the agent refuses; the old key stays. Needed only by who wants it more often
 * than the limits do.
 */
int ktlsd_stream_rekey(struct ktlsd_stream *stream, bool request_peer);

/*
 * Ends our half: close_notify, then shutdown(SHUT_WR). Reading goes on. As with any TCP socket, close() with data unread
 * resets the connection, and the peer may lose the last bytes: read to the end first. -EAGAIN: no room now.
 */
int ktlsd_stream_shutdown(struct ktlsd_stream *stream);

/*
 * The same for who sends by other means. begin: fills in the record, once what was begun to be written has ended; flags: as
 * ktlsd_stream_begin_write(); -EPIPE: it was sent before. With io_uring: a sendmsg of &close_notify->message, flags MSG_NOSIGNAL,
 * linked to a shutdown with SHUT_WR. All of it stays in place until both are through, and so does the descriptor: have the
 * shutdown post the completion, not the sendmsg (IOSQE_CQE_SKIP_SUCCESS). end: result: what that was. -EAGAIN: a non-blocking
 * socket has no room now, begin again; else our half is closed.
 */
struct ktlsd_close_notify {
	struct msghdr message;
	struct iovec part;
	char control[CMSG_SPACE(1)] __attribute__((aligned(__alignof__(struct cmsghdr))));
	uint8_t alert[2]; /* RFC 8446 §6 */
};

int ktlsd_stream_begin_shutdown(struct ktlsd_stream *stream, struct ktlsd_close_notify *close_notify, int flags);
void ktlsd_stream_end_shutdown(struct ktlsd_stream *stream, int result);

struct ktlsd_stream_limits {	       /* 0 everywhere: the default */
	uint64_t key_records;	       /* a key's life; default and most: what RFC 8446 §5.5 allows the cipher */
	unsigned int control_burst;    /* control records that a peer may send for nothing; default 64 */
	unsigned int control_rate;     /* and each second; default 64. One more is free with every 64 KiB of data */
	unsigned int rekey_timeout_ms; /* how long an agent that is away is waited for; default 30000 */
};

/* Before the stream is used; more than the most counts as the most. */
void ktlsd_stream_set_limits(struct ktlsd_stream *stream, const struct ktlsd_stream_limits *limits);

/* What the kernel says of a socket; never its keys. */
struct ktlsd_socket_info {
	uint16_t version;    /* 0x0304, 0x0303 */
	const char *cipher;  /* "AES-128-GCM" */
	unsigned int flags;  /* KTLSD_RESULT_TX, KTLSD_RESULT_RX: the directions that have keys */
	uint64_t tx_records; /* under the key in force */
	uint64_t rx_records;
	uint64_t key_records; /* how many a key may protect; UINT64_MAX: the cipher sets no limit */
};

/* Any kTLS socket. -ENOTSOCK, -EOPNOTSUPP: no TCP socket. -ENOPROTOOPT: no kTLS. */
int ktlsd_socket_info(int fd, struct ktlsd_socket_info *info);

struct ktlsd_stream_info {
	struct ktlsd_socket_info socket; /* key_records: as limited for this stream */
	uint64_t tx_rekeys, rx_rekeys;	 /* so far */
	uint64_t control_records;	 /* received */
	bool can_rekey;
	uint8_t alert_sent;	/* or KTLSD_NO_ALERT */
	uint8_t alert_received; /* likewise */
};

/* -ENOTCONN and others as ktlsd_socket_info(). */
int ktlsd_stream_info(const struct ktlsd_stream *stream, struct ktlsd_stream_info *info);

/* Why the stream failed, for people; "" if it did not. */
const char *ktlsd_stream_why(const struct ktlsd_stream *stream);

/* Names for people: "TLS 1.3", "TLS_AES_128_GCM_SHA256", "X25519", "bad_certificate"; "unknown" for others. */
const char *ktlsd_version_name(uint16_t version);
const char *ktlsd_cipher_name(uint16_t cipher);
const char *ktlsd_group_name(uint16_t group);
const char *ktlsd_alert_name(uint8_t alert);

#ifdef __cplusplus
}
#endif

#endif
