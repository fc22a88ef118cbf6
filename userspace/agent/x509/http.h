/* SPDX-License-Identifier: MIT */
/*
 * One question to a server over HTTP, with OpenSSL's client on a socket of ours: so that the time is kept to the
 * millisecond, whatever the server does. Only the name's lookup takes as long as the resolver likes.
 */
#ifndef AGENT_HTTP_H
#define AGENT_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_post {
	const char *url; /* http:// */
	const char *content_type, *expected_type;
	const uint8_t *content;
	size_t length;
	size_t limit;		 /* the longest answer, in bytes */
	unsigned int timeout_ms; /* for all of it; connecting to one address gets half of that */
	int stop;		 /* gives up when this descriptor polls readable; -1: none */

	uint8_t *answer; /* DER; to be freed with OPENSSL_free() */
	size_t answer_length;
	char why[192];
};

/* False with why. */
bool http_post(struct http_post *post);

#endif
