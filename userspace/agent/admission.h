/* SPDX-License-Identifier: MIT */
/*
 * Who gets in: descriptors from outside are looked at before anything is done with them, and handshakes in flight are
 * counted per agent, user, service and peer address. Beyond a limit the answer is "busy", at once.
 */
#ifndef AGENT_ADMISSION_H
#define AGENT_ADMISSION_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "config.h"

struct user {		     /* one for all callers of a user */
	_Atomic uint64_t id; /* uid + 1; 0: free */
	_Atomic unsigned int callers;
	_Atomic unsigned int in_flight;
	_Atomic unsigned int hanging;  /* descriptors whose closing has not returned yet */
	_Atomic int64_t hanging_since; /* since when they are too many */
	_Atomic unsigned int listeners;
};

struct admission { /* what one handshake holds */
	struct user *user;
	_Atomic unsigned int *peer;
	struct service_usage *service;
};

/*
 * Looks at a descriptor without waiting for whatever is behind it: a socket that is connected over the internet protocols?
 * Whether it is TCP, fully open and free of a ULP is what attaching the ULP finds out, in one step with doing it. 0 or a
 * positive errno with *why.
 */
int admission_inspect(int fd, struct sockaddr_storage *peer, const char **why);

bool admission_is_tcp(int fd);

/* As a person writes it; of IPv4 in IPv6 the former. */
const char *admission_address(const struct sockaddr_storage *peer, char text[static INET6_ADDRSTRLEN]);

/*
 * Whether close() returns without waiting for anybody: a TCP socket that does not linger. A file of a FUSE server that does
 * not answer may hang for ever, a lingering socket for as long as its owner chose, if we are the last to close it.
 */
bool admission_closes_at_once(int fd);

/* 0 or EBUSY with *why. */
int admission_enter(struct admission *admission, const struct settings *limits, const struct service *service,
		    struct user *user, const struct sockaddr_storage *peer, const char **why);
void admission_leave(struct admission *admission);

/* How many handshakes there are with this peer's address, whosever. */
unsigned int admission_of_peer(const struct sockaddr_storage *peer);

/* The handshake is over, its descriptor is still here: it goes on counting for the agent and the user alone. */
void admission_settle(struct admission *admission);

/*
 * A listener takes LISTENER_DESCRIPTORS for as long as it is here. They come off max_handshakes, and all listeners together may
 * take half of it; nobody but root more than half of that. 0 or EBUSY with *why.
 */
#define LISTENER_DESCRIPTORS 6 /* itself, where ready sockets go, and 4 that were accepted and wait to be admitted */

int admission_enter_listener(struct user *user, const struct settings *limits, const char **why);
void admission_leave_listener(struct user *user);

struct user *admission_user(uid_t user);

/* Whether a user may have one more caller: nobody but root gets more than half of max_callers. */
bool admission_enter_caller(struct user *user, const struct settings *limits);
void admission_leave_caller(struct user *user);

/* Once: raises RLIMIT_NOFILE as far as it goes. False with a logged reason. */
bool admission_init(void);

/*
 * Fits the limits of new settings into RLIMIT_NOFILE, so that a descriptor that is sent always finds a free slot: the
 * kernel would drop it silently (EMFILE in scm_detach_fds). False with a complaint.
 */
bool admission_fit(struct settings *settings, struct complaints *complaints);

unsigned int admission_in_flight(void);

#endif
