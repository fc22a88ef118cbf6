// SPDX-License-Identifier: MIT
/*
 * From secrets to the kernel's structures: published vectors, the layout of each structure, and real handshakes of the
 * engine against OpenSSL in memory, after which records are opened and sealed with what the kernel would get.
 */
#include <endian.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <ktlsd/protocol.h>

#include "engine.h"
#include "secrets.h"
#include "unit.h"

static const uint8_t *hex(const char *text)
{
	static uint8_t bytes[8][256];
	static unsigned int turn;
	uint8_t *out = bytes[turn++ % 8];
	size_t length = 0;

	for (; *text; text++) {
		unsigned int byte;

		if (*text == ' ')
			continue;
		must(sscanf(text, "%2x", &byte) == 1 && length < sizeof(bytes[0]));
		out[length++] = byte;
		text++;
	}
	return out;
}

/* ---- vectors ---- */

/* RFC 8448 §3: traffic secret, and the key and nonce that follow from it. */
static const struct {
	const char *name, *secret, *key, *nonce;
} tls13_vectors[] = {
	{"client handshake", "b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21",
	 "dbfaa693d1762c5b666af5d950258d01", "5bd3c71b836e0b76bb73265f"},
	{"server handshake", "b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38",
	 "3fce516009c21727d0f2e4e86ee403bc", "5d313eb2671276ee13000b30"},
	{"client application", "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5",
	 "17422dda596ed5d9acd890e3c63f5051", "5b78923dee08579033e523d9"},
	{"server application", "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643",
	 "9f02283b6c9c07efc26bb9f2ac92e356", "cf782b88dd83549aadf1e984"},
};

static void test_tls13_vectors(void)
{
	const struct cipher_suite *suite = cipher_suite_find(0x1301);

	for (size_t i = 0; i < COUNT(tls13_vectors); i++) {
		uint8_t secret[SECRET_MAX] = {0};
		struct crypto_info got;
		struct tls12_crypto_info_aes_gcm_128 wanted = {
			.info = {.version = TLS_1_3_VERSION, .cipher_type = TLS_CIPHER_AES_GCM_128},
			.rec_seq = {0, 0, 0, 0, 0, 0, 1, 2},
		};

		memcpy(secret, hex(tls13_vectors[i].secret), 32);
		memcpy(wanted.key, hex(tls13_vectors[i].key), 16);
		memcpy(wanted.salt, hex(tls13_vectors[i].nonce), 4);
		memcpy(wanted.iv, hex(tls13_vectors[i].nonce) + 4, 8);
		must(secrets_tls13(&got, suite, secret, 0x102));
		check(got.length == sizeof(wanted), "RFC 8448, %s: length", tls13_vectors[i].name);
		check_bytes(&got.aes_gcm_128, &wanted, sizeof(wanted), tls13_vectors[i].name);
	}
}

/*
 * The two secrets that follow. No RFC has a vector for them: the first secrets are RFC 8448's, and 00 01 02 .. 2f; the
 * others were computed apart from OpenSSL, with Python's hmac: HMAC(secret, length || 11 || "tls13 traffic upd" || 00 01).
 */
static const struct {
	uint16_t suite;
	const char *secret, *next, *next_but_one;
} update_vectors[] = {
	{0x1301, "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5",
	 "fcdfcc72725aaee48bf64e4fd8b749cdbdbab39d90da0b26e2245ca6ea167207",
	 "68474fe58c172143d0a009a76edd231b0d934f3058588ea0852662279e54a573"},
	{0x1303, "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643",
	 "51921b8aa3001976eb401d0a4319a8516416a6c56001a357e5d162031e84f916",
	 "6418ddd5d277cde37bfaae96363a805a95abfaa55ccd80713848de187fb082f6"},
	{0x1302, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f",
	 "401331b63e9d59f202e8f041042d9516f4cd7fa2e2ee14631d3b49fc340d7af37fc2c0c9f252d8036f81ec5b85cbe5db",
	 "1fed39ab8257f49d1c0c45bfbf71ffa8525b22ea44fdbbe0f7dfff32ea98fa53864320d595ea4ab13a8292965996db9b"},
};

static void test_update_vectors(void)
{
	for (size_t i = 0; i < COUNT(update_vectors); i++) {
		const struct cipher_suite *suite = cipher_suite_find(update_vectors[i].suite);
		uint8_t secret[SECRET_MAX] = {0};

		memcpy(secret, hex(update_vectors[i].secret), suite->secret_length);
		must(secrets_update(suite, secret));
		check_bytes(secret, hex(update_vectors[i].next), suite->secret_length, "the next secret");
		must(secrets_update(suite, secret));
		check_bytes(secret, hex(update_vectors[i].next_but_one), suite->secret_length, "the one behind it");
	}
}

/* NIST CAVP, TLS 1.2 KDF, count 0 of SHA-256 and of SHA-384. */
static const struct {
	uint16_t suite;
	const char *master, *client_random, *server_random, *key_block;
} tls12_vectors[] = {
	{0xc02b, "202c88c00f84a17a20027079604787461176455539e705be730890602c289a5001e34eeb3a043e5d52a65e66125188bf",
	 "62e1fd91f23f558a605f28478c58cf72637b89784d959df7e946d3f07bd1b616",
	 "ae6c806f8ad4d80784549dff28a4b58fd837681a51d928c3e30ee5ff14f39868",
	 "d06139889fffac1e3a71865f504aa5d0 d2a2e89506c6f2279b670c3e1b74f531 016a2530 c51a3a0f"},
	{0xcca9, "202c88c00f84a17a20027079604787461176455539e705be730890602c289a5001e34eeb3a043e5d52a65e66125188bf",
	 "62e1fd91f23f558a605f28478c58cf72637b89784d959df7e946d3f07bd1b616",
	 "ae6c806f8ad4d80784549dff28a4b58fd837681a51d928c3e30ee5ff14f39868",
	 "d06139889fffac1e3a71865f504aa5d0d2a2e89506c6f2279b670c3e1b74f531"
	 "016a2530c51a3a0f7e1d6590d0f0566b2f387f8d11fd4f731cdd572d2eae927f 6f2f81410b25e6960be68985 add6c38445ad9f8c64bf8068"},
	{0xc02c, "b4d49bfa87747fe815457bc3da15073d6ac73389e703079a3503c09e14bd559a5b3c7c601c7365f6ea8c68d3d9596827",
	 "954b5fe1849c2ede177438261f099a2fcd884d001b9fe1de754364b1f6a6dd8e",
	 "1b1c8568344a65c30828e7483c0e353e2c68641c9551efae6927d9cd627a107c",
	 "10fd89ef689c7ef033387b8a8f3e5e8e7c11f680f6bdd71fbac3246a73e98d45"
	 "d03185dde686e6b2369e4503e9dc5a6d2cee3e2bf2fa3f41d3de57dff3e197c8 a9d5f74c c2d27711"},
};

/* What a structure has to hold, taken out of it by its names in <linux/tls.h>. */
struct fields {
	const void *key, *salt, *iv, *rec_seq;
	size_t key_length, salt_length, iv_length, length;
};

#define FIELDS(s)                                                                                                      \
	(struct fields)                                                                                                \
	{                                                                                                              \
		(s).key, (s).salt, (s).iv, (s).rec_seq, sizeof((s).key), sizeof((s).salt), sizeof((s).iv), sizeof(s)   \
	}

static struct fields fields_of(const struct crypto_info *crypto)
{
	switch (crypto->info.cipher_type) {
	case TLS_CIPHER_AES_GCM_128:
		return FIELDS(crypto->aes_gcm_128);
	case TLS_CIPHER_AES_GCM_256:
		return FIELDS(crypto->aes_gcm_256);
	case TLS_CIPHER_AES_CCM_128:
		return FIELDS(crypto->aes_ccm_128);
	}
	return FIELDS(crypto->chacha20_poly1305);
}

static void check_tls12(const struct crypto_info *crypto, const uint8_t *key, const uint8_t *fixed_iv, uint64_t rec_seq,
			const char *name, const char *direction)
{
	struct fields got = fields_of(crypto);
	uint64_t sequence = htobe64(rec_seq);
	bool chacha = got.salt_length == 0;

	check(crypto->info.version == TLS_1_2_VERSION && crypto->length == got.length, "%s, %s: version, length", name,
	      direction);
	check_bytes(got.key, key, got.key_length, "its key");
	check_bytes(chacha ? got.iv : got.salt, fixed_iv, chacha ? 12 : 4, "its implicit nonce");
	check_bytes(got.rec_seq, &sequence, 8, "its sequence number");
	if (!chacha)
		check_bytes(got.iv, &sequence, 8, "its explicit nonce is the sequence number");
}

static void test_tls12_vectors(void)
{
	for (size_t i = 0; i < COUNT(tls12_vectors); i++) {
		const struct cipher_suite *suite = cipher_suite_find(tls12_vectors[i].suite);
		size_t key = suite->key_length, iv = suite->salt_length ? 4 : 12;
		const uint8_t *block = hex(tls12_vectors[i].key_block);
		struct crypto_info client, server;

		must(secrets_tls12(&client, &server, suite, hex(tls12_vectors[i].master),
				   hex(tls12_vectors[i].client_random), hex(tls12_vectors[i].server_random), 1, 2));
		check_tls12(&client, block, block + 2 * key, 1, suite->name, "client");
		check_tls12(&server, block + key, block + 2 * key + iv, 2, suite->name, "server");
	}
}

/* ---- records, sealed and opened as net/tls does it with a crypto_info ---- */

#define HEADER 5
#define TAG 16

struct record {
	const EVP_CIPHER *cipher;
	struct fields fields;
	bool tls13;
	uint8_t nonce[12], additional[13];
	size_t additional_length, explicit_length;
};

static const EVP_CIPHER *cipher_of(const struct crypto_info *crypto)
{
	switch (crypto->info.cipher_type) {
	case TLS_CIPHER_AES_GCM_128:
		return EVP_aes_128_gcm();
	case TLS_CIPHER_AES_GCM_256:
		return EVP_aes_256_gcm();
	case TLS_CIPHER_AES_CCM_128:
		return EVP_aes_128_ccm();
	}
	return EVP_chacha20_poly1305();
}

static struct record record_of(const struct crypto_info *crypto, const uint8_t *header, size_t plaintext)
{
	struct record r = {.cipher = cipher_of(crypto),
			   .fields = fields_of(crypto),
			   .tls13 = crypto->info.version == TLS_1_3_VERSION};

	memcpy(r.nonce, r.fields.salt, r.fields.salt_length);
	memcpy(r.nonce + r.fields.salt_length, r.fields.iv, r.fields.iv_length);
	if (r.tls13 || r.fields.salt_length == 0) {
		for (int i = 0; i < 8; i++)
			r.nonce[4 + i] ^= ((const uint8_t *)r.fields.rec_seq)[i];
	} else {
		r.explicit_length = 8;
	}
	if (!r.tls13) {
		memcpy(r.additional, r.fields.rec_seq, 8);
		r.additional_length = 8;
	}
	memcpy(r.additional + r.additional_length, header, HEADER);
	r.additional_length += HEADER;
	if (!r.tls13) {
		r.additional[11] = plaintext >> 8;
		r.additional[12] = plaintext;
	}
	return r;
}

static bool aead(const struct record *r, bool seal, const uint8_t *in, size_t length, uint8_t *out, uint8_t *tag)
{
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	bool ccm = EVP_CIPHER_get_mode(r->cipher) == EVP_CIPH_CCM_MODE, good;
	int n;

	good = EVP_CipherInit_ex(context, r->cipher, NULL, NULL, NULL, seal) == 1 &&
	       EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_IVLEN, 12, NULL) == 1 &&
	       (seal && !ccm ? 1 : EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG, seal ? NULL : tag)) == 1 &&
	       EVP_CipherInit_ex(context, NULL, NULL, r->fields.key, r->nonce, seal) == 1 &&
	       (!ccm || EVP_CipherUpdate(context, NULL, &n, NULL, length) == 1) &&
	       EVP_CipherUpdate(context, NULL, &n, r->additional, r->additional_length) == 1 &&
	       EVP_CipherUpdate(context, out, &n, in, length) == 1 &&
	       ((ccm && !seal) || EVP_CipherFinal_ex(context, out + n, &n) == 1) &&
	       (!seal || EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG, tag) == 1);
	EVP_CIPHER_CTX_free(context);
	return good;
}

/* The plaintext's length, or -1. */
static int open_record(const struct crypto_info *crypto, const uint8_t *record, size_t size, uint8_t *plaintext)
{
	bool tls13 = crypto->info.version == TLS_1_3_VERSION;
	size_t explicit = !tls13 && fields_of(crypto).salt_length ? 8 : 0;
	size_t length = size - HEADER - explicit - TAG;
	struct record r = record_of(crypto, record, length);
	uint8_t tag[TAG];

	if (size < HEADER + explicit + TAG || (size_t)(record[3] << 8 | record[4]) != size - HEADER)
		return -1;
	if (explicit)
		memcpy(r.nonce + 4, record + HEADER, 8);
	memcpy(tag, record + size - TAG, TAG);
	if (!aead(&r, false, record + HEADER + explicit, length, plaintext, tag))
		return -1;
	if (!tls13)
		return length;
	return plaintext[length - 1] == SSL3_RT_APPLICATION_DATA ? (int)length - 1 : -1;
}

static size_t seal_record(const struct crypto_info *crypto, const uint8_t *text, size_t length, uint8_t *record)
{
	uint8_t plaintext[256];
	uint8_t header[HEADER] = {SSL3_RT_APPLICATION_DATA, 3, 3, 0, 0};
	bool tls13 = crypto->info.version == TLS_1_3_VERSION;
	size_t explicit = !tls13 && fields_of(crypto).salt_length ? 8 : 0, body;
	struct record r;

	memcpy(plaintext, text, length);
	if (tls13)
		plaintext[length++] = SSL3_RT_APPLICATION_DATA;
	body = explicit + length + TAG;
	header[3] = body >> 8;
	header[4] = body;
	r = record_of(crypto, header, length);
	memcpy(record, header, HEADER);
	memcpy(record + HEADER, r.fields.iv, explicit);
	must(aead(&r, true, plaintext, length, record + HEADER + explicit, record + HEADER + explicit + length));
	return HEADER + body;
}

static void test_rfc8448_record(void)
{
	static const uint8_t record[] =
		"\x17\x03\x03\x00\x43\xa2\x3f\x70\x54\xb6\x2c\x94\xd0\xaf\xfa\xfe\x82\x28\xba\x55\xcb\xef\xac\xea\x42"
		"\xf9\x14\xaa\x66\xbc\xab\x3f\x2b\x98\x19\xa8\xa5\xb4\x6b\x39\x5b\xd5\x4a\x9a\x20\x44\x1e\x2b\x62\x97"
		"\x4e\x1f\x5a\x62\x92\xa2\x97\x70\x14\xbd\x1e\x3d\xea\xe6\x3a\xee\xbb\x21\x69\x49\x15\xe4";
	uint8_t secret[SECRET_MAX] = {0}, plaintext[sizeof(record)], wanted[50];
	struct crypto_info crypto;

	for (size_t i = 0; i < sizeof(wanted); i++)
		wanted[i] = i;
	memcpy(secret, hex(tls13_vectors[2].secret), 32);
	must(secrets_tls13(&crypto, cipher_suite_find(0x1301), secret, 0));
	check(open_record(&crypto, record, sizeof(record) - 1, plaintext) == sizeof(wanted), "RFC 8448's data record");
	check_bytes(plaintext, wanted, sizeof(wanted), "RFC 8448's data");
}

/* ---- the engine and OpenSSL, in memory ---- */

static EVP_PKEY *ecdsa_key, *rsa_key;

static X509 *self_signed(EVP_PKEY *key)
{
	X509 *certificate = X509_new();
	X509_NAME *name = X509_get_subject_name(certificate);

	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)"unit", -1, -1, 0);
	X509_set_version(certificate, X509_VERSION_3);
	X509_set_issuer_name(certificate, name);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	X509_set_pubkey(certificate, key);
	must(X509_sign(certificate, key, EVP_sha256()) > 0);
	return certificate;
}

static void add_certificate(SSL_CTX *context, EVP_PKEY *key)
{
	X509 *certificate = self_signed(key);

	must(SSL_CTX_use_certificate(context, certificate) == 1 && SSL_CTX_use_PrivateKey(context, key) == 1);
	X509_free(certificate);
}

static SSL_CTX *context_for(const struct cipher_suite *suite, unsigned int tickets)
{
	SSL_CTX *context = SSL_CTX_new(TLS_method());

	must(SSL_CTX_set_min_proto_version(context, suite->version) == 1 &&
	     SSL_CTX_set_max_proto_version(context, suite->version) == 1);
	must(suite->version == TLS1_3_VERSION ? SSL_CTX_set_ciphersuites(context, suite->openssl_name)
					      : SSL_CTX_set_cipher_list(context, suite->openssl_name));
	add_certificate(context, ecdsa_key);
	add_certificate(context, rsa_key);
	SSL_CTX_set_num_tickets(context, tickets);
	if (tickets == 0)
		SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
	return context;
}

struct pair {
	struct engine engine;
	SSL *peer;
	BIO *to_peer, *from_peer;
	struct crypto_info tx, rx;
};

static void pair_open(struct pair *pair, bool server, SSL_CTX *ours, SSL_CTX *theirs)
{
	memset(pair, 0, sizeof(*pair));
	must(server ? engine_start_server(&pair->engine, ours)
		    : engine_start_client(&pair->engine, ours, "unit.example", NULL, 0));
	pair->peer = SSL_new(theirs);
	pair->to_peer = BIO_new(BIO_s_mem());
	pair->from_peer = BIO_new(BIO_s_mem());
	SSL_set_bio(pair->peer, pair->to_peer, pair->from_peer);
	if (server)
		SSL_set_connect_state(pair->peer);
	else
		SSL_set_accept_state(pair->peer);
}

static void pair_close(struct pair *pair)
{
	engine_stop(&pair->engine);
	free(pair->engine.output);
	SSL_free(pair->peer);
}

/* Takes flights to and fro. early: the peer sends it as soon as it may. What is left in from_peer was not taken. */
static bool pair_shake_hands(struct pair *pair, const char *early)
{
	enum engine_status status = ENGINE_WANTS_INPUT;
	bool peer_done = false;

	for (int turn = 0; turn < 10 && status == ENGINE_WANTS_INPUT; turn++) {
		uint8_t *input;
		size_t length, taken;
		bool was_done = peer_done;

		peer_done = SSL_do_handshake(pair->peer) == 1;
		if (peer_done && !was_done && early)
			SSL_write(pair->peer, early, strlen(early));
		length = BIO_get_mem_data(pair->from_peer, &input);
		status = engine_step(&pair->engine, input, length, &taken);
		must(taken <= length);
		BIO_read(pair->from_peer, (uint8_t[16384]){0}, taken);
		BIO_write(pair->to_peer, pair->engine.output, pair->engine.output_length);
		if (status == ENGINE_WANTS_INPUT)
			pair->engine.output_length = 0;
	}
	SSL_do_handshake(pair->peer);
	return status == ENGINE_DONE && engine_export_secrets(&pair->engine) &&
	       secrets_to_crypto_info(&pair->engine.secrets, &pair->tx, &pair->rx);
}

/* The peer updates its keys again and again: we read on with the next ones. */
static void check_updates(struct pair *pair, const char *name)
{
	static const char text[] = "under other keys";
	struct session_secrets *secrets = &pair->engine.secrets;
	uint8_t *secret = secrets->server ? secrets->client_traffic : secrets->server_traffic;

	for (int round = 1; round <= 3; round++) {
		uint8_t plaintext[256], *record;
		size_t length, update;
		struct crypto_info rx;

		must(BIO_reset(pair->from_peer) == 1);
		must(SSL_key_update(pair->peer, SSL_KEY_UPDATE_NOT_REQUESTED) == 1 &&
		     SSL_write(pair->peer, text, sizeof(text)) == sizeof(text));
		length = BIO_get_mem_data(pair->from_peer, &record);
		update = HEADER + (record[3] << 8 | record[4]); /* KeyUpdate, under the keys before */
		must(secrets_update(secrets->suite, secret) && secrets_tls13(&rx, secrets->suite, secret, 0));
		check(open_record(&rx, record + update, length - update, plaintext) == sizeof(text) &&
			      memcmp(plaintext, text, sizeof(text)) == 0,
		      "%s: we read behind KeyUpdate %d", name, round);
	}
}

static void test_handshake(const struct cipher_suite *suite, bool server, unsigned int tickets)
{
	static const char ping[] = "data right behind the handshake", pong[] = "an answer";
	SSL_CTX *ours = context_for(suite, tickets), *theirs = context_for(suite, tickets);
	char text[64], name[128];
	uint8_t record[256], *left;
	struct pair pair;
	long length;

	snprintf(name, sizeof(name), "%s, %s, %u tickets", suite->name, server ? "server" : "client", tickets);
	engine_prepare(ours);
	pair_open(&pair, server, ours, theirs);
	if (check(pair_shake_hands(&pair, ping), "%s: handshake", name)) {
		/* A TLS 1.3 server's tickets come as records before its data; the client counts them as they come. */
		if (!server && suite->version == TLS1_3_VERSION) {
			uint64_t sent = htobe64(tickets);

			memcpy((void *)fields_of(&pair.rx).rec_seq, &sent, sizeof(sent));
			for (unsigned int i = 0; i < tickets; i++) {
				uint8_t header[HEADER];

				BIO_read(pair.from_peer, header, HEADER);
				BIO_read(pair.from_peer, (uint8_t[4096]){0}, header[3] << 8 | header[4]);
			}
		}
		/* The peer's data may have been held back until its last flight had an answer. */
		if (BIO_get_mem_data(pair.from_peer, &left) == 0)
			SSL_write(pair.peer, ping, strlen(ping));
		length = BIO_get_mem_data(pair.from_peer, &left);
		check(open_record(&pair.rx, left, length, record) == (int)strlen(ping) &&
			      memcmp(record, ping, strlen(ping)) == 0,
		      "%s: we read what the peer wrote", name);
		length = seal_record(&pair.tx, (const uint8_t *)pong, sizeof(pong), record);
		BIO_write(pair.to_peer, record, length);
		check(SSL_read(pair.peer, text, sizeof(text)) == sizeof(pong) && strcmp(text, pong) == 0,
		      "%s: the peer reads what we write", name);
		if (suite->version == TLS1_3_VERSION)
			check_updates(&pair, name);
	} else {
		printf("# %s\n", pair.engine.why);
	}
	pair_close(&pair);
	SSL_CTX_free(ours);
	SSL_CTX_free(theirs);
}

static void test_suites(void)
{
	static const unsigned int tickets[] = {0, 1, 2, 5};

	ecdsa_key = EVP_EC_gen("P-256");
	rsa_key = EVP_RSA_gen(2048);
	for (size_t i = 0; i < cipher_suite_count; i++) {
		for (size_t j = 0; j < COUNT(tickets); j++) {
			test_handshake(&cipher_suites[i], true, tickets[j]);
			test_handshake(&cipher_suites[i], false, tickets[j]);
		}
	}
	EVP_PKEY_free(ecdsa_key);
	EVP_PKEY_free(rsa_key);
}

int main(void)
{
	must(secrets_init() && engine_init(NULL));
	cipher_suites_assume();
	test_tls13_vectors();
	test_tls12_vectors();
	test_update_vectors();
	test_rfc8448_record();
	test_suites();
	return finish();
}
