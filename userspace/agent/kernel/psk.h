/* SPDX-License-Identifier: MIT */
/* An external pre-shared key (RFC 8446 §4.2.11), from a keyring. */
#ifndef AGENT_KERNEL_PSK_H
#define AGENT_KERNEL_PSK_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#define PSK_IDENTITY_MAX 600 /* NVMe/TCP: two NQNs of 223 bytes, and then some */
#define PSK_SECRET_MAX 64

struct psk {
	int32_t serial; /* of the key; 0: none was used */
	char identity[PSK_IDENTITY_MAX];
	uint8_t secret[PSK_SECRET_MAX];
	size_t secret_length;
};

/* Reads the key. False with *why. */
bool psk_read(struct psk *psk, int32_t serial, const char **why);

/* Reads the key with the identity that a client names, if a keyring has it. False with *why. */
bool psk_find(struct psk *psk, const uint8_t *identity, size_t length, const char **why);

/* As OpenSSL takes it; the hash is what an NVMe/TCP identity says, else what goes with the secret's length. NULL: no memory. */
SSL_SESSION *psk_session(SSL *ssl, const struct psk *psk);

/* Offers only suites with the key's hash. False: there are none. */
bool psk_limit_suites(SSL *ssl, const struct psk *psk);

/* Wipes it. */
void psk_clear(struct psk *psk);

#endif
