/* SPDX-License-Identifier: MIT */
/*
 * One unit of work: a connected socket, a role, a service, a deadline, and a door that wants the answer. A door fills in
 * the upper half and calls handshake_begin(); the way is then always the same:
 *
 *	attach ULP -> (receive -> engine -> send)* -> secrets -> install -> door->answer
 *
 * with one linked submission for each arrow that needs the kernel. It ends with a ready socket or a dead one: whatever
 * fails, the socket is shut down before the answer goes out.
 */
#ifndef AGENT_HANDSHAKE_H
#define AGENT_HANDSHAKE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "admission.h"
#include "config.h"
#include "engine.h"
#include "install.h"
#include "ring.h"
#include "token.h"
#include "worker.h"
#include "x509/responder.h"

struct handshake;

/* A front door: how work came in, and how its answer goes out. doors.c lists them. */
struct door {
	const char *name;
	/* Opens what all workers share, as root still. False with a logged reason. */
	bool (*open)(const struct settings *settings);
	/* On each worker's thread. */
	bool (*start)(struct worker *worker);
	void (*sweep)(struct worker *worker); /* every WORKER_SWEEP_MS while there is work */
	void (*flush)(struct worker *worker); /* at the end of each turn: send what the turn brought about */
	void (*drain)(struct worker *worker); /* take no new work; may be called again */
	bool (*idle)(struct worker *worker);  /* nothing left to say: a draining worker may stop */
	void (*stop)(struct worker *worker);  /* the worker ends */
	void (*close)(void);		      /* all have ended */
	/* On the worker that the handshake came to. The door owns the handshake again. */
	void (*answer)(struct handshake *handshake);
};

enum handshake_state {
	HANDSHAKE_EXCHANGE,
	HANDSHAKE_HOLD,	  /* a responder is asked whether the peer was revoked; nothing runs in the ring */
	HANDSHAKE_REFUSE, /* it was: the last flight goes out, then an alert behind it */
	HANDSHAKE_INSTALL,
	HANDSHAKE_CLOSE,
	HANDSHAKE_OVER,
};

struct handshake {
	struct completion completion;

	/* Filled in by the door. */
	const struct door *door;
	struct worker *home;
	struct config *config; /* a reference: keeps service alive */
	const struct service *service;
	int fd;	      /* ours to close */
	bool keep_fd; /* accepted by the door, and its own if all goes well, with what is left of the admission */
	unsigned int role, want, timeout_ms;
	char server_name[256]; /* client role */
	uint8_t alpn[256];     /* client role, wire format */
	unsigned int alpn_length;
	struct sockaddr_storage peer;
	struct admission admission;
	uint64_t connection_id;
	struct psk *psk; /* by an external pre-shared key; NULL: by certificates */
	int32_t certificate_serial,
		key_serial; /* of keys in keyrings, in place of the service's certificates; 0: none */
	bool anonymous;	    /* client role: whatever the server asks for, no certificate is shown */

	/* The way through. */
	struct worker *worker; /* where it runs */
	TAILQ_ENTRY(handshake) active;
	enum handshake_state state;
	int64_t deadline;
	int64_t moved;	       /* when something last completed */
	_Atomic bool canceled; /* by the door, from its own worker */
	int abort;	       /* ETIMEDOUT, ECANCELED, ESHUTDOWN: what waits is being canceled */
	bool attached;	       /* the ULP is on the socket */
	bool nonblocking;      /* O_NONBLOCK is set: the ring does not wait by itself */
	bool send_blocked;
	int low_water;	/* SO_RCVLOWAT, to be put back; 0: not looked at */
	size_t discard; /* bytes that were peeked at and used */
	size_t sent;	/* of engine.output */
	struct engine engine;
	struct ocsp_waiter waiter;
	struct ocsp_verdict verdict; /* the responder's */
	int64_t patience;	     /* until when it is waited for */
	struct session_keys keys;
	struct linger linger; /* the socket's, once linger_known */
	bool linger_known;

	/* How it ended. */
	int error;    /* 0 or positive errno */
	bool refused; /* the socket was not touched */
	struct outcome outcome;
	bool has_token;
	uint8_t token[TOKEN_LENGTH];
};

/* Takes over fd, the config reference and the admission. The answer may come before this returns. */
void handshake_begin(struct handshake *handshake);

/* Whether closing its socket waits for nobody, as of the end of the handshake. */
bool handshake_closes_at_once(const struct handshake *handshake);

/* To a client that has heard nothing from us: whatever it will say, it is not its fault. */
void handshake_send_plain_alert(int fd);

/* Gives it up. Any thread, while the door has not been answered; worker_request_sweep() makes it happen. */
void handshake_cancel(struct handshake *handshake);

/* Deadlines and cancellations of a worker's handshakes. */
void handshake_sweep(struct worker *worker);

#endif
