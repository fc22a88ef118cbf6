/* SPDX-License-Identifier: MIT */
#include <openssl/objects.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <ktlsd/protocol.h>

#include "explain.h"
#include "identity.h"
#include "moment.h"

static void tell(struct verification *v, enum verify_verdict verdict, const char *step, const char *format,
		 va_list arguments)
{
	char text[sizeof(v->why)];

	vsnprintf(text, sizeof(text), format, arguments);
	v->explain(v->argument, verdict, step, text);
}

void verify_pass(struct verification *v, const char *step, const char *format, ...)
{
	va_list arguments;

	if (!v->explain)
		return;
	va_start(arguments, format);
	tell(v, VERIFY_PASSED, step, format, arguments);
	va_end(arguments);
}

void verify_skip(struct verification *v, const char *step, const char *text)
{
	if (v->explain)
		v->explain(v->argument, VERIFY_SKIPPED, step, text);
}

/* Always false. The first reason stays. */
bool verify_fail(struct verification *v, int error, const char *step, const char *format, ...)
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

const char *subject_of(X509 *certificate, char text[160])
{
	if (!identity_text(X509_get_subject_name(certificate), text, 160))
		strcpy(text, "no subject, or a long one");
	return text;
}

const char *issuer_of(X509 *certificate, char text[160])
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

const char *purposes_of(X509 *certificate, char *text, size_t size)
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

const char *policies_of(X509 *certificate, char *text, size_t size)
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

const char *names_of(X509 *certificate, char *text, size_t size)
{
	struct name_list list = {text, size, 0};

	snprintf(text, size, "no name");
	identity_names(certificate, add_name, &list);
	return text;
}

const char *purpose_needed(const struct policy *policy)
{
	return policy->role == KTLSD_SERVER ? "clientAuth (1.3.6.1.5.5.7.3.2)" : "serverAuth (1.3.6.1.5.5.7.3.1)";
}

/* ---- what OpenSSL finds ---- */

bool explain_dates(struct verification *v, int error, const char *which, X509 *certificate)
{
	char from[MOMENT_TEXT], until[MOMENT_TEXT], now[MOMENT_TEXT];

	moment_text(moment_of(X509_get0_notBefore(certificate)), from);
	moment_text(moment_of(X509_get0_notAfter(certificate)), until);
	return verify_fail(v, error, "validity", "%s %s: valid from %s until %s, and the clock says %s%s", which,
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
	return verify_fail(v, error, "chain", "%s has a critical extension that nobody here understands: %s", which,
			   text);
}

static bool explain_purpose(struct verification *v, int error, const char *which, int depth, X509 *certificate)
{
	char purposes[256];
	const char *kind = depth ? "an authority with a purpose of the kind" : "the purpose";

	return verify_fail(
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
		return verify_fail(v, error, "chain",
				   "%s: no issuer can be found: its extensions are damaged, or one is there twice",
				   which);
	if (has_authority_named(v->policy->trust, X509_get_issuer_name(certificate)))
		return verify_fail(
			v, error, "chain",
			"%s: unable to get its issuer's certificate (%s): the service's ca has one of that name, but with "
			"another key, or it may not issue",
			which, issuer);
	return verify_fail(
		v, error, "chain",
		"%s: unable to get its issuer's certificate (%s), which the peer did not send and the service's ca does not "
		"have: the peer has to send its intermediates, or ca lacks an authority",
		which, issuer);
}

/* OpenSSL names no certificate here: it is the chain as a whole. */
static bool explain_policies(struct verification *v, int error, X509 *leaf)
{
	char policies[200], subject[160];

	return verify_fail(
		v, error, "policies",
		"the peer's certificate (%s) is not valid for any of the service's require_policies: it has %s; expected one of "
		"them, in each authority below the root, too",
		subject_of(leaf, subject), policies_of(leaf, policies, sizeof(policies)));
}

bool explain_error(struct verification *v, X509_STORE_CTX *store)
{
	X509 *certificate = X509_STORE_CTX_get_current_cert(store);
	int error = X509_STORE_CTX_get_error(store), depth = X509_STORE_CTX_get_error_depth(store);
	char which[256], subject[160];
	size_t i;

	if (error == X509_V_ERR_NO_EXPLICIT_POLICY)
		return explain_policies(v, error, X509_STORE_CTX_get0_cert(store));
	if (!certificate)
		return verify_fail(v, error, "chain", "%s", X509_verify_cert_error_string(error));
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
			return verify_fail(v, error, explanations[i].step, "%s %s", which, explanations[i].text);
	}
	return verify_fail(v, error, "chain", "%s: %s", which, X509_verify_cert_error_string(error));
}

/* For who wants to know what it was that passed. */
void explain_chain(struct verification *v, const STACK_OF(X509) *chain)
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
	verify_pass(v, "chain", "%s, which the service trusts", text);
	verify_pass(v, "validity", "all of it from %s until %s; the clock says %s", moment_text(begin, from),
		    moment_text(end, until), moment_text(time(NULL), now));
	verify_pass(v, "strength", "keys and hashes of %d bits of security or more", 112);
}
