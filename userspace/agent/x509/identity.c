/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "identity.h"

static const char *name_kind(int type)
{
	switch (type) {
	case GEN_DNS:
		return "DNS";
	case GEN_EMAIL:
		return "email";
	case GEN_URI:
		return "URI";
	case GEN_IPADD:
		return "IP";
	}
	return NULL;
}

static bool is_plain(const unsigned char *name, int length)
{
	int i;

	for (i = 0; i < length; i++) {
		if (name[i] <= ' ' || name[i] > '~' || name[i] == ',')
			return false;
	}
	return length > 0;
}

static bool name_text(const GENERAL_NAME *name, char *text, size_t size)
{
	int type;
	const ASN1_STRING *value = GENERAL_NAME_get0_value(name, &type);
	const unsigned char *data;
	size_t used;
	int length;

	if (!name_kind(type))
		return false;
	data = ASN1_STRING_get0_data(value);
	length = ASN1_STRING_length(value);
	used = snprintf(text, size, "%s:", name_kind(type));
	if (type == GEN_IPADD)
		return (length == 4 || length == 16) &&
		       inet_ntop(length == 4 ? AF_INET : AF_INET6, data, text + used, size - used);
	if (!is_plain(data, length) || (size_t)length >= size - used)
		return false;
	memcpy(text + used, data, length);
	text[used + length] = '\0';
	return true;
}

void identity_names(X509 *certificate, bool (*take)(void *argument, const char *name), void *argument)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	char text[IDENTITY_MAX];
	int i;

	for (i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		if (name_text(sk_GENERAL_NAME_value(names, i), text, sizeof(text)) && !take(argument, text))
			break;
	}
	GENERAL_NAMES_free(names);
}

bool identity_text(const X509_NAME *name, char *text, size_t size)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data;
	long length = 0;

	if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0)
		length = BIO_get_mem_data(bio, &data);
	if (length > 0 && (size_t)length < size) {
		memcpy(text, data, length);
		text[length] = '\0';
	} else {
		text[0] = '\0';
	}
	BIO_free(bio);
	return text[0];
}

bool identity_serial(X509 *certificate, char text[IDENTITY_SERIAL])
{
	BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
	char *hex = number ? BN_bn2hex(number) : NULL;
	bool fits = hex && strlen(hex) < IDENTITY_SERIAL;

	if (fits)
		strcpy(text, hex);
	OPENSSL_free(hex);
	BN_free(number);
	return fits;
}

void identity_hex(const uint8_t digest[static 32], char text[IDENTITY_SHA256])
{
	size_t i;

	for (i = 0; i < 32; i++)
		snprintf(text + 2 * i, 3, "%02x", digest[i]);
}

bool identity_fingerprint(X509 *certificate, char text[IDENTITY_SHA256])
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned int length;

	if (X509_digest(certificate, EVP_sha256(), digest, &length) != 1)
		return false;
	identity_hex(digest, text);
	return true;
}

bool identity_key_fingerprint(X509 *certificate, char text[IDENTITY_SHA256])
{
	unsigned char *der = NULL;
	int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
	uint8_t digest[EVP_MAX_MD_SIZE];
	bool done = size > 0 && EVP_Digest(der, size, digest, NULL, EVP_sha256(), NULL) == 1;

	OPENSSL_free(der);
	if (done)
		identity_hex(digest, text);
	return done;
}
