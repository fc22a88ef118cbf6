/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "ktlsd.h"
#include "proxy.h"

#define FIXED 16 /* bytes: signature, version and command, family, length */
#define NAME_MAX_BYTES 255

enum family { TCP_IPV4 = 0x11, TCP_IPV6 = 0x21 };

/* §2.2: types of TLVs, and §2.2.6: what is in the one of SSL */
enum tlv {
	TLV_ALPN = 0x01,
	TLV_AUTHORITY = 0x02,
	TLV_UNIQUE_ID = 0x05,
	TLV_SSL = 0x20,
	TLV_SSL_VERSION = 0x21,
	TLV_SSL_CN = 0x22,
	TLV_SSL_CIPHER = 0x23,
};

enum client {
	CLIENT_SSL = 0x01,
	CLIENT_CERT_CONNECTION = 0x02, /* the certificate came over this connection */
	CLIENT_CERT_SESSION = 0x04,    /* or over one of the session before */
};

struct writer {
	uint8_t *bytes;
	size_t length;
};

static void add(struct writer *writer, const void *bytes, size_t length)
{
	memcpy(writer->bytes + writer->length, bytes, length);
	writer->length += length;
}

static void add_tlv(struct writer *writer, enum tlv type, const char *value)
{
	size_t length = strnlen(value, NAME_MAX_BYTES);

	if (length == 0)
		return;
	add(writer, (uint8_t[]){type, length >> 8, length}, 3);
	add(writer, value, length);
}

/* ---- addresses ---- */

static bool is_mapped(const struct sockaddr_storage *address)
{
	return address->ss_family == AF_INET6 &&
	       IN6_IS_ADDR_V4MAPPED(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

/* The last four bytes of a mapped address are the IPv4 address. */
static void add_address(struct writer *writer, const struct sockaddr_storage *address, size_t size)
{
	const struct sockaddr_in6 *ipv6 = (const void *)address;

	if (address->ss_family == AF_INET)
		add(writer, &((const struct sockaddr_in *)address)->sin_addr, size);
	else
		add(writer, ipv6->sin6_addr.s6_addr + sizeof(ipv6->sin6_addr) - size, size);
}

/* At the same place in both. */
static void add_port(struct writer *writer, const struct sockaddr_storage *address)
{
	add(writer, &((const struct sockaddr_in *)address)->sin_port, sizeof(in_port_t));
}

static void add_addresses(struct writer *writer, const struct sockaddr_storage *from, const struct sockaddr_storage *to,
			  bool ipv4)
{
	size_t size = ipv4 ? sizeof(struct in_addr) : sizeof(struct in6_addr);

	add_address(writer, from, size);
	add_address(writer, to, size);
	add_port(writer, from);
	add_port(writer, to);
}

/* ---- TLS ---- */

/* Behind "CN=" of a subject as RFC 2253 writes it; a backslash stands before a character, or two hexadecimal digits. */
static const char *find_common_name(const char *subject)
{
	if (strncasecmp(subject, "CN=", 3) == 0)
		return subject + 3;
	for (const char *c = subject; *c; c++) {
		if (*c == '\\' && c[1])
			c++;
		else if ((*c == ',' || *c == '+') && strncasecmp(c + 1, "CN=", 3) == 0)
			return c + 4;
	}
	return NULL;
}

/*
 * Up to a comma or plus without a backslash before it. False: there is none, or one that would end early for who reads it: with
 * a NUL in it, or too long. "root\00.example" is not root.
 */
static bool common_name(const char *subject, char name[static NAME_MAX_BYTES + 1])
{
	const char *at = find_common_name(subject);
	size_t length = 0;
	unsigned int byte;

	for (; at && *at && *at != ',' && *at != '+'; at++) {
		if (length == NAME_MAX_BYTES)
			return false;
		if (*at == '\\' && sscanf(at + 1, "%2x", &byte) == 1 && strspn(at + 1, "0123456789abcdefABCDEF") >= 2) {
			if (byte == 0)
				return false;
			name[length++] = byte;
			at += 2;
			continue;
		}
		if (*at == '\\' && at[1])
			at++;
		name[length++] = *at;
	}
	name[length] = '\0';
	return at;
}

static const char *version_name(uint16_t version)
{
	return version == 0x0304 ? "TLSv1.3" : "TLSv1.2";
}

static void add_ssl(struct writer *writer, const struct ktlsd_result *result)
{
	size_t begin = writer->length, length;
	bool resumed = result->flags & KTLSD_RESULT_RESUMED;
	uint8_t client = CLIENT_SSL;
	uint32_t verify = htonl(!(result->peer && result->flags & KTLSD_RESULT_VERIFIED));
	char name[NAME_MAX_BYTES + 1];

	if (result->peer)
		client |= resumed ? CLIENT_CERT_SESSION : CLIENT_CERT_CONNECTION | CLIENT_CERT_SESSION;
	add(writer, (uint8_t[]){TLV_SSL, 0, 0}, 3);
	add(writer, &client, 1);
	add(writer, &verify, sizeof(verify));
	add_tlv(writer, TLV_SSL_VERSION, version_name(result->version));
	add_tlv(writer, TLV_SSL_CIPHER, ktlsd_cipher_name(result->cipher));
	if (result->peer && common_name(result->peer->subject, name))
		add_tlv(writer, TLV_SSL_CN, name);
	length = writer->length - begin - 3;
	writer->bytes[begin + 1] = length >> 8;
	writer->bytes[begin + 2] = length;
}

uint16_t proxy_header(uint8_t header[static PROXY_HEADER_MAX], const struct sockaddr_storage *from,
		      const struct sockaddr_storage *to, const struct ktlsd_result *result)
{
	struct writer writer = {.bytes = header};
	bool ipv4 = (from->ss_family == AF_INET || is_mapped(from)) && (to->ss_family == AF_INET || is_mapped(to));
	char id[17];

	add(&writer, "\r\n\r\n\0\r\nQUIT\n\x21", 13); /* version 2, PROXY */
	add(&writer, (uint8_t[]){ipv4 ? TCP_IPV4 : TCP_IPV6, 0, 0}, 3);
	add_addresses(&writer, from, to, ipv4);
	add_tlv(&writer, TLV_ALPN, result->alpn);
	add_tlv(&writer, TLV_AUTHORITY, result->server_name);
	snprintf(id, sizeof(id), "%016llx", (unsigned long long)result->connection_id);
	add_tlv(&writer, TLV_UNIQUE_ID, id);
	add_ssl(&writer, result);
	header[FIXED - 2] = (writer.length - FIXED) >> 8;
	header[FIXED - 1] = writer.length - FIXED;
	return writer.length;
}
