/* SPDX-License-Identifier: MIT */
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>
#include <sys/mman.h>

#include "shared.h"

#define SHARED 65536

struct shared {
	_Atomic unsigned int holders; /* 0: free */
	_Atomic int owner;	      /* pid; 0: none yet */
};

static struct pool {
	_Atomic unsigned int next; /* to look at */
	struct shared list[SHARED];
} * pool;

static struct shared nobodys = {.holders = 1U << 30, .owner = -1};

static void make_pool(void)
{
	void *memory = mmap(NULL, sizeof(*pool), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory != MAP_FAILED)
		pool = memory;
}

struct shared *shared_new(void)
{
	if (!pool)
		make_pool();
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

bool shared_claim(struct shared *shared)
{
	int owner = 0;

	return atomic_compare_exchange_strong(&shared->owner, &owner, getpid()) || owner == getpid();
}
