/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "peer.h"
#include "x509/identity.h"
#include "x509/moment.h"

#define TEXT_MAX 2048 /* of one attribute: a certificate may be as long as it likes, a message may not */

static void add_text(struct datagram_writer *datagram, enum ktlsd_attribute_type type, BIO *text)
{
	char *data;
	long length = BIO_get_mem_data(text, &data);

	if (length > 0)
		message_attribute(datagram, type, data, length < TEXT_MAX ? length : TEXT_MAX);
	BIO_reset(text);
}

struct name_list {
	BIO *text;
	const char *separator;
};

static bool add_name(void *argument, const char *name)
{
	struct name_list *list = argument;

	BIO_printf(list->text, "%s%s", list->separator, name);
	list->separator = ", ";
	return BIO_pending(list->text) + IDENTITY_MAX < TEXT_MAX;
}

static void add_names(struct datagram_writer *datagram, X509 *peer, BIO *text)
{
	identity_names(peer, add_name, &(struct name_list){text, ""});
	add_text(datagram, KTLSD_ATTR_PEER_NAMES, text);
}

static void add_time(struct datagram_writer *datagram, enum ktlsd_attribute_type type, const ASN1_TIME *time)
{
	int64_t value = moment_of(time);

	if (value != INT64_MIN)
		message_attribute(datagram, type, &value, sizeof(value));
}

void peer_describe(X509 *peer, struct datagram_writer *datagram)
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	BIO *text = BIO_new(BIO_s_mem());
	char serial[IDENTITY_SERIAL];
	unsigned int length;

	if (!text)
		return;
	X509_NAME_print_ex(text, X509_get_subject_name(peer), 0, XN_FLAG_RFC2253);
	add_text(datagram, KTLSD_ATTR_PEER_SUBJECT, text);
	X509_NAME_print_ex(text, X509_get_issuer_name(peer), 0, XN_FLAG_RFC2253);
	add_text(datagram, KTLSD_ATTR_PEER_ISSUER, text);
	add_names(datagram, peer, text);
	if (identity_serial(peer, serial))
		message_text(datagram, KTLSD_ATTR_PEER_SERIAL, serial);
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

/* (__u32 length, DER)*. *bytes: its size. */
static int seal_chain(const STACK_OF(X509) *chain, size_t *bytes)
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

int peer_write_chain(const STACK_OF(X509) *chain, uint64_t cookie, struct datagram_writer *datagram)
{
	struct ktlsd_msg_chain *message;
	size_t bytes;
	int fd = seal_chain(chain, &bytes);

	if (fd < 0)
		return -1;
	message = message_begin(datagram, KTLSD_MSG_CHAIN, sizeof(*message), cookie);
	if (message) {
		message->certificates = sk_X509_num(chain);
		message->bytes = bytes;
	}
	if (message_end(datagram))
		return fd;
	close(fd);
	return -1;
}
