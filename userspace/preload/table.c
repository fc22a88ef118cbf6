/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <stdlib.h>

#include "table.h"

#define BATCH 32
#define HIDDEN_LEAST 900 /* high enough for programs that expect low numbers, low enough for the usual limit of 1024 */

_Atomic(struct held *) table[TABLE_SIZE];
static _Atomic int highest = -1;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the next */
static struct held *unused;
static _Atomic unsigned int rounds;

static struct held hidden = {.uses = 1, .kind = HELD_HIDDEN, .lock = PTHREAD_MUTEX_INITIALIZER};

static struct held left_alone;

static bool is_mark(const struct held *held)
{
	return held == &hidden || held == &left_alone;
}

/* ---- life ---- */

static void add_batch(void)
{
	struct held *batch = calloc(BATCH, sizeof(*batch));

	for (int i = 0; batch && i < BATCH; i++) {
		batch[i].next = unused;
		unused = &batch[i];
	}
}

struct held *held_new(enum held_kind kind)
{
	struct held *held;

	pthread_mutex_lock(&lock);
	if (!unused)
		add_batch();
	held = unused;
	if (held)
		unused = held->next;
	pthread_mutex_unlock(&lock);
	if (!held)
		return NULL;
	held->kind = kind;
	held->round = 0;
	if (kind == HELD_LISTENER)
		held->listener = (struct listener){.hidden = -1};
	else
		held->accepted = (struct accepted){0};
	pthread_mutex_init(&held->lock, NULL);
	atomic_store(&held->descriptors, 0);
	atomic_store(&held->uses, 1);
	return held;
}

static void let_go(struct held *held)
{
	if (held->kind == HELD_LISTENER)
		listener_free(&held->listener);
	else
		accepted_free(&held->accepted);
	pthread_mutex_lock(&lock);
	held->next = unused;
	unused = held;
	pthread_mutex_unlock(&lock);
}

void held_put(struct held *held)
{
	if (held != &hidden && atomic_fetch_sub(&held->uses, 1) == 1)
		let_go(held);
}

/* Nobody revives what was let go. */
static bool use(struct held *held)
{
	unsigned int uses = atomic_load(&held->uses);

	while (uses > 0 && !atomic_compare_exchange_weak(&held->uses, &uses, uses + 1))
		;
	return uses > 0;
}

struct held *held_take(int fd)
{
	struct held *held = atomic_load(&table[fd]);

	if (!held || held == &hidden)
		return held;
	if (held == &left_alone || !use(held))
		return NULL;
	if (atomic_load(&table[fd]) == held)
		return held;
	held_put(held);
	return NULL;
}

struct held *held_of_kind(int fd, enum held_kind kind)
{
	struct held *held = held_at(fd);

	if (!held || held->kind == kind)
		return held;
	held_put(held);
	return NULL;
}

bool held_is_accepted(int fd)
{
	struct held *held = held_of_kind(fd, HELD_ACCEPTED);

	if (held)
		held_put(held);
	return held;
}

/* ---- numbers ---- */

static void note_highest(int fd)
{
	int before = atomic_load(&highest);

	while (before < fd && !atomic_compare_exchange_weak(&highest, &before, fd))
		;
}

int table_highest(void)
{
	return atomic_load(&highest);
}

bool table_set(int fd, struct held *held)
{
	struct held *before;

	if (fd < 0 || fd >= TABLE_SIZE)
		return false;
	if (!use(held))
		return false;
	atomic_fetch_add(&held->descriptors, 1);
	before = atomic_exchange(&table[fd], held);
	if (before && !is_mark(before)) { /* closed where we could not see it */
		atomic_fetch_sub(&before->descriptors, 1);
		held_put(before);
	}
	note_highest(fd);
	return true;
}

int table_number_of(const struct held *held)
{
	for (int fd = 0; fd <= atomic_load(&highest); fd++)
		if (atomic_load_explicit(&table[fd], memory_order_relaxed) == held)
			return fd;
	return -1;
}

void table_leave(int fd)
{
	struct held *held = atomic_exchange(&table[fd], NULL);

	if (!held || is_mark(held))
		return;
	if (atomic_fetch_sub(&held->descriptors, 1) > 1) {
		if (held->kind == HELD_ACCEPTED)
			accepted_renumber(&held->accepted, fd, table_number_of(held));
	} else if (held->kind == HELD_ACCEPTED) {
		accepted_end(&held->accepted);
	}
	held_put(held);
}

void table_forget(int fd)
{
	struct held *held, *none = NULL;

	if ((unsigned int)fd >= TABLE_SIZE || (held = atomic_load(&table[fd])) == none || held == &hidden)
		return;
	if (!atomic_compare_exchange_strong(&table[fd], &held, none) || held == &left_alone)
		return;
	atomic_fetch_sub(&held->descriptors, 1);
	held_put(held);
}

void table_each(void (*visit)(struct held *held, int fd))
{
	unsigned int round = atomic_fetch_add(&rounds, 1) + 1; /* no lock: a signal's handler may end the process */

	for (int fd = 0; fd <= atomic_load(&highest); fd++) {
		struct held *held = held_at(fd);

		if (!held || held == &hidden)
			continue;
		if (atomic_exchange(&held->round, round) != round)
			visit(held, fd);
		held_put(held);
	}
}

static void renew_locks(struct held *held, int fd)
{
	(void)fd;
	pthread_mutex_init(&held->lock, NULL);
}

void table_after_fork(void)
{
	pthread_mutex_init(&lock, NULL);
	table_each(renew_locks);
}

void table_leave_alone(int fd)
{
	struct held *none = NULL;

	if (fd >= 0 && fd < TABLE_SIZE)
		atomic_compare_exchange_strong(&table[fd], &none, &left_alone);
}

bool table_is_left_alone(int fd)
{
	return (unsigned int)fd < TABLE_SIZE && atomic_load_explicit(&table[fd], memory_order_relaxed) == &left_alone;
}

void table_hide(int fd)
{
	if (fd >= 0 && fd < TABLE_SIZE)
		atomic_store(&table[fd], &hidden);
}

void table_show(int fd)
{
	struct held *mark = &hidden;

	if (fd >= 0 && fd < TABLE_SIZE)
		atomic_compare_exchange_strong(&table[fd], &mark, NULL);
}

int table_hide_away(int fd)
{
	int number = fcntl(fd, F_DUPFD_CLOEXEC, HIDDEN_LEAST);

	if (number < 0)
		number = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	table_hide(number);
	return number;
}
