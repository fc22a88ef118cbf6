/* SPDX-License-Identifier: MIT */
/* The cipher suites that OpenSSL and kernel TLS have in common, best first. */
#ifndef AGENT_CIPHER_H
#define AGENT_CIPHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cipher_suite {
	uint16_t id;	  /* IANA */
	uint16_t version; /* 0x0304, 0x0303 */
	const char *name; /* IANA */
	const char *openssl_name;
	uint16_t kernel_cipher; /* TLS_CIPHER_* of <linux/tls.h> */
	uint8_t key_length;
	uint8_t salt_length;   /* the part of the nonce that the kernel keeps apart: 4, or 0 for ChaCha20 */
	uint8_t iv_length;     /* the rest of its 12 bytes */
	uint8_t secret_length; /* of a traffic secret: the digest's length */
	const char *digest;    /* of the key schedule */
};

extern const struct cipher_suite cipher_suites[];
extern const size_t cipher_suite_count;

/* NULL if it is none of ours. */
const struct cipher_suite *cipher_suite_find(uint16_t id);
const struct cipher_suite *cipher_suite_named(const char *name);

/* Whether the client encrypts the secret to the server's RSA key: no forward secrecy, and only where a service says so. */
bool cipher_suite_is_key_transport(const struct cipher_suite *suite);

/* Installs each cipher once in the running kernel; only those that took are offered. False if none took. */
bool cipher_suites_probe(void);
/* Takes them all for good: to check a configuration on a machine that need not serve it. */
void cipher_suites_assume(void);
bool cipher_suite_offered(const struct cipher_suite *suite);

#endif
