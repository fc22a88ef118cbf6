/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../files.h"
#include "../log.h"
#include "crl.h"
#include "identity.h"
#include "moment.h"

struct crl {
	X509_CRL *crl;
	char *file;
	int64_t this_update, next_update;	     /* the latter INT64_MIN: not said */
	EVP_PKEY *_Atomic signer, *_Atomic stranger; /* who signed it; one who did not */
};

struct crls {
	struct crl *item;
	size_t count;
};

struct loading {
	struct crls *crls;
	const STACK_OF(X509) *authorities;
	const struct setting *setting;
	struct complaints *complaints;
};

/* ---- loading ---- */

/* A list for some reasons, some certificates or changes since another list needs what we don't do (RFC 5280 §5.2). */
static bool narrows(const X509_EXTENSION *extension)
{
	int nid = OBJ_obj2nid(X509_EXTENSION_get_object((X509_EXTENSION *)extension));

	/* These two have to be critical, but not every authority has read that. */
	return X509_EXTENSION_get_critical(extension) || nid == NID_issuing_distribution_point || nid == NID_delta_crl;
}

static bool find_unsupported(const X509_CRL *crl, char oid[80])
{
	int i;

	for (i = 0; i < X509_CRL_get_ext_count(crl); i++) {
		X509_EXTENSION *extension = X509_CRL_get_ext(crl, i);

		if (!narrows(extension))
			continue;
		OBJ_obj2txt(oid, 80, X509_EXTENSION_get_object(extension), 0);
		return true;
	}
	return false;
}

static bool signed_by(struct crl *crl, X509 *issuer)
{
	EVP_PKEY *key = X509_get0_pubkey(issuer), *signer = atomic_load(&crl->signer), *none = NULL;
	EVP_PKEY *stranger = atomic_load(&crl->stranger);

	if (!key || !(X509_get_key_usage(issuer) & KU_CRL_SIGN))
		return false;
	if (signer)
		return EVP_PKEY_eq(signer, key) == 1;
	if (stranger && EVP_PKEY_eq(stranger, key) == 1)
		return false;
	/* Whoever comes first remembers. */
	if (X509_CRL_verify(crl->crl, key) == 1) {
		EVP_PKEY_up_ref(key);
		if (!atomic_compare_exchange_strong(&crl->signer, &none, key))
			EVP_PKEY_free(key);
		return true;
	}
	ERR_clear_error();
	EVP_PKEY_up_ref(key);
	if (!atomic_compare_exchange_strong(&crl->stranger, &none, key))
		EVP_PKEY_free(key);
	return false;
}

/* Where we have the issuer, the signature is looked at now, so that a wrong one is told to who put it there. */
static bool has_good_signature(struct crl *crl, const STACK_OF(X509) *authorities)
{
	bool named = false;
	int i;

	for (i = 0; i < sk_X509_num(authorities); i++) {
		X509 *authority = sk_X509_value(authorities, i);

		if (X509_NAME_cmp(X509_get_subject_name(authority), X509_CRL_get_issuer(crl->crl)) != 0)
			continue;
		if (signed_by(crl, authority))
			return true;
		named = true;
	}
	return !named;
}

/* OpenSSL does it at the first look-up, which else would be a handshake's. */
static void sort_entries(X509_CRL *crl)
{
	ASN1_INTEGER *zero = ASN1_INTEGER_new();
	X509_REVOKED *entry;

	if (!zero)
		log_fatal("out of memory");
	X509_CRL_get0_by_serial(crl, &entry, zero);
	ASN1_INTEGER_free(zero);
}

static void add(struct loading *loading, const char *file, X509_CRL *x509)
{
	struct crls *crls = loading->crls;
	char issuer[256], extension[80];
	struct crl *crl;

	crls->item = reallocarray(crls->item, crls->count + 1, sizeof(*crls->item));
	if (!crls->item)
		log_fatal("out of memory");
	crl = &crls->item[crls->count++];
	*crl = (struct crl){.crl = x509, .file = strdup(file), .next_update = INT64_MIN};
	if (!crl->file)
		log_fatal("out of memory");
	crl->this_update = moment_of(X509_CRL_get0_lastUpdate(x509));
	if (X509_CRL_get0_nextUpdate(x509))
		crl->next_update = moment_of(X509_CRL_get0_nextUpdate(x509));
	sort_entries(x509);
	identity_text(X509_CRL_get_issuer(x509), issuer, sizeof(issuer));
	if (find_unsupported(x509, extension))
		complain(loading->complaints, loading->setting->line,
			 "%s: the CRL of %s has the extension %s; expected a complete list of its issuer's own "
			 "certificates (no delta, indirect or partial one)",
			 file, issuer, extension);
	else if (!has_good_signature(crl, loading->authorities))
		complain(
			loading->complaints, loading->setting->line,
			"%s: the CRL that bears the name of %s is not signed by it; expected one that is, and a keyUsage that "
			"allows it (cRLSign)",
			file, issuer);
	else if (crl->this_update == INT64_MIN || (X509_CRL_get0_nextUpdate(x509) && crl->next_update == INT64_MIN))
		complain(loading->complaints, loading->setting->line,
			 "%s: the CRL of %s has a date that is none; expected thisUpdate and nextUpdate", file, issuer);
}

static X509_CRL *read_next(BIO *bio, bool pem)
{
	return pem ? PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL) : d2i_X509_CRL_bio(bio, NULL);
}

static bool load_file(void *argument, const char *file)
{
	struct loading *loading = argument;
	size_t before = loading->crls->count;
	unsigned long error;
	X509_CRL *crl;
	BIO *bio;
	bool pem;
	char first;

	errno = 0;
	bio = BIO_new_file(file, "re");
	if (!bio || BIO_read(bio, &first, 1) != 1 || BIO_seek(bio, 0) < 0) {
		complain(loading->complaints, loading->setting->line, "%s can't be read: %s; expected a CRL", file,
			 errno ? strerror(errno) : "it is empty");
		ERR_clear_error();
		BIO_free(bio);
		return false;
	}
	pem = first != 0x30; /* of a SEQUENCE in DER */
	while ((crl = read_next(bio, pem)))
		add(loading, file, crl);
	error = ERR_peek_last_error();
	ERR_clear_error();
	if (loading->crls->count == before || (pem && ERR_GET_REASON(error) != PEM_R_NO_START_LINE))
		complain(loading->complaints, loading->setting->line,
			 "%s: CRL %zu is damaged or missing (%s); expected PEM "
			 "(-----BEGIN X509 CRL-----) or DER",
			 file, loading->crls->count - before + 1, ERR_reason_error_string(error));
	BIO_free(bio);
	return true;
}

struct crls *crls_load(const struct setting_list *paths, const STACK_OF(X509) *authorities,
		       struct complaints *complaints)
{
	struct loading loading = {.authorities = authorities, .complaints = complaints};
	unsigned int before = complaints->count;

	loading.crls = calloc(1, sizeof(*loading.crls));
	if (!loading.crls)
		log_fatal("out of memory");
	TAILQ_FOREACH(loading.setting, paths, next)
		files_each(loading.setting, FILES_CRLS, load_file, &loading, complaints);
	if (complaints->count == before)
		return loading.crls;
	crls_free(loading.crls);
	return NULL;
}

void crls_free(struct crls *crls)
{
	while (crls && crls->count > 0) {
		struct crl *crl = &crls->item[--crls->count];

		X509_CRL_free(crl->crl);
		EVP_PKEY_free(crl->signer);
		EVP_PKEY_free(crl->stranger);
		free(crl->file);
	}
	if (crls)
		free(crls->item);
	free(crls);
}

/* ---- looking up ---- */

static void say_revoked(const struct crl *crl, const X509_REVOKED *entry, struct listing *answer)
{
	ASN1_ENUMERATED *reason = X509_REVOKED_get_ext_d2i(entry, NID_crl_reason, NULL, NULL);
	char when[MOMENT_TEXT], of[MOMENT_TEXT], why[64] = "";
	long number = reason ? ASN1_ENUMERATED_get(reason) : -1;

	if (number >= 0 && number <= 10)
		snprintf(why, sizeof(why), " (%s)", OCSP_crl_reason_str(number));
	answer->status = LISTED_REVOKED;
	answer->error = X509_V_ERR_CERT_REVOKED;
	snprintf(answer->text, sizeof(answer->text), "revoked %s%s, says %.160s of %s",
		 moment_text(moment_of(X509_REVOKED_get0_revocationDate(entry)), when), why, crl->file,
		 moment_text(crl->this_update, of));
	ASN1_ENUMERATED_free(reason);
}

static void say_unknown(struct listing *answer, int error, const char *format, ...)
{
	va_list arguments;

	answer->status = LISTED_UNKNOWN;
	answer->error = error;
	va_start(arguments, format);
	vsnprintf(answer->text, sizeof(answer->text), format, arguments);
	va_end(arguments);
}

static struct crl *next_list(struct crls *crls, struct crl *last, const X509_NAME *name)
{
	struct crl *crl = last ? last + 1 : crls->item;

	for (; crl < crls->item + crls->count; crl++) {
		if (X509_NAME_cmp(X509_CRL_get_issuer(crl->crl), name) == 0)
			return crl;
	}
	return NULL;
}

/* Where only the name is there: nobody may have seen a list's signature yet, and two authorities may have one name. */
static bool have_one_signer(struct crls *crls, const X509_NAME *name)
{
	EVP_PKEY *first = NULL, *signer;
	struct crl *crl = NULL;

	while ((crl = next_list(crls, crl, name))) {
		signer = atomic_load(&crl->signer);
		if (!signer || (first && EVP_PKEY_eq(first, signer) != 1))
			return false;
		first = signer;
	}
	return true;
}

static void judge_age(const struct crl *crl, const struct crl_rules *rules, struct listing *answer)
{
	char text[MOMENT_TEXT], now[MOMENT_TEXT];

	if (crl->this_update > rules->now + rules->leeway)
		say_unknown(answer, X509_V_ERR_CRL_NOT_YET_VALID,
			    "the CRL %.160s is not valid before %s; the clock says %s", crl->file,
			    moment_text(crl->this_update, text), moment_text(rules->now, now));
	else if (crl->next_update != INT64_MIN && crl->next_update + rules->leeway < rules->now &&
		 !rules->expired_will_do)
		say_unknown(answer, X509_V_ERR_CRL_HAS_EXPIRED,
			    "the CRL %.160s has expired %s; the clock says %s: publish a "
			    "new one",
			    crl->file, moment_text(crl->next_update, text), moment_text(rules->now, now));
}

static bool says_revoked(const struct crl *crl, const ASN1_INTEGER *serial, struct listing *answer)
{
	X509_REVOKED *entry;

	/* 2 would be: taken back (removeFromCRL). */
	if (X509_CRL_get0_by_serial(crl->crl, &entry, (ASN1_INTEGER *)serial) != 1)
		return false;
	say_revoked(crl, entry, answer);
	return true;
}

void crls_look_up(struct crls *crls, const X509_NAME *name, const ASN1_INTEGER *serial, X509 *issuer,
		  const struct crl_rules *rules, struct listing *answer)
{
	struct crl *crl = NULL, *newest = NULL;
	char text[160], when[MOMENT_TEXT];

	if (!issuer && !have_one_signer(crls, name)) {
		say_unknown(answer, X509_V_ERR_CRL_SIGNATURE_FAILURE, "its issuer's CRLs have not been verified yet");
		return;
	}
	while ((crl = next_list(crls, crl, name))) {
		if ((!issuer || signed_by(crl, issuer)) && (!newest || crl->this_update > newest->this_update))
			newest = crl;
	}
	if (newest && says_revoked(newest, serial, answer)) /* however old it is */
		return;
	if (newest) {
		answer->status = LISTED_GOOD;
		snprintf(answer->text, sizeof(answer->text), "not revoked, says %.160s of %s", newest->file,
			 moment_text(newest->this_update, when));
		judge_age(newest, rules, answer);
		return;
	}
	identity_text(name, text, sizeof(text));
	if (next_list(crls, NULL, name))
		say_unknown(
			answer, X509_V_ERR_CRL_SIGNATURE_FAILURE,
			"there is a CRL in the name of %s, but it is not signed with its key, or that may not (cRLSign)",
			text);
	else
		say_unknown(answer, X509_V_ERR_UNABLE_TO_GET_CRL, "there is no CRL of %s: add it to the service's crl",
			    text);
}

void crls_find(const struct crls *crls, const ASN1_INTEGER *serial,
	       void (*found)(void *argument, const X509_NAME *issuer, const struct listing *answer), void *argument)
{
	struct listing answer;
	size_t i;

	for (i = 0; i < crls->count; i++) {
		if (says_revoked(&crls->item[i], serial, &answer))
			found(argument, X509_CRL_get_issuer(crls->item[i].crl), &answer);
	}
}
