/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "ktlsd.h"
#include "peer.h"
#include "proxy.h"

/* ---- lines ---- */

/* Peers choose names: no line break of theirs begins a line of ours. */
static void add_text(FILE *text, const char *name, const char *value)
{
	fprintf(text, "%s=", name);
	for (; *value; value++)
		fputc((unsigned char)*value < ' ' || *value == 127 ? '?' : *value, text);
	fputc('\n', text);
}

static void add_peer(FILE *text, const struct ktlsd_peer *peer)
{
	add_text(text, "subject", peer->subject);
	add_text(text, "issuer", peer->issuer);
	add_text(text, "names", peer->names);
	add_text(text, "name", peer->name);
	add_text(text, "serial", peer->serial);
	fprintf(text, "sha256=");
	for (size_t i = 0; i < sizeof(peer->sha256); i++)
		fprintf(text, "%02x", peer->sha256[i]);
	fputc('\n', text);
}

char *peer_text(const struct ktlsd_result *result)
{
	char *lines = NULL;
	size_t length;
	FILE *text = open_memstream(&lines, &length);

	if (!text)
		return NULL;
	add_text(text, "version", ktlsd_version_name(result->version));
	add_text(text, "cipher", ktlsd_cipher_name(result->cipher));
	add_text(text, "group", ktlsd_group_name(result->group));
	add_text(text, "resumed", result->flags & KTLSD_RESULT_RESUMED ? "yes" : "no");
	add_text(text, "verified", result->flags & KTLSD_RESULT_VERIFIED ? "yes" : "no");
	fprintf(text, "connection=%016llx\n", (unsigned long long)result->connection_id);
	add_text(text, "server_name", result->server_name);
	add_text(text, "alpn", result->alpn);
	if (result->peer)
		add_peer(text, result->peer);
	fclose(text);
	return lines;
}

/* ---- PROXY protocol ---- */

int peer_proxy_header(int fd, const struct ktlsd_result *result, uint8_t **header, uint16_t *length)
{
	struct sockaddr_storage from, to;
	socklen_t from_length = sizeof(from), to_length = sizeof(to);
	uint8_t bytes[PROXY_HEADER_MAX];

	if (getpeername(fd, (struct sockaddr *)&from, &from_length) < 0 ||
	    getsockname(fd, (struct sockaddr *)&to, &to_length) < 0)
		return -errno;
	*length = proxy_header(bytes, &from, &to, result);
	*header = malloc(*length);
	if (!*header)
		return -ENOMEM;
	memcpy(*header, bytes, *length);
	return 0;
}
