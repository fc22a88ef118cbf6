/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "peer.h"

#define TEXT_MAX 2048 /* of one attribute: a certificate may be as long as it likes, a message may not */

static void add_text(struct datagram_writer *datagram, enum ktlsd_attribute_type type, BIO *text)
{
	char *data;
	long length = BIO_get_mem_data(text, &data);

	if (length > 0)
		message_attribute(datagram, type, data, length < TEXT_MAX ? length : TEXT_MAX);
	BIO_reset(text);
}

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

/* Names are listed with commas between them, so one that holds a comma, or what no name should hold, is no name. */
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
	int length;

	if (!name_kind(type))
		return false;
	data = ASN1_STRING_get0_data(value);
	length = ASN1_STRING_length(value);
	if (type == GEN_IPADD)
		return (length == 4 || length == 16) && inet_ntop(length == 4 ? AF_INET : AF_INET6, data, text, size);
	if (!is_plain(data, length) || (size_t)length >= size)
		return false;
	memcpy(text, data, length);
	text[length] = '\0';
	return true;
}

static void add_names(struct datagram_writer *datagram, X509 *peer, BIO *text)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(peer, NID_subject_alt_name, NULL, NULL);
	const char *separator = "";
	char name[512];
	int i, type;

	for (i = 0; names && i < sk_GENERAL_NAME_num(names) && BIO_pending(text) + sizeof(name) < TEXT_MAX; i++) {
		const GENERAL_NAME *general = sk_GENERAL_NAME_value(names, i);

		if (!name_text(general, name, sizeof(name)))
			continue;
		GENERAL_NAME_get0_value(general, &type);
		BIO_printf(text, "%s%s:%s", separator, name_kind(type), name);
		separator = ", ";
	}
	GENERAL_NAMES_free(names);
	add_text(datagram, KTLSD_ATTR_PEER_NAMES, text);
}

static void add_time(struct datagram_writer *datagram, enum ktlsd_attribute_type type, const ASN1_TIME *time)
{
	ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
	int days, seconds;
	int64_t value;

	if (epoch && ASN1_TIME_diff(&days, &seconds, epoch, time) == 1) {
		value = days * INT64_C(86400) + seconds;
		message_attribute(datagram, type, &value, sizeof(value));
	}
	ASN1_TIME_free(epoch);
}

void peer_describe(X509 *peer, struct datagram_writer *datagram)
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	BIO *text = BIO_new(BIO_s_mem());
	unsigned int length;

	if (!text)
		return;
	X509_NAME_print_ex(text, X509_get_subject_name(peer), 0, XN_FLAG_RFC2253);
	add_text(datagram, KTLSD_ATTR_PEER_SUBJECT, text);
	X509_NAME_print_ex(text, X509_get_issuer_name(peer), 0, XN_FLAG_RFC2253);
	add_text(datagram, KTLSD_ATTR_PEER_ISSUER, text);
	add_names(datagram, peer, text);
	i2a_ASN1_INTEGER(text, X509_get0_serialNumber(peer));
	add_text(datagram, KTLSD_ATTR_PEER_SERIAL, text);
	add_time(datagram, KTLSD_ATTR_PEER_NOT_BEFORE, X509_get0_notBefore(peer));
	add_time(datagram, KTLSD_ATTR_PEER_NOT_AFTER, X509_get0_notAfter(peer));
	if (X509_digest(peer, EVP_sha256(), digest, &length) == 1)
		message_attribute(datagram, KTLSD_ATTR_PEER_SHA256, digest, length);
	BIO_free(text);
}

static bool write_certificate(int fd, X509 *certificate, size_t *bytes)
{
	unsigned char *der = NULL;
	int length = i2d_X509(certificate, &der);
	uint32_t prefix = length;
	bool written =
		length > 0 && write(fd, &prefix, sizeof(prefix)) == sizeof(prefix) && write(fd, der, length) == length;

	OPENSSL_free(der);
	*bytes += sizeof(prefix) + length;
	return written;
}

int peer_chain(const STACK_OF(X509) *chain, size_t *bytes)
{
	int fd = memfd_create("ktlsd chain", MFD_CLOEXEC | MFD_ALLOW_SEALING), i;

	*bytes = 0;
	for (i = 0; fd >= 0 && i < sk_X509_num(chain); i++) {
		if (!write_certificate(fd, sk_X509_value(chain, i), bytes))
			goto fail;
	}
	if (fd < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0)
		goto fail;
	return fd;
fail:
	if (fd >= 0)
		close(fd);
	return -1;
}
