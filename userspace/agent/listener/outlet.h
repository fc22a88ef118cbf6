/* SPDX-License-Identifier: MIT */
/*
 * An outlet: connections come in at its listening sockets, have their handshake under one service, and go out, ready, to its
 * receivers. All of it is one worker's; only the handshakes run wherever there is least to do.
 *
 * It takes connections in as its receivers have appetite: who waits longer than that waits in the kernel's listen queue, from
 * where another agent, or the next one, may accept it.
 */
#ifndef AGENT_LISTENER_OUTLET_H
#define AGENT_LISTENER_OUTLET_H

#include "../handshake.h"
#include "../owner.h"
#include "gate.h"
#include "listening.h"
#include "receiver.h"
#include "registry.h"

#define OUTLET_RUNNING_MAX 1024 /* handshakes, beside backlog: clients that say nothing hold up others only beyond it */

/* A connection on its way through an outlet. */
struct accepted {
	struct handshake handshake; /* first: a handshake's address is its connection's */
	struct outlet *outlet;
	TAILQ_ENTRY(accepted) entry; /* in one of the outlet's lists */
	struct parcel parcel;
};

TAILQ_HEAD(accepted_list, accepted);

struct outlet {
	struct completion completion;
	struct worker *home, *begun_by; /* the latter: where it came from */
	struct outlets *door;		/* the home worker's */
	TAILQ_ENTRY(outlet) entry;
	struct owner owner; /* who may have the service, and for whom handshakes count */
	char service_name[64];
	uint64_t cookie, id; /* the latter: what the service manager calls it; 0: it does not know it */
	unsigned int want, backlog;
	bool touched;	     /* something came: the door gives it a turn */
	bool paused;	     /* the receivers have had enough for now */
	bool draining, gone; /* nothing is taken in; nothing goes out either */
	bool counted;	     /* as a listener, by admission */
	struct gate *gate;   /* where receivers come in; NULL: it ends with the one it has */
	bool kept, keep_due; /* by the service manager; it has to be told of a change */
	struct figures figures;
	TAILQ_HEAD(, listening) listening;
	TAILQ_HEAD(, receiver) receivers;
	uint64_t turns;		      /* that the receivers had */
	struct accepted_list waiting; /* to be admitted */
	struct accepted_list running, ready;
	unsigned int waiting_count, running_count, ready_count, sending_count;
};

/* What the door keeps on each worker. */
struct outlets {
	struct worker *worker;
	uint64_t config_number; /* the worker's, of the configuration that all of them have gone over to */
	bool draining;
	TAILQ_HEAD(, outlet) all;
	struct accepted_list pool;
	unsigned int pooled;
};

/* Without listening sockets and receivers yet. Takes over the owner's groups. */
struct outlet *outlet_new(const char *service_name, const struct owner *owner);

/* On its home worker. */
void outlet_begin(struct outlet *outlet, struct outlets *door);

/* False: it was gone, and is freed. */
bool outlet_turn(struct outlet *outlet);

/* Handshakes and deliveries under way go on. */
void outlet_drain(struct outlet *outlet);
bool outlet_idle(const struct outlet *outlet);

/* What waits for better times is tried again. */
void outlet_sweep(struct outlet *outlet);

/* The agent ends: it is left as it is, for who gets it next; if nobody does, its receivers hear of it now. */
void outlet_leave(struct outlet *outlet);

/* Lets it go: its listening sockets are free at once, what is under way is given up. why: for the log; NULL: as it should be. */
void outlet_end(struct outlet *outlet, const char *why);

/* ---- for its parts ---- */

/* Its service as of now; NULL: it is no longer there, or no longer for its owner. */
const struct service *outlet_service(const struct outlet *outlet);

/* Takes over a connection. */
void outlet_take(struct outlet *outlet, int fd);

/* How many more connections it takes in now, beside those that are being accepted. */
unsigned int outlet_appetite(const struct outlet *outlet);

/* A parcel went out, or came back. error: 0 or a negative errno. */
void outlet_sent(struct parcel *parcel, int error);

void outlet_lost_receiver(struct receiver *receiver);

/* A handshake of an outlet's is over. */
void outlet_answer(struct accepted *accepted);

#endif
