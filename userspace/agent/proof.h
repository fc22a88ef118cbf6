/* SPDX-License-Identifier: MIT */
/*
 * Proof of possession: what is signed (docs/protocol.md has it byte by byte), by which of TLS 1.3's signature schemes, and
 * whether it is good. The agent signs, ktlsctl verifies with the same code. No I/O.
 */
#ifndef AGENT_PROOF_H
#define AGENT_PROOF_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ktlsd/protocol.h>

#define PROOF_BYTES_MAX 256

struct proof { /* what a signature is for */
	const char *service;
	const uint8_t *nonce;
	size_t nonce_length;
	X509 *certificate; /* of the key that signs */
};

struct proof_scheme {
	uint16_t id; /* SignatureScheme, RFC 8446 §4.2.3 */
	const char *name;
	const char *key;    /* kind, as OpenSSL calls it */
	const char *group;  /* NULL: the kind has none */
	const char *digest; /* NULL: the scheme has its own */
	bool pss;
};

/* NULL: TLS 1.3 has none for such a key, or the certificate's key usage forbids signing. */
const struct proof_scheme *proof_scheme_for(X509 *certificate);

/* The bytes that are signed. 0: the nonce or the service's name has a length that none has. */
size_t proof_bytes(const struct proof *proof, uint8_t bytes[static PROOF_BYTES_MAX]);

/* By the certificate's key. *length: room, then what the signature takes. */
bool proof_sign(const struct proof *proof, EVP_PKEY *key, uint8_t *signature, size_t *length);
bool proof_verify(const struct proof *proof, uint16_t scheme, const uint8_t *signature, size_t length);

#endif
