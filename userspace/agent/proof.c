/* SPDX-License-Identifier: MIT */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "proof.h"

#define PADDING 64 /* of 0x20, as RFC 8446 §4.4.3 has it */
#define SERVICE_MAX 63

/* TLS 1.3's own begin with "TLS 1.3, ". The zero that ends it separates it from what follows. */
static const char context[] = "ktlsd, proof of possession";

/* The first that fits a key is the one. A key for RSA-PSS alone may be for one digest alone. */
static const struct proof_scheme schemes[] = {
	{0x0403, "ecdsa_secp256r1_sha256", "EC", "prime256v1", "SHA256", false},
	{0x0503, "ecdsa_secp384r1_sha384", "EC", "secp384r1", "SHA384", false},
	{0x0603, "ecdsa_secp521r1_sha512", "EC", "secp521r1", "SHA512", false},
	{0x0804, "rsa_pss_rsae_sha256", "RSA", NULL, "SHA256", true},
	{0x0807, "ed25519", "ED25519", NULL, NULL, false},
	{0x0808, "ed448", "ED448", NULL, NULL, false},
	{0x0809, "rsa_pss_pss_sha256", "RSA-PSS", NULL, "SHA256", true},
	{0x080a, "rsa_pss_pss_sha384", "RSA-PSS", NULL, "SHA384", true},
	{0x080b, "rsa_pss_pss_sha512", "RSA-PSS", NULL, "SHA512", true},
};

typedef int initialize(EVP_MD_CTX *operation, EVP_PKEY_CTX **parameters, const char *digest, OSSL_LIB_CTX *library,
		       const char *properties, EVP_PKEY *key, const OSSL_PARAM params[]);

/* A signature to be made or verified; NULL if OpenSSL does not have it so. */
static EVP_MD_CTX *begin(initialize *init, const struct proof_scheme *scheme, EVP_PKEY *key)
{
	EVP_MD_CTX *operation = EVP_MD_CTX_new();
	EVP_PKEY_CTX *parameters;

	if (operation && init(operation, &parameters, scheme->digest, NULL, NULL, key, NULL) == 1 &&
	    (!scheme->pss || (EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) == 1 &&
			      EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, RSA_PSS_SALTLEN_DIGEST) == 1)))
		return operation;
	EVP_MD_CTX_free(operation);
	ERR_clear_error();
	return NULL;
}

static bool fits(const struct proof_scheme *scheme, EVP_PKEY *key)
{
	EVP_MD_CTX *operation;
	char group[32] = "";

	if (!EVP_PKEY_is_a(key, scheme->key))
		return false;
	if (scheme->group &&
	    (EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) != 1 || strcmp(group, scheme->group) != 0))
		return false;
	operation = begin(EVP_DigestVerifyInit_ex, scheme, key);
	EVP_MD_CTX_free(operation);
	return operation;
}

const struct proof_scheme *proof_scheme_for(X509 *certificate)
{
	EVP_PKEY *key = X509_get0_pubkey(certificate);
	size_t i;

	if (!key || !(X509_get_key_usage(certificate) & KU_DIGITAL_SIGNATURE))
		return NULL;
	for (i = 0; i < sizeof(schemes) / sizeof(*schemes); i++) {
		if (fits(&schemes[i], key))
			return &schemes[i];
	}
	return NULL;
}

static uint8_t *put(uint8_t *at, const void *data, size_t length)
{
	memcpy(at, data, length);
	return at + length;
}

static uint8_t *put_counted(uint8_t *at, const void *data, size_t length)
{
	*at = length;
	return put(at + 1, data, length);
}

size_t proof_bytes(const struct proof *proof, uint8_t bytes[static PROOF_BYTES_MAX])
{
	size_t service_length = strlen(proof->service);
	uint8_t digest[EVP_MAX_MD_SIZE], *at = bytes + PADDING;
	unsigned int digest_length;

	if (proof->nonce_length < KTLSD_NONCE_MIN || proof->nonce_length > KTLSD_NONCE_MAX || service_length == 0 ||
	    service_length > SERVICE_MAX || X509_digest(proof->certificate, EVP_sha256(), digest, &digest_length) != 1)
		return 0;
	memset(bytes, 0x20, PADDING);
	at = put(at, context, sizeof(context));
	at = put_counted(at, proof->nonce, proof->nonce_length);
	at = put_counted(at, proof->service, service_length);
	at = put(at, digest, digest_length);
	return at - bytes;
}

bool proof_sign(const struct proof *proof, EVP_PKEY *key, uint8_t *signature, size_t *length)
{
	const struct proof_scheme *scheme = proof_scheme_for(proof->certificate);
	EVP_MD_CTX *operation = scheme ? begin(EVP_DigestSignInit_ex, scheme, key) : NULL;
	uint8_t bytes[PROOF_BYTES_MAX];
	size_t bytes_length = proof_bytes(proof, bytes);
	bool good = operation && bytes_length && EVP_DigestSign(operation, signature, length, bytes, bytes_length) == 1;

	EVP_MD_CTX_free(operation);
	ERR_clear_error();
	return good;
}

bool proof_verify(const struct proof *proof, uint16_t id, const uint8_t *signature, size_t length)
{
	const struct proof_scheme *scheme = proof_scheme_for(proof->certificate);
	EVP_MD_CTX *operation = scheme && scheme->id == id
					? begin(EVP_DigestVerifyInit_ex, scheme, X509_get0_pubkey(proof->certificate))
					: NULL;
	uint8_t bytes[PROOF_BYTES_MAX];
	size_t bytes_length = proof_bytes(proof, bytes);
	bool good =
		operation && bytes_length && EVP_DigestVerify(operation, signature, length, bytes, bytes_length) == 1;

	EVP_MD_CTX_free(operation);
	ERR_clear_error();
	return good;
}
