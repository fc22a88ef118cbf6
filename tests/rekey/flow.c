// SPDX-License-Identifier: MIT
#include "../unit.h"
#include "flow.h"

#define SMALL_MAX 100
#define HASH_LENGTH 32

bool fail(struct end *end, const char *format, ...)
{
	va_list arguments;

	if (*end->why)
		return false;
	va_start(arguments, format);
	vsnprintf(end->why, sizeof(end->why), format, arguments);
	va_end(arguments);
	return false;
}

static uint64_t next_random(uint64_t *state) /* xorshift64 */
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

uint64_t random_below(uint64_t *state, uint64_t limit)
{
	return (next_random(state) >> 11) % limit;
}

void begin_flow(struct flow *flow, const struct load *load, uint64_t number)
{
	flow->random = load->seed * 16 + number + 1;
	flow->left = load->bytes;
	flow->between = load->between;
	flow->until_rekey = random_below(&flow->random, 2 * flow->between);
	flow->hash = EVP_MD_CTX_new();
	must(EVP_DigestInit_ex(flow->hash, EVP_sha256(), NULL) == 1);
}

size_t next_size(struct flow *flow)
{
	size_t most = random_below(&flow->random, 16) == 0 ? SMALL_MAX : CHUNK_MAX;

	return 1 + random_below(&flow->random, most);
}

bool fill(struct flow *flow)
{
	size_t size = next_size(flow);

	if (flow->start < flow->end)
		return true;
	if (size > flow->left)
		size = flow->left;
	for (size_t i = 0; i < size; i += sizeof(uint64_t))
		memcpy(flow->chunk + i, &(uint64_t){next_random(&flow->random)}, sizeof(uint64_t));
	EVP_DigestUpdate(flow->hash, flow->chunk, size);
	flow->start = 0;
	flow->end = size;
	return size > 0;
}

void sent(struct flow *flow, size_t bytes)
{
	flow->start += bytes;
	flow->left -= bytes;
	flow->until_rekey = flow->until_rekey > bytes ? flow->until_rekey - bytes : 0;
}

void received(struct flow *flow, const void *data, size_t bytes)
{
	EVP_DigestUpdate(flow->hash, data, bytes);
	flow->left -= bytes < flow->left ? bytes : flow->left;
}

bool rekey_is_due(struct flow *flow)
{
	if (flow->until_rekey > 0 || flow->start < flow->end)
		return false;
	flow->until_rekey = 1 + random_below(&flow->random, 2 * flow->between);
	return true;
}

bool arrived_as_sent(struct flow *sending, struct flow *receiving)
{
	uint8_t out[HASH_LENGTH], in[HASH_LENGTH];

	must(EVP_DigestFinal_ex(sending->hash, out, NULL) == 1 && EVP_DigestFinal_ex(receiving->hash, in, NULL) == 1);
	return sending->left == 0 && memcmp(out, in, sizeof(out)) == 0;
}
