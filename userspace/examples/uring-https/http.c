/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http.h"

#define HEADER_MAX 512

struct request {
	const char *method;
	char *path;
	bool head_only;
	bool keep_alive;
};

static const char *content_type(const char *path)
{
	static const char *const types[][2] = {{".html", "text/html"},	   {".css", "text/css"},
					       {".js", "text/javascript"}, {".json", "application/json"},
					       {".txt", "text/plain"},	   {".svg", "image/svg+xml"},
					       {".png", "image/png"},	   {".jpg", "image/jpeg"}};
	const char *suffix = strrchr(path, '.');

	if (*path == '\0' || path[strlen(path) - 1] == '/') /* index.html */
		return "text/html";
	for (size_t i = 0; suffix && i < sizeof(types) / sizeof(types[0]); i++)
		if (strcasecmp(suffix, types[i][0]) == 0)
			return types[i][1];
	return "application/octet-stream";
}

static struct response start(const struct request *request, const char *status, const char *type, off_t size)
{
	struct response response = {.size = size, .keep_alive = request->keep_alive};

	response.text = malloc(HEADER_MAX + (size <= SMALL_FILE ? size : 0));
	if (response.text)
		response.length = snprintf(response.text, HEADER_MAX,
					   "HTTP/1.1 %s\r\nContent-Length: %lld\r\nContent-Type: %s\r\n%s\r\n", status,
					   (long long)size, type, request->keep_alive ? "" : "Connection: close\r\n");
	return response;
}

static struct response refuse(const struct request *request, const char *status)
{
	struct response response = start(request, status, "text/plain", strlen(status) + 1);

	if (response.text && !request->head_only)
		response.length += sprintf(response.text + response.length, "%s\n", status);
	return response;
}

struct response http_error(const char *status)
{
	return refuse(&(struct request){0}, status);
}

static struct response serve(const struct request *request, int directory, unsigned int now_s)
{
	struct file *file = file_get(directory, request->path, now_s);
	struct response response;

	if (!file)
		return refuse(request, "404 Not Found");
	response = start(request, "200 OK", content_type(request->path), file->size);
	if (response.text && !request->head_only && file->content) {
		memcpy(response.text + response.length, file->content, file->size);
		response.length += file->size;
	} else if (response.text && !request->head_only) {
		response.file = file;
		return response;
	}
	file_put(file);
	return response;
}

/* "%41" becomes "A". False if it is malformed, or hides a NUL. */
static bool decode_path(char *path)
{
	char *to = path;
	unsigned int byte;

	for (const char *from = path; *from; to++) {
		*to = *from++;
		if (*to != '%')
			continue;
		if (strspn(from, "0123456789abcdefABCDEF") < 2 || sscanf(from, "%2x", &byte) != 1 || byte == 0)
			return false;
		*to = byte;
		from += 2;
	}
	*to = '\0';
	return true;
}

static const char *find_header(const char *headers, const char *name)
{
	size_t length = strlen(name);

	for (const char *line = strstr(headers, "\r\n"); line; line = strstr(line + 2, "\r\n"))
		if (strncasecmp(line + 2, name, length) == 0 && line[2 + length] == ':')
			return line + 2 + length + 1 + strspn(line + 2 + length + 1, " \t");
	return NULL;
}

static bool wants_to_stay(const char *version, const char *connection)
{
	if (strcmp(version, "HTTP/1.0") == 0)
		return connection && strncasecmp(connection, "keep-alive", 10) == 0;
	return !connection || strncasecmp(connection, "close", 5) != 0;
}

/* Files take no bodies: a request that announces one is refused, so that its body is never read as a request. */
static bool announces_body(const char *headers)
{
	const char *length = find_header(headers, "Content-Length");

	return find_header(headers, "Transfer-Encoding") || (length && atoi(length) != 0);
}

static bool parse(struct request *request, char *text)
{
	char *headers = strstr(text, "\r\n");
	char *target = text + strcspn(text, " \r");
	char *version = *target == ' ' ? target + 1 + strcspn(target + 1, " \r") : target;
	bool body = headers && announces_body(headers);
	const char *connection = headers ? find_header(headers, "Connection") : NULL;

	if (*version != ' ' || target[1] != '/' || body)
		return false;
	if (headers)
		*headers = '\0';
	*target = *version++ = '\0';
	if (strncmp(version, "HTTP/1.", 7) != 0)
		return false;
	request->method = text;
	request->head_only = strcmp(text, "HEAD") == 0;
	request->keep_alive = wants_to_stay(version, connection);
	request->path = target + 1 + strspn(target + 1, "/");
	request->path[strcspn(request->path, "?#")] = '\0';
	return decode_path(request->path);
}

struct response http_answer(char *text, int directory, unsigned int now_s)
{
	struct request request = {0};

	if (!parse(&request, text))
		return http_error("400 Bad Request");
	if (!request.head_only && strcmp(request.method, "GET") != 0)
		return refuse(&request, "405 Method Not Allowed");
	return serve(&request, directory, now_s);
}

void http_free(struct response *response)
{
	free(response->text);
	response->text = NULL;
	file_put(response->file);
	response->file = NULL;
}
