/* SPDX-License-Identifier: MIT */
/* A connection that came from the agent: a plain stream of bytes for the program. */
#ifndef KTLS_RUN_ACCEPTED_H
#define KTLS_RUN_ACCEPTED_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "proxy.h"

struct held;
struct ktlsd_result;
struct ktlsd_stream;
struct shared;

#define ACCEPTED_FILES 4

struct accepted {
	struct ktlsd_stream *stream;
	_Atomic(struct shared *) shared; /* with other processes, since a fork; NULL: it is ours alone */
	_Atomic pthread_t reader;	 /* the thread that receives; 0: none does */
	char *peer;			 /* what ktls_run_peer() says; NULL: nothing is known */
	uint8_t *head;			 /* a PROXY header that the program has not read wholly; NULL: none */
	uint16_t head_length, head_taken;
	_Atomic(FILE *) files[ACCEPTED_FILES]; /* streams of the C library that write to it; NULL: none */
	_Atomic unsigned int last_fork;	       /* that it was shared for; 0: none */
	bool settled;			       /* whether we are the one of those processes that replaces keys */
	bool inherited;			       /* by exec, and not counted: somebody else may have it, too */
	bool keyless;			       /* by exec: keys are replaced elsewhere, or not at all */
	bool moved;	 /* to another number in a program that we start: there it is open, whatever it is here */
	bool stays;	 /* open in the next program */
	bool given_back; /* our share, because it is not */
	bool touched;	 /* read or written */
	bool peeked_all; /* the last peek came short */
	bool deaf;	 /* the program wants to receive nothing more */
	bool ended;
};

/* Has fd, a ready socket, stand for a connection. result: NULL: inherited. proxy: as in struct listener. 0 or -errno. */
int accepted_begin(int fd, const struct ktlsd_result *result, bool proxy);

/*
 * One that the program before us in this process left, or who started us. number: as it counted (shared_number()), or
 * ACCEPTED_ALONE: nobody else has it. head: as accepted_head() wrote it.
 */
#define ACCEPTED_ALONE (-1)
void accepted_inherit(int fd, int number, const char *head);
uint64_t accepted_cookie(int fd); /* by which it is known; 0: it is no socket */

/*
 * What is left of a PROXY header, in hexadecimal digits; "": nothing. A program that can't be given it must not have the
 * connection either: the first bytes would be the client's, and may be a header as the client likes it. accepted_lose() ends
 * it.
 */
#define ACCEPTED_HEAD_MAX (2 * PROXY_HEADER_MAX + 1)
void accepted_head(struct held *held, char text[static ACCEPTED_HEAD_MAX]);
void accepted_lose(int fd);

/* Its stream, which is used by this process from now on. */
struct ktlsd_stream *accepted_touch(struct accepted *accepted);

/* As recvmsg() into parts, but returns -errno. Any flags. */
ssize_t accepted_receive(struct held *held, const struct iovec *parts, int count, int flags);
ssize_t accepted_splice(struct held *held, int pipe, size_t size, unsigned int flags);

/* How much could be received at once, as far as anybody asks. */
int accepted_readable(struct held *held);

/*
 * Around what sends by the program's own means. 0 or -errno: nothing may be sent now. sent: its result; errno stays as it
 * left it.
 */
int accepted_begin_send(struct held *held, int flags);
void accepted_end_send(struct held *held, ssize_t sent);

/* What is due before shutdown(). */
void accepted_shutdown(struct accepted *accepted, int how);

/* This process is done with it: close_notify, if nobody else has it. */
void accepted_end(struct accepted *accepted);

/* A stream of the C library has been opened on it, or is about to be closed. More of them than there is room for are not flushed. */
void accepted_add_file(struct held *held, FILE *file);
void accepted_drop_file(struct held *held, const FILE *file);

/* Writes out what its streams hold, but for one that another thread is at. */
void accepted_flush(struct held *held);

/* Its descriptor before was another. */
void accepted_renumber(struct accepted *accepted, int before, int now);

/* Every connection is about to be a child's, too; and then, in the child; or there is none. fork: which one, never 0. */
void accepted_share(struct held *held, unsigned int fork);
void accepted_after_fork(struct held *held, int fd);
void accepted_unshare(struct held *held, unsigned int fork);

/* As it counts for the next program in this process. For one in another process it is counted for that, too. */
int accepted_number(const struct accepted *accepted);
int accepted_number_elsewhere(struct accepted *accepted);

/* Around exec: what does not stay (stays) is given back, and taken again when there is no next program. */
void accepted_stays_not(struct held *held, int fd);
void accepted_give_back(struct held *held, int fd);
void accepted_take_again(struct held *held, int fd);

void accepted_free(struct accepted *accepted);

#endif
