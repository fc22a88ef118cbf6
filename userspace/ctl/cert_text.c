/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <json-c/json.h>
#include <openssl/asn1.h>
#include <openssl/bio.h>

#include "cert.h"

static bool is_plain(unsigned char c)
{
	return c >= ' ' && c <= '~';
}

/* A backslash of the text itself is doubled, so that nobody can pretend an escape. */
static void put_bytes(BIO *text, const unsigned char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (bytes[i] == '\\')
			BIO_puts(text, "\\\\");
		else if (is_plain(bytes[i]))
			BIO_write(text, bytes + i, 1);
		else
			BIO_printf(text, "\\%02X", bytes[i]);
	}
}

/* The text, which is freed. OpenSSL has escaped what it wrote into it; this does not depend on that. */
static struct json_object *take(BIO *text)
{
	struct json_object *value;
	char *bytes;
	long length = BIO_get_mem_data(text, &bytes);

	for (long i = 0; i < length; i++)
		if (!is_plain(bytes[i]))
			bytes[i] = '?';
	value = json_object_new_string_len(bytes, (int)length);
	BIO_free(text);
	return value;
}

struct json_object *text_of_bytes(const void *bytes, size_t length)
{
	BIO *text = BIO_new(BIO_s_mem());

	put_bytes(text, bytes, length);
	return take(text);
}

static void put_name(BIO *text, const X509_NAME *name)
{
	if (X509_NAME_print_ex(text, name, 0, XN_FLAG_RFC2253) < 0)
		BIO_puts(text, " (damaged)");
}

struct json_object *text_of_name(const X509_NAME *name)
{
	BIO *text = BIO_new(BIO_s_mem());

	put_name(text, name);
	return take(text);
}

static void put_oid(BIO *text, const ASN1_OBJECT *oid)
{
	char dotted[256];
	int length = OBJ_obj2txt(dotted, sizeof(dotted), oid, 1);

	BIO_printf(text, "%s%s", length > 0 ? dotted : "(damaged)", length >= (int)sizeof(dotted) ? "..." : "");
}

struct json_object *text_of_oid(const ASN1_OBJECT *oid)
{
	BIO *text = BIO_new(BIO_s_mem());

	put_oid(text, oid);
	return take(text);
}

/* Name constraints have an address with a mask behind it. */
static void put_ip(BIO *text, const unsigned char *bytes, int length)
{
	int family = length == 4 || length == 8 ? AF_INET : AF_INET6, size = family == AF_INET ? 4 : 16;
	char address[INET6_ADDRSTRLEN];

	if (length != size && length != 2 * size) {
		BIO_puts(text, "(damaged)");
		return;
	}
	BIO_puts(text, inet_ntop(family, bytes, address, sizeof(address)));
	if (length > size)
		BIO_printf(text, "/%s", inet_ntop(family, bytes + size, address, sizeof(address)));
}

static const char *kind_of_name(int type)
{
	switch (type) {
	case GEN_DNS:
		return "DNS";
	case GEN_IPADD:
		return "IP";
	case GEN_URI:
		return "URI";
	case GEN_EMAIL:
		return "email";
	case GEN_DIRNAME:
		return "directory name";
	case GEN_RID:
		return "registered id";
	case GEN_OTHERNAME:
		return "other name";
	default:
		return "X.400 or EDI name";
	}
}

struct json_object *text_of_general_name(const GENERAL_NAME *name)
{
	BIO *text = BIO_new(BIO_s_mem());

	BIO_printf(text, "%s:", kind_of_name(name->type));
	switch (name->type) {
	case GEN_DNS:
	case GEN_URI:
	case GEN_EMAIL:
		put_bytes(text, ASN1_STRING_get0_data(name->d.ia5), ASN1_STRING_length(name->d.ia5));
		break;
	case GEN_IPADD:
		put_ip(text, ASN1_STRING_get0_data(name->d.ip), ASN1_STRING_length(name->d.ip));
		break;
	case GEN_DIRNAME:
		put_name(text, name->d.dirn);
		break;
	case GEN_RID:
		put_oid(text, name->d.rid);
		break;
	case GEN_OTHERNAME:
		put_oid(text, name->d.otherName->type_id);
		break;
	}
	return take(text);
}

struct json_object *text_of_hex(const char *prefix, const unsigned char *bytes, size_t length)
{
	BIO *text = BIO_new(BIO_s_mem());

	BIO_puts(text, prefix);
	for (size_t i = 0; i < length; i++)
		BIO_printf(text, "%02x", bytes[i]);
	return take(text);
}

/* As the agent writes it. */
struct json_object *text_of_serial(const ASN1_INTEGER *serial)
{
	const unsigned char *bytes = ASN1_STRING_get0_data(serial);
	BIO *text = BIO_new(BIO_s_mem());

	BIO_puts(text, ASN1_STRING_type(serial) & V_ASN1_NEG ? "-" : "");
	BIO_puts(text, ASN1_STRING_length(serial) == 0 ? "00" : "");
	for (int i = 0; i < ASN1_STRING_length(serial); i++)
		BIO_printf(text, "%02X", bytes[i]);
	return take(text);
}

bool seconds_of_time(const ASN1_TIME *time, int64_t *seconds)
{
	struct tm tm;

	if (!time || ASN1_TIME_to_tm(time, &tm) != 1)
		return false;
	*seconds = timegm(&tm);
	return true;
}

struct json_object *text_of_time(const ASN1_TIME *time)
{
	char text[96];
	struct tm tm;

	if (!time || ASN1_TIME_to_tm(time, &tm) != 1)
		return NULL;
	snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
		 tm.tm_hour, tm.tm_min, tm.tm_sec);
	return json_object_new_string(text);
}

void add(struct json_object *object, const char *member, struct json_object *value)
{
	if (value)
		json_object_object_add(object, member, value);
}
