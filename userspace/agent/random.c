/* SPDX-License-Identifier: MIT */
#define OPENSSL_SUPPRESS_DEPRECATED /* of 3.0's interfaces only a provider, much larger, could do the same */
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>
#include <sys/random.h>

#include "random.h"

#define STORE 4096 /* bytes, for some 15 handshakes */

static _Thread_local struct {
	uint8_t bytes[STORE];
	size_t left; /* the first so many are unused */
} store;

/* getrandom(2) may be interrupted where more than 256 bytes are wanted. */
static bool fill(uint8_t *bytes, size_t length)
{
	while (length > 0) {
		ssize_t n = getrandom(bytes, length, 0);

		if (n < 0 && errno != EINTR)
			return false;
		bytes += n > 0 ? n : 0;
		length -= n > 0 ? n : 0;
	}
	return true;
}

static int take(unsigned char *bytes, int length)
{
	if (length < 0 || length > STORE)
		return length > 0 && fill(bytes, length);
	if (store.left < (size_t)length) {
		if (!fill(store.bytes, STORE))
			return 0;
		store.left = STORE;
	}
	store.left -= length;
	memcpy(bytes, store.bytes + store.left, length);
	OPENSSL_cleanse(store.bytes + store.left, length);
	return 1;
}

static int status(void)
{
	return 1;
}

bool random_init(void)
{
	static const RAND_METHOD kernel = {.bytes = take, .pseudorand = take, .status = status};

	return RAND_set_rand_method(&kernel) == 1;
}
