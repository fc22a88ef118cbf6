/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ktlsd/protocol.h>

#include "engine.h"
#include "log.h"
#include "x509/revocation.h"

#define CHANNEL_BINDING_LABEL "EXPORTER-Channel-Binding" /* RFC 9266 §4.2 */

static BIO_METHOD *bio_method;
static int key_log = -1;

/* ---- the BIO: OpenSSL's reads and writes end in the engine's two buffers ---- */

static int read_input(BIO *bio, char *data, size_t size, size_t *read)
{
	struct engine *engine = BIO_get_data(bio);
	size_t left = engine->input_length - engine->input_taken;

	BIO_clear_retry_flags(bio);
	if (left == 0) {
		BIO_set_retry_read(bio);
		return 0;
	}
	*read = size < left ? size : left;
	memcpy(data, engine->input + engine->input_taken, *read);
	engine->input_taken += *read;
	return 1;
}

static bool grow_output(struct engine *engine, size_t needed)
{
	size_t size = engine->output_size ? engine->output_size : 4096;
	uint8_t *output;

	while (size < needed)
		size *= 2;
	if (size > ENGINE_OUTPUT_MAX)
		return false;
	output = realloc(engine->output, size);
	if (!output)
		return false;
	engine->output = output;
	engine->output_size = size;
	return true;
}

static int write_output(BIO *bio, const char *data, size_t size, size_t *written)
{
	struct engine *engine = BIO_get_data(bio);
	size_t needed = engine->output_length + size;

	BIO_clear_retry_flags(bio);
	if (needed > engine->output_size && !grow_output(engine, needed))
		return 0;
	memcpy(engine->output + engine->output_length, data, size);
	engine->output_length = needed;
	*written = size;
	return 1;
}

static long control(BIO *bio, int command, long number, void *pointer)
{
	(void)bio, (void)number, (void)pointer;
	return command == BIO_CTRL_FLUSH;
}

/* ---- callbacks of every context ---- */

static bool hex_to_bytes(const char *hex, uint8_t *bytes, size_t length)
{
	size_t done;

	return OPENSSL_hexstr2buf_ex(bytes, length, &done, hex, '\0') == 1 && done == length;
}

/*
 * The one public interface that yields TLS 1.3's traffic secrets: lines "LABEL CLIENT_RANDOM SECRET" in hexadecimal.
 * OpenSSL wipes the line; ours go when the engine stops.
 */
static void take_secret(const SSL *ssl, const char *line)
{
	struct engine *engine = SSL_get_app_data(ssl);
	const char *secret = strrchr(line, ' ');
	uint8_t *target = NULL;
	size_t length;

	if (key_log >= 0)
		dprintf(key_log, "%s\n", line);
	if (strncmp(line, "CLIENT_TRAFFIC_SECRET_0 ", 24) == 0)
		target = engine->secrets.client_traffic;
	else if (strncmp(line, "SERVER_TRAFFIC_SECRET_0 ", 24) == 0)
		target = engine->secrets.server_traffic;
	if (!target || !secret)
		return;
	length = strlen(secret + 1) / 2;
	if (length > SECRET_MAX || !hex_to_bytes(secret + 1, target, length))
		OPENSSL_cleanse(target, SECRET_MAX);
}

static void note_alert(const SSL *ssl, int where, int value)
{
	struct engine *engine = SSL_get_app_data(ssl);

	if (!(where & SSL_CB_ALERT))
		return;
	if (where & SSL_CB_READ)
		engine->alert_received = value & 0xff;
	else
		engine->alert_sent = value & 0xff;
}

static void take_staple(struct engine *engine)
{
	unsigned char *staple = NULL;
	long length = SSL_is_server(engine->ssl) ? -1 : SSL_get_tlsext_status_ocsp_resp(engine->ssl, &staple);

	engine->verification.staple = length > 0 ? staple : NULL;
	engine->verification.staple_length = length > 0 ? length : 0;
}

/* Who is not known to be good yet gets no ticket. TLS 1.2's is in the flight that is held back. */
static int hold_tickets(struct engine *engine)
{
	return !engine->verification.pending || !SSL_is_server(engine->ssl) || SSL_set_num_tickets(engine->ssl, 0) == 1;
}

/* In place of OpenSSL's own verification, which it begins. */
static int verify_peer(X509_STORE_CTX *store, void *policy)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct engine *engine = SSL_get_app_data(ssl);

	take_staple(engine);
	engine->verification.staple_may_come = !SSL_is_server(ssl) && SSL_version(ssl) < TLS1_3_VERSION;
	if (verify_chain(policy, store, engine->server_name, &engine->verification))
		return hold_tickets(engine);
	engine_explain(ssl, engine->verification.why);
	return 0;
}

bool engine_verify_again(SSL *ssl, const struct policy *policy, SSL_SESSION *session)
{
	struct engine *engine = SSL_get_app_data(ssl);
	X509 *peer = SSL_SESSION_get0_peer(session);
	void *note = NULL;
	size_t length = 0;

	if (engine->psk) /* a ticket is no proof of having the key */
		return false;
	if (!peer || !policy->trust)
		return true;
	SSL_SESSION_get0_ticket_appdata(session, &note, &length);
	if (verify_again(policy, peer, note, length, &engine->verification))
		return true;
	memset(&engine->verification, 0, sizeof(engine->verification)); /* the full handshake finds it again */
	return false;
}

/* A second ticket goes on with the first one's note, and so does a resumed session's with the one that it came with. */
void engine_note_chain(SSL *ssl, const struct policy *policy, SSL_SESSION *session)
{
	uint8_t note[REVOCATION_NOTE_MAX];
	void *noted = NULL;
	size_t length = 0;

	SSL_SESSION_get0_ticket_appdata(session, &noted, &length);
	if (length > 0)
		return;
	length = revocation_note(policy, SSL_get0_verified_chain(ssl), note);
	if (length > 0)
		SSL_SESSION_set1_ticket_appdata(session, note, length);
}

bool engine_init(const char *key_log_file)
{
	if (!verify_init())
		return false;
	bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "ktlsd engine");
	if (!bio_method || !BIO_meth_set_read_ex(bio_method, read_input) ||
	    !BIO_meth_set_write_ex(bio_method, write_output) || !BIO_meth_set_ctrl(bio_method, control))
		return false;
	if (!key_log_file)
		return true;
	key_log = open(key_log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (key_log < 0)
		log_line(LOG_ERR, "key_log_file %s: %s", key_log_file, strerror(errno));
	else
		log_line(LOG_WARNING, "key_log_file is set: every session's secrets go to %s; for debugging only",
			 key_log_file);
	return key_log >= 0;
}

void engine_prepare(SSL_CTX *context)
{
	SSL_CTX_set_keylog_callback(context, take_secret);
	SSL_CTX_set_info_callback(context, note_alert);
}

void engine_set_verify(SSL_CTX *context, int mode, const struct policy *policy)
{
	SSL_CTX_set_verify(context, mode, NULL);
	SSL_CTX_set_cert_verify_callback(context, verify_peer, (void *)policy);
}

void engine_explain(SSL *ssl, const char *why)
{
	struct engine *engine = SSL_get_app_data(ssl);

	if (!*engine->why)
		snprintf(engine->why, sizeof(engine->why), "%s", why);
}

/* ---- the life of an engine ---- */

static bool start(struct engine *engine, SSL_CTX *context)
{
	BIO *bio;

	engine->input_total = 0;
	engine->output_length = 0;
	engine->alert_sent = engine->alert_received = KTLSD_NO_ALERT;
	engine->server_name = NULL;
	engine->psk = NULL;
	memset(&engine->verification, 0, sizeof(engine->verification));
	engine->why[0] = '\0';
	engine->ssl = SSL_new(context);
	bio = BIO_new(bio_method);
	if (!engine->ssl || !bio) {
		BIO_free(bio);
		return false;
	}
	BIO_set_data(bio, engine);
	BIO_set_init(bio, 1);
	SSL_set_bio(engine->ssl, bio, bio);
	SSL_set_app_data(engine->ssl, engine);
	return true;
}

bool engine_start_server(struct engine *engine, SSL_CTX *context)
{
	if (!start(engine, context))
		return false;
	engine->secrets.server = true;
	SSL_set_accept_state(engine->ssl);
	return true;
}

bool engine_is_silent(const struct engine *engine)
{
	OSSL_HANDSHAKE_STATE state = engine->ssl ? SSL_get_state(engine->ssl) : TLS_ST_BEFORE;

	return state == TLS_ST_BEFORE || state == TLS_ST_SR_CLNT_HELLO;
}

bool engine_start_client(struct engine *engine, SSL_CTX *context, const char *server_name, const uint8_t *alpn,
			 size_t alpn_length)
{
	if (!start(engine, context))
		return false;
	engine->secrets.server = false;
	SSL_set_connect_state(engine->ssl);
	engine->server_name = server_name;
	SSL_set_tlsext_status_type(engine->ssl, TLSEXT_STATUSTYPE_ocsp); /* some certificates demand a staple */
	return (!verify_is_dns_name(server_name) || SSL_set_tlsext_host_name(engine->ssl, server_name) == 1) &&
	       (alpn_length == 0 || SSL_set_alpn_protos(engine->ssl, alpn, alpn_length) == 0);
}

/* ---- external pre-shared keys ---- */

static int offer_psk(SSL *ssl, const EVP_MD *digest, const unsigned char **identity, size_t *length,
		     SSL_SESSION **session)
{
	struct psk *psk = ((struct engine *)SSL_get_app_data(ssl))->psk;

	*session = psk_session(ssl, psk);
	*identity = (const unsigned char *)psk->identity;
	*length = strlen(psk->identity);
	/* After a HelloRetryRequest the hash is settled: one that does not fit is not offered again. */
	if (*session && digest &&
	    !EVP_MD_is_a(digest,
			 EVP_MD_get0_name(SSL_CIPHER_get_handshake_digest(SSL_SESSION_get0_cipher(*session))))) {
		SSL_SESSION_free(*session);
		*session = NULL;
	}
	return 1;
}

static int find_psk(SSL *ssl, const unsigned char *identity, size_t length, SSL_SESSION **session)
{
	struct psk *psk = ((struct engine *)SSL_get_app_data(ssl))->psk;
	const char *why;

	*session = NULL;
	if (psk_find(psk, identity, length, &why))
		*session = psk_session(ssl, psk);
	else
		engine_explain(ssl, why);
	return 1;
}

bool engine_use_psk(struct engine *engine, struct psk *psk)
{
	engine->psk = psk;
	SSL_set_psk_find_session_callback(engine->ssl, engine->secrets.server ? find_psk : NULL);
	SSL_set_psk_use_session_callback(engine->ssl, engine->secrets.server ? NULL : offer_psk);
	SSL_set_min_proto_version(engine->ssl, TLS1_3_VERSION);
	SSL_set_num_tickets(engine->ssl, 0);
	if (engine->secrets.server || psk_limit_suites(engine->ssl, psk))
		return true;
	engine_explain(engine->ssl, "the service has no cipher suite with the hash of the pre-shared key");
	return false;
}

/* The first is ours, those behind it its intermediates. */
static STACK_OF(X509) *read_certificates(const uint8_t *der, size_t length)
{
	STACK_OF(X509) *certificates = sk_X509_new_null();
	const uint8_t *end = der + length;
	X509 *certificate;

	while (certificates && der < end) {
		certificate = d2i_X509(NULL, &der, end - der);
		if (!certificate || !sk_X509_push(certificates, certificate)) {
			X509_free(certificate);
			sk_X509_pop_free(certificates, X509_free);
			return NULL;
		}
	}
	return certificates;
}

bool engine_use_certificate(struct engine *engine, const uint8_t *certificate, size_t certificate_length,
			    const uint8_t *key, size_t key_length)
{
	STACK_OF(X509) *chain = read_certificates(certificate, certificate_length);
	X509 *leaf = sk_X509_shift(chain);
	EVP_PKEY *private = d2i_AutoPrivateKey(NULL, &key, (long)key_length);
	bool good;

	SSL_certs_clear(engine->ssl); /* those with keys of another type would stay */
	good = leaf && private && SSL_use_cert_and_key(engine->ssl, leaf, private, chain, 1) == 1;
	if (!good)
		engine_explain(engine->ssl,
			       "the keyring's certificate or private key is no DER, or they don't belong together");
	X509_free(leaf);
	sk_X509_pop_free(chain, X509_free);
	EVP_PKEY_free(private);
	ERR_clear_error();
	return good;
}

/* ---- the end ---- */

/*
 * Records under the application keys in the flight that completes a TLS 1.3 handshake in the server role: the tickets,
 * all of them, because what came before left with an earlier flight.
 */
static uint64_t count_records(const uint8_t *output, size_t length)
{
	uint64_t records = 0;
	size_t at;

	for (at = 0; at + SSL3_RT_HEADER_LENGTH <= length;
	     at += SSL3_RT_HEADER_LENGTH + (output[at + 3] << 8 | output[at + 4]))
		records += output[at] == SSL3_RT_APPLICATION_DATA;
	return records;
}

static enum engine_status fail(struct engine *engine, const char *why)
{
	if (!*engine->why)
		snprintf(engine->why, sizeof(engine->why), "%s", why);
	return ENGINE_FAILED;
}

static void count_sequences(struct engine *engine)
{
	if (SSL_version(engine->ssl) != TLS1_3_VERSION)
		engine->secrets.tx_seq = engine->secrets.rx_seq = 1; /* the Finished messages */
	else if (engine->secrets.server)
		engine->secrets.tx_seq = count_records(engine->output, engine->output_length);
}

/* What was pending, with what is known now. */
static enum engine_status decide(struct engine *engine)
{
	struct verification *verification = &engine->verification;

	take_staple(engine);
	verification->staple_may_come = false;
	if (!verify_rest(verification->policy, SSL_get0_verified_chain(engine->ssl), verification)) {
		engine_explain(engine->ssl, verification->why);
		return ENGINE_REFUSED;
	}
	return verification->pending ? ENGINE_UNDECIDED : ENGINE_DONE;
}

static enum engine_status done(struct engine *engine)
{
	if (SSL_has_pending(engine->ssl))
		return fail(engine, "the peer put another message into the record that ends the handshake");
	if (engine->psk && !SSL_session_reused(engine->ssl))
		return fail(engine, "the peer did not use the pre-shared key");
	engine->secrets.tx_seq = engine->secrets.rx_seq = 0;
	count_sequences(engine);
	return engine->verification.pending ? decide(engine) : ENGINE_DONE;
}

static bool send_tickets(struct engine *engine, unsigned int count)
{
	if (!SSL_is_server(engine->ssl) || SSL_version(engine->ssl) != TLS1_3_VERSION)
		return true;
	while (count-- > 0) {
		if (SSL_new_session_ticket(engine->ssl) != 1)
			return false;
	}
	return SSL_do_handshake(engine->ssl) == 1;
}

enum engine_status engine_decide(struct engine *engine, const struct ocsp_verdict *verdict, unsigned int tickets)
{
	enum engine_status status;

	ERR_clear_error();
	engine->verification.verdict = verdict;
	status = decide(engine);
	engine->verification.verdict = NULL;
	if (status != ENGINE_DONE)
		return ENGINE_REFUSED;
	if (!send_tickets(engine, tickets))
		return fail(engine, "OpenSSL makes no tickets");
	count_sequences(engine);
	return ENGINE_DONE;
}

bool engine_refuse(struct engine *engine)
{
	uint8_t alert = engine->verification.error == X509_V_ERR_CERT_REVOKED ? SSL_AD_CERTIFICATE_REVOKED
									      : SSL_AD_CERTIFICATE_UNKNOWN;
	const uint8_t record[] = {SSL3_RT_ALERT, 3, 3, 0, 2, SSL3_AL_FATAL, alert};

	engine->alert_sent = alert;
	if (SSL_version(engine->ssl) == TLS1_3_VERSION || !SSL_is_server(engine->ssl))
		return false;
	/* In the place of the flight with our ChangeCipherSpec. An output that held that has room for this. */
	memcpy(engine->output, record, sizeof(record));
	engine->output_length = sizeof(record);
	return true;
}

static enum engine_status explain_failure(struct engine *engine)
{
	unsigned long error = ERR_peek_error();
	const char *reason = ERR_reason_error_string(error);

	if (engine->alert_received != KTLSD_NO_ALERT && !*engine->why)
		snprintf(engine->why, sizeof(engine->why), "the peer sent the alert \"%s\"",
			 SSL_alert_desc_string_long(engine->alert_received));
	return fail(engine, reason ? reason : "OpenSSL gives no reason");
}

enum engine_status engine_step(struct engine *engine, const uint8_t *input, size_t length, size_t *taken)
{
	enum engine_status status;
	int result;

	ERR_clear_error();
	engine->input = input;
	engine->input_length = length;
	engine->input_taken = 0;
	result = SSL_do_handshake(engine->ssl);
	*taken = engine->input_taken;
	engine->input_total += engine->input_taken;
	engine->input =
		NULL; /* somebody else's from here on, and OpenSSL may be called again: for tickets, for secrets */
	engine->input_length = engine->input_taken = 0;
	if (result == 1)
		status = done(engine);
	else if (SSL_get_error(engine->ssl, result) != SSL_ERROR_WANT_READ)
		status = explain_failure(engine);
	else if (engine->input_total > ENGINE_INPUT_MAX)
		status = fail(engine, "the peer sent too much handshake");
	else
		status = ENGINE_WANTS_INPUT;
	ERR_clear_error();
	return status;
}

bool engine_export_secrets(struct engine *engine)
{
	struct session_secrets *secrets = &engine->secrets;
	const SSL *ssl = engine->ssl;

	secrets->suite = cipher_suite_find(SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl)));
	if (!secrets->suite || !cipher_suite_offered(secrets->suite)) {
		fail(engine, "the agreed cipher suite is none that the kernel takes");
		return false;
	}
	if (secrets->suite->version == TLS1_3_VERSION)
		return true;
	return SSL_SESSION_get_master_key(SSL_get0_session(ssl), secrets->master, sizeof(secrets->master)) ==
		       sizeof(secrets->master) &&
	       SSL_get_client_random(ssl, secrets->client_random, RANDOM_LENGTH) == RANDOM_LENGTH &&
	       SSL_get_server_random(ssl, secrets->server_random, RANDOM_LENGTH) == RANDOM_LENGTH;
}

static uint16_t group_id(SSL *ssl)
{
	long group = SSL_get_negotiated_group(ssl);

	switch (group) {
	case NID_X9_62_prime256v1:
		return 23;
	case NID_secp384r1:
		return 24;
	case NID_secp521r1:
		return 25;
	case NID_X25519:
		return 29;
	case NID_X448:
		return 30;
	}
	/* OpenSSL has no number of its own for the newer ones and passes on IANA's, marked. */
	return group & TLSEXT_nid_unknown ? group & 0xffff : 0;
}

static void describe_names(SSL *ssl, struct outcome *outcome)
{
	const char *server_name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	const unsigned char *alpn;
	unsigned int length;

	if (server_name && SSL_is_server(ssl))
		snprintf(outcome->server_name, sizeof(outcome->server_name), "%s", server_name);
	SSL_get0_alpn_selected(ssl, &alpn, &length);
	if (length < sizeof(outcome->alpn)) {
		memcpy(outcome->alpn, alpn ? alpn : (const unsigned char *)"", length);
		outcome->alpn_length = length;
	}
}

/* Leaf first. In the server role OpenSSL keeps the leaf apart. */
static STACK_OF(X509) *peer_chain_of(SSL *ssl)
{
	STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl) ? X509_chain_up_ref(SSL_get_peer_cert_chain(ssl)) : NULL;
	X509 *leaf = SSL_is_server(ssl) ? SSL_get1_peer_certificate(ssl) : NULL;

	if (leaf && !chain)
		chain = sk_X509_new_null();
	if (leaf && (!chain || !sk_X509_unshift(chain, leaf)))
		X509_free(leaf);
	return chain;
}

void engine_describe(struct engine *engine, unsigned int want, struct outcome *outcome)
{
	SSL *ssl = engine->ssl;
	const SSL_CIPHER *cipher =
		SSL_get_current_cipher(ssl) ? SSL_get_current_cipher(ssl) : SSL_get_pending_cipher(ssl);
	const SSL_SESSION *session = SSL_get0_session(ssl);
	uint8_t fragment = session ? SSL_SESSION_get_max_fragment_length(session) : 0;

	memset(outcome, 0, sizeof(*outcome));
	describe_names(ssl, outcome);
	outcome->peer = SSL_get1_peer_certificate(ssl);
	/* Without a certificate, the name is of a ticket that was looked at and then not taken. */
	if (outcome->peer && engine->verification.peer_name)
		snprintf(outcome->peer_name, sizeof(outcome->peer_name), "%s", engine->verification.peer_name);
	if (!cipher) /* nothing was agreed on */
		return;
	outcome->version = SSL_version(ssl);
	outcome->cipher = SSL_CIPHER_get_protocol_id(cipher);
	outcome->group = group_id(ssl);
	if (SSL_session_reused(ssl) && !engine->psk)
		outcome->flags |= KTLSD_RESULT_RESUMED;
	if (fragment >= TLSEXT_max_fragment_length_512 && fragment <= TLSEXT_max_fragment_length_4096)
		outcome->max_fragment = 256u << fragment;
	if (outcome->peer && SSL_is_init_finished(ssl) && SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE &&
	    SSL_get_verify_result(ssl) == X509_V_OK)
		outcome->flags |= KTLSD_RESULT_VERIFIED;
	if (want & KTLSD_WANT_CHAIN)
		outcome->chain = peer_chain_of(ssl);
	if (want & KTLSD_WANT_CHANNEL_BINDING && SSL_is_init_finished(ssl))
		SSL_export_keying_material(ssl, outcome->channel_binding, sizeof(outcome->channel_binding),
					   CHANNEL_BINDING_LABEL, strlen(CHANNEL_BINDING_LABEL), (const uint8_t *)"", 0,
					   1);
}

void outcome_clear(struct outcome *outcome)
{
	X509_free(outcome->peer);
	sk_X509_pop_free(outcome->chain, X509_free);
	outcome->peer = NULL;
	outcome->chain = NULL;
}

void engine_stop(struct engine *engine)
{
	SSL_free(engine->ssl);
	engine->ssl = NULL;
	OPENSSL_cleanse(&engine->secrets, sizeof(engine->secrets));
}
