/* SPDX-License-Identifier: MIT */
/*
 * From the secrets of a handshake to the kernel's key structures. Pure: no I/O, no state but the algorithms fetched at
 * start. The caller wipes what it passed in and what it got.
 */
#ifndef AGENT_SECRETS_H
#define AGENT_SECRETS_H

#include <linux/tls.h>
#include <stdbool.h>
#include <stdint.h>

#include "cipher.h"

#define SECRET_MAX 48 /* SHA-384: traffic secrets, and TLS 1.2's master secret */
#define RANDOM_LENGTH 32

/* The kernel's per-direction key structure, ready for setsockopt(SOL_TLS, TLS_TX or TLS_RX). */
struct crypto_info {
	union {
		struct tls_crypto_info info;
		struct tls12_crypto_info_aes_gcm_128 aes_gcm_128;
		struct tls12_crypto_info_aes_gcm_256 aes_gcm_256;
		struct tls12_crypto_info_aes_ccm_128 aes_ccm_128;
		struct tls12_crypto_info_chacha20_poly1305 chacha20_poly1305;
	};
	uint32_t length; /* of the member in use: the kernel wants it exact */
};

/* Fetches the algorithms; false if OpenSSL has them not. */
bool secrets_init(void);

/* What a finished handshake leaves behind. */
struct session_secrets {
	const struct cipher_suite *suite;
	bool server;			    /* our role: which of the two directions we send */
	uint8_t client_traffic[SECRET_MAX]; /* TLS 1.3: CLIENT_TRAFFIC_SECRET_0, SERVER_TRAFFIC_SECRET_0 */
	uint8_t server_traffic[SECRET_MAX];
	uint8_t master[SECRET_MAX]; /* TLS 1.2 */
	uint8_t client_random[RANDOM_LENGTH], server_random[RANDOM_LENGTH];
	uint64_t tx_seq, rx_seq; /* records already sent and received under the application keys */
};

/* Both directions, for either version. */
bool secrets_to_crypto_info(const struct session_secrets *secrets, struct crypto_info *tx, struct crypto_info *rx);

/* TLS 1.3: one direction's key and nonce from its traffic secret (RFC 8446 §7.3). */
bool secrets_tls13(struct crypto_info *crypto, const struct cipher_suite *suite,
		   const uint8_t secret[static SECRET_MAX], uint64_t rec_seq);

/* TLS 1.3: application_traffic_secret_N becomes N + 1, in place (RFC 8446 §7.2). */
bool secrets_update(const struct cipher_suite *suite, uint8_t secret[static SECRET_MAX]);

/* TLS 1.2: both directions from the master secret (RFC 5246 §6.3). */
bool secrets_tls12(struct crypto_info *client_write, struct crypto_info *server_write, const struct cipher_suite *suite,
		   const uint8_t master[static SECRET_MAX], const uint8_t client_random[static RANDOM_LENGTH],
		   const uint8_t server_random[static RANDOM_LENGTH], uint64_t client_seq, uint64_t server_seq);

#endif
