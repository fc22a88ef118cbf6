/* SPDX-License-Identifier: MIT */
/* Random bytes on their way from one end to the other, cut into chunks by chance, and when a key is to be replaced. */
#ifndef REKEY_FLOW_H
#define REKEY_FLOW_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHUNK_MAX (64 * 1024)
#define PATIENCE_S 30

struct load {
	uint64_t bytes;	  /* each way */
	uint64_t between; /* two KeyUpdates of an end, on average */
	uint64_t seed;
};

/* One direction at one end. */
struct flow {
	uint64_t random; /* state */
	uint64_t left;
	uint64_t between, until_rekey;
	EVP_MD_CTX *hash;
	uint8_t chunk[CHUNK_MAX]; /* [start, end) is on its way */
	size_t start, end;
};

struct end {
	struct flow sending, receiving;
	char why[300]; /* it failed; "" if not */
};

/* Keeps the first reason. Always false. */
bool fail(struct end *end, const char *format, ...) __attribute__((format(printf, 2, 3)));

uint64_t random_below(uint64_t *state, uint64_t limit);

/* The number tells it from the others of a test. */
void begin_flow(struct flow *flow, const struct load *load, uint64_t number);

/* Mostly large, sometimes small. */
size_t next_size(struct flow *flow);

/* False: all was sent. */
bool fill(struct flow *flow);

void sent(struct flow *flow, size_t bytes);
void received(struct flow *flow, const void *data, size_t bytes);

/* Between two chunks. */
bool rekey_is_due(struct flow *flow);

/* Ends both hashes. */
bool arrived_as_sent(struct flow *sending, struct flow *receiving);

#endif
