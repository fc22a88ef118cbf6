/* SPDX-License-Identifier: MIT */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include "engine.h"
#include "ticket.h"
#include "ticket_keys.h"

static bool set_mac_key(EVP_MAC_CTX *mac, const struct ticket_key *key)
{
	OSSL_PARAM parameters[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)key->hmac, sizeof(key->hmac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, parameters) == 1;
}

static const EVP_CIPHER *cipher_for(const struct ticket_key_choice *chosen)
{
	return chosen->aes_128 ? EVP_aes_128_cbc() : EVP_aes_256_cbc();
}

static int seal(uint8_t *name, uint8_t *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
	struct ticket_key_choice chosen = ticket_key_to_seal();
	const struct ticket_key *key = chosen.key;

	if (RAND_bytes(iv, 16) != 1 || EVP_EncryptInit_ex(cipher, cipher_for(&chosen), NULL, key->aes, iv) != 1 ||
	    !set_mac_key(mac, key))
		return -1;
	memcpy(name, key->name, sizeof(key->name));
	return 1;
}

/*
 * Of a good ticket: 1, or 2 if the client is to get a new one. With TLS 1.3 it always is: it should use each once only (RFC
 * 8446 §C.4), and would soon have none left.
 */
static int unseal(SSL *ssl, const uint8_t *name, const uint8_t *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
	struct ticket_key_choice chosen = ticket_key_to_open(name);

	if (!chosen.key)
		return 0;
	if (EVP_DecryptInit_ex(cipher, cipher_for(&chosen), NULL, chosen.key->aes, iv) != 1 ||
	    !set_mac_key(mac, chosen.key))
		return -1;
	return chosen.renew || SSL_version(ssl) == TLS1_3_VERSION ? 2 : 1;
}

static int choose_key(SSL *ssl, uint8_t *name, uint8_t *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
{
	return encrypt ? seal(name, iv, cipher, mac) : unseal(ssl, name, iv, cipher, mac);
}

static int note_chain(SSL *ssl, void *policy)
{
	engine_note_chain(ssl, policy, SSL_get_session(ssl));
	return 1;
}

/* Resumption never weakens a policy: a peer that would not get in any more goes through a full handshake, which says why. */
static SSL_TICKET_RETURN accept_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *name, size_t length,
				       SSL_TICKET_STATUS status, void *argument)
{
	(void)name, (void)length;
	if ((status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW) &&
	    engine_verify_again(ssl, argument, session))
		return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
	return SSL_TICKET_RETURN_IGNORE_RENEW;
}

void tickets_use(SSL_CTX *context, const struct policy *policy)
{
	SSL_CTX_set_tlsext_ticket_key_evp_cb(context, choose_key);
	SSL_CTX_set_session_ticket_cb(context, note_chain, accept_ticket, (void *)policy);
	SSL_CTX_set_timeout(context, KEYS_LIFETIME);
}
