/* SPDX-License-Identifier: MIT */
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

#include "family.h"
#include "shared.h"

#define SHARED 65536

struct shared {
	_Atomic unsigned int holders; /* 0: free */
	_Atomic int owner;	      /* pid; 0: none yet */
};

/* The family's memory: zeroes at first. */
struct pool {
	_Atomic unsigned int next; /* to look at */
	struct shared list[SHARED];
};

_Static_assert(sizeof(struct pool) <= FAMILY_MEMORY, "they fit");

static struct shared nobodys = {.holders = 1U << 30, .owner = -1};

struct shared *shared_new(void)
{
	struct pool *pool = family_memory();

	for (int i = 0; pool && i < SHARED; i++) {
		struct shared *shared = &pool->list[atomic_fetch_add(&pool->next, 1) % SHARED];
		unsigned int none = 0;

		if (atomic_compare_exchange_strong(&shared->holders, &none, 1)) {
			atomic_store(&shared->owner, 0);
			return shared;
		}
	}
	return &nobodys;
}

void shared_hold(struct shared *shared)
{
	atomic_fetch_add(&shared->holders, 1);
}

bool shared_let_go(struct shared *shared)
{
	return atomic_fetch_sub(&shared->holders, 1) == 1;
}

bool shared_hold_again(struct shared *shared)
{
	unsigned int holders = atomic_load(&shared->holders);

	while (holders > 0 && !atomic_compare_exchange_weak(&shared->holders, &holders, holders + 1))
		;
	return holders > 0;
}

int shared_number(const struct shared *shared)
{
	const struct pool *pool = family_memory();

	return !pool || shared == &nobodys ? SHARED_UNKNOWN : (int)(shared - pool->list);
}

struct shared *shared_of(int number)
{
	struct pool *pool = family_memory();

	return pool && number >= 0 && number < SHARED ? &pool->list[number] : NULL;
}

bool shared_claim(struct shared *shared)
{
	int owner = 0;

	return atomic_compare_exchange_strong(&shared->owner, &owner, getpid()) || owner == getpid();
}
