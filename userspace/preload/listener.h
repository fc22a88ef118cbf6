/* SPDX-License-Identifier: MIT */
/*
 * A listening socket that the agent has. Under the program's number is the receiving socket; the real one stays at a number
 * that the program does not look at, for what it asks and sets, and to be handed over again.
 */
#ifndef KTLS_RUN_LISTENER_H
#define KTLS_RUN_LISTENER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "registrations.h"

struct held;

struct listener {
	int hidden; /* the real one */
	uint16_t port;
	const char *service;
	bool proxy; /* connections begin with a PROXY header */
	bool away;  /* the agent is: a timer is under the number, and says when to try again */
	bool told;  /* the program's user of it */
	struct registrations registrations;
};

/* listen(), for a descriptor that is not ours. */
int listener_begin(int fd, int backlog);

/* listen(), for one that is. */
int listener_again(struct held *held, int fd, int backlog);

/* Takes over what a program before us in this process left. False: it is nothing for us. */
bool listener_inherit(int fd, int hidden);

/*
 * What listens already when we first hear of it: the service manager passed it, or the program is about to accept on it. Where
 * the agent does not take it, the process ends. listener_meet() returns what the descriptor stands for now, as held_at().
 */
void listener_adopt(int fd);
struct held *listener_meet(int fd);
void listener_after_fork(void);

/* What accept() returned for a listener that was not ours: true: it must not be served, and is closed. */
bool listener_turns_away(int fd, int connection);

/* accept4(). Returns the descriptor or -errno. */
int listener_accept(struct held *held, int fd, struct sockaddr *address, socklen_t *length, int flags);

/* epoll_ctl() for it has gone well. */
void listener_note(struct held *held, int epoll, int operation, int fd, const struct epoll_event *event);

int listener_shutdown(const struct held *held, int fd, int how);

/* Keeps the hidden descriptor from, or for, the next program as the program's own are. */
void listener_match_close_on_exec(const struct held *held);

/* The program wants the hidden descriptor's number for itself: 0 or -errno. */
int listener_make_room(int number);

void listener_free(struct listener *listener);

#endif
