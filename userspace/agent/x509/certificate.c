/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../log.h"
#include "certificate.h"
#include "moment.h"

/* Opens a file to read PEM from; NULL with a complaint. */
static BIO *open_pem(const struct setting *file, struct complaints *complaints)
{
	BIO *bio = BIO_new_file(file->text, "re");

	if (!bio)
		complain(complaints, file->line, "%s can't be read: %s; expected a PEM file that user %u may read",
			 file->text, strerror(errno), (unsigned int)geteuid());
	ERR_clear_error();
	return bio;
}

STACK_OF(X509) *certificates_read(const struct setting *file, struct complaints *complaints)
{
	STACK_OF(X509) *certificates = sk_X509_new_null();
	BIO *bio = open_pem(file, complaints);
	unsigned long error;
	X509 *x509;

	if (!bio || !certificates)
		goto fail;
	while ((x509 = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		if (!sk_X509_push(certificates, x509))
			log_fatal("out of memory");
	}
	error = ERR_peek_last_error();
	ERR_clear_error();
	if (sk_X509_num(certificates) == 0) {
		complain(complaints, file->line, "%s holds no certificate; expected PEM (-----BEGIN CERTIFICATE-----)",
			 file->text);
		goto fail;
	}
	if (ERR_GET_REASON(error) != PEM_R_NO_START_LINE) {
		complain(complaints, file->line, "%s: certificate %d is damaged (%s)", file->text,
			 sk_X509_num(certificates) + 1, ERR_reason_error_string(error));
		goto fail;
	}
	BIO_free(bio);
	return certificates;
fail:
	BIO_free(bio);
	sk_X509_pop_free(certificates, X509_free);
	return NULL;
}

/* Nobody types at a daemon: an encrypted key is an error, not a prompt. */
static int no_passphrase(char *buffer, int size, int writing, void *asked)
{
	(void)buffer, (void)size, (void)writing;
	*(bool *)asked = true;
	return -1;
}

static EVP_PKEY *read_key(const struct setting *file, bool readable_will_do, struct complaints *complaints)
{
	BIO *bio = open_pem(file, complaints);
	bool encrypted = false;
	struct stat status;
	EVP_PKEY *key;

	if (!bio)
		return NULL;
	key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &encrypted);
	if (!key)
		complain(complaints, file->line, "%s holds no usable private key%s", file->text,
			 encrypted ? " (it is encrypted); expected one without passphrase, protected by its permissions"
				   : "; expected PEM (-----BEGIN PRIVATE KEY-----)");
	if (key && !readable_will_do && stat(file->text, &status) == 0 && (status.st_mode & S_IROTH)) {
		complain(
			complaints, file->line,
			"%s may be read by everyone; expected a private key to be protected: chmod o-r %s (or readable_key = accept)",
			file->text, file->text);
		EVP_PKEY_free(key);
		key = NULL;
	}
	ERR_clear_error();
	BIO_free(bio);
	return key;
}

static char *lower_case(const ASN1_STRING *name)
{
	char *text = strndup((const char *)ASN1_STRING_get0_data(name), ASN1_STRING_length(name)), *c;

	if (!text)
		log_fatal("out of memory");
	for (c = text; *c; c++)
		*c = tolower((unsigned char)*c);
	return text;
}

static char **dns_names(X509 *leaf)
{
	GENERAL_NAMES *general = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
	char **names = calloc(general ? sk_GENERAL_NAME_num(general) + 1 : 1, sizeof(*names));
	int i, n = 0;

	if (!names)
		log_fatal("out of memory");
	for (i = 0; general && i < sk_GENERAL_NAME_num(general); i++) {
		GENERAL_NAME *name = sk_GENERAL_NAME_value(general, i);

		if (name->type == GEN_DNS)
			names[n++] = lower_case(name->d.dNSName);
	}
	GENERAL_NAMES_free(general);
	return names;
}

static time_t end_of(const X509 *certificate)
{
	int64_t end = moment_of(X509_get0_notAfter(certificate));

	return end == INT64_MIN ? 0 : end;
}

static time_t first_end(const struct certificate *certificate)
{
	time_t first = end_of(certificate->leaf), end;
	int i;

	for (i = 0; i < sk_X509_num(certificate->intermediates); i++) {
		end = end_of(sk_X509_value(certificate->intermediates, i));
		if (end < first)
			first = end;
	}
	return first;
}

bool certificate_load(struct certificate *certificate, const struct certificate_setting *setting,
		      bool readable_key_will_do, struct complaints *complaints)
{
	const struct setting *key = setting->key.text ? &setting->key : &setting->certificate;

	certificate->intermediates = certificates_read(&setting->certificate, complaints);
	if (!certificate->intermediates)
		return false;
	certificate->leaf = sk_X509_shift(certificate->intermediates);
	certificate->key = read_key(key, readable_key_will_do, complaints);
	if (!certificate->key)
		return false;
	if (X509_check_private_key(certificate->leaf, certificate->key) != 1) {
		ERR_clear_error();
		complain(complaints, key->line, "%s is not the key of the first certificate in %s; expected the pair",
			 key->text, setting->certificate.text);
		return false;
	}
	certificate->names = dns_names(certificate->leaf);
	certificate->ends = first_end(certificate);
	return true;
}

void certificate_clear(struct certificate *certificate)
{
	char **name;

	for (name = certificate->names; name && *name; name++)
		free(*name);
	free(certificate->names);
	X509_free(certificate->leaf);
	sk_X509_pop_free(certificate->intermediates, X509_free);
	EVP_PKEY_free(certificate->key);
	memset(certificate, 0, sizeof(*certificate));
}

static int staple_index(void)
{
	static int index; /* 0 is for applications that ask for none */

	if (!index)
		index = X509_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	return index;
}

void certificate_set_staple(X509 *leaf, struct staple *staple)
{
	if (X509_set_ex_data(leaf, staple_index(), staple) != 1)
		log_fatal("out of memory");
}

struct staple *certificate_staple(const X509 *leaf)
{
	return X509_get_ex_data(leaf, staple_index());
}
