/* SPDX-License-Identifier: MIT */
#include <endian.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <stdio.h>
#include <string.h>

#include "secrets.h"

#define NONCE_LENGTH 12
#define KEY_MAX 32

#define LABEL_MAX 32

static EVP_KDF *tls1_prf;
static EVP_MAC_CTX *hmac_sha256, *hmac_sha384; /* without a key, to be copied */
static bool keeps_key;			       /* an HMAC that begins anew */

static EVP_MAC_CTX *new_hmac(EVP_MAC *hmac, const char *digest)
{
	OSSL_PARAM parameters[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)digest, 0),
		OSSL_PARAM_construct_end(),
	};
	EVP_MAC_CTX *context = EVP_MAC_CTX_new(hmac);

	if (context && EVP_MAC_CTX_set_params(context, parameters) == 1)
		return context;
	EVP_MAC_CTX_free(context);
	return NULL;
}

bool secrets_init(void)
{
	EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);

	/* Before, it would go on where it was, and say nothing: other keys, and no error. */
	keeps_key = OpenSSL_version_num() >= 0x30000030;
	tls1_prf = EVP_KDF_fetch(NULL, "TLS1-PRF", NULL);
	if (!hmac || !tls1_prf)
		return false;
	hmac_sha256 = new_hmac(hmac, "SHA256");
	hmac_sha384 = new_hmac(hmac, "SHA384");
	EVP_MAC_free(hmac);
	return hmac_sha256 && hmac_sha384;
}

/* ---- RFC 8446 §7.1 ---- */

/* HMAC under a traffic secret, for expand_label(). OpenSSL's TLS13-KDF takes nearly twice as long for the same. */
static EVP_MAC_CTX *hmac_under(const struct cipher_suite *suite, const uint8_t *secret)
{
	EVP_MAC_CTX *hmac = EVP_MAC_CTX_dup(suite->secret_length == 48 ? hmac_sha384 : hmac_sha256);

	if (hmac && EVP_MAC_init(hmac, secret, suite->secret_length, NULL) == 1)
		return hmac;
	EVP_MAC_CTX_free(hmac);
	return NULL;
}

/* HKDF-Expand-Label with an empty context, of no more than one hash: HMAC over the label and the octet 1 (RFC 5869 §2.3). */
static bool expand_label(EVP_MAC_CTX *hmac, const struct cipher_suite *suite, const uint8_t *secret, const char *label,
			 uint8_t *out, size_t length)
{
	uint8_t info[LABEL_MAX], block[EVP_MAX_MD_SIZE];
	size_t used = snprintf((char *)info + 3, sizeof(info) - 3, "tls13 %s", label), block_length;
	bool done;

	info[0] = 0;
	info[1] = length;
	info[2] = used;
	used += 3;
	info[used++] = 0; /* the context's length */
	info[used++] = 1;
	done = EVP_MAC_init(hmac, keeps_key ? NULL : secret, keeps_key ? 0 : suite->secret_length, NULL) == 1 &&
	       EVP_MAC_update(hmac, info, used) == 1 && EVP_MAC_final(hmac, block, &block_length, sizeof(block)) == 1 &&
	       block_length >= length;
	if (done)
		memcpy(out, block, length);
	OPENSSL_cleanse(block, sizeof(block));
	return done;
}

/*
 * All of the kernel's structures are the same bytes in the same order: version and cipher, the nonce's tail (iv), the key,
 * the nonce's head (salt), the sequence number. Where TLS 1.2 sends a part of the nonce with each record, that part is the
 * sequence number: unique, which is all that is asked of it (RFC 5288 §3).
 */
static void lay_out(struct crypto_info *crypto, const struct cipher_suite *suite, const uint8_t *key,
		    const uint8_t *salt, const uint8_t *iv, const uint8_t rec_seq[static 8])
{
	uint8_t *at = (uint8_t *)crypto + sizeof(struct tls_crypto_info);

	memset(crypto, 0, sizeof(*crypto));
	crypto->info.version = suite->version;
	crypto->info.cipher_type = suite->kernel_cipher;
	at = (uint8_t *)memcpy(at, iv, suite->iv_length) + suite->iv_length;
	at = (uint8_t *)memcpy(at, key, suite->key_length) + suite->key_length;
	at = (uint8_t *)memcpy(at, salt, suite->salt_length) + suite->salt_length;
	at = (uint8_t *)memcpy(at, rec_seq, 8) + 8;
	crypto->length = at - (uint8_t *)crypto;
}

static void store_rec_seq(uint8_t bytes[static 8], uint64_t rec_seq)
{
	rec_seq = htobe64(rec_seq);
	memcpy(bytes, &rec_seq, sizeof(rec_seq));
}

bool secrets_tls13(struct crypto_info *crypto, const struct cipher_suite *suite,
		   const uint8_t secret[static SECRET_MAX], uint64_t rec_seq)
{
	uint8_t key[KEY_MAX], nonce[NONCE_LENGTH], sequence[8];
	EVP_MAC_CTX *hmac = hmac_under(suite, secret);
	bool done = hmac && expand_label(hmac, suite, secret, "key", key, suite->key_length) &&
		    expand_label(hmac, suite, secret, "iv", nonce, sizeof(nonce));

	if (done) {
		store_rec_seq(sequence, rec_seq);
		lay_out(crypto, suite, key, nonce, nonce + suite->salt_length, sequence);
	}
	EVP_MAC_CTX_free(hmac);
	OPENSSL_cleanse(key, sizeof(key));
	OPENSSL_cleanse(nonce, sizeof(nonce));
	return done;
}

bool secrets_update(const struct cipher_suite *suite, uint8_t secret[static SECRET_MAX])
{
	uint8_t next[SECRET_MAX] = {0};
	EVP_MAC_CTX *hmac = hmac_under(suite, secret);
	bool done = hmac && expand_label(hmac, suite, secret, "traffic upd", next, suite->secret_length);

	if (done)
		memcpy(secret, next, sizeof(next));
	EVP_MAC_CTX_free(hmac);
	OPENSSL_cleanse(next, sizeof(next));
	return done;
}

bool secrets_tls12(struct crypto_info *client_write, struct crypto_info *server_write, const struct cipher_suite *suite,
		   const uint8_t master[static SECRET_MAX], const uint8_t client_random[static RANDOM_LENGTH],
		   const uint8_t server_random[static RANDOM_LENGTH], uint64_t client_seq, uint64_t server_seq)
{
	/* Of the nonce, the key block holds the salt, or with ChaCha20 all of it (RFC 7905 §2). */
	size_t fixed_iv = suite->salt_length ? suite->salt_length : suite->iv_length;
	uint8_t block[2 * (KEY_MAX + NONCE_LENGTH)], client_sequence[8], server_sequence[8];
	const uint8_t *client_key = block, *server_key = client_key + suite->key_length;
	const uint8_t *client_iv = server_key + suite->key_length, *server_iv = client_iv + fixed_iv;
	OSSL_PARAM parameters[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)suite->digest, 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SECRET, (void *)master, 48),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, (void *)"key expansion", 13),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, (void *)server_random, RANDOM_LENGTH),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, (void *)client_random, RANDOM_LENGTH),
		OSSL_PARAM_construct_end(),
	};
	EVP_KDF_CTX *prf = EVP_KDF_CTX_new(tls1_prf);
	bool done = prf && EVP_KDF_derive(prf, block, 2 * (suite->key_length + fixed_iv), parameters) == 1;

	EVP_KDF_CTX_free(prf);
	if (done) {
		store_rec_seq(client_sequence, client_seq);
		store_rec_seq(server_sequence, server_seq);
		lay_out(client_write, suite, client_key, client_iv, suite->salt_length ? client_sequence : client_iv,
			client_sequence);
		lay_out(server_write, suite, server_key, server_iv, suite->salt_length ? server_sequence : server_iv,
			server_sequence);
	}
	OPENSSL_cleanse(block, sizeof(block));
	return done;
}

bool secrets_to_crypto_info(const struct session_secrets *secrets, struct crypto_info *tx, struct crypto_info *rx)
{
	const struct cipher_suite *suite = secrets->suite;
	uint64_t client_seq = secrets->server ? secrets->rx_seq : secrets->tx_seq;
	uint64_t server_seq = secrets->server ? secrets->tx_seq : secrets->rx_seq;
	struct crypto_info *client = secrets->server ? rx : tx, *server = secrets->server ? tx : rx;

	if (suite->version == TLS_1_2_VERSION)
		return secrets_tls12(client, server, suite, secrets->master, secrets->client_random,
				     secrets->server_random, client_seq, server_seq);
	return secrets_tls13(client, suite, secrets->client_traffic, client_seq) &&
	       secrets_tls13(server, suite, secrets->server_traffic, server_seq);
}
