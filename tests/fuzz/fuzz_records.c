/* SPDX-License-Identifier: MIT */
/*
 * Control records, as a peer may send them: (type, length, bytes)* behind a byte for version and role, and one for how they
 * are cut. However they come, in one piece or in several, they have to mean the same.
 */
#include <stdlib.h>
#include <string.h>

#include <ktlsd/protocol.h>

#include "../../userspace/lib/records.h"
#include "fuzz.h"

struct cuts {
	uint8_t seed; /* 0: none */
	unsigned int state;
};

static size_t next_cut(struct cuts *cuts, size_t left)
{
	if (cuts->seed == 0)
		return left;
	cuts->state = cuts->state * 1103515245 + cuts->seed;
	return (cuts->state >> 16) % left + 1;
}

/* A copy with nothing behind it, so that the sanitizer sees a byte too many. */
static enum event take(struct records *records, uint8_t type, const uint8_t *bytes, size_t length, bool end)
{
	struct iovec part = {.iov_base = malloc(length ? length : 1), .iov_len = length};
	enum event event;

	if (!part.iov_base)
		abort();
	memcpy(part.iov_base, bytes, length);
	event = records_take(records, type, &part, length, end);
	free(part.iov_base);
	return event;
}

static enum event take_record(struct records *records, uint8_t type, const uint8_t *bytes, size_t length,
			      struct cuts *cuts)
{
	enum event event = EVENT_NOTHING;
	size_t at = 0, part;

	do {
		if (event != EVENT_NOTHING) /* before the end of the record */
			abort();
		part = at < length ? next_cut(cuts, length - at) : 0;
		event = take(records, type, bytes + at, part, at + part == length);
		at += part;
	} while (at < length);
	return event;
}

/* The first event that ends a connection, and where it came. */
static size_t run(struct records *records, const uint8_t *data, size_t size, struct cuts cuts, enum event *last)
{
	size_t at = 0, length;

	*last = EVENT_NOTHING;
	while (size - at >= 2 && *last != EVENT_VIOLATION && *last != EVENT_ALERT && *last != EVENT_END) {
		length = data[at + 1] < size - at - 2 ? data[at + 1] : size - at - 2;
		*last = take_record(records, data[at], data + at + 2, length, &cuts);
		at += 2 + length;
		if (*last == EVENT_VIOLATION && !records->why)
			abort();
		if (*last != EVENT_VIOLATION && records->head_length > sizeof(records->head))
			abort();
	}
	return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct records whole = {0}, cut;
	enum event last_whole, last_cut;

	if (size < 2)
		return 0;
	whole.version = data[0] & 1 ? 0x0303 : 0x0304;
	whole.role = (data[0] >> 1) % 3;
	cut = whole;
	if (run(&whole, data + 2, size - 2, (struct cuts){0}, &last_whole) !=
		    run(&cut, data + 2, size - 2, (struct cuts){.seed = data[1]}, &last_cut) ||
	    last_whole != last_cut || whole.alert != cut.alert ||
	    (last_whole != EVENT_VIOLATION && records_between_messages(&whole) != records_between_messages(&cut)))
		abort();
	return 0;
}

size_t fuzz_seed(unsigned int number, uint8_t data[static FUZZ_INPUT_MAX])
{
	static const struct {
		size_t length;
		const char *bytes;
	} seeds[] = {
#define SEED(bytes) {sizeof(bytes) - 1, bytes}
		SEED("\4\3\x16\7\4\0\0\3abc\x16\2\4\0\x16\5\0\3abc\x15\2\1\0"),
		SEED("\0\5\x16\5\x18\0\0\1\1\x16\5\x18\0\0\1\0\x15\2\2\x14"),
		SEED("\3\2\x16\x9\1\0\0\5hello\x15\2\1\x64\x15\2\1\0"),
		SEED("\5\7\x16\4\0\0\0\0\x17\0\x14\1\1"),
	};

	if (number >= sizeof(seeds) / sizeof(*seeds))
		return 0;
	memcpy(data, seeds[number].bytes, seeds[number].length);
	return seeds[number].length;
}
