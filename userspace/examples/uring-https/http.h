/* SPDX-License-Identifier: MIT */
/* As much of HTTP/1.1 as serving files takes: requests in, responses out. No I/O but on files. */
#ifndef EXAMPLE_HTTP_H
#define EXAMPLE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "files.h"

struct response {
	char *text; /* header, and the body if it is small; NULL: no memory */
	size_t length;
	struct file *file; /* sent behind the text, up to size; NULL: nothing */
	off_t size;
	bool keep_alive;
};

/* Answers a request, NUL-terminated and without its empty line, with a file beneath directory or with an error. */
struct response http_answer(char *request, int directory, unsigned int now_s);

/* An answer that says no more than its status, and ends the connection. */
struct response http_error(const char *status);

void http_free(struct response *response);

#endif
