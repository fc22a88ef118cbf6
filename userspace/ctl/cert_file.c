/* SPDX-License-Identifier: MIT */
/* Certificates from a file: PEM, DER or PKCS#7. A private key in it is passed over. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <json-c/json.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/pkcs7.h>

#include "cert.h"

#define FILE_MAX (16 << 20)

struct contents {
	const char *path; /* as it is called in complaints */
	unsigned char *bytes;
	size_t length;
};

void given_remark(struct given *given, const char *format, ...)
{
	va_list arguments;
	char *text;

	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) >= 0) {
		json_object_array_add(given->remarks, json_object_new_string(text));
		free(text);
	}
	va_end(arguments);
}

void given_clear(struct given *given)
{
	sk_X509_pop_free(given->certificates, X509_free);
	json_object_put(given->connection);
	json_object_put(given->remarks);
}

static const char *remedy(int error)
{
	switch (error) {
	case ENOENT:
		return "is the path right? A server is written HOST:PORT, such as example.org:443";
	case EACCES:
	case EPERM:
		return "it has to be readable for this user";
	case EISDIR:
		return "name a file in it";
	default:
		return "expected a file with certificates";
	}
}

static bool read_contents(struct contents *contents, int fd)
{
	ssize_t n;

	while ((n = read(fd, contents->bytes + contents->length, FILE_MAX + 1 - contents->length)) > 0)
		contents->length += n;
	if (n < 0) {
		complain("%s can't be read: %s; %s", contents->path, strerror(errno), remedy(errno));
		return false;
	}
	if (contents->length > FILE_MAX) {
		complain("%s is longer than %d MiB; expected a file with certificates", contents->path, FILE_MAX >> 20);
		return false;
	}
	return true;
}

static bool open_contents(struct contents *contents, const char *path)
{
	bool standard_input = strcmp(path, "-") == 0, read;
	int fd = standard_input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);

	contents->path = standard_input ? "standard input" : path;
	if (fd < 0) {
		complain("%s can't be opened: %s; %s", path, strerror(errno), remedy(errno));
		return false;
	}
	contents->bytes = malloc(FILE_MAX + 1);
	read = contents->bytes && read_contents(contents, fd);
	if (!standard_input)
		close(fd);
	return read;
}

static void close_contents(struct contents *contents)
{
	if (contents->bytes)
		OPENSSL_cleanse(contents->bytes, contents->length); /* there may have been a key in it */
	free(contents->bytes);
}

static bool take(struct given *given, const struct contents *contents, X509 *certificate)
{
	if (sk_X509_num(given->certificates) >= CERTIFICATES_MAX) {
		X509_free(certificate);
		complain("%s holds more than %d certificates; show it in parts", contents->path, CERTIFICATES_MAX);
		return false;
	}
	return sk_X509_push(given->certificates, certificate) > 0;
}

static bool damaged(const struct given *given, const struct contents *contents, const char *where)
{
	const char *reason = ERR_reason_error_string(ERR_peek_error());

	complain(
		"%s: certificate %d%s is damaged (%s); expected X.509 in DER, or that in PEM: copy it anew from its origin",
		contents->path, sk_X509_num(given->certificates) + 1, where, reason ? reason : "no X.509");
	return false;
}

static bool take_pkcs7(struct given *given, const struct contents *contents, const unsigned char *der, long length)
{
	PKCS7 *bundle = d2i_PKCS7(NULL, &der, length);
	STACK_OF(X509) *certificates = NULL;
	bool taken = true;

	if (bundle && PKCS7_type_is_signed(bundle) && bundle->d.sign)
		certificates = bundle->d.sign->cert;
	else if (bundle && PKCS7_type_is_signedAndEnveloped(bundle) && bundle->d.signed_and_enveloped)
		certificates = bundle->d.signed_and_enveloped->cert;
	else if (!bundle)
		taken = damaged(given, contents, ", in a PKCS#7 bundle,");
	for (int i = 0; taken && i < sk_X509_num(certificates); i++) {
		X509 *certificate = sk_X509_value(certificates, i);

		X509_up_ref(certificate);
		taken = take(given, contents, certificate);
	}
	PKCS7_free(bundle);
	return taken;
}

static bool take_block(struct given *given, const struct contents *contents, const char *name, const unsigned char *der,
		       long length)
{
	const unsigned char *end = der;
	struct json_object *shown;
	X509 *certificate;

	if (strcmp(name, PEM_STRING_PKCS7) == 0 || strcmp(name, PEM_STRING_CMS) == 0)
		return take_pkcs7(given, contents, der, length);
	if (strcmp(name, PEM_STRING_X509) == 0 || strcmp(name, PEM_STRING_X509_OLD) == 0) {
		certificate = d2i_X509(NULL, &end, length);
	} else if (strcmp(name, PEM_STRING_X509_TRUSTED) == 0) {
		certificate = d2i_X509_AUX(NULL, &end, length);
	} else {
		shown = text_of_bytes(name, strlen(name));
		given_remark(given, "passed over: %s (behind %d certificates)", json_object_get_string(shown),
			     sk_X509_num(given->certificates));
		json_object_put(shown);
		return true;
	}
	if (certificate && end == der + length)
		return take(given, contents, certificate);
	X509_free(certificate);
	return damaged(given, contents, "");
}

static bool take_pem(struct given *given, const struct contents *contents)
{
	unsigned int flags = PEM_FLAG_SECURE | PEM_FLAG_EAY_COMPATIBLE; /* wiped when freed: it may be a key */
	BIO *bio = BIO_new_mem_buf(contents->bytes, (int)contents->length);
	char *name, *header;
	unsigned char *der;
	bool taken = true;
	long length;

	while (taken && PEM_read_bio_ex(bio, &name, &header, &der, &length, flags) == 1) {
		taken = take_block(given, contents, name, der, length);
		OPENSSL_secure_free(name);
		OPENSSL_secure_free(header);
		OPENSSL_secure_clear_free(der, length);
	}
	if (taken && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		taken = damaged(given, contents, ", or what stands in its place,");
	BIO_free(bio);
	return taken;
}

static bool is_pkcs12(const struct contents *contents)
{
	const unsigned char *at = contents->bytes;
	PKCS12 *pkcs12 = d2i_PKCS12(NULL, &at, (long)contents->length);

	PKCS12_free(pkcs12);
	return pkcs12 != NULL;
}

static bool is_private_key(const struct contents *contents)
{
	const unsigned char *at = contents->bytes;
	EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &at, (long)contents->length);

	EVP_PKEY_free(key);
	return key != NULL;
}

static bool is_pkcs7(const struct contents *contents)
{
	const unsigned char *at = contents->bytes;
	PKCS7 *pkcs7 = d2i_PKCS7(NULL, &at, (long)contents->length);

	PKCS7_free(pkcs7);
	return pkcs7 != NULL;
}

/* One certificate behind the other. */
static bool take_der(struct given *given, const struct contents *contents)
{
	const unsigned char *at = contents->bytes, *end = at + contents->length;
	X509 *certificate;

	while (at < end) {
		certificate = d2i_X509(NULL, &at, end - at);
		if (!certificate)
			return damaged(given, contents, "");
		if (!take(given, contents, certificate))
			return false;
	}
	return true;
}

static bool take_contents(struct given *given, const struct contents *contents)
{
	if (memmem(contents->bytes, contents->length, "-----BEGIN ", 11))
		return take_pem(given, contents);
	if (is_pkcs7(contents))
		return take_pkcs7(given, contents, contents->bytes, (long)contents->length);
	if (is_pkcs12(contents)) {
		complain("%s is a PKCS#12 file; show it with: openssl pkcs12 -in %s -nokeys | ktlsctl cert show -",
			 contents->path, contents->path);
		return false;
	}
	if (is_private_key(contents)) {
		given_remark(given, "passed over: a private key");
		return true;
	}
	ERR_clear_error();
	return contents->length == 0 || contents->bytes[0] != 0x30 || take_der(given, contents);
}

bool given_by_file(struct given *given, const char *path)
{
	struct contents contents = {0};
	bool taken;

	given->certificates = sk_X509_new_null();
	given->remarks = json_object_new_array();
	taken = open_contents(&contents, path) && take_contents(given, &contents);
	if (taken && sk_X509_num(given->certificates) == 0) {
		complain("%s holds no certificate%s; expected PEM (-----BEGIN CERTIFICATE-----), DER or PKCS#7",
			 contents.path,
			 json_object_array_length(given->remarks) > 0
				 ? ", but something else, such as a key or a request"
				 : "");
		taken = false;
	}
	close_contents(&contents);
	ERR_clear_error();
	return taken;
}

static bool append_pem(BIO *bio, const char *path)
{
	struct given given = {0};
	bool taken = given_by_file(&given, path);
	int i;

	for (i = 0; taken && i < sk_X509_num(given.certificates); i++) {
		if (PEM_write_bio_X509(bio, sk_X509_value(given.certificates, i)) != 1)
			taken = complain("out of memory") == EXIT_OK;
	}
	given_clear(&given);
	return taken;
}

/* One behind the other. */
static char *pem_of_files(char *const *paths, size_t *length)
{
	BIO *bio = BIO_new(BIO_s_mem());
	bool taken = bio != NULL;
	char *data, *pem = NULL;

	for (; taken && *paths; paths++)
		taken = append_pem(bio, *paths);
	if (taken) {
		*length = BIO_get_mem_data(bio, &data);
		pem = strndup(data, *length);
	}
	BIO_free(bio);
	return pem;
}

int ask_about(const struct options *options, const char *command, char *const *paths,
	      int (*show)(struct json_object *answer, bool json))
{
	struct json_object *answer;
	size_t length = 0;
	char *pem = paths ? pem_of_files(paths, &length) : NULL;
	int status;

	if (paths && !pem)
		return EXIT_PROBLEM;
	answer = control_ask(options->path, command, pem, length);
	free(pem);
	if (!answer)
		return EXIT_PROBLEM;
	status = show(answer, options->json);
	json_object_put(answer);
	return status;
}
