/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * The handoff protocol of ktlsd: what travels between a server and the agent.
 *
 * Transport: AF_UNIX, SOCK_SEQPACKET. One datagram is a sequence of messages; each message is a header, the fixed
 * body of its type, and attributes (type, length, value). Headers, bodies and attributes start on 8-byte boundaries
 * relative to the start of the datagram. Numbers are in host byte order: both ends are on one machine.
 *
 * docs/protocol.md tells the story around these structures: order of messages, errors, limits.
 */
#ifndef KTLSD_PROTOCOL_H
#define KTLSD_PROTOCOL_H

#include <linux/types.h>

#define KTLSD_PROTOCOL_VERSION 1

#define KTLSD_HANDOFF_PATH "/run/ktlsd/handoff" /* where callers hand sockets over */
#define KTLSD_CONTROL_PATH "/run/ktlsd/control" /* where ktlsctl speaks; text and JSON, see docs/protocol.md */

#define KTLSD_DATAGRAM_MAX 16384      /* bytes in one datagram, either way */
#define KTLSD_DATAGRAM_DESCRIPTORS 32 /* descriptors, and so handoffs, in one datagram */
#define KTLSD_ALIGNMENT 8

#define KTLSD_ALIGN(length) (((length) + KTLSD_ALIGNMENT - 1) & ~((__u32)KTLSD_ALIGNMENT - 1))

enum ktlsd_message_type {
	KTLSD_MSG_HELLO = 1,	 /* both ways, first of all: version and limits */
	KTLSD_MSG_HANDOFF = 2,	 /* caller: one socket for one handshake; takes one descriptor of the datagram */
	KTLSD_MSG_CANCEL = 3,	 /* caller: give up the handoff with this cookie; its result still comes */
	KTLSD_MSG_RESULT = 4,	 /* agent: how a handoff ended */
	KTLSD_MSG_CHAIN = 5,	 /* agent: a chain in a sealed memfd, right before the result or proof it belongs to */
	KTLSD_MSG_LISTEN = 6,	 /* caller: a listening socket for the agent to accept on; takes two descriptors */
	KTLSD_MSG_READY = 7,	 /* agent: a ready socket from such a listener, on its receiving socket */
	KTLSD_MSG_REKEY = 8,	 /* caller: rekey token in, with its socket; agent: the next keys and token */
	KTLSD_MSG_CHALLENGE = 9, /* caller: a nonce; agent: it, signed with a service's key */
};

/* Every message starts with this. */
struct ktlsd_msg_header {
	__u32 length;	/* of the message in bytes: header, body, attributes and their padding; a multiple of 8 */
	__u16 type;	/* enum ktlsd_message_type */
	__u16 reserved; /* 0 */
	__u64 cookie;	/* chosen by the caller, returned with the result; 0 in HELLO */
};

/* Every attribute starts with this; the value follows at once, then zeroes up to the next multiple of 8. */
struct ktlsd_attribute {
	__u16 length; /* of this header and the value, without the padding */
	__u16 type;   /* enum ktlsd_attribute_type */
};

enum ktlsd_attribute_type {
	/* in HANDOFF */
	KTLSD_ATTR_SERVICE = 1,	    /* name of a service; text. Missing: the service named "default" */
	KTLSD_ATTR_SERVER_NAME = 2, /* client role: DNS name (sent as SNI), IP address, URI or e-mail to verify; text */
	KTLSD_ATTR_ALPN = 3,	    /* client role: protocols to offer, (length, name)* as RFC 7301 §3.1 has it */
	/* In RESULT, SERVER_NAME is what the client asked for (SNI), and ALPN the bytes of the one protocol agreed on. */

	/* in RESULT */
	KTLSD_ATTR_ERROR = 16,		 /* why the handshake failed, for a person; text */
	KTLSD_ATTR_PEER_SUBJECT = 17,	 /* of the peer's certificate, RFC 2253; text */
	KTLSD_ATTR_PEER_ISSUER = 18,	 /* likewise; text */
	KTLSD_ATTR_PEER_NAMES = 19,	 /* subjectAltName, "DNS:a.example, IP:192.0.2.1"; text */
	KTLSD_ATTR_PEER_SERIAL = 20,	 /* hexadecimal; text */
	KTLSD_ATTR_PEER_NOT_BEFORE = 21, /* __s64, seconds since 1970 */
	KTLSD_ATTR_PEER_NOT_AFTER = 22,	 /* __s64, seconds since 1970 */
	KTLSD_ATTR_PEER_SHA256 = 23,	 /* 32 bytes: fingerprint of the certificate */
	KTLSD_ATTR_CHANNEL_BINDING = 24, /* 32 bytes: tls-exporter, RFC 9266 */
	KTLSD_ATTR_PEER_NAME = 29,	 /* what the service's allow list calls the peer; text */

	/* in RESULT and REKEY */
	KTLSD_ATTR_REKEY_TOKEN = 25, /* opaque, at most KTLSD_TOKEN_MAX bytes: what the agent needs for the next keys */
	KTLSD_ATTR_TOKEN_LIFETIME = 26, /* __u32, seconds from now on that the token is good for */

	/* in the agent's REKEY: the kernel's key structure (struct tls12_crypto_info_* of <linux/tls.h>) */
	KTLSD_ATTR_TX_KEYS = 27,
	KTLSD_ATTR_RX_KEYS = 28,

	/* in the caller's CHALLENGE, with SERVICE */
	KTLSD_ATTR_NONCE = 48, /* KTLSD_NONCE_MIN to KTLSD_NONCE_MAX bytes that were never used before */

	/* in the agent's CHALLENGE */
	KTLSD_ATTR_SIGNATURE = 49, /* at most KTLSD_SIGNATURE_MAX bytes */
};

#define KTLSD_TOKEN_MAX 512
#define KTLSD_NONCE_MIN 16
#define KTLSD_NONCE_MAX 64
#define KTLSD_SIGNATURE_MAX 2048

/* KTLSD_MSG_HELLO: the caller names the version it speaks, the agent the one it will speak and the caller's limit. */
struct ktlsd_msg_hello {
	struct ktlsd_msg_header header;
	__u32 version;	     /* KTLSD_PROTOCOL_VERSION */
	__u32 max_in_flight; /* agent: handoffs this caller may have open; caller: 0 */
};

enum ktlsd_role {
	KTLSD_SERVER = 1, /* we accepted the connection: the peer sends the ClientHello */
	KTLSD_CLIENT = 2, /* we made the connection */
};

/* What a caller may ask for beyond the handshake; each costs time, so none is the default. */
enum ktlsd_want {
	KTLSD_WANT_CHAIN = 1 << 0,	     /* the peer's certificates, DER, as KTLSD_MSG_CHAIN */
	KTLSD_WANT_CHANNEL_BINDING = 1 << 1, /* KTLSD_ATTR_CHANNEL_BINDING */
	KTLSD_WANT_TOKEN = 1 << 2, /* KTLSD_ATTR_REKEY_TOKEN, with TLS 1.3 on a kernel that can replace keys */
};

/* KTLSD_MSG_HANDOFF; attributes may follow. Unknown wants, roles and attributes are refused, not ignored. */
struct ktlsd_msg_handoff {
	struct ktlsd_msg_header header;
	__u32 role;	  /* enum ktlsd_role */
	__u32 want;	  /* enum ktlsd_want */
	__u32 timeout_ms; /* for the whole handshake; 0: the service's own. The service's own is also the most */
	__u32 reserved;	  /* 0 */
};

/* KTLSD_MSG_CANCEL has no body. */

enum ktlsd_result_flags {
	KTLSD_RESULT_RESUMED = 1 << 0,	/* resumed: what is said of the peer is what the first handshake found */
	KTLSD_RESULT_TX = 1 << 1,	/* the kernel encrypts what is sent */
	KTLSD_RESULT_RX = 1 << 2,	/* the kernel decrypts what is received */
	KTLSD_RESULT_VERIFIED = 1 << 3, /* the peer's certificate was verified against the service's trust */
	KTLSD_RESULT_REFUSED =
		1 << 4, /* the agent did not take the socket: it is as it was and may be handed over again */
};

#define KTLSD_NO_ALERT 255

/*
 * KTLSD_MSG_RESULT; attributes may follow, unknown ones are to be skipped.
 *
 * error 0: the socket is ready, both directions. Else a positive errno: with KTLSD_RESULT_REFUSED the agent never
 * touched the socket, without it the socket is dead (shut down) and only close() is left.
 */
struct ktlsd_msg_result {
	struct ktlsd_msg_header header;
	__u64 connection_id; /* in the agent's log lines, as 16 hexadecimal digits */
	__u32 error;
	__u32 flags;	     /* enum ktlsd_result_flags */
	__u16 version;	     /* 0x0304 TLS 1.3, 0x0303 TLS 1.2, 0 unknown yet */
	__u16 cipher;	     /* IANA cipher suite, 0 unknown yet */
	__u16 group;	     /* IANA supported group, 0 none */
	__u8 alert_sent;     /* AlertDescription (RFC 8446 §6) or KTLSD_NO_ALERT */
	__u8 alert_received; /* likewise */
};

enum ktlsd_direction {
	KTLSD_TX = 1 << 0, /* what we send */
	KTLSD_RX = 1 << 1, /* what we receive */
};

/*
 * KTLSD_MSG_REKEY, caller: the keys that follow the ones in the socket now (RFC 8446 §7.2), for the directions named. Takes
 * one descriptor of the datagram, the connection's own: the agent compares its keys with the token, so that a token is good
 * for one connection and for one step. REKEY_TOKEN follows. No directions: only a fresh token is wanted.
 *
 * KTLSD_MSG_REKEY, agent: error 0, then TX_KEYS and RX_KEYS as asked for, REKEY_TOKEN and TOKEN_LIFETIME follow. The caller
 * sets these keys, each once, and uses the new token from then on. Else a positive errno and ERROR; nothing has changed.
 */
struct ktlsd_msg_rekey {
	struct ktlsd_msg_header header;
	__u32 directions; /* enum ktlsd_direction; agent: as asked for */
	__u32 error;	  /* agent; caller: 0 */
};

/*
 * KTLSD_MSG_CHALLENGE, caller: SERVICE and NONCE follow. Proof is wanted that the agent has the key of the service's (first)
 * certificate. Only for users that the service names (allow_challenge).
 *
 * KTLSD_MSG_CHALLENGE, agent: error 0, scheme and SIGNATURE, and right before it the service's chain as KTLSD_MSG_CHAIN. Else
 * a positive errno and ERROR. What is signed is in docs/protocol.md.
 */
struct ktlsd_msg_challenge {
	struct ktlsd_msg_header header;
	__u32 error;	/* agent; caller: 0 */
	__u16 scheme;	/* agent: SignatureScheme (RFC 8446 §4.2.3); caller: 0 */
	__u16 reserved; /* 0 */
};

#define KTLSD_BACKLOG_DEFAULT 64
#define KTLSD_BACKLOG_MAX 4096

/*
 * KTLSD_MSG_LISTEN; SERVICE may follow. Takes two descriptors of the datagram: a listening TCP socket, and one end of a
 * connected AF_UNIX SOCK_SEQPACKET socket, whose other end is the receiving socket. A RESULT with the message's cookie
 * answers: error 0, and the agent accepts; else KTLSD_RESULT_REFUSED, and neither descriptor was kept. It goes on when the
 * caller has left the handoff socket, until nobody has the receiving socket any more; then the agent lets the listening
 * socket go at once.
 *
 * The agent stops accepting while `backlog` ready sockets wait to be received, or as many as the kernel's buffer holds.
 */
struct ktlsd_msg_listen {
	struct ktlsd_msg_header header;
	__u32 want;    /* enum ktlsd_want, for each connection */
	__u32 backlog; /* up to KTLSD_BACKLOG_MAX; 0: KTLSD_BACKLOG_DEFAULT */
};

/*
 * KTLSD_MSG_READY is a struct ktlsd_msg_result with error 0, and its attributes; cookie is the LISTEN's. One a datagram,
 * with the connection as its first descriptor and, if a KTLSD_MSG_CHAIN stands before it, the chain's memfd as the second.
 * Whoever receives it has the connection: processes and threads may share the receiving socket. Handshakes that failed are
 * in the agent's log alone.
 */

/* KTLSD_MSG_CHAIN: one descriptor comes with it, a sealed memfd: (__u32 length, DER)*, leaf first, unpadded. */
struct ktlsd_msg_chain {
	struct ktlsd_msg_header header;
	__u32 certificates;
	__u32 bytes;
};

#endif
