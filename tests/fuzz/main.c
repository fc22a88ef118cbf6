/* SPDX-License-Identifier: MIT */
/*
 * Runs a target without libFuzzer: over the seeds and the files that are named, then over random mutations of them for
 * FUZZ_SECONDS (60). FUZZ_SEED makes a run repeatable. The input that is being tried lies in the file FUZZ_LAST, if that
 * is set: after a crash it is the one to look at.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"

#define CORPUS_MAX 4096

static struct input {
	uint8_t *data;
	size_t size;
} corpus[CORPUS_MAX];
static unsigned int corpus_count, seed;
static uint8_t work[FUZZ_INPUT_MAX], *last;

static void add(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size + 1);

	if (!copy || corpus_count == CORPUS_MAX)
		abort();
	memcpy(copy, data, size);
	corpus[corpus_count++] = (struct input){copy, size};
}

static void add_file(const char *path)
{
	FILE *file = fopen(path, "r");

	if (!file) {
		perror(path);
		exit(2);
	}
	add(work, fread(work, 1, sizeof(work), file));
	fclose(file);
}

static uint32_t roll(uint32_t sides)
{
	return ((uint32_t)rand_r(&seed) << 15 ^ rand_r(&seed)) % sides;
}

/* Bytes that lengths and types turn on. */
static uint8_t telling_byte(void)
{
	static const uint8_t bytes[] = {0,  1,	2,   3,	  7,   8,   16,	  20,  21,  22, 23,
					24, 64, 127, 128, 254, 255, '\n', ' ', '=', '['};

	return roll(3) ? bytes[roll(sizeof(bytes))] : roll(256);
}

static size_t mutate(size_t size)
{
	const struct input *other = &corpus[roll(corpus_count)];
	size_t at = size ? roll(size) : 0, length = 1 + roll(16);

	switch (roll(6)) {
	case 0: /* a bit */
		work[at] ^= 1 << roll(8);
		return size ? size : 1;
	case 1: /* a byte */
		work[at] = telling_byte();
		return size ? size : 1;
	case 2: /* shorter */
		return at;
	case 3: /* without a piece */
		if (at + length > size)
			return size;
		memmove(work + at, work + at + length, size - at - length);
		return size - length;
	case 4: /* with a piece more */
		if (size + length > sizeof(work))
			return size;
		memmove(work + at + length, work + at, size - at);
		memset(work + at, telling_byte(), length);
		return size + length;
	}
	/* the rest of another */
	if (at >= other->size)
		return size;
	memcpy(work + at, other->data + at, other->size - at);
	return other->size;
}

static void try(const uint8_t *data, size_t size)
{
	/* On the heap, exactly as long: so that reading behind it is noticed. */
	uint8_t *exact = malloc(size ? size : 1);

	if (!exact)
		abort();
	memcpy(exact, data, size);
	if (last) {
		memcpy(last, &size, sizeof(size));
		memcpy(last + sizeof(size), data, size);
	}
	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
}

static void keep_last(const char *path)
{
	size_t size = sizeof(size_t) + FUZZ_INPUT_MAX;
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	if (fd >= 0 && ftruncate(fd, size) == 0)
		last = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (!last || last == MAP_FAILED) {
		perror(path);
		exit(2);
	}
	close(fd);
}

int main(int argc, char **argv)
{
	const char *seconds = getenv("FUZZ_SECONDS"), *given = getenv("FUZZ_SEED"), *path = getenv("FUZZ_LAST");
	time_t end = time(NULL) + (seconds ? atoi(seconds) : 60);
	unsigned long count = 0;
	unsigned int i;
	size_t size;

	seed = given ? (unsigned int)strtoul(given, NULL, 0) : (unsigned int)time(NULL);
	printf("%s: FUZZ_SEED=%u\n", argv[0], seed);
	fflush(stdout);
	if (path)
		keep_last(path);
	for (i = 0; (size = fuzz_seed(i, work)) > 0; i++)
		add(work, size);
	for (i = 1; i < (unsigned int)argc; i++)
		add_file(argv[i]);
	for (i = 0; i < corpus_count; i++)
		try(corpus[i].data, corpus[i].size);
	for (; time(NULL) < end; count++) {
		const struct input *from = &corpus[roll(corpus_count)];
		unsigned int changes = 1 + roll(6);

		size = from->size;
		memcpy(work, from->data, size);
		while (changes-- > 0)
			size = mutate(size);
		try(work, size);
	}
	printf("%s: %lu inputs, nothing found\n", argv[0], count);
	return 0;
}
