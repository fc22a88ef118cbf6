/* SPDX-License-Identifier: MIT */
/* A certificate authority in a test's own memory, and the OCSP responses that it, or somebody else, gives. */
#ifndef TESTS_OCSP_AUTHORITY_H
#define TESTS_OCSP_AUTHORITY_H

#include <openssl/evp.h>
#include <openssl/ocsp.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

struct authority {
	X509 *certificate;
	EVP_PKEY *key;
};

struct certificate_plan {
	const char *name;		/* CN */
	const struct authority *issuer; /* NULL: itself */
	EVP_PKEY *key;			/* NULL: a new one */
	long serial;
	time_t from, until;
	const char *extensions[4][2]; /* names and values as in openssl.cnf */
};

static inline void ocsp_must(bool condition)
{
	if (!condition)
		abort();
}

static inline void add_extension(X509 *certificate, const char *name, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf(NULL, NULL, name, value);

	ocsp_must(extension && X509_add_ext(certificate, extension, -1) == 1);
	X509_EXTENSION_free(extension);
}

static inline struct authority make_certificate(const struct certificate_plan *plan)
{
	struct authority made = {.certificate = X509_new(), .key = plan->key ? plan->key : EVP_EC_gen("P-256")};
	const struct authority *issuer = plan->issuer ? plan->issuer : &made;
	X509_NAME *name = X509_get_subject_name(made.certificate);

	ocsp_must(made.key && X509_set_version(made.certificate, X509_VERSION_3) &&
		  ASN1_INTEGER_set(X509_get_serialNumber(made.certificate), plan->serial) &&
		  ASN1_TIME_set(X509_getm_notBefore(made.certificate), plan->from) &&
		  ASN1_TIME_set(X509_getm_notAfter(made.certificate), plan->until) &&
		  X509_set_pubkey(made.certificate, made.key) &&
		  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const void *)plan->name, -1, -1, 0) &&
		  X509_set_issuer_name(made.certificate, X509_get_subject_name(issuer->certificate)));
	for (size_t i = 0; i < 4 && plan->extensions[i][0]; i++)
		add_extension(made.certificate, plan->extensions[i][0], plan->extensions[i][1]);
	ocsp_must(X509_sign(made.certificate, issuer->key, EVP_sha256()) > 0);
	return made;
}

static inline void free_authority(struct authority *authority, bool with_key)
{
	X509_free(authority->certificate);
	if (with_key)
		EVP_PKEY_free(authority->key);
}

struct response_plan {
	int outer; /* OCSP_RESPONSE_STATUS_*; nothing else counts unless it is 0 */
	const struct authority *signer;
	const struct authority *about, *issuer;
	int status, reason;			     /* V_OCSP_CERTSTATUS_* */
	time_t revoked, this_update, next_update;    /* 0: not given */
	const EVP_MD *(*id)(void), *(*digest)(void); /* NULL: SHA-1, SHA-256 */
	const uint8_t *nonce;			     /* 32 bytes */
	bool pss;
	unsigned long flags;				   /* OCSP_RESPID_KEY, OCSP_NOCERTS */
	int critical_extension, critical_single_extension; /* NIDs */
};

static inline ASN1_TIME *moment(time_t time)
{
	return time ? ASN1_TIME_set(NULL, time) : NULL;
}

static inline X509_EXTENSION *critical_extension(int nid)
{
	ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
	X509_EXTENSION *extension;

	ocsp_must(value && ASN1_OCTET_STRING_set(value, (const unsigned char *)"\5", 2));
	extension = X509_EXTENSION_create_by_NID(NULL, nid, 1, value);
	ASN1_OCTET_STRING_free(value);
	return extension;
}

static inline void sign_basic(const struct response_plan *plan, OCSP_BASICRESP *basic)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	EVP_PKEY_CTX *parameters;

	ocsp_must(context && EVP_DigestSignInit(context, &parameters, plan->digest ? plan->digest() : EVP_sha256(),
						NULL, plan->signer->key) == 1);
	ocsp_must(!plan->pss || EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) == 1);
	ocsp_must(OCSP_basic_sign_ctx(basic, plan->signer->certificate, context, NULL, plan->flags) == 1);
	EVP_MD_CTX_free(context);
}

static inline OCSP_BASICRESP *make_basic(const struct response_plan *plan)
{
	OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
	OCSP_CERTID *id = OCSP_cert_to_id(plan->id ? plan->id() : EVP_sha1(), plan->about->certificate,
					  plan->issuer->certificate);
	ASN1_TIME *revoked = moment(plan->revoked), *this_update = moment(plan->this_update),
		  *next_update = moment(plan->next_update);
	OCSP_SINGLERESP *single;
	X509_EXTENSION *extension;

	ocsp_must(basic && id);
	single = OCSP_basic_add1_status(basic, id, plan->status, plan->reason, revoked, this_update, next_update);
	ocsp_must(single != NULL);
	if (plan->critical_single_extension) {
		extension = critical_extension(plan->critical_single_extension);
		ocsp_must(OCSP_SINGLERESP_add_ext(single, extension, -1) == 1);
		X509_EXTENSION_free(extension);
	}
	if (plan->critical_extension) {
		extension = critical_extension(plan->critical_extension);
		ocsp_must(OCSP_BASICRESP_add_ext(basic, extension, -1) == 1);
		X509_EXTENSION_free(extension);
	}
	if (plan->nonce)
		ocsp_must(OCSP_basic_add1_nonce(basic, (unsigned char *)plan->nonce, 32) == 1);
	sign_basic(plan, basic);
	OCSP_CERTID_free(id);
	ASN1_TIME_free(revoked);
	ASN1_TIME_free(this_update);
	ASN1_TIME_free(next_update);
	return basic;
}

static inline size_t make_response(const struct response_plan *plan, uint8_t **der)
{
	OCSP_BASICRESP *basic = plan->outer ? NULL : make_basic(plan);
	OCSP_RESPONSE *response = OCSP_response_create(plan->outer, basic);
	int length;

	*der = NULL;
	ocsp_must(response != NULL);
	length = i2d_OCSP_RESPONSE(response, der);
	ocsp_must(length > 0);
	OCSP_BASICRESP_free(basic);
	OCSP_RESPONSE_free(response);
	return length;
}

#endif
