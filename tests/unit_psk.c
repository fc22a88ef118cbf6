// SPDX-License-Identifier: MIT
/*
 * External pre-shared keys: the engine against OpenSSL in memory. In the server role the engine looks for the key in keyrings:
 * where there are none, or none for keys of type "psk" (nvme-keyring in the kernel), that part is left out.
 */
#include <errno.h>
#include <keyutils.h>
#include <unistd.h>
#include <openssl/ssl.h>

#include <ktlsd/protocol.h>

#include "cipher.h"
#include "engine.h"
#include "kernel/keyring.h"
#include "unit.h"

#define NVME "NVMe1R0%d nqn.2014-08.org.nvmexpress:uuid:a nqn.2024-01.example:b digest=="

static struct psk known; /* to the peer */

static struct psk make_psk(int hash, const char *identity, uint8_t fill)
{
	struct psk psk = {.serial = 1, .secret_length = hash == 2 ? 48 : 32};

	snprintf(psk.identity, sizeof(psk.identity), "%s", identity);
	memset(psk.secret, fill, psk.secret_length);
	return psk;
}

/* ---- the peer: OpenSSL ---- */

static SSL_SESSION *session_of(SSL *ssl, const struct psk *psk)
{
	const uint8_t suite[] = {0x13, psk->secret_length == 48 ? 0x02 : 0x01};
	SSL_SESSION *session = SSL_SESSION_new();

	must(session && SSL_SESSION_set1_master_key(session, psk->secret, psk->secret_length) == 1 &&
	     SSL_SESSION_set_cipher(session, SSL_CIPHER_find(ssl, suite)) == 1 &&
	     SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1);
	return session;
}

static int peer_finds(SSL *ssl, const unsigned char *identity, size_t length, SSL_SESSION **session)
{
	bool same = length == strlen(known.identity) && memcmp(identity, known.identity, length) == 0;

	*session = same ? session_of(ssl, &known) : NULL;
	return 1;
}

static int peer_offers(SSL *ssl, const EVP_MD *digest, const unsigned char **identity, size_t *length,
		       SSL_SESSION **session)
{
	(void)digest;
	*identity = (const unsigned char *)known.identity;
	*length = strlen(known.identity);
	*session = session_of(ssl, &known);
	return 1;
}

/* ---- a handshake ---- */

static SSL_CTX *new_context(void)
{
	SSL_CTX *context = SSL_CTX_new(TLS_method());

	must(context);
	return context;
}

static bool shake(struct engine *engine, SSL *peer)
{
	BIO *to_peer = SSL_get_rbio(peer), *from_peer = SSL_get_wbio(peer);
	enum engine_status status = ENGINE_WANTS_INPUT;
	uint8_t input[16384];
	size_t length = 0, taken;
	int turn, got;

	for (turn = 0; turn < 10 && status == ENGINE_WANTS_INPUT; turn++) {
		status = engine_step(engine, input, length, &taken);
		length = 0;
		if (engine->output_length)
			must(BIO_write(to_peer, engine->output, (int)engine->output_length) > 0);
		engine->output_length = 0;
		SSL_do_handshake(peer);
		got = BIO_read(from_peer, input, sizeof(input));
		length = got > 0 ? got : 0;
	}
	return status == ENGINE_DONE && SSL_is_init_finished(peer);
}

/* Whether it comes about, by which key. *why: what the engine says if not. */
static bool meet(bool server, struct psk *ours, SSL_CTX *peers, char *why)
{
	SSL_CTX *context = new_context();
	struct engine engine = {0};
	SSL *peer = SSL_new(peers);
	bool good;

	engine_prepare(context);
	must(server ? engine_start_server(&engine, context)
		    : engine_start_client(&engine, context, "unit.example", NULL, 0));
	must(engine_use_psk(&engine, ours));
	SSL_set_bio(peer, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	if (server)
		SSL_set_connect_state(peer);
	else
		SSL_set_accept_state(peer);
	good = shake(&engine, peer) && engine_export_secrets(&engine) && SSL_session_reused(peer);
	strcpy(why, engine.why);
	engine_stop(&engine);
	free(engine.output);
	SSL_free(peer);
	SSL_CTX_free(context);
	return good;
}

/* ---- client role ---- */

static SSL_CTX *server_context(const char *groups)
{
	SSL_CTX *context = new_context();

	SSL_CTX_set_psk_find_session_callback(context, peer_finds);
	must(!groups || SSL_CTX_set1_groups_list(context, groups) == 1);
	return context;
}

static const struct {
	const char *name;
	int hash; /* 1: SHA-256, 2: SHA-384 */
	const char *identity, *known;
	uint8_t fill;	    /* of the peer's key; ours is 7 */
	const char *groups; /* of the peer */
	bool good;
} clients[] = {
	{"a key with SHA-256", 1, "plain", "plain", 7, NULL, true},
	{"a key with SHA-384", 2, "plain", "plain", 7, NULL, true},
	{"NVMe's identity, SHA-256", 1, NVME, NVME, 7, NULL, true},
	{"NVMe's identity, SHA-384", 2, NVME, NVME, 7, NULL, true},
	{"after a HelloRetryRequest", 1, NVME, NVME, 7, "P-521", true},
	{"after a HelloRetryRequest, SHA-384", 2, NVME, NVME, 7, "P-521", true},
	{"another key of that name", 1, "plain", "plain", 8, NULL, false},
	{"a name that the server does not know", 1, "plain", "other", 7, NULL, false},
};

static void test_client(void)
{
	char why[512], ours[256], theirs[256];

	for (size_t i = 0; i < COUNT(clients); i++) {
		SSL_CTX *peers = server_context(clients[i].groups);
		struct psk psk;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(ours, sizeof(ours), clients[i].identity, clients[i].hash);
		snprintf(theirs, sizeof(theirs), clients[i].known, clients[i].hash);
#pragma GCC diagnostic pop
		psk = make_psk(clients[i].hash, ours, 7);
		known = make_psk(clients[i].hash, theirs, clients[i].fill);
		check(meet(false, &psk, peers, why) == clients[i].good, "client: %s%s%s", clients[i].name,
		      clients[i].good ? "" : " is refused: ", clients[i].good ? "" : why);
		SSL_CTX_free(peers);
	}
}

/* ---- server role ---- */

static void test_server(void)
{
	char why[512], identity[256], long_name[PSK_IDENTITY_MAX + 10];
	SSL_CTX *peers = new_context();
	struct psk psk = {0};
	key_serial_t key;
	int hash;

	SSL_CTX_set_psk_use_session_callback(peers, peer_offers);
	for (hash = 1; hash <= 2; hash++) {
		snprintf(identity, sizeof(identity), NVME, hash);
		known = make_psk(hash, identity, 7);
		/* OpenSSL's server settles the suite first: clients offer those that go with their key. */
		must(SSL_CTX_set_ciphersuites(peers, hash == 1 ? "TLS_AES_128_GCM_SHA256" : "TLS_AES_256_GCM_SHA384"));
		key = add_key("psk", identity, known.secret, known.secret_length, KEY_SPEC_SESSION_KEYRING);
		if (key == -1) {
			printf("ok %u server: keys in keyrings # SKIP no keys of type psk: %s\n", ++checked,
			       strerror(errno));
			break;
		}
		memset(&psk, 0, sizeof(psk));
		check(meet(true, &psk, peers, why) && psk.serial == key, "server: a key with SHA-%d",
		      hash == 1 ? 256 : 384);
		known.secret[0]++;
		check(!meet(true, &psk, peers, why), "server: a client with another key is refused: %s", why);
	}
	known = make_psk(1, "nobody has this", 7);
	memset(&psk, 0, sizeof(psk));
	check(!meet(true, &psk, peers, why) && strstr(why, "no keyring has"), "server: an unknown name: %s", why);
	memset(long_name, 'n', sizeof(long_name));
	memcpy(known.identity, long_name, sizeof(known.identity) - 1);
	check(!meet(true, &psk, peers, why), "server: a name that is too long: %s", why);
	SSL_CTX_set_psk_use_session_callback(peers, NULL);
	check(!meet(true, &psk, peers, why), "server: a client without any: %s", why);
	SSL_CTX_free(peers);
}

/* ---- reading keys ---- */

static void test_reading(void)
{
	const char *why = "";
	struct psk psk;
	key_serial_t key = add_key("user", "a;b;c", "0123456789abcdef", 16, KEY_SPEC_SESSION_KEYRING);

	if (key == -1) {
		printf("ok %u reading keys # SKIP no keyrings here: %s\n", ++checked, strerror(errno));
		return;
	}
	check(psk_read(&psk, key, &why) && psk.secret_length == 16 && psk.serial == key, "a key is read (%s)", why);
	check_text(psk.identity, "a;b;c", "... with a name that has semicolons");
	must(keyctl_revoke(key) == 0);
	check(!psk_read(&psk, key, &why) && psk.serial == 0, "a revoked key is not");
}

/* ---- keyrings by name ---- */

/* For everybody to use, and not in our session. */
static key_serial_t give_away(key_serial_t key, uid_t owner)
{
	must(keyctl_setperm(key, 0x3f3f3f3f) == 0 && keyctl_link(key, KEY_SPEC_USER_KEYRING) == 0);
	must(keyctl_chown(key, owner, -1) == 0 && keyctl_unlink(key, KEY_SPEC_SESSION_KEYRING) == 0);
	return key;
}

/* In it a key of the same name. */
static key_serial_t make_keyring(const char *name, uid_t owner)
{
	key_serial_t keyring = add_key("keyring", name, NULL, 0, KEY_SPEC_SESSION_KEYRING);

	must(keyring != -1 && add_key("user", name, "x", 1, keyring) != -1);
	return give_away(keyring, owner);
}

static bool links(const char *name)
{
	keyring_link_named(name);
	return keyctl_search(KEY_SPEC_SESSION_KEYRING, "user", name, 0) != -1;
}

static void test_named(void)
{
	char long_name[2000] = "";
	key_serial_t ours, others, long_key;

	memset(long_name, 'x', sizeof(long_name) - 1);
	long_key = add_key("user", long_name, "x", 1, KEY_SPEC_SESSION_KEYRING);
	if (long_key == -1 || geteuid() != 0) {
		printf("ok %u keyrings by name # SKIP no keyrings here, or not root: %s\n", ++checked, strerror(errno));
		return;
	}
	give_away(long_key, 0);
	others = make_keyring("ktlsd-unit-others", 65534);
	ours = make_keyring("ktlsd-unit-ours", 0);
	check(links("ktlsd-unit-ours"), "a keyring by its name, among keys with long ones");
	check(!links("ktlsd-unit-others"), "not one that another user has made");
	check(!links("ktlsd-unit"), "not one that only begins so");
	keyctl_unlink(ours, KEY_SPEC_USER_KEYRING);
	keyctl_unlink(others, KEY_SPEC_USER_KEYRING);
	keyctl_unlink(long_key, KEY_SPEC_USER_KEYRING);
}

int main(void)
{
	cipher_suites_assume();
	must(secrets_init() && engine_init(NULL) && keyring_join());
	test_client();
	test_server();
	test_reading();
	test_named();
	return finish();
}
