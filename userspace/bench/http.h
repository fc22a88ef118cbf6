/* SPDX-License-Identifier: MIT */
/* HTTP/1.1 responses as they come, piece by piece: with a Content-Length, in chunks, or up to the end of the connection. */
#ifndef BENCH_HTTP_H
#define BENCH_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_HEADER_MAX 4096

enum http_state {
	HTTP_HEADER,
	HTTP_BODY,	 /* so many bytes */
	HTTP_UNTIL_END,	 /* of the connection */
	HTTP_CHUNK_LINE, /* a chunk's size */
	HTTP_CHUNK,
	HTTP_CHUNK_END, /* the line's end behind it */
	HTTP_TRAILER,
	HTTP_DONE,
	HTTP_BAD,
};

struct http {
	enum http_state state;
	bool closes; /* the server closes behind this response */
	uint64_t left;
	uint64_t body; /* bytes so far */
	size_t length; /* of the header, or of a line within chunks */
	char text[HTTP_HEADER_MAX];
};

void http_begin(struct http *http);

/* The state behind the data: DONE, BAD with a reason, or another: there is more to come. */
enum http_state http_take(struct http *http, const char *data, size_t length, const char **why);

#endif
