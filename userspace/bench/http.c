/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"

void http_begin(struct http *http)
{
	http->state = HTTP_HEADER;
	http->closes = false;
	http->left = http->body = http->length = 0;
}

static enum http_state bad(const char **why, const char *what)
{
	*why = what;
	return HTTP_BAD;
}

/* A field's value, or NULL. The header ends with an empty line and a NUL. */
static const char *field(const char *header, const char *name)
{
	size_t length = strlen(name);
	const char *line = header;

	while ((line = strstr(line, "\r\n"))) {
		line += 2;
		if (strncasecmp(line, name, length) == 0 && line[length] == ':')
			return line + length + 1 + strspn(line + length + 1, " \t");
	}
	return NULL;
}

static bool parse_number(const char *text, int base, uint64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoull(text, &end, base);
	return isxdigit((unsigned char)*text) && !errno && (*end == '\r' || *end == ';' || *end == ' ');
}

static enum http_state read_header(struct http *http, const char **why)
{
	const char *header = http->text, *value;

	if (strncmp(header, "HTTP/1.", 7) != 0)
		return bad(why, "the response is not HTTP/1.1");
	if (strncmp(header + 8, " 200 ", 5) != 0)
		return bad(why, "the response is not \"200\"");
	value = field(header, "Connection");
	http->closes = value ? strncasecmp(value, "close", 5) == 0 : header[7] == '0';
	value = field(header, "Transfer-Encoding");
	if (value && strncasecmp(value, "chunked", 7) == 0)
		return HTTP_CHUNK_LINE;
	value = field(header, "Content-Length");
	if (!value) {
		http->closes = true;
		return HTTP_UNTIL_END;
	}
	if (!parse_number(value, 10, &http->left))
		return bad(why, "the response's Content-Length is not a number");
	return http->left ? HTTP_BODY : HTTP_DONE;
}

/* How much of the data belongs to it. */
static size_t take_header(struct http *http, const char *data, size_t length, const char **why)
{
	size_t before = http->length, room = sizeof(http->text) - 1 - before;
	size_t taken = length < room ? length : room;
	char *end;

	memcpy(http->text + before, data, taken);
	http->length += taken;
	http->text[http->length] = '\0';
	end = strstr(http->text + (before < 3 ? 0 : before - 3), "\r\n\r\n");
	if (!end) {
		if (taken < length)
			http->state = bad(why, "the response's header is too long");
		return taken;
	}
	end[4] = '\0';
	http->state = read_header(http, why);
	http->length = 0;
	return end + 4 - http->text - before;
}

static size_t take_body(struct http *http, size_t length, enum http_state after)
{
	size_t taken = length < http->left ? length : http->left;

	http->left -= taken;
	http->body += taken;
	if (http->left == 0)
		http->state = after;
	return taken;
}

static void end_line(struct http *http, const char **why)
{
	http->text[http->length] = '\0';
	if (http->state == HTTP_TRAILER) {
		if (http->length <= 2)
			http->state = HTTP_DONE;
	} else if (http->state == HTTP_CHUNK_END) {
		http->state = HTTP_CHUNK_LINE;
	} else if (!parse_number(http->text, 16, &http->left)) {
		http->state = bad(why, "a chunk of the response has no size");
	} else {
		http->state = http->left ? HTTP_CHUNK : HTTP_TRAILER;
	}
	http->length = 0;
}

static size_t take_line(struct http *http, const char *data, size_t length, const char **why)
{
	const char *end = memchr(data, '\n', length);
	size_t taken = end ? (size_t)(end - data) + 1 : length;

	if (taken >= sizeof(http->text) - http->length) {
		http->state = bad(why, "a line between the response's chunks is too long");
		return length;
	}
	memcpy(http->text + http->length, data, taken);
	http->length += taken;
	if (end)
		end_line(http, why);
	return taken;
}

enum http_state http_take(struct http *http, const char *data, size_t length, const char **why)
{
	size_t taken;

	for (; length > 0 && http->state < HTTP_DONE; data += taken, length -= taken) {
		switch (http->state) {
		case HTTP_HEADER:
			taken = take_header(http, data, length, why);
			break;
		case HTTP_BODY:
			taken = take_body(http, length, HTTP_DONE);
			break;
		case HTTP_CHUNK:
			taken = take_body(http, length, HTTP_CHUNK_END);
			break;
		case HTTP_UNTIL_END:
			taken = length;
			http->body += length;
			break;
		default:
			taken = take_line(http, data, length, why);
		}
	}
	return http->state;
}
