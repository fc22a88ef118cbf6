/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include <ktlsd/protocol.h>

#include "token.h"

#define FORMAT 1
#define NONCE_LENGTH 12 /* random: good for 2^32 tokens under one key (NIST SP 800-38D §8.3), 99,000 a second */
#define TAG_LENGTH 16

struct content {
	uint16_t suite;
	uint16_t role;
	uint32_t reserved;
	uint64_t connection_id;
	int64_t expires;
	uint64_t client_generation, server_generation;
	char service[64];
	uint8_t client_secret[SECRET_MAX], server_secret[SECRET_MAX];
};

/* No field needs an alignment: a token starts wherever a caller's message has it. */
struct sealed {
	struct head { /* authenticated, not encrypted */
		uint8_t format;
		uint8_t reserved[7];
		uint8_t key_name[KEYS_NAME_LENGTH];
	} head;
	uint8_t nonce[NONCE_LENGTH];
	uint8_t content[sizeof(struct content)];
	uint8_t tag[TAG_LENGTH];
};

_Static_assert(sizeof(struct sealed) == TOKEN_LENGTH, "TOKEN_LENGTH");
_Static_assert(TOKEN_LENGTH <= KTLSD_TOKEN_MAX, "KTLSD_TOKEN_MAX");

static EVP_CIPHER *aead;

bool token_init(void)
{
	aead = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	return aead;
}

/* ---- sealing ---- */

static bool encrypt(struct sealed *sealed, const struct content *content, const struct token_key *key)
{
	EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
	int length;
	bool done =
		cipher && EVP_EncryptInit_ex2(cipher, aead, key->aes, sealed->nonce, NULL) == 1 &&
		EVP_EncryptUpdate(cipher, NULL, &length, (const uint8_t *)&sealed->head, sizeof(sealed->head)) == 1 &&
		EVP_EncryptUpdate(cipher, sealed->content, &length, (const uint8_t *)content, sizeof(*content)) == 1 &&
		EVP_EncryptFinal_ex(cipher, sealed->content + length, &length) == 1 &&
		EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, TAG_LENGTH, sealed->tag) == 1;

	EVP_CIPHER_CTX_free(cipher);
	return done;
}

static void pack(struct content *content, const struct token *token)
{
	memset(content, 0, sizeof(*content));
	content->suite = token->suite->id;
	content->role = token->role;
	content->connection_id = token->connection_id;
	content->expires = token->expires;
	content->client_generation = token->client.generation;
	content->server_generation = token->server.generation;
	memcpy(content->service, token->service, sizeof(content->service));
	memcpy(content->client_secret, token->client.secret, SECRET_MAX);
	memcpy(content->server_secret, token->server.secret, SECRET_MAX);
}

bool token_seal(const struct token *token, uint8_t sealed[static TOKEN_LENGTH])
{
	const struct token_key *key = &keys_of(keys_newest())->token;
	struct sealed *out = (struct sealed *)sealed;
	struct content content;
	bool done;

	memset(out, 0, sizeof(*out));
	out->head.format = FORMAT;
	memcpy(out->head.key_name, key->name, sizeof(key->name));
	if (RAND_bytes(out->nonce, sizeof(out->nonce)) != 1)
		return false;
	pack(&content, token);
	done = encrypt(out, &content, key);
	OPENSSL_cleanse(&content, sizeof(content));
	return done;
}

/* ---- opening ---- */

static const struct token_key *find_key(const uint8_t name[static KEYS_NAME_LENGTH])
{
	unsigned int newest = keys_newest(), age;

	for (age = 0; age < KEYS_TOKENS_OPEN; age++) {
		const struct token_key *key = &keys_of(newest - age)->token;

		if (memcmp(key->name, name, sizeof(key->name)) == 0)
			return key;
	}
	return NULL;
}

static bool decrypt(struct content *content, const struct sealed *sealed, const struct token_key *key)
{
	EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
	int length;
	bool done =
		cipher && EVP_DecryptInit_ex2(cipher, aead, key->aes, sealed->nonce, NULL) == 1 &&
		EVP_DecryptUpdate(cipher, NULL, &length, (const uint8_t *)&sealed->head, sizeof(sealed->head)) == 1 &&
		EVP_DecryptUpdate(cipher, (uint8_t *)content, &length, sealed->content, sizeof(*content)) == 1 &&
		EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_SET_TAG, TAG_LENGTH, (void *)sealed->tag) == 1 &&
		EVP_DecryptFinal_ex(cipher, (uint8_t *)content + length, &length) == 1;

	EVP_CIPHER_CTX_free(cipher);
	return done;
}

/* It is what we sealed; but that may have been another version of us, before a restart. */
static bool unpack(struct token *token, const struct content *content)
{
	memset(token, 0, sizeof(*token));
	token->suite = cipher_suite_find(content->suite);
	if (!token->suite || token->suite->version != TLS_1_3_VERSION || content->reserved ||
	    (content->role != KTLSD_SERVER && content->role != KTLSD_CLIENT) ||
	    !memchr(content->service, '\0', sizeof(content->service)))
		return false;
	token->role = content->role;
	token->connection_id = content->connection_id;
	token->expires = content->expires;
	token->client.generation = content->client_generation;
	token->server.generation = content->server_generation;
	memcpy(token->service, content->service, sizeof(token->service));
	memcpy(token->client.secret, content->client_secret, SECRET_MAX);
	memcpy(token->server.secret, content->server_secret, SECRET_MAX);
	return true;
}

int token_open(struct token *token, const uint8_t *sealed, size_t length, int64_t now, const char **why)
{
	const struct sealed *in = (const struct sealed *)sealed;
	const struct token_key *key;
	struct content content;
	int error = EBADMSG;

	*why = "the token is none of this agent's";
	if (length != sizeof(*in) || in->head.format != FORMAT)
		return EBADMSG;
	key = find_key(in->head.key_name);
	*why = "the token is sealed with a key that the agent does not have, or no longer";
	if (!key)
		return EBADMSG;
	*why = "the token was altered";
	if (decrypt(&content, in, key)) {
		*why = "the token is of another version of the agent";
		if (unpack(token, &content))
			error = token->expires > now ? 0 : EKEYEXPIRED;
	}
	OPENSSL_cleanse(&content, sizeof(content));
	if (error)
		OPENSSL_cleanse(token, sizeof(*token));
	if (error == EKEYEXPIRED)
		*why = "the token has lapsed";
	return error;
}
