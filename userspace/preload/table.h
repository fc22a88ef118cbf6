/* SPDX-License-Identifier: MIT */
/*
 * Which descriptors are ours, and what they stand for. A struct held is what the kernel calls an open file: duplicates of a
 * descriptor share it. Looking up a descriptor that is not ours is one load. The memory of a struct held stays one for
 * ever, so who comes late, in another thread, finds a struct held that is not what it looked for, and never anything else.
 */
#ifndef KTLS_RUN_TABLE_H
#define KTLS_RUN_TABLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "accepted.h"
#include "listener.h"

#define TABLE_SIZE (1 << 20) /* the kernel's usual fs.nr_open */

enum held_kind {
	HELD_LISTENER = 1,
	HELD_ACCEPTED,
	HELD_HIDDEN, /* a number that we use ourselves, and the program had better not */
};

struct held {
	_Atomic unsigned int uses;	  /* by the table, and by calls under way; 0: it is nobody's */
	_Atomic unsigned int descriptors; /* numbers in this process */
	enum held_kind kind;
	_Atomic unsigned int round; /* the last table_each() that met it */
	struct held *next;	    /* that is nobody's */
	pthread_mutex_t lock;
	union {
		struct listener listener;
		struct accepted accepted;
	};
};

extern _Atomic(struct held *) table[TABLE_SIZE];

/* With one use, the caller's. NULL: no memory. */
struct held *held_new(enum held_kind kind);

/* What the descriptor stands for, for the time of a call; NULL: it is not ours. held_put() is due. */
struct held *held_take(int fd);
void held_put(struct held *held);

static inline struct held *held_at(int fd)
{
	if ((unsigned int)fd >= TABLE_SIZE || !atomic_load_explicit(&table[fd], memory_order_relaxed))
		return NULL;
	return held_take(fd);
}

/* The same for one kind alone. */
struct held *held_of_kind(int fd, enum held_kind kind);

bool held_is_accepted(int fd);

/* The descriptor stands for it from now on. False: the number is too high. */
bool table_set(int fd, struct held *held);

/* The descriptor is about to be another's. What its last number takes care of is done; nothing is closed. */
void table_leave(int fd);

/*
 * The descriptor turned out to be another's: it was closed by a system call that did not come by here. Nothing is sent, for
 * where it would go now.
 */
void table_forget(int fd);

/* No number above it is ours. */
int table_highest(void);

/* Some number of it in this process; -1: none. */
int table_number_of(const struct held *held);

/* Calls visit for everything that is ours, with one of its numbers, once. */
void table_each(void (*visit)(struct held *held, int fd));

/* In a child, where no other thread is. */
void table_after_fork(void);

/*
 * Marks a listening socket that is not ours, and that need not be looked at again. It goes with the number's next use as far
 * as we see it.
 */
void table_leave_alone(int fd);
bool table_is_left_alone(int fd);

/* Marks a number as HELD_HIDDEN, and unmarks it. */
void table_hide(int fd);
void table_show(int fd);

/* A duplicate of fd under a number that the program does not look at, marked so; -1 with errno. */
int table_hide_away(int fd);

#endif
