/* SPDX-License-Identifier: MIT */
/* What a worker counts. One writer, any number of readers; no secrets, no names of peers. */
#ifndef AGENT_STATS_H
#define AGENT_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#include "cipher.h"

#define STATS_ERRORS 134 /* positive errno values, Linux */
#define STATS_SUITES 16

struct stats {
	_Atomic uint64_t in_flight;
	_Atomic uint64_t done, resumed, failed;
	_Atomic uint64_t by_error[STATS_ERRORS];
	_Atomic uint64_t by_suite[STATS_SUITES]; /* as in cipher_suites */
	_Atomic uint64_t callers;
	_Atomic uint64_t rekeys, rekeys_refused;
	_Atomic uint64_t challenges, challenges_refused;
};

static inline void stats_add(_Atomic uint64_t *counter, int64_t amount)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + amount,
			      memory_order_relaxed);
}

static inline uint64_t stats_read(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit((_Atomic uint64_t *)counter, memory_order_relaxed);
}

#endif
