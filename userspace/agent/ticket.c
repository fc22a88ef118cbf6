/* SPDX-License-Identifier: MIT */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdatomic.h>
#include <string.h>

#include "ticket.h"

struct ticket_key {
	uint8_t name[16];
	uint8_t aes[32];
	uint8_t hmac[32];
};

/* Two generations are in use, the third slot is the one that a rotation writes, so no reader ever sees half a key. */
#define SLOTS 3
static struct ticket_key keys[SLOTS];
static _Atomic unsigned int generation;

bool tickets_rotate(void)
{
	unsigned int next = atomic_load(&generation) + 1;
	struct ticket_key *key = &keys[next % SLOTS];

	if (RAND_bytes(key->name, sizeof(key->name)) != 1 || RAND_priv_bytes(key->aes, sizeof(key->aes)) != 1 ||
	    RAND_priv_bytes(key->hmac, sizeof(key->hmac)) != 1)
		return false;
	atomic_store(&generation, next);
	return true;
}

/* Twice: the slot of the previous generation, too, holds a random key rather than zeroes. */
bool tickets_init(void)
{
	return tickets_rotate() && tickets_rotate();
}

static bool set_mac_key(EVP_MAC_CTX *mac, const struct ticket_key *key)
{
	OSSL_PARAM parameters[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)key->hmac, sizeof(key->hmac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, parameters) == 1;
}

static int seal(unsigned int current, uint8_t *name, uint8_t *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
	const struct ticket_key *key = &keys[current % SLOTS];

	if (RAND_bytes(iv, 16) != 1 || EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->aes, iv) != 1 ||
	    !set_mac_key(mac, key))
		return -1;
	memcpy(name, key->name, sizeof(key->name));
	return 1;
}

static int unseal(unsigned int current, const uint8_t *name, const uint8_t *iv, EVP_CIPHER_CTX *cipher,
		  EVP_MAC_CTX *mac)
{
	unsigned int age;

	for (age = 0; age < 2; age++) {
		const struct ticket_key *key = &keys[(current - age) % SLOTS];

		if (memcmp(key->name, name, sizeof(key->name)) != 0)
			continue;
		if (EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->aes, iv) != 1 || !set_mac_key(mac, key))
			return -1;
		return age == 0 ? 1 : 2; /* 2: good, but let it be renewed */
	}
	return 0;
}

static int choose_key(SSL *ssl, uint8_t *name, uint8_t *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
{
	unsigned int current = atomic_load(&generation);

	(void)ssl;
	return encrypt ? seal(current, name, iv, cipher, mac) : unseal(current, name, iv, cipher, mac);
}

/* Resumption never weakens a policy: a peer whose certificate has expired since goes through a full handshake. */
static bool still_valid(const SSL_SESSION *session)
{
	X509 *peer = SSL_SESSION_get0_peer((SSL_SESSION *)session);

	return !peer || X509_cmp_current_time(X509_get0_notAfter(peer)) > 0;
}

static SSL_TICKET_RETURN accept_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *name, size_t length,
				       SSL_TICKET_STATUS status, void *argument)
{
	(void)ssl, (void)name, (void)length, (void)argument;
	if ((status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW) && still_valid(session))
		return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
	return SSL_TICKET_RETURN_IGNORE_RENEW;
}

void tickets_use(SSL_CTX *context)
{
	SSL_CTX_set_tlsext_ticket_key_evp_cb(context, choose_key);
	SSL_CTX_set_session_ticket_cb(context, NULL, accept_ticket, NULL);
	SSL_CTX_set_timeout(context, TICKET_KEY_LIFETIME);
}
