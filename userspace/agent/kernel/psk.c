/* SPDX-License-Identifier: MIT */
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "keyring.h"
#include "psk.h"

bool psk_read(struct psk *psk, int32_t serial, const char **why)
{
	int length;

	psk_clear(psk);
	*why = "the key can't be looked at: it was revoked, or is in no keyring that the agent has (keyrings in ktlsd.conf)";
	if (keyring_describe(serial, psk->identity, sizeof(psk->identity)) <= 0)
		return false;
	*why = "the key can't be read, or is none of 1 to 64 bytes";
	length = keyring_read(serial, psk->secret, sizeof(psk->secret));
	if (length <= 0) {
		psk_clear(psk);
		return false;
	}
	psk->secret_length = length;
	psk->serial = serial;
	return true;
}

bool psk_find(struct psk *psk, const uint8_t *identity, size_t length, const char **why)
{
	char name[PSK_IDENTITY_MAX];
	int32_t serial = 0;

	if (length < sizeof(name) && !memchr(identity, '\0', length)) {
		memcpy(name, identity, length);
		name[length] = '\0';
		serial = keyring_find_psk(name);
	}
	*why = "no keyring has the pre-shared key that the client names";
	return serial && psk_read(psk, serial, why);
}

/* "NVMe1R02 ...": the digits behind R or G name the hash, 01 SHA-256, 02 SHA-384 (NVMe/TCP transport specification). */
static bool wants_sha384(const struct psk *psk)
{
	unsigned int version, hash;
	char kind;

	if (sscanf(psk->identity, "NVMe%1u%c%2u ", &version, &kind, &hash) == 3)
		return hash == 2;
	return psk->secret_length == 48;
}

static bool has_hash(const SSL_CIPHER *suite, const char *name)
{
	const EVP_MD *hash = SSL_CIPHER_get_handshake_digest(suite);

	return SSL_CIPHER_get_protocol_id(suite) >> 8 == 0x13 && hash && EVP_MD_is_a(hash, name);
}

/* A server that settles the suite first would else choose one with which the key is of no use. */
bool psk_limit_suites(SSL *ssl, const struct psk *psk)
{
	STACK_OF(SSL_CIPHER) *suites = SSL_get_ciphers(ssl);
	char names[256] = "";
	size_t length = 0;
	int i;

	for (i = 0; i < sk_SSL_CIPHER_num(suites) && length < sizeof(names); i++) {
		const SSL_CIPHER *suite = sk_SSL_CIPHER_value(suites, i);

		if (has_hash(suite, wants_sha384(psk) ? "SHA2-384" : "SHA2-256"))
			length += snprintf(names + length, sizeof(names) - length, "%s%s", length ? ":" : "",
					   SSL_CIPHER_get_name(suite));
	}
	return length > 0 && length < sizeof(names) && SSL_set_ciphersuites(ssl, names) == 1;
}

SSL_SESSION *psk_session(SSL *ssl, const struct psk *psk)
{
	const uint8_t suite[] = {0x13,
				 wants_sha384(psk) ? 0x02 : 0x01}; /* TLS_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256 */
	const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, suite);
	SSL_SESSION *session = SSL_SESSION_new();

	if (session && cipher && SSL_SESSION_set1_master_key(session, psk->secret, psk->secret_length) == 1 &&
	    SSL_SESSION_set_cipher(session, cipher) == 1 &&
	    SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1)
		return session;
	SSL_SESSION_free(session);
	return NULL;
}

void psk_clear(struct psk *psk)
{
	OPENSSL_cleanse(psk, sizeof(*psk));
}
