/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <netdb.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/http.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../clock.h"
#include "http.h"

#define HEADERS_MAX 16384 /* bytes; OpenSSL before 3.3 would take any number */

struct wire { /* what the BIO's callback looks after */
	struct http_post *post;
	int fd;
	int64_t deadline; /* CLOCK_MONOTONIC, milliseconds */
	size_t received;
	char status[48]; /* the answer's first line */
};

__attribute__((format(printf, 2, 3))) static bool fail(struct http_post *post, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (!*post->why)
		vsnprintf(post->why, sizeof(post->why), format, arguments);
	va_end(arguments);
	return false;
}

static bool await(const struct wire *wire, short events, int64_t deadline)
{
	struct pollfd fds[] = {{.fd = wire->fd, .events = events}, {.fd = wire->post->stop, .events = POLLIN}};
	int64_t left = deadline - clock_ms();
	int ready = left > 0 ? poll(fds, 2, (int)left) : 0;

	if (ready == 0)
		return fail(wire->post, "no answer within %u ms", wire->post->timeout_ms);
	if (fds[1].revents)
		return fail(wire->post, "the agent stops");
	return ready > 0 || errno == EINTR || fail(wire->post, "poll: %s", strerror(errno));
}

/* ---- connecting ---- */

/* 0 or an errno. */
static int await_connection(struct wire *wire)
{
	int64_t deadline = clock_ms() + wire->post->timeout_ms / 2;
	socklen_t length = sizeof(int);
	int error;

	if (!await(wire, POLLOUT, deadline < wire->deadline ? deadline : wire->deadline))
		return ETIMEDOUT;
	return getsockopt(wire->fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

static int connect_to(struct wire *wire, const struct addrinfo *address)
{
	int error;

	wire->fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (wire->fd < 0)
		return errno;
	error = connect(wire->fd, address->ai_addr, address->ai_addrlen) == 0 ? 0 : errno;
	if (error == EINPROGRESS)
		error = await_connection(wire);
	if (!error)
		return 0;
	close(wire->fd);
	wire->fd = -1;
	return error;
}

static bool connect_any(struct wire *wire, const char *host, const char *port)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	struct addrinfo *addresses, *address;
	int error = getaddrinfo(host, port, &hints, &addresses);

	if (error)
		return fail(wire->post, "no address for %.80s: %s", host, gai_strerror(error));
	error = EHOSTUNREACH;
	for (address = addresses; address && error; address = address->ai_next) {
		wire->post->why[0] = '\0';
		error = connect_to(wire, address);
	}
	freeaddrinfo(addresses);
	return !error || fail(wire->post, "can't connect to %.80s port %s: %s", host, port, strerror(error));
}

/* ---- asking ---- */

static void note_status(struct wire *wire, const char *data, size_t length)
{
	size_t i;

	for (i = 0; i < length && wire->received + i < sizeof(wire->status) - 1 && data[i] != '\r' && data[i] != '\n';
	     i++)
		wire->status[wire->received + i] = data[i] < ' ' || data[i] > '~' ? '?' : data[i];
	wire->received += length;
}

/* Waits before each read and write, so that OpenSSL's client never has to come back to a half-read header. */
static long watch(BIO *bio, int operation, const char *data, size_t length, int argi, long argl, int result,
		  size_t *processed)
{
	struct wire *wire = (struct wire *)BIO_get_callback_arg(bio);

	(void)length, (void)argi, (void)argl;
	if (operation == BIO_CB_WRITE)
		return await(wire, POLLOUT, wire->deadline);
	if (operation == BIO_CB_READ && wire->received > wire->post->limit + HEADERS_MAX)
		return fail(wire->post, "the answer is longer than %zu bytes", wire->post->limit);
	if (operation == BIO_CB_READ)
		return await(wire, POLLIN, wire->deadline);
	if (operation == (BIO_CB_READ | BIO_CB_RETURN) && result > 0 && processed)
		note_status(wire, data, *processed);
	return result;
}

static BIO *open_wire(struct wire *wire)
{
	BIO *socket = BIO_new_socket(wire->fd, BIO_NOCLOSE), *buffer = BIO_new(BIO_f_buffer());

	if (!socket || !buffer) {
		BIO_free(socket);
		BIO_free(buffer);
		return NULL;
	}
	BIO_set_callback_ex(socket, watch);
	BIO_set_callback_arg(socket, (char *)wire);
	return BIO_push(buffer, socket);
}

static void explain(struct wire *wire)
{
	static const char *const good[] = {"HTTP/1.0 200", "HTTP/1.1 200"};
	const char *data = NULL, *reason;
	int flags = 0;
	unsigned long error = ERR_peek_last_error_all(NULL, NULL, NULL, &data, &flags);
	size_t length = strlen(good[0]);

	reason = ERR_reason_error_string(error);
	if (!wire->received)
		fail(wire->post, "no answer: the connection was closed");
	else if (strncmp(wire->status, good[0], length) != 0 && strncmp(wire->status, good[1], length) != 0)
		fail(wire->post, "the answer is \"%s\"; expected HTTP/1.0 200 OK", wire->status);
	else
		fail(wire->post, "%s%s%.60s", reason ? reason : "the answer was cut short",
		     data && *data && (flags & ERR_TXT_STRING) ? ": " : "",
		     data && (flags & ERR_TXT_STRING) ? data : "");
}

static bool take_answer(struct http_post *post, OSSL_HTTP_REQ_CTX *request)
{
	char *data;
	long length = BIO_get_mem_data(OSSL_HTTP_REQ_CTX_get0_mem_bio(request), &data);

	if (length <= 0 || (size_t)length > post->limit)
		return fail(post, "the answer has %ld bytes; expected at most %zu", length, post->limit);
	post->answer = OPENSSL_memdup(data, length);
	post->answer_length = length;
	return post->answer || fail(post, "no memory");
}

static bool exchange(struct wire *wire, const char *host, const char *path)
{
	struct http_post *post = wire->post;
	BIO *bio = open_wire(wire), *content = BIO_new_mem_buf(post->content, (int)post->length);
	OSSL_HTTP_REQ_CTX *request = bio ? OSSL_HTTP_REQ_CTX_new(bio, bio, 0) : NULL;
	STACK_OF(CONF_VALUE) *headers = NULL;
	int result = -1;
	bool done = false;

	if (!request || !content || !X509V3_add_value("Host", host, &headers) ||
	    !OSSL_HTTP_set1_request(request, path, headers, post->content_type, content, post->expected_type, 1,
				    post->limit, 0, 0))
		fail(post, "no memory");
	else
		while (result == -1)
			result = OSSL_HTTP_REQ_CTX_nbio(request);
	if (result == 1)
		done = take_answer(post, request);
	else
		explain(wire);
	ERR_clear_error();
	sk_CONF_VALUE_pop_free(headers, X509V3_conf_free);
	OSSL_HTTP_REQ_CTX_free(request);
	BIO_free(content);
	BIO_free_all(bio);
	return done;
}

/* An IPv6 address has brackets in a Host header, and none for the resolver. */
static void name_host(char *header, size_t size, char **host, const char *port)
{
	size_t length = strlen(*host);

	if ((*host)[0] == '[' && (*host)[length - 1] == ']') {
		memmove(*host, *host + 1, length - 2);
		(*host)[length - 2] = '\0';
	}
	snprintf(header, size, strchr(*host, ':') ? "[%s]:%s" : "%s:%s", *host, port);
}

bool http_post(struct http_post *post)
{
	struct wire wire = {.post = post, .fd = -1, .deadline = clock_ms() + post->timeout_ms};
	char *host = NULL, *port = NULL, *path = NULL, *query = NULL, target[1024], header[1024];
	int tls = 0;
	bool done = false;

	post->answer = NULL;
	post->why[0] = '\0';
	if (OSSL_HTTP_parse_url(post->url, &tls, NULL, &host, &port, NULL, &path, &query, NULL) != 1 || tls || !*host) {
		fail(post, "%.100s is no address; expected http://HOST[:PORT][/PATH]", post->url);
	} else {
		snprintf(target, sizeof(target), "%s%s%s", path, query && *query ? "?" : "", query ? query : "");
		name_host(header, sizeof(header), &host, port);
		done = connect_any(&wire, host, port) && exchange(&wire, header, target);
	}
	if (wire.fd >= 0)
		close(wire.fd);
	OPENSSL_free(host);
	OPENSSL_free(port);
	OPENSSL_free(path);
	OPENSSL_free(query);
	ERR_clear_error();
	return done;
}
