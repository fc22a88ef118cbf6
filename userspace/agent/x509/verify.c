/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <ktlsd/protocol.h>

#include "explain.h"
#include "identity.h"
#include "moment.h"
#include "revocation.h"
#include "verify.h"

#define STRENGTH 2 /* OpenSSL's security level: 112 bits, so RSA from 2048 bits on, and no SHA-1 */

static int verification_index = -1; /* of a struct verification in a X509_STORE_CTX */

bool verify_init(void)
{
	verification_index = X509_STORE_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	return verification_index >= 0;
}

static bool within_leeway(const struct policy *policy, const X509 *certificate, int64_t now)
{
	return moment_of(X509_get0_notBefore(certificate)) <= now + policy->leeway &&
	       moment_of(X509_get0_notAfter(certificate)) >= now - policy->leeway;
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
	return explain_error(v, store);
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

/* ---- what the service demands beyond it ---- */

/* RFC 5280 §4.2.1.9 for all but the root, whom the service trusts as it is: OpenSSL lets some without basicConstraints pass. */
static bool check_authorities(struct verification *v, const STACK_OF(X509) *chain)
{
	char subject[160];
	int i;

	for (i = 1; i < sk_X509_num(chain) - 1; i++) {
		X509 *authority = sk_X509_value(chain, i);

		if (X509_check_ca(authority) != 1)
			return verify_fail(
				v, X509_V_ERR_INVALID_CA, "chain",
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
		verify_fail(v, X509_V_ERR_INVALID_PURPOSE, "purpose",
			    "the peer's certificate lacks the purpose %s that the service requires: it has %s", oid,
			    found);
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
		return verify_fail(
			v, X509_V_ERR_INVALID_PURPOSE, "purpose",
			"the peer's certificate may not be used for this (unsuitable certificate purpose): it has %s; "
			"expected %s",
			found, purpose_needed(policy));
	if (!(usage & KU_DIGITAL_SIGNATURE) && !policy->without_signature)
		return verify_fail(
			v, X509_V_ERR_INVALID_PURPOSE, "purpose",
			"the peer's certificate may not be used for this (unsuitable certificate purpose): its keyUsage "
			"lacks digitalSignature");
	if (!check_further_purposes(v, leaf, found))
		return false;
	verify_pass(v, "purpose", "%s", found);
	if (policy->policies)
		verify_pass(v, "policies", "valid for one of the service's require_policies");
	return true;
}

static bool is_address(const char *name)
{
	struct in6_addr address;

	return inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1;
}

/* "urn:uuid:..." is one, too; no host's name has a colon. */
static bool is_uri(const char *name)
{
	return strchr(name, ':') && !is_address(name);
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
			verify_skip(v, "name", "none was given; in a handshake the caller names the server");
		return true;
	}
	if (!is_sane(name))
		return verify_fail(
			v, X509_V_ERR_HOSTNAME_MISMATCH, "name",
			"what the caller gave as the server's name can be no name; expected printable characters without "
			"spaces, and no dot or star in front");
	if (!carries_name(leaf, name))
		return verify_fail(
			v, mismatch_of(name), "name",
			"the server's certificate is not for \"%.160s\" (%s): it is for %s (subjectAltName; a common name "
			"does not count)",
			name, X509_verify_cert_error_string(mismatch_of(name)), names_of(leaf, names, sizeof(names)));
	verify_pass(v, "name", "it is for %s", name);
	return true;
}

static bool check_peers(struct verification *v, X509 *leaf)
{
	char names[200], subject[160], fingerprint[IDENTITY_SHA256] = "";
	const struct peer_entry *entry;

	if (!v->policy->peers) {
		verify_skip(v, "allow list", "the service has none (allow_peer): whoever verifies is admitted");
		return true;
	}
	entry = peers_find(v->policy->peers, leaf);
	if (!entry) {
		identity_fingerprint(leaf, fingerprint);
		return verify_fail(v, X509_V_ERR_APPLICATION_VERIFICATION, "allow list",
				   "the peer is not in the service's allow list (allow_peer): %s, %s, sha256:%s",
				   subject_of(leaf, subject), names_of(leaf, names, sizeof(names)), fingerprint);
	}
	v->peer_name = entry->name;
	verify_pass(v, "allow list", "%s, on line %u of its list%s%s", entry->identity, entry->line,
		    entry->name ? ", as " : "", entry->name ? entry->name : "");
	return true;
}

/* ---- all of it ---- */

static bool check(struct verification *v, const STACK_OF(X509) *chain, const char *name)
{
	X509 *leaf = sk_X509_value(chain, 0);

	explain_chain(v, chain);
	return check_authorities(v, chain) && check_purpose(v, leaf) && check_name(v, leaf, name) &&
	       check_peers(v, leaf) && revocation_check(v, chain);
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
		return verify_fail(v, X509_V_ERR_OUT_OF_MEM, "chain", "out of memory");
	prepare(policy, store);
	if (X509_verify_cert(store) != 1)
		verify_fail(v, X509_STORE_CTX_get_error(store), "chain", "%s",
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
	return revocation_check(v, chain);
}

bool verify_again(const struct policy *policy, X509 *certificate, const uint8_t *note, size_t length,
		  struct verification *v)
{
	begin(v, policy);
	if (!within_leeway(policy, certificate, time(NULL)))
		return explain_dates(v, X509_V_ERR_CERT_HAS_EXPIRED, "the peer's certificate", certificate);
	return check_peers(v, certificate) && revocation_check_again(v, certificate, note, length);
}
