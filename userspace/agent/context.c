/* SPDX-License-Identifier: MIT */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include <ktlsd/protocol.h>

#include "cipher.h"
#include "context.h"
#include "engine.h"
#include "log.h"
#include "ticket.h"
#include "x509/revocation.h"
#include "x509/staple.h"

static bool kernel_has_max_payload;

void context_set_max_payload(bool kernel_has_it)
{
	kernel_has_max_payload = kernel_has_it;
}

/* More names than there are, or one twice, would not fit: OpenSSL then refuses the list. */
static void append_name(char *list, size_t size, const char *name)
{
	size_t length = strlen(list);

	snprintf(list + length, size - length, "%s%s", length ? ":" : "", name);
}

/* A secret encrypted to a key that is for RSA-PSS alone, or by its certificate not for that, can't be had. */
static bool takes_key_transport(const struct certificate *certificate)
{
	return EVP_PKEY_is_a(certificate->key, "RSA") && X509_get_key_usage(certificate->leaf) & KU_KEY_ENCIPHERMENT;
}

static void check_key_transport(const struct service_settings *service, const struct certificate *certificates,
				size_t count, struct complaints *complaints)
{
	bool server = service->role == KTLSD_SERVER;
	size_t i = 0;

	if (!service->rsa_key_transport)
		return;
	while (i < count && !takes_key_transport(&certificates[i]))
		i++;
	if (server && i == count)
		complain(
			complaints, service->line,
			"service \"%s\" has rsa_key_transport and no RSA certificate that can take part in it; expected one without key usage or with keyEncipherment",
			service->name);
	else
		log_line(
			LOG_WARNING,
			"service \"%s\": rsa_key_transport is on: who gets the %s private key one day can read what was recorded before",
			service->name, server ? "service's" : "server's");
}

static bool in_versions(const struct service_settings *service, const struct cipher_suite *suite)
{
	return suite->version >= service->min_version && suite->version <= service->max_version;
}

static void add_suite(struct context_settings *common, const struct cipher_suite *suite)
{
	if (!cipher_suite_offered(suite) || !in_versions(common->service, suite) ||
	    (cipher_suite_is_key_transport(suite) && !common->service->rsa_key_transport))
		return;
	if (suite->version == TLS1_3_VERSION)
		append_name(common->ciphersuites, sizeof(common->ciphersuites), suite->openssl_name);
	else
		append_name(common->cipher_list, sizeof(common->cipher_list), suite->openssl_name);
}

static void choose_suites(struct context_settings *common, struct complaints *complaints)
{
	const struct service_settings *service = common->service;
	unsigned int before = complaints->count;
	bool key_transport = TAILQ_EMPTY(&service->ciphers);
	const struct setting *setting;
	size_t i;

	TAILQ_FOREACH(setting, &service->ciphers, next) {
		const struct cipher_suite *suite = cipher_suite_named(setting->text);

		if (!suite)
			complain(complaints, setting->line,
				 "cipher \"%s\" is unknown; expected those that ktlsd.conf(5) lists", setting->text);
		else if (!in_versions(service, suite))
			complain(complaints, setting->line,
				 "cipher \"%s\" belongs to a version that the service does not have", setting->text);
		else if (cipher_suite_is_key_transport(suite) && !service->rsa_key_transport)
			complain(complaints, setting->line,
				 "cipher \"%s\" has no forward secrecy; expected rsa_key_transport = yes with it",
				 setting->text);
		else
			add_suite(common, suite);
		key_transport |= suite && cipher_suite_is_key_transport(suite);
	}
	if (service->rsa_key_transport && !key_transport)
		complain(
			complaints, service->line,
			"service \"%s\" has rsa_key_transport and none of its suites in ciphers; expected TLS_RSA_WITH_AES_128_GCM_SHA256 or TLS_RSA_WITH_AES_256_GCM_SHA384",
			service->name);
	for (i = 0; TAILQ_EMPTY(&service->ciphers) && i < cipher_suite_count; i++)
		add_suite(common, &cipher_suites[i]);
	if (complaints->count == before && !*common->ciphersuites && !*common->cipher_list)
		complain(
			complaints, service->line,
			"service \"%s\": this kernel takes none of its ciphers; ktlsctl doctor says which are missing and why",
			service->name);
}

/* Groups that this OpenSSL does not have are left out of the default, and are an error where the file names them. */
static void choose_groups(struct context_settings *common, struct complaints *complaints)
{
	static const char *const defaults[] = {"X25519MLKEM768", "X25519", "P-256", "P-384"};
	SSL_CTX *scratch = SSL_CTX_new(TLS_method());
	const struct setting *setting;
	size_t i;

	if (!scratch)
		log_fatal("out of memory");
	TAILQ_FOREACH(setting, &common->service->groups, next) {
		if (SSL_CTX_set1_groups_list(scratch, setting->text) == 1)
			append_name(common->groups, sizeof(common->groups), setting->text);
		else
			complain(complaints, setting->line,
				 "group \"%s\" is unknown to %s; expected X25519MLKEM768, X25519, "
				 "P-256, P-384 or another that it has",
				 setting->text, OpenSSL_version(OPENSSL_VERSION));
	}
	for (i = 0; TAILQ_EMPTY(&common->service->groups) && i < sizeof(defaults) / sizeof(*defaults); i++) {
		if (SSL_CTX_set1_groups_list(scratch, defaults[i]) == 1)
			append_name(common->groups, sizeof(common->groups), defaults[i]);
	}
	ERR_clear_error();
	SSL_CTX_free(scratch);
}

static STACK_OF(X509_NAME) *names_of(const STACK_OF(X509) *authorities)
{
	STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();
	int i;

	for (i = 0; i < sk_X509_num(authorities); i++) {
		X509_NAME *name = X509_NAME_dup(X509_get_subject_name(sk_X509_value(authorities, i)));

		if (!name || !names || !sk_X509_NAME_push(names, name))
			log_fatal("out of memory");
	}
	return names;
}

static void digest_trust(EVP_MD_CTX *digest, const struct trust *trust)
{
	uint8_t fingerprint[EVP_MAX_MD_SIZE];
	unsigned int length;
	int i;

	EVP_DigestUpdate(digest, &trust->system, sizeof(trust->system));
	for (i = 0; i < sk_X509_num(trust->authorities); i++) {
		if (X509_digest(sk_X509_value(trust->authorities, i), EVP_sha256(), fingerprint, &length) == 1)
			EVP_DigestUpdate(digest, fingerprint, length);
	}
}

static void digest_texts(EVP_MD_CTX *digest, const struct setting_list *list)
{
	const struct setting *setting;

	TAILQ_FOREACH(setting, list, next)
		EVP_DigestUpdate(digest, setting->text, strlen(setting->text) + 1);
	EVP_DigestUpdate(digest, "", 1);
}

/*
 * A ticket resumes only under the policy it was issued under. The certificates count by the names they carry, not by
 * their bytes: a renewed certificate is the same identity and keeps tickets good. What verify_again() looks at anew need not
 * be in here.
 */
static void digest_policy(EVP_MD_CTX *policy, const struct service_settings *service,
			  const struct certificate *certificates, size_t count)
{
	uint32_t numbers[] = {REVOCATION_NOTE_FORM,
			      service->role,
			      service->client_certificate,
			      service->min_version,
			      service->max_version,
			      service->max_depth,
			      service->any_purpose,
			      service->rsa_key_transport,
			      service->ocsp,
			      !TAILQ_EMPTY(&service->crl),
			      service->crl_leaf_only};
	size_t i;
	char **name;

	EVP_DigestUpdate(policy, service->name, strlen(service->name) + 1);
	EVP_DigestUpdate(policy, numbers, sizeof(numbers));
	digest_texts(policy, &service->purposes);
	digest_texts(policy, &service->policies);
	digest_texts(policy, &service->ciphers);
	for (i = 0; i < count; i++) {
		for (name = certificates[i].names; *name; name++)
			EVP_DigestUpdate(policy, *name, strlen(*name) + 1);
	}
}

bool context_settings_complete(struct context_settings *common, const struct certificate *certificates, size_t count,
			       struct complaints *complaints)
{
	EVP_MD_CTX *policy = EVP_MD_CTX_new();
	unsigned int before = complaints->count;

	if (!policy || EVP_DigestInit_ex(policy, EVP_sha256(), NULL) != 1)
		log_fatal("out of memory");
	digest_policy(policy, common->service, certificates, count);
	if (common->policy->trust) {
		digest_trust(policy, common->policy->trust);
		common->authorities = names_of(common->policy->trust->authorities);
	}
	check_key_transport(common->service, certificates, count, complaints);
	choose_suites(common, complaints);
	choose_groups(common, complaints);
	EVP_DigestFinal_ex(policy, common->binding, NULL);
	EVP_MD_CTX_free(policy);
	return complaints->count == before;
}

void context_settings_clear(struct context_settings *common)
{
	sk_X509_NAME_pop_free(common->authorities, X509_NAME_free);
}

/* No protocol in common ends the handshake (RFC 7301 §3.2); the order is ours. */
static int choose_alpn(SSL *ssl, const unsigned char **chosen, unsigned char *length, const unsigned char *offered,
		       unsigned int offered_length, void *argument)
{
	const struct alpn *ours = argument;

	if (SSL_select_next_proto((unsigned char **)chosen, length, ours->wire, ours->length, offered,
				  offered_length) == OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_OK;
	engine_explain(ssl, "the client offers none of the service's ALPN protocols");
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* What there is: a handshake never waits for a staple. */
static int give_staple(SSL *ssl, void *unused)
{
	const X509 *leaf = SSL_get_certificate(ssl);
	struct staple *staple = leaf ? certificate_staple(leaf) : NULL;
	uint8_t *der;
	size_t length;

	(void)unused;
	der = staple ? staple_copy(staple, time(NULL), &length) : NULL;
	if (!der)
		return SSL_TLSEXT_ERR_NOACK;
	SSL_set_tlsext_status_ocsp_resp(ssl, der, length);
	return SSL_TLSEXT_ERR_OK;
}

/* Without TLS_TX_MAX_PAYLOAD_LEN the kernel would send records larger than the client can take (RFC 6066 §4). */
static int refuse_small_records(SSL *ssl, int *alert, void *argument)
{
	const unsigned char *extension;
	size_t length;

	(void)argument;
	if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_max_fragment_length, &extension, &length) != 1)
		return SSL_CLIENT_HELLO_SUCCESS;
	engine_explain(
		ssl,
		"the client asks for max_fragment_length, which needs Linux 6.19 or newer (TLS_TX_MAX_PAYLOAD_LEN)");
	*alert = SSL_AD_HANDSHAKE_FAILURE;
	return SSL_CLIENT_HELLO_ERROR;
}

static bool add_certificate(SSL_CTX *context, const struct certificate *certificate)
{
	return SSL_CTX_use_cert_and_key(context, certificate->leaf, certificate->key, certificate->intermediates, 0) ==
	       1;
}

static bool set_versions(SSL_CTX *context, const struct context_settings *common)
{
	int least = *common->cipher_list ? TLS1_2_VERSION : TLS1_3_VERSION;
	int most = *common->ciphersuites ? TLS1_3_VERSION : TLS1_2_VERSION;

	return SSL_CTX_set_min_proto_version(context, least) == 1 &&
	       SSL_CTX_set_max_proto_version(context, most) == 1 &&
	       SSL_CTX_set_ciphersuites(context, common->ciphersuites) == 1 &&
	       (!*common->cipher_list || SSL_CTX_set_cipher_list(context, common->cipher_list) == 1) &&
	       SSL_CTX_set1_groups_list(context, common->groups) == 1;
}

static void set_trust(SSL_CTX *context, const struct context_settings *common)
{
	const int modes[] = {
		[CLIENT_CERTIFICATE_NONE] = SSL_VERIFY_NONE,
		[CLIENT_CERTIFICATE_REQUEST] = SSL_VERIFY_PEER,
		[CLIENT_CERTIFICATE_REQUIRE] = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
	};
	bool client = common->service->role == KTLSD_CLIENT;

	if (common->policy->trust)
		SSL_CTX_set1_cert_store(context, common->policy->trust->store);
	engine_set_verify(context, client ? SSL_VERIFY_PEER : modes[common->service->client_certificate],
			  common->policy);
	if (common->authorities && !client)
		SSL_CTX_set_client_CA_list(context, SSL_dup_CA_list(common->authorities));
}

static void set_server_role(SSL_CTX *context, const struct context_settings *common)
{
	SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_session_id_context(context, common->binding, sizeof(common->binding));
	SSL_CTX_set_num_tickets(context, common->service->tickets);
	if (common->service->tickets)
		tickets_use(context, common->policy);
	else
		SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
	if (common->service->staple)
		SSL_CTX_set_tlsext_status_cb(context, give_staple);
	if (common->alpn)
		SSL_CTX_set_alpn_select_cb(context, choose_alpn, (void *)common->alpn);
	if (!kernel_has_max_payload)
		SSL_CTX_set_client_hello_cb(context, refuse_small_records, NULL);
}

SSL_CTX *context_new(const struct context_settings *common, const struct certificate_choice *choice,
		     struct complaints *complaints)
{
	SSL_CTX *context = SSL_CTX_new(TLS_method());
	bool good = context && set_versions(context, common);
	int kind;

	for (kind = 0; good && kind < CONTEXT_KINDS; kind++)
		good = !choice->of_kind[kind] || add_certificate(context, choice->of_kind[kind]);
	if (!good) {
		complain(complaints, common->service->line,
			 "service \"%s\": OpenSSL refuses its certificate or settings: %s", common->service->name,
			 ERR_reason_error_string(ERR_peek_last_error()));
		ERR_clear_error();
		SSL_CTX_free(context);
		return NULL;
	}
	SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	engine_prepare(context);
	set_trust(context, common);
	if (common->service->role == KTLSD_SERVER)
		set_server_role(context, common);
	else if (common->alpn)
		SSL_CTX_set_alpn_protos(context, common->alpn->wire, common->alpn->length);
	return context;
}
