/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <ktlsd/protocol.h>

#include "identity.h"
#include "log.h"
#include "moment.h"
#include "responder.h"
#include "verify.h"

#define STRENGTH 2 /* OpenSSL's security level: 112 bits, so RSA from 2048 bits on, and no SHA-1 */

static int verification_index = -1; /* of a struct verification in a X509_STORE_CTX */

bool verify_init(void)
{
	verification_index = X509_STORE_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	return verification_index >= 0;
}

/* ---- the policy ---- */

static STACK_OF(ASN1_OBJECT) *read_oids(const struct setting_list *list, const char *what,
					struct complaints *complaints)
{
	STACK_OF(ASN1_OBJECT) *oids = NULL;
	const struct setting *setting;

	TAILQ_FOREACH(setting, list, next) {
		ASN1_OBJECT *oid = OBJ_txt2obj(setting->text, 0);

		ERR_clear_error();
		if (!oid) {
			complain(complaints, setting->line, "\"%s\" is no %s; expected an OID such as 1.2.3.4",
				 setting->text, what);
			continue;
		}
		if ((!oids && !(oids = sk_ASN1_OBJECT_new_null())) || !sk_ASN1_OBJECT_push(oids, oid))
			log_fatal("out of memory");
	}
	return oids;
}

bool policy_build(struct policy *policy, const struct service_settings *settings, struct complaints *complaints)
{
	unsigned int before = complaints->count;

	*policy = (struct policy){
		.role = settings->role,
		.max_depth = settings->max_depth,
		.leeway = settings->leeway,
		.any_purpose = settings->any_purpose,
		.without_signature = settings->rsa_key_transport,
		.crl_leaf_only = settings->crl_leaf_only,
		.crl_expired_will_do = settings->crl_expired_will_do,
		.unknown_will_do = settings->unknown_will_do,
		.ocsp = settings->ocsp,
		.ocsp_settings = {.timeout_ms = settings->ocsp_timeout_ms,
				  .refresh = settings->ocsp_refresh,
				  .max_age = settings->ocsp_max_age,
				  .leeway = settings->leeway,
				  .nonce = settings->ocsp_nonce},
	};
	if (settings->ocsp_responder.text && !(policy->ocsp_responder = strdup(settings->ocsp_responder.text)))
		log_fatal("out of memory");
	policy->ocsp_settings.responder = policy->ocsp_responder;
	if (settings->role == KTLSD_SERVER && !settings->client_certificate)
		return true;
	policy->trust = trust_get(settings, complaints);
	policy->purposes = read_oids(&settings->purposes, "purpose (extended key usage)", complaints);
	policy->policies = read_oids(&settings->policies, "certificate policy", complaints);
	policy->peers = peers_load(settings, complaints);
	return complaints->count == before;
}

void policy_clear(struct policy *policy)
{
	trust_put(policy->trust);
	sk_ASN1_OBJECT_pop_free(policy->purposes, ASN1_OBJECT_free);
	sk_ASN1_OBJECT_pop_free(policy->policies, ASN1_OBJECT_free);
	peers_free(policy->peers);
	free(policy->ocsp_responder);
}

/* ---- words ---- */

static void pass(struct verification *v, const char *step, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static bool fail(struct verification *v, int error, const char *step, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

static void tell(struct verification *v, enum verify_verdict verdict, const char *step, const char *format,
		 va_list arguments)
{
	char text[sizeof(v->why)];

	vsnprintf(text, sizeof(text), format, arguments);
	v->explain(v->argument, verdict, step, text);
}

static void pass(struct verification *v, const char *step, const char *format, ...)
{
	va_list arguments;

	if (!v->explain)
		return;
	va_start(arguments, format);
	tell(v, VERIFY_PASSED, step, format, arguments);
	va_end(arguments);
}

static void skip(struct verification *v, const char *step, const char *text)
{
	if (v->explain)
		v->explain(v->argument, VERIFY_SKIPPED, step, text);
}

/* Always false. The first reason stays. */
static bool fail(struct verification *v, int error, const char *step, const char *format, ...)
{
	va_list arguments;

	if (v->error != X509_V_OK)
		return false;
	v->error = error != X509_V_OK ? error : X509_V_ERR_UNSPECIFIED;
	va_start(arguments, format);
	vsnprintf(v->why, sizeof(v->why), format, arguments);
	va_end(arguments);
	if (v->explain)
		v->explain(v->argument, VERIFY_FAILED, step, v->why);
	return false;
}

static const char *subject_of(X509 *certificate, char text[160])
{
	if (!identity_text(X509_get_subject_name(certificate), text, 160))
		strcpy(text, "no subject, or a long one");
	return text;
}

static const char *issuer_of(X509 *certificate, char text[160])
{
	if (!identity_text(X509_get_issuer_name(certificate), text, 160))
		strcpy(text, "no name, or a long one");
	return text;
}

/* Appends "serverAuth (1.3.6.1.5.5.7.3.1)", or "1.2.3.4" where there is no name for it, as far as it fits. */
static size_t add_oid(char *text, size_t size, size_t used, const ASN1_OBJECT *object)
{
	int nid = OBJ_obj2nid(object);
	char oid[80];

	if (used + 100 >= size)
		return used;
	OBJ_obj2txt(oid, sizeof(oid), object, 1);
	return used + snprintf(text + used, size - used, "%s%s%s%s%s", used ? ", " : "", nid ? OBJ_nid2sn(nid) : "",
			       nid ? " (" : "", oid, nid ? ")" : "");
}

static const char *purposes_of(X509 *certificate, char *text, size_t size)
{
	EXTENDED_KEY_USAGE *purposes = X509_get_ext_d2i(certificate, NID_ext_key_usage, NULL, NULL);
	size_t used = 0;
	int i;

	snprintf(text, size, "no extendedKeyUsage");
	for (i = 0; i < sk_ASN1_OBJECT_num(purposes); i++)
		used = add_oid(text, size, used, sk_ASN1_OBJECT_value(purposes, i));
	sk_ASN1_OBJECT_pop_free(purposes, ASN1_OBJECT_free);
	return text;
}

static const char *policies_of(X509 *certificate, char *text, size_t size)
{
	CERTIFICATEPOLICIES *policies = X509_get_ext_d2i(certificate, NID_certificate_policies, NULL, NULL);
	size_t used = 0;
	int i;

	snprintf(text, size, "no certificatePolicies");
	for (i = 0; i < sk_POLICYINFO_num(policies); i++)
		used = add_oid(text, size, used, sk_POLICYINFO_value(policies, i)->policyid);
	CERTIFICATEPOLICIES_free(policies);
	return text;
}

struct name_list {
	char *text;
	size_t size, used;
};

static bool add_name(void *argument, const char *name)
{
	struct name_list *list = argument;

	if (list->used + strlen(name) + 8 > list->size) {
		snprintf(list->text + list->used, list->size - list->used, list->used ? ", ..." : "a long name");
		return false;
	}
	list->used += snprintf(list->text + list->used, list->size - list->used, "%s%s", list->used ? ", " : "", name);
	return true;
}

static const char *names_of(X509 *certificate, char *text, size_t size)
{
	struct name_list list = {text, size, 0};

	snprintf(text, size, "no name");
	identity_names(certificate, add_name, &list);
	return text;
}

static const char *purpose_needed(const struct policy *policy)
{
	return policy->role == KTLSD_SERVER ? "clientAuth (1.3.6.1.5.5.7.3.2)" : "serverAuth (1.3.6.1.5.5.7.3.1)";
}

/* ---- what OpenSSL finds ---- */

static bool within_leeway(const struct policy *policy, const X509 *certificate, int64_t now)
{
	return moment_of(X509_get0_notBefore(certificate)) <= now + policy->leeway &&
	       moment_of(X509_get0_notAfter(certificate)) >= now - policy->leeway;
}

static bool explain_dates(struct verification *v, int error, const char *which, X509 *certificate)
{
	char from[MOMENT_TEXT], until[MOMENT_TEXT], now[MOMENT_TEXT];

	moment_text(moment_of(X509_get0_notBefore(certificate)), from);
	moment_text(moment_of(X509_get0_notAfter(certificate)), until);
	return fail(v, error, "validity", "%s %s: valid from %s until %s, and the clock says %s%s", which,
		    error == X509_V_ERR_CERT_NOT_YET_VALID ? "is not yet valid" : "has expired", from, until,
		    moment_text(time(NULL), now),
		    error == X509_V_ERR_CERT_NOT_YET_VALID ? ": look after the clocks" : ": renew it");
}

/* The OIDs of critical extensions that OpenSSL does not know. */
static bool explain_extensions(struct verification *v, int error, const char *which, const X509 *certificate)
{
	char text[200] = "", oid[80];
	size_t used = 0;
	int i;

	for (i = 0; i < X509_get_ext_count(certificate) && used + sizeof(oid) < sizeof(text); i++) {
		X509_EXTENSION *extension = X509_get_ext(certificate, i);

		if (!X509_EXTENSION_get_critical(extension) || X509_supported_extension(extension))
			continue;
		OBJ_obj2txt(oid, sizeof(oid), X509_EXTENSION_get_object(extension), 1);
		used += snprintf(text + used, sizeof(text) - used, "%s%s", used ? ", " : "", oid);
	}
	return fail(v, error, "chain", "%s has a critical extension that nobody here understands: %s", which, text);
}

static bool explain_purpose(struct verification *v, int error, const char *which, int depth, X509 *certificate)
{
	char purposes[256];
	const char *kind = depth ? "an authority with a purpose of the kind" : "the purpose";

	return fail(
		v, error, "purpose",
		"%s may not be used for this (unsuitable certificate purpose): it has %s; expected %s %s, and a keyUsage "
		"that allows it",
		which, purposes_of(certificate, purposes, sizeof(purposes)), kind, purpose_needed(v->policy));
}

/* OpenSSL takes a key that can't be read for one without strength. */
#define WEAK_KEY "has a key that is too weak, or can't be read; expected RSA from 2048 bits, ECDSA or EdDSA"

static const struct {
	int error;
	const char *step, *text;
} explanations[] = {
	{X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "chain",
	 "is self-signed, and not in the service's ca: put it there, or have it issued by an authority that is"},
	{X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "chain", "is a root that is not in the service's ca"},
	{X509_V_ERR_CERT_SIGNATURE_FAILURE, "chain",
	 "does not bear its issuer's signature: an authority of the same name, but with another key, issued it"},
	{X509_V_ERR_CERT_CHAIN_TOO_LONG, "chain", "has more intermediates above it than the service's max_depth"},
	{X509_V_ERR_INVALID_CA, "chain", "issued a certificate, but is no authority (basicConstraints)"},
	{X509_V_ERR_PATH_LENGTH_EXCEEDED, "chain", "has more authorities below it than its basicConstraints allow"},
	{X509_V_ERR_KEYUSAGE_NO_CERTSIGN, "chain", "issued a certificate, but its keyUsage does not allow that"},
	{X509_V_ERR_PERMITTED_VIOLATION, "chain", "has a name that an issuer's name constraints do not permit"},
	{X509_V_ERR_EXCLUDED_VIOLATION, "chain", "has a name that an issuer's name constraints exclude"},
	{X509_V_ERR_EE_KEY_TOO_SMALL, "strength", WEAK_KEY},
	{X509_V_ERR_CA_KEY_TOO_SMALL, "strength", WEAK_KEY},
	{X509_V_ERR_CA_MD_TOO_WEAK, "strength", "is signed with a hash that is too weak; expected SHA-256 or better"},
};

static bool has_authority_named(const struct trust *trust, const X509_NAME *name)
{
	int i;

	for (i = 0; i < sk_X509_num(trust->authorities); i++) {
		if (X509_NAME_cmp(X509_get_subject_name(sk_X509_value(trust->authorities, i)), name) == 0)
			return true;
	}
	return false;
}

static bool explain_missing_issuer(struct verification *v, int error, const char *which, X509 *certificate)
{
	char issuer[160];

	issuer_of(certificate, issuer);
	if (X509_get_extension_flags(certificate) & EXFLAG_INVALID)
		return fail(v, error, "chain",
			    "%s: no issuer can be found: its extensions are damaged, or one is there twice", which);
	if (has_authority_named(v->policy->trust, X509_get_issuer_name(certificate)))
		return fail(
			v, error, "chain",
			"%s: unable to get its issuer's certificate (%s): the service's ca has one of that name, but with "
			"another key, or it may not issue",
			which, issuer);
	return fail(
		v, error, "chain",
		"%s: unable to get its issuer's certificate (%s), which the peer did not send and the service's ca does not "
		"have: the peer has to send its intermediates, or ca lacks an authority",
		which, issuer);
}

/* OpenSSL names no certificate here: it is the chain as a whole. */
static bool explain_policies(struct verification *v, int error, X509 *leaf)
{
	char policies[200], subject[160];

	return fail(
		v, error, "policies",
		"the peer's certificate (%s) is not valid for any of the service's require_policies: it has %s; expected one of "
		"them, in each authority below the root, too",
		subject_of(leaf, subject), policies_of(leaf, policies, sizeof(policies)));
}

static bool explain(struct verification *v, X509_STORE_CTX *store)
{
	X509 *certificate = X509_STORE_CTX_get_current_cert(store);
	int error = X509_STORE_CTX_get_error(store), depth = X509_STORE_CTX_get_error_depth(store);
	char which[256], subject[160];
	size_t i;

	if (error == X509_V_ERR_NO_EXPLICIT_POLICY)
		return explain_policies(v, error, X509_STORE_CTX_get0_cert(store));
	if (!certificate)
		return fail(v, error, "chain", "%s", X509_verify_cert_error_string(error));
	snprintf(which, sizeof(which), "certificate %d of the peer's chain (%s)", depth,
		 subject_of(certificate, subject));
	switch (error) {
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
		return explain_missing_issuer(v, error, which, certificate);
	case X509_V_ERR_CERT_NOT_YET_VALID:
	case X509_V_ERR_CERT_HAS_EXPIRED:
		return explain_dates(v, error, which, certificate);
	case X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION:
		return explain_extensions(v, error, which, certificate);
	case X509_V_ERR_INVALID_PURPOSE:
		return explain_purpose(v, error, which, depth, certificate);
	}
	for (i = 0; i < sizeof(explanations) / sizeof(*explanations); i++) {
		if (explanations[i].error == error)
			return fail(v, error, explanations[i].step, "%s %s", which, explanations[i].text);
	}
	return fail(v, error, "chain", "%s: %s", which, X509_verify_cert_error_string(error));
}

/* An authority whose only purpose is any: its leaf is looked at by check_purpose(). */
static bool any_purpose_will_do(const struct policy *policy, X509 *certificate, int depth)
{
	uint32_t usage = X509_get_key_usage(certificate), needed = depth ? KU_KEY_CERT_SIGN : KU_DIGITAL_SIGNATURE;

	return policy->any_purpose && X509_get_extended_key_usage(certificate) & XKU_ANYEKU && usage & needed &&
	       (depth == 0 || X509_check_ca(certificate) == 1);
}

/* OpenSSL's callback: what it objects to, and whether that is forgiven. */
static int judge(int good, X509_STORE_CTX *store)
{
	struct verification *v = X509_STORE_CTX_get_ex_data(store, verification_index);
	X509 *certificate = X509_STORE_CTX_get_current_cert(store);

	if (good)
		return 1;
	switch (X509_STORE_CTX_get_error(store)) {
	case X509_V_ERR_CERT_NOT_YET_VALID:
	case X509_V_ERR_CERT_HAS_EXPIRED:
		if (certificate && within_leeway(v->policy, certificate, time(NULL)))
			return 1;
		break;
	case X509_V_ERR_INVALID_PURPOSE:
		if (certificate && any_purpose_will_do(v->policy, certificate, X509_STORE_CTX_get_error_depth(store)))
			return 1;
		break;
	}
	return explain(v, store);
}

static void prepare(const struct policy *policy, X509_STORE_CTX *store)
{
	X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(store);

	X509_STORE_CTX_set_default(store, policy->role == KTLSD_SERVER ? "ssl_client" : "ssl_server");
	X509_VERIFY_PARAM_set_depth(param, policy->max_depth);
	if (X509_VERIFY_PARAM_get_auth_level(param) < STRENGTH)
		X509_VERIFY_PARAM_set_auth_level(param, STRENGTH);
	if (policy->policies) {
		X509_VERIFY_PARAM_set1_policies(param, policy->policies);
		X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_POLICY_CHECK | X509_V_FLAG_EXPLICIT_POLICY);
	}
	X509_STORE_CTX_set_verify_cb(store, judge);
}

/* For who wants to know what it was that passed. */
static void explain_chain(struct verification *v, const STACK_OF(X509) *chain)
{
	char text[400] = "", subject[160], from[MOMENT_TEXT], until[MOMENT_TEXT], now[MOMENT_TEXT];
	int64_t begin = INT64_MIN, end = INT64_MAX;
	size_t used = 0;
	int i;

	if (!v->explain)
		return;
	for (i = 0; i < sk_X509_num(chain); i++) {
		X509 *certificate = sk_X509_value(chain, i);
		int64_t first = moment_of(X509_get0_notBefore(certificate)),
			last = moment_of(X509_get0_notAfter(certificate));

		begin = first > begin ? first : begin;
		end = last < end ? last : end;
		if (used < sizeof(text))
			used += snprintf(text + used, sizeof(text) - used, "%s%s", i ? ", issued by " : "",
					 subject_of(certificate, subject));
	}
	pass(v, "chain", "%s, which the service trusts", text);
	pass(v, "validity", "all of it from %s until %s; the clock says %s", moment_text(begin, from),
	     moment_text(end, until), moment_text(time(NULL), now));
	pass(v, "strength", "keys and hashes of %d bits of security or more", 112);
}

/* ---- what the service demands beyond it ---- */

/* RFC 5280 §4.2.1.9 for all but the root, whom the service trusts as it is: OpenSSL lets some without basicConstraints pass. */
static bool check_authorities(struct verification *v, const STACK_OF(X509) *chain)
{
	char subject[160];
	int i;

	for (i = 1; i < sk_X509_num(chain) - 1; i++) {
		X509 *authority = sk_X509_value(chain, i);

		if (X509_check_ca(authority) != 1)
			return fail(v, X509_V_ERR_INVALID_CA, "chain",
				    "certificate %d of the peer's chain (%s) issued a certificate, but is no authority "
				    "(basicConstraints)",
				    i, subject_of(authority, subject));
	}
	return true;
}

static bool has_purpose(const EXTENDED_KEY_USAGE *purposes, const ASN1_OBJECT *wanted)
{
	int i;

	for (i = 0; i < sk_ASN1_OBJECT_num(purposes); i++) {
		if (OBJ_cmp(sk_ASN1_OBJECT_value(purposes, i), wanted) == 0)
			return true;
	}
	return false;
}

static bool check_further_purposes(struct verification *v, X509 *leaf, const char *found)
{
	EXTENDED_KEY_USAGE *purposes;
	char oid[80];
	int i;

	if (!v->policy->purposes)
		return true;
	purposes = X509_get_ext_d2i(leaf, NID_ext_key_usage, NULL, NULL);
	for (i = 0; i < sk_ASN1_OBJECT_num(v->policy->purposes); i++) {
		const ASN1_OBJECT *wanted = sk_ASN1_OBJECT_value(v->policy->purposes, i);

		if (has_purpose(purposes, wanted))
			continue;
		OBJ_obj2txt(oid, sizeof(oid), wanted, 1);
		fail(v, X509_V_ERR_INVALID_PURPOSE, "purpose",
		     "the peer's certificate lacks the purpose %s that the service requires: it has %s", oid, found);
		break;
	}
	sk_ASN1_OBJECT_pop_free(purposes, ASN1_OBJECT_free);
	return v->error == X509_V_OK;
}

/* A certificate without purposes is good for all of them in RFC 5280; here it has to say what it is for. */
static bool check_purpose(struct verification *v, X509 *leaf)
{
	const struct policy *policy = v->policy;
	uint32_t wanted = policy->role == KTLSD_SERVER ? XKU_SSL_CLIENT : XKU_SSL_SERVER;
	uint32_t purposes = X509_get_extended_key_usage(leaf), usage = X509_get_key_usage(leaf);
	char found[256] = "";

	if (v->explain || purposes == UINT32_MAX || !(purposes & wanted) || policy->purposes)
		purposes_of(leaf, found, sizeof(found));
	if (purposes == UINT32_MAX || !(purposes & (policy->any_purpose ? wanted | XKU_ANYEKU : wanted)))
		return fail(
			v, X509_V_ERR_INVALID_PURPOSE, "purpose",
			"the peer's certificate may not be used for this (unsuitable certificate purpose): it has %s; "
			"expected %s",
			found, purpose_needed(policy));
	if (!(usage & KU_DIGITAL_SIGNATURE) && !policy->without_signature)
		return fail(
			v, X509_V_ERR_INVALID_PURPOSE, "purpose",
			"the peer's certificate may not be used for this (unsuitable certificate purpose): its keyUsage "
			"lacks digitalSignature");
	if (!check_further_purposes(v, leaf, found))
		return false;
	pass(v, "purpose", "%s", found);
	if (policy->policies)
		pass(v, "policies", "valid for one of the service's require_policies");
	return true;
}

static bool is_address(const char *name)
{
	struct in6_addr address;

	return inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1;
}

static bool is_uri(const char *name)
{
	return strstr(name, "://");
}

bool verify_is_dns_name(const char *name)
{
	return !is_address(name) && !is_uri(name) && !strchr(name, '@');
}

/*
 * Whatever a caller gives as a name goes into a log. A leading dot would stand for every subdomain in OpenSSL, and a
 * star be the wildcard itself.
 */
static bool is_sane(const char *name)
{
	const char *c;

	for (c = name; *c; c++) {
		if (*c <= ' ' || *c > '~')
			return false;
	}
	return c > name && *name != '.' && *name != '*';
}

struct uri_search {
	const char *wanted;
	bool found;
};

static bool match_uri(void *argument, const char *name)
{
	struct uri_search *search = argument;

	search->found = strncmp(name, "URI:", 4) == 0 && strcmp(name + 4, search->wanted) == 0;
	return !search->found;
}

/* In subjectAltName only: no common name, no e-mail address in the subject, no partial wildcards (RFC 9525 §6.3). */
static bool carries_name(X509 *leaf, const char *name)
{
	const unsigned int flags = X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT;
	struct uri_search uri = {name, false};

	if (is_address(name))
		return X509_check_ip_asc(leaf, name, flags) == 1;
	if (is_uri(name)) {
		identity_names(leaf, match_uri, &uri);
		return uri.found;
	}
	if (strchr(name, '@'))
		return X509_check_email(leaf, name, 0, flags) == 1;
	return X509_check_host(leaf, name, 0, flags, NULL) == 1;
}

static int mismatch_of(const char *name)
{
	if (is_address(name))
		return X509_V_ERR_IP_ADDRESS_MISMATCH;
	return strchr(name, '@') && !is_uri(name) ? X509_V_ERR_EMAIL_MISMATCH : X509_V_ERR_HOSTNAME_MISMATCH;
}

static bool check_name(struct verification *v, X509 *leaf, const char *name)
{
	char names[256];

	if (!name) {
		if (v->policy->role == KTLSD_CLIENT)
			skip(v, "name", "none was given; in a handshake the caller names the server");
		return true;
	}
	if (!is_sane(name))
		return fail(
			v, X509_V_ERR_HOSTNAME_MISMATCH, "name",
			"what the caller gave as the server's name can be no name; expected printable characters without "
			"spaces, and no dot or star in front");
	if (!carries_name(leaf, name))
		return fail(
			v, mismatch_of(name), "name",
			"the server's certificate is not for \"%.160s\" (%s): it is for %s (subjectAltName; a common name "
			"does not count)",
			name, X509_verify_cert_error_string(mismatch_of(name)), names_of(leaf, names, sizeof(names)));
	pass(v, "name", "it is for %s", name);
	return true;
}

static bool check_peers(struct verification *v, X509 *leaf)
{
	char names[200], subject[160], fingerprint[IDENTITY_SHA256] = "";
	const struct peer_entry *entry;

	if (!v->policy->peers) {
		skip(v, "allow list", "the service has none (allow_peer): whoever verifies is admitted");
		return true;
	}
	entry = peers_find(v->policy->peers, leaf);
	if (!entry) {
		identity_fingerprint(leaf, fingerprint);
		return fail(v, X509_V_ERR_APPLICATION_VERIFICATION, "allow list",
			    "the peer is not in the service's allow list (allow_peer): %s, %s, sha256:%s",
			    subject_of(leaf, subject), names_of(leaf, names, sizeof(names)), fingerprint);
	}
	v->peer_name = entry->name;
	pass(v, "allow list", "%s, on line %u of its list%s%s", entry->identity, entry->line,
	     entry->name ? ", as " : "", entry->name ? entry->name : "");
	return true;
}

/* ---- revocation ---- */

static void look_up(const struct policy *policy, const X509_NAME *issuer_name, const ASN1_INTEGER *serial, X509 *issuer,
		    struct revocation *answer)
{
	const struct crl_rules rules = {time(NULL), policy->leeway, policy->crl_expired_will_do};

	crls_look_up(policy->trust->crls, issuer_name, serial, issuer, &rules, answer);
}

static void look_up_certificate(const struct policy *policy, X509 *certificate, X509 *issuer, struct revocation *answer)
{
	look_up(policy, X509_get_issuer_name(certificate), X509_get0_serialNumber(certificate), issuer, answer);
}

static bool is_good_enough(const struct policy *policy, const struct revocation *answer)
{
	return answer->status == REVOCATION_GOOD || (answer->status == REVOCATION_UNKNOWN && policy->unknown_will_do);
}

/* *listed: a list says that the peer's own certificate is good. What no list knows of it, a responder may know. */
static bool check_lists(struct verification *v, const STACK_OF(X509) *chain, bool *listed)
{
	int i, last = v->policy->crl_leaf_only ? 1 : sk_X509_num(chain);
	struct revocation answer;

	/* The root is nobody's to revoke. */
	for (i = 0; v->policy->trust->crls && i < last && i < sk_X509_num(chain) - 1; i++) {
		X509 *certificate = sk_X509_value(chain, i);
		char subject[160];

		look_up_certificate(v->policy, certificate, sk_X509_value(chain, i + 1), &answer);
		subject_of(certificate, subject);
		if (i == 0 && answer.status == REVOCATION_GOOD)
			*listed = true;
		if (!is_good_enough(v->policy, &answer) &&
		    !(i == 0 && answer.status == REVOCATION_UNKNOWN && v->policy->ocsp != OCSP_OFF))
			return fail(v, answer.error, "revocation", "certificate %d of the peer's chain (%s): %s", i,
				    subject, answer.text);
		pass(v, "revocation", "certificate %d (%s): %s", i, subject, answer.text);
	}
	return true;
}

static void look_at_staple(struct verification *v, const struct ocsp_question *question, struct ocsp_verdict *verdict)
{
	const struct ocsp_received staple = {v->staple, v->staple_length, "the server's staple", NULL};
	struct ocsp_verdict known;

	ocsp_check(question, &v->policy->ocsp_settings, &staple, time(NULL), verdict);
	/* A staple from before the revocation is still signed. */
	if (verdict->answer == OCSP_ANSWER_GOOD &&
	    responder_known(question, &v->policy->ocsp_settings, time(NULL), &known) &&
	    known.answer == OCSP_ANSWER_REVOKED && known.this_update >= verdict->this_update)
		*verdict = known;
}

/* What there is to know without asking anybody. False: somebody has to be asked, or waited for. */
static bool find_verdict(struct verification *v, const struct ocsp_question *question, bool must_staple,
			 struct ocsp_verdict *verdict)
{
	const struct policy *policy = v->policy;

	ocsp_unusable(verdict, "the server gave no staple%s", must_staple ? ", and its certificate demands one" : "");
	if (v->staple)
		look_at_staple(v, question, verdict);
	if (verdict->answer != OCSP_ANSWER_UNUSABLE)
		return true;
	if (v->staple_may_come)
		return false;
	if (must_staple || policy->ocsp != OCSP_ASK)
		return true;
	if (v->verdict)
		*verdict = *v->verdict;
	return v->verdict || responder_known(question, &policy->ocsp_settings, time(NULL), verdict);
}

static bool judge_verdict(struct verification *v, const struct ocsp_verdict *verdict, bool must_staple)
{
	const char *const what = "the peer's certificate";

	if (verdict->answer == OCSP_ANSWER_REVOKED)
		return fail(v, X509_V_ERR_CERT_REVOKED, "revocation", "%s: %s", what, verdict->text);
	if (verdict->answer != OCSP_ANSWER_GOOD && (must_staple || !v->policy->unknown_will_do))
		return fail(v, X509_V_ERR_OCSP_VERIFY_FAILED, "revocation",
			    "whether %s was revoked can't be found out: %s", what, verdict->text);
	pass(v, "revocation", "%s: %s", what, verdict->text);
	return true;
}

static bool check_responder(struct verification *v, const STACK_OF(X509) *chain, bool listed)
{
	X509 *leaf = sk_X509_value(chain, 0), *issuer = sk_X509_value(chain, 1);
	bool must_staple = v->policy->role == KTLSD_CLIENT && ocsp_must_staple(leaf);
	struct ocsp_question question;
	struct ocsp_verdict verdict;

	if (!issuer || (!must_staple && (listed || v->policy->ocsp == OCSP_OFF)))
		return true;
	question = ocsp_question(leaf, issuer);
	v->pending = !find_verdict(v, &question, must_staple, &verdict);
	if (v->pending)
		skip(v, "revocation",
		     v->staple_may_come ? "a handshake would have the server's staple to look at"
					: "the responder has not been asked yet; a handshake waits for its answer");
	return v->pending || judge_verdict(v, &verdict, must_staple);
}

static bool check_revocation(struct verification *v, const STACK_OF(X509) *chain)
{
	bool listed = false;

	if (!v->policy->trust->crls && v->policy->ocsp == OCSP_OFF)
		skip(v, "revocation", "the service looks at none (crl, ocsp)");
	return check_lists(v, chain, &listed) && check_responder(v, chain, listed);
}

/* ---- all of it ---- */

static bool check(struct verification *v, const STACK_OF(X509) *chain, const char *name)
{
	X509 *leaf = sk_X509_value(chain, 0);

	explain_chain(v, chain);
	return check_authorities(v, chain) && check_purpose(v, leaf) && check_name(v, leaf, name) &&
	       check_peers(v, leaf) && check_revocation(v, chain);
}

static void begin(struct verification *v, const struct policy *policy)
{
	v->policy = policy;
	v->why[0] = '\0';
	v->error = X509_V_OK;
	v->peer_name = NULL;
	v->pending = false;
}

bool verify_chain(const struct policy *policy, X509_STORE_CTX *store, const char *name, struct verification *v)
{
	begin(v, policy);
	if (X509_STORE_CTX_set_ex_data(store, verification_index, v) != 1)
		return fail(v, X509_V_ERR_OUT_OF_MEM, "chain", "out of memory");
	prepare(policy, store);
	if (X509_verify_cert(store) != 1)
		fail(v, X509_STORE_CTX_get_error(store), "chain", "%s",
		     X509_verify_cert_error_string(X509_STORE_CTX_get_error(store)));
	else
		check(v, X509_STORE_CTX_get0_chain(store), name);
	X509_STORE_CTX_set_error(store, v->error);
	return v->error == X509_V_OK;
}

bool verify_rest(const struct policy *policy, const STACK_OF(X509) *chain, struct verification *v)
{
	const char *peer_name = v->peer_name;

	begin(v, policy);
	v->peer_name = peer_name;
	return check_revocation(v, chain);
}

/* ---- once more, for a resumption ---- */

/*
 * The note: a head, and behind it of each authority below the root its issuer's name and its serial number, both DER, as i2d_
 * makes them. A service whose lists come to count for the whole chain later must not take the tickets of before.
 */
struct note_head {
	int64_t end;	      /* of the validity of the first certificate to expire */
	uint8_t question[32]; /* digest, where a responder is asked; else zero */
	uint8_t has_question, has_authorities;
};

static bool needs_authorities(const struct policy *policy)
{
	return policy->trust->crls && !policy->crl_leaf_only;
}

static int64_t end_of(const STACK_OF(X509) *chain)
{
	int64_t end = INT64_MAX;
	int i;

	for (i = 0; i < sk_X509_num(chain); i++) {
		int64_t last = moment_of(X509_get0_notAfter(sk_X509_value(chain, i)));

		end = last < end ? last : end;
	}
	return end;
}

/* Its end; NULL if there is not enough room. */
static uint8_t *note_authorities(const STACK_OF(X509) *chain, uint8_t *note, const uint8_t *end)
{
	int i;

	for (i = 1; i < sk_X509_num(chain) - 1; i++) {
		X509_NAME *issuer = X509_get_issuer_name(sk_X509_value(chain, i));
		ASN1_INTEGER *serial = X509_get_serialNumber(sk_X509_value(chain, i));
		int size = i2d_X509_NAME(issuer, NULL), serial_size = i2d_ASN1_INTEGER(serial, NULL);

		if (size <= 0 || serial_size <= 0 || size + serial_size > end - note)
			return NULL;
		i2d_X509_NAME(issuer, &note);
		i2d_ASN1_INTEGER(serial, &note);
	}
	return note;
}

size_t verify_note(const struct policy *policy, const STACK_OF(X509) *chain, uint8_t note[VERIFY_NOTE_MAX])
{
	struct note_head head;
	uint8_t *end;

	if (!policy->trust || !chain)
		return 0;
	memset(&head, 0, sizeof(head));
	head.end = end_of(chain);
	if (policy->ocsp == OCSP_ASK && sk_X509_num(chain) > 1) {
		struct ocsp_question question = ocsp_question(sk_X509_value(chain, 0), sk_X509_value(chain, 1));

		memcpy(head.question, question.digest, sizeof(head.question));
		head.has_question = 1;
	}
	end = needs_authorities(policy) ? note_authorities(chain, note + sizeof(head), note + VERIFY_NOTE_MAX) : NULL;
	head.has_authorities = end != NULL;
	memcpy(note, &head, sizeof(head));
	return end ? (size_t)(end - note) : sizeof(head);
}

static bool check_noted(struct verification *v, const X509_NAME *issuer, const ASN1_INTEGER *serial)
{
	struct revocation answer;

	look_up(v->policy, issuer, serial, NULL, &answer);
	return is_good_enough(v->policy, &answer) || fail(v, answer.error, "revocation", "%s", answer.text);
}

/* Our own, from a sealed ticket, and yet: nothing but whole names and numbers counts. */
static bool check_noted_authorities(struct verification *v, const uint8_t *note, const uint8_t *end)
{
	bool good = true;

	while (good && note < end) {
		X509_NAME *issuer = d2i_X509_NAME(NULL, &note, end - note);
		ASN1_INTEGER *serial = issuer ? d2i_ASN1_INTEGER(NULL, &note, end - note) : NULL;

		good = serial ? check_noted(v, issuer, serial)
			      : fail(v, X509_V_ERR_UNSPECIFIED, "revocation", "the ticket's note is damaged");
		X509_NAME_free(issuer);
		ASN1_INTEGER_free(serial);
	}
	return good;
}

static bool check_verdict_again(struct verification *v, const struct note_head *head)
{
	struct ocsp_question question = {0};
	struct ocsp_verdict verdict;

	memcpy(question.digest, head->question, sizeof(question.digest));
	if (!head->has_question || !responder_known(&question, &v->policy->ocsp_settings, time(NULL), &verdict))
		return fail(v, X509_V_ERR_OCSP_VERIFY_NEEDED, "revocation", "the responder has to be asked again");
	return judge_verdict(v, &verdict, false);
}

/* As check_lists() and check_responder() do it. */
static bool check_leaf_again(struct verification *v, X509 *certificate, const struct note_head *head)
{
	struct revocation answer = {.status = REVOCATION_UNKNOWN};
	bool asks = v->policy->ocsp == OCSP_ASK;

	if (v->policy->trust->crls)
		look_up_certificate(v->policy, certificate, NULL, &answer);
	if (answer.status == REVOCATION_REVOKED ||
	    (v->policy->trust->crls && !asks && !is_good_enough(v->policy, &answer)))
		return fail(v, answer.error, "revocation", "%s", answer.text);
	return !asks || answer.status == REVOCATION_GOOD || check_verdict_again(v, head);
}

static bool check_note(struct verification *v, X509 *certificate, const uint8_t *note, size_t length)
{
	struct note_head head;

	if (length < sizeof(head))
		return fail(v, X509_V_ERR_UNSPECIFIED, "validity", "the ticket holds nothing of the chain");
	memcpy(&head, note, sizeof(head));
	if (head.end < time(NULL) - v->policy->leeway)
		return fail(v, X509_V_ERR_CERT_HAS_EXPIRED, "validity", "an authority of the chain has expired");
	if (!check_leaf_again(v, certificate, &head))
		return false;
	if (!needs_authorities(v->policy))
		return true;
	if (!head.has_authorities)
		return fail(v, X509_V_ERR_UNSPECIFIED, "revocation", "the ticket holds no authorities");
	return check_noted_authorities(v, note + sizeof(head), note + length);
}

bool verify_again(const struct policy *policy, X509 *certificate, const uint8_t *note, size_t length,
		  struct verification *v)
{
	begin(v, policy);
	if (!within_leeway(policy, certificate, time(NULL)))
		return explain_dates(v, X509_V_ERR_CERT_HAS_EXPIRED, "the peer's certificate", certificate);
	return check_peers(v, certificate) && check_note(v, certificate, note, length);
}
