/* SPDX-License-Identifier: MIT */
/* One certificate: everything that decides what it is good for. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <json-c/json.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "cert.h"

#define MUST_STAPLE 5 /* RFC 7633: the number of the TLS extension status_request */

/* What is wrong with the certificate itself. */
static void add_fault(struct json_object *report, const char *what, const char *fault)
{
	struct json_object *faults = json_object_object_get(report, "faults");
	char text[160];

	if (!faults) {
		faults = json_object_new_array();
		json_object_object_add(report, "faults", faults);
	}
	snprintf(text, sizeof(text), "%s %s", what, fault);
	json_object_array_add(faults, json_object_new_string(text));
}

/* An extension's contents; NULL if there is none, or if it can't be read, which is a fault. */
static void *extension(struct json_object *report, X509 *certificate, int nid)
{
	int critical;
	void *contents = X509_get_ext_d2i(certificate, nid, &critical, NULL);

	if (!contents && critical != -1)
		add_fault(report, OBJ_nid2sn(nid), critical == -2 ? "stands there twice" : "is damaged");
	ERR_clear_error();
	return contents;
}

static void add_validity(struct json_object *report, X509 *certificate)
{
	const ASN1_TIME *from = X509_get0_notBefore(certificate), *until = X509_get0_notAfter(certificate);
	int64_t now = time(NULL), first, last;

	add(report, "not_before", text_of_time(from));
	add(report, "not_after", text_of_time(until));
	if (!seconds_of_time(from, &first) || !seconds_of_time(until, &last)) {
		add_fault(report, "validity", "is damaged");
		return;
	}
	if (last < first)
		add_fault(report, "validity", "ends before it begins");
	add(report, "validity",
	    json_object_new_string(now > last	 ? "expired"
				   : now < first ? "not yet valid"
						 : "valid"));
	add(report, "time_left_s", json_object_new_int64(last - now));
	if (now < first)
		add(report, "begins_in_s", json_object_new_int64(first - now));
}

static struct json_object *list_names(const GENERAL_NAMES *names)
{
	struct json_object *list = json_object_new_array();

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
		json_object_array_add(list, text_of_general_name(sk_GENERAL_NAME_value(names, i)));
	return list;
}

static void add_names(struct json_object *report, X509 *certificate)
{
	GENERAL_NAMES *names = extension(report, certificate, NID_subject_alt_name);

	json_object_object_add(report, "names", list_names(names));
	GENERAL_NAMES_free(names);
}

/* prime256v1 is P-256 to everybody but OpenSSL. */
static void add_curve(struct json_object *object, EVP_PKEY *key)
{
	const char *nist;
	char curve[64];

	if (EVP_PKEY_get_group_name(key, curve, sizeof(curve), NULL) != 1)
		return;
	nist = EC_curve_nid2nist(OBJ_txt2nid(curve));
	add(object, "curve", json_object_new_string(nist ? nist : curve));
}

static void add_key(struct json_object *report, X509 *certificate)
{
	struct json_object *object = json_object_new_object();
	EVP_PKEY *key = X509_get0_pubkey(certificate);
	const char *name = key ? EVP_PKEY_get0_type_name(key) : NULL;
	ASN1_OBJECT *algorithm;

	if (name) {
		add(object, "algorithm", json_object_new_string(name));
		add_curve(object, key);
		add(object, "bits", json_object_new_int(EVP_PKEY_get_bits(key)));
	} else {
		X509_PUBKEY_get0_param(&algorithm, NULL, NULL, NULL, X509_get_X509_PUBKEY(certificate));
		add(object, "algorithm", text_of_oid(algorithm));
		add_fault(report, "key", "is damaged, or of an algorithm that this OpenSSL has not");
	}
	json_object_object_add(report, "key", object);
	ERR_clear_error();
}

/* RSASSA-PSS alone does not tell the hash. */
static void add_signature(struct json_object *report, X509 *certificate)
{
	int nid = X509_get_signature_nid(certificate), hash;
	const X509_ALGOR *algorithm;
	const ASN1_OBJECT *oid;
	char text[96];

	if (nid == NID_undef) {
		X509_get0_signature(NULL, &algorithm, certificate);
		X509_ALGOR_get0(&oid, NULL, NULL, algorithm);
		add(report, "signature", text_of_oid(oid));
		return;
	}
	if (nid == NID_rsassaPss && X509_get_signature_info(certificate, &hash, NULL, NULL, NULL) == 1)
		snprintf(text, sizeof(text), "%s with %s", OBJ_nid2ln(nid), OBJ_nid2sn(hash));
	else
		snprintf(text, sizeof(text), "%s", OBJ_nid2ln(nid));
	add(report, "signature", json_object_new_string(text));
	ERR_clear_error();
}

static void add_key_usage(struct json_object *report, X509 *certificate)
{
	static const char *const names[] = {"digitalSignature", "nonRepudiation", "keyEncipherment",
					    "dataEncipherment", "keyAgreement",	  "keyCertSign",
					    "cRLSign",		"encipherOnly",	  "decipherOnly"};
	ASN1_BIT_STRING *usage = extension(report, certificate, NID_key_usage);
	struct json_object *list = usage ? json_object_new_array() : NULL;

	for (int bit = 0; usage && bit < (int)(sizeof(names) / sizeof(names[0])); bit++)
		if (ASN1_BIT_STRING_get_bit(usage, bit))
			json_object_array_add(list, json_object_new_string(names[bit]));
	json_object_object_add(report, "key_usage", list);
	ASN1_BIT_STRING_free(usage);
}

static const char *purpose_name(const ASN1_OBJECT *oid)
{
	static const struct {
		int nid;
		const char *name;
	} purposes[] = {
		{NID_server_auth, "TLS server"},
		{NID_client_auth, "TLS client"},
		{NID_code_sign, "code signing"},
		{NID_email_protect, "e-mail protection"},
		{NID_time_stamp, "time stamping"},
		{NID_OCSP_sign, "OCSP signing"},
		{NID_ipsec_IKE, "IPsec IKE"},
		{NID_ms_smartcard_login, "smart card logon"},
		{NID_pkInitKDC, "Kerberos KDC"},
		{NID_pkInitClientAuth, "Kerberos client"},
		{NID_anyExtendedKeyUsage, "any purpose"},
	};
	int nid = OBJ_obj2nid(oid);

	for (size_t i = 0; i < sizeof(purposes) / sizeof(purposes[0]); i++)
		if (purposes[i].nid == nid)
			return purposes[i].name;
	return NULL;
}

static void add_purposes(struct json_object *report, X509 *certificate)
{
	EXTENDED_KEY_USAGE *usage = extension(report, certificate, NID_ext_key_usage);
	struct json_object *list = usage ? json_object_new_array() : NULL;

	for (int i = 0; i < sk_ASN1_OBJECT_num(usage); i++) {
		const ASN1_OBJECT *oid = sk_ASN1_OBJECT_value(usage, i);
		struct json_object *purpose = json_object_new_object();
		const char *name = purpose_name(oid);

		add(purpose, "oid", text_of_oid(oid));
		add(purpose, "name", name ? json_object_new_string(name) : NULL);
		json_object_array_add(list, purpose);
	}
	json_object_object_add(report, "purposes", list);
	EXTENDED_KEY_USAGE_free(usage);
}

static void add_constraints(struct json_object *report, X509 *certificate)
{
	BASIC_CONSTRAINTS *constraints = extension(report, certificate, NID_basic_constraints);
	struct json_object *limit = NULL;

	if (constraints && constraints->pathlen)
		limit = json_object_new_int64(ASN1_INTEGER_get(constraints->pathlen));
	add(report, "basic_constraints", json_object_new_boolean(constraints != NULL));
	add(report, "ca", json_object_new_boolean(constraints && constraints->ca));
	add(report, "path_length", limit);
	BASIC_CONSTRAINTS_free(constraints);
}

static void add_policies(struct json_object *report, X509 *certificate)
{
	CERTIFICATEPOLICIES *policies = extension(report, certificate, NID_certificate_policies);
	struct json_object *list = json_object_new_array();

	for (int i = 0; i < sk_POLICYINFO_num(policies); i++)
		json_object_array_add(list, text_of_oid(sk_POLICYINFO_value(policies, i)->policyid));
	json_object_object_add(report, "policies", list);
	CERTIFICATEPOLICIES_free(policies);
}

static struct json_object *list_subtrees(const STACK_OF(GENERAL_SUBTREE) *subtrees)
{
	struct json_object *list = json_object_new_array();

	for (int i = 0; i < sk_GENERAL_SUBTREE_num(subtrees); i++)
		json_object_array_add(list, text_of_general_name(sk_GENERAL_SUBTREE_value(subtrees, i)->base));
	return list;
}

static void add_name_constraints(struct json_object *report, X509 *certificate)
{
	NAME_CONSTRAINTS *constraints = extension(report, certificate, NID_name_constraints);

	if (!constraints)
		return;
	json_object_object_add(report, "permitted_names", list_subtrees(constraints->permittedSubtrees));
	json_object_object_add(report, "excluded_names", list_subtrees(constraints->excludedSubtrees));
	NAME_CONSTRAINTS_free(constraints);
}

static void add_must_staple(struct json_object *report, X509 *certificate)
{
	TLS_FEATURE *features = extension(report, certificate, NID_tlsfeature);
	bool must = false;

	for (int i = 0; i < sk_ASN1_INTEGER_num(features); i++)
		must |= ASN1_INTEGER_get(sk_ASN1_INTEGER_value(features, i)) == MUST_STAPLE;
	add(report, "must_staple", json_object_new_boolean(must));
	TLS_FEATURE_free(features);
}

static void list_address(struct json_object *list, const GENERAL_NAME *name)
{
	const ASN1_IA5STRING *uri = name->d.uniformResourceIdentifier;

	json_object_array_add(list, name->type == GEN_URI
					    ? text_of_bytes(ASN1_STRING_get0_data(uri), ASN1_STRING_length(uri))
					    : text_of_general_name(name));
}

static void add_crl_addresses(struct json_object *report, X509 *certificate)
{
	CRL_DIST_POINTS *points = extension(report, certificate, NID_crl_distribution_points);
	struct json_object *list = json_object_new_array();

	for (int i = 0; i < sk_DIST_POINT_num(points); i++) {
		const DIST_POINT_NAME *name = sk_DIST_POINT_value(points, i)->distpoint;

		for (int j = 0; name && name->type == 0 && j < sk_GENERAL_NAME_num(name->name.fullname); j++)
			list_address(list, sk_GENERAL_NAME_value(name->name.fullname, j));
	}
	json_object_object_add(report, "crl", list);
	CRL_DIST_POINTS_free(points);
}

static void add_issuer_addresses(struct json_object *report, X509 *certificate)
{
	AUTHORITY_INFO_ACCESS *access = extension(report, certificate, NID_info_access);
	struct json_object *ocsp = json_object_new_array(), *issuers = json_object_new_array();

	for (int i = 0; i < sk_ACCESS_DESCRIPTION_num(access); i++) {
		const ACCESS_DESCRIPTION *description = sk_ACCESS_DESCRIPTION_value(access, i);
		int method = OBJ_obj2nid(description->method);

		if (method == NID_ad_OCSP)
			list_address(ocsp, description->location);
		else if (method == NID_ad_ca_issuers)
			list_address(issuers, description->location);
	}
	json_object_object_add(report, "ocsp", ocsp);
	json_object_object_add(report, "ca_issuers", issuers);
	AUTHORITY_INFO_ACCESS_free(access);
}

/* Those that whoever verifies has to understand, and OpenSSL does not. */
static void add_unknown_critical(struct json_object *report, X509 *certificate)
{
	struct json_object *list = json_object_new_array();

	for (int i = 0; i < X509_get_ext_count(certificate); i++) {
		X509_EXTENSION *candidate = X509_get_ext(certificate, i);

		if (X509_EXTENSION_get_critical(candidate) && !X509_supported_extension(candidate))
			json_object_array_add(list, text_of_oid(X509_EXTENSION_get_object(candidate)));
	}
	json_object_object_add(report, "unknown_critical", list);
}

/* Of the whole certificate, and of its SubjectPublicKeyInfo, as RFC 7469 has it. */
static void add_fingerprints(struct json_object *report, X509 *certificate)
{
	unsigned char digest[EVP_MAX_MD_SIZE], *key = NULL;
	int key_length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &key);
	unsigned int length;

	if (X509_digest(certificate, EVP_sha256(), digest, &length) == 1)
		add(report, "sha256", text_of_hex("sha256:", digest, length));
	if (key_length > 0 && EVP_Digest(key, key_length, digest, &length, EVP_sha256(), NULL) == 1)
		add(report, "key_sha256", text_of_hex("key-sha256:", digest, length));
	OPENSSL_free(key);
}

struct json_object *describe_certificate(X509 *certificate)
{
	struct json_object *report = json_object_new_object();

	add(report, "subject", text_of_name(X509_get_subject_name(certificate)));
	add(report, "issuer", text_of_name(X509_get_issuer_name(certificate)));
	add(report, "serial", text_of_serial(X509_get0_serialNumber(certificate)));
	add_validity(report, certificate);
	add_names(report, certificate);
	add_key(report, certificate);
	add_signature(report, certificate);
	add_key_usage(report, certificate);
	add_purposes(report, certificate);
	add_constraints(report, certificate);
	add_policies(report, certificate);
	add_name_constraints(report, certificate);
	add_must_staple(report, certificate);
	add_crl_addresses(report, certificate);
	add_issuer_addresses(report, certificate);
	add_unknown_critical(report, certificate);
	add_fingerprints(report, certificate);
	return report;
}
