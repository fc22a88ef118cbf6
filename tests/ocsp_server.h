/* SPDX-License-Identifier: MIT */
/* An OCSP responder of the test's own, on a thread of its own, which is slow, down, lying or huge by the path it is asked at. */
#ifndef TESTS_OCSP_SERVER_H
#define TESTS_OCSP_SERVER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ocsp_authority.h"
#include "unit.h"

#define DAY 86400
#define LEAVES 512 /* serial numbers */

static struct authority root, leaves[LEAVES];
static EVP_PKEY *leaf_key;

static struct {
	int listener;
	unsigned int port;
	_Atomic unsigned int requests, connections;
	_Atomic bool down; /* /answer closes without a word */
	_Atomic int life;  /* seconds */
	_Atomic int status[LEAVES];
	pthread_mutex_t lock;
	uint8_t *first; /* what /replay gave first, and gives for ever */
	size_t first_length;
} server = {.lock = PTHREAD_MUTEX_INITIALIZER, .life = DAY};

static inline const uint8_t *nonce_of(OCSP_REQUEST *request)
{
	int at = OCSP_REQUEST_get_ext_by_NID(request, NID_id_pkix_OCSP_Nonce, -1);
	const ASN1_OCTET_STRING *data;

	if (at < 0)
		return NULL;
	data = X509_EXTENSION_get_data(OCSP_REQUEST_get_ext(request, at));
	must(ASN1_STRING_length(data) == 34);
	return ASN1_STRING_get0_data(data) + 2;
}

/* The same one each time; a reference to it. */
static inline struct authority leaf(long serial)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct authority *made = &leaves[serial];

	must(serial > 0 && serial < LEAVES);
	pthread_mutex_lock(&lock);
	if (!made->certificate) {
		struct certificate_plan plan = {.name = "leaf",
						.issuer = &root,
						.key = leaf_key,
						.serial = serial,
						.from = time(NULL) - DAY,
						.until = time(NULL) + DAY,
						.extensions = {{"extendedKeyUsage", "clientAuth"}}};

		*made = make_certificate(&plan);
	}
	X509_up_ref(made->certificate);
	pthread_mutex_unlock(&lock);
	return *made;
}

static inline size_t answer_to(const uint8_t *body, size_t length, uint8_t **der)
{
	OCSP_REQUEST *request = d2i_OCSP_REQUEST(NULL, &body, (long)length);
	struct response_plan plan = {.signer = &root, .issuer = &root, .reason = 1, .this_update = time(NULL)};
	ASN1_INTEGER *serial;
	struct authority about;

	must(request && OCSP_id_get0_info(NULL, NULL, NULL, &serial,
					  OCSP_onereq_get0_id(OCSP_request_onereq_get0(request, 0))) == 1);
	about = leaf(ASN1_INTEGER_get(serial));
	plan.about = &about;
	plan.status = server.status[ASN1_INTEGER_get(serial) % LEAVES];
	plan.revoked = plan.status == V_OCSP_CERTSTATUS_REVOKED ? plan.this_update - 60 : 0;
	plan.next_update = plan.this_update + server.life;
	plan.nonce = nonce_of(request);
	length = make_response(&plan, der);
	free_authority(&about, false);
	OCSP_REQUEST_free(request);
	return length;
}

static inline void say(int fd, const char *head, const void *body, size_t length)
{
	if (send(fd, head, strlen(head), MSG_NOSIGNAL) < 0 || send(fd, body, length, MSG_NOSIGNAL) < 0)
		return;
}

#define OK "HTTP/1.0 200 OK\r\nContent-Type: application/ocsp-response\r\n"

static inline void answer_well(int fd, const uint8_t *body, size_t length)
{
	uint8_t *der;

	length = answer_to(body, length, &der);
	say(fd, OK "\r\n", der, length);
	OPENSSL_free(der);
}

static inline void answer_or_not(int fd, const uint8_t *body, size_t length)
{
	if (!server.down)
		answer_well(fd, body, length);
}

static inline void slow(int fd, const uint8_t *body, size_t length)
{
	usleep(400000);
	answer_well(fd, body, length);
}

/* The caller hangs up sooner than this ends. */
static inline void silent(int fd, const uint8_t *body, size_t length)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	(void)body, (void)length;
	poll(&poll_fd, 1, 10000);
}

static inline void drip(int fd, const uint8_t *body, size_t length)
{
	(void)body, (void)length;
	for (int i = 0; i < 200 && send(fd, "H", 1, MSG_NOSIGNAL) == 1; i++)
		usleep(50000);
}

static inline void endless(int fd, const char *head, const char *piece)
{
	say(fd, head, "", 0);
	for (int i = 0; i < 100000 && send(fd, piece, strlen(piece), MSG_NOSIGNAL) > 0; i++)
		;
}

static inline void endless_headers(int fd, const uint8_t *body, size_t length)
{
	(void)body, (void)length;
	endless(fd, "HTTP/1.0 200 OK\r\n", "X-Padding: 0123456789abcdef0123456789abcdef0123456789abcdef\r\n");
}

static inline void endless_body(int fd, const uint8_t *body, size_t length)
{
	(void)body, (void)length;
	endless(fd, OK "\r\n\x30\x84\x00\x0f\x00", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
}

static inline void huge(int fd, const uint8_t *body, size_t length)
{
	(void)body, (void)length;
	say(fd, OK "Content-Length: 100000\r\n\r\n", "\x30\x83\x01\x86\x9c", 5);
}

static inline void garbage(int fd, const uint8_t *body, size_t length)
{
	(void)body, (void)length;
	say(fd, OK "\r\n", "0\x04garb", 6);
}

static inline void trailing(int fd, const uint8_t *body, size_t length)
{
	uint8_t *der, *longer;

	length = answer_to(body, length, &der);
	longer = malloc(length + 4);
	must(longer);
	memcpy(longer, der, length);
	memset(longer + length, 0, 4);
	say(fd, OK "\r\n", longer, length + 4);
	free(longer);
	OPENSSL_free(der);
}

static inline void not_found(int fd, const uint8_t *body, size_t length)
{
	(void)body, (void)length;
	say(fd, "HTTP/1.0 404 Not\x1b[31mFound\r\nContent-Type: text/html\r\n\r\n", "<html>", 6);
}

static inline void redirect(int fd, const uint8_t *body, size_t length)
{
	(void)body, (void)length;
	say(fd, "HTTP/1.0 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", "", 0);
}

static inline void web_page(int fd, const uint8_t *body, size_t length)
{
	(void)body, (void)length;
	say(fd, "HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n", "<html>", 6);
}

static inline void hang_up(int fd, const uint8_t *body, size_t length)
{
	(void)fd, (void)body, (void)length;
}

static inline void cut_short(int fd, const uint8_t *body, size_t length)
{
	uint8_t *der;

	length = answer_to(body, length, &der);
	say(fd, OK "\r\n", der, length / 2);
	OPENSSL_free(der);
}

/* In pieces, as a network may deliver it. */
static inline void in_pieces(int fd, const uint8_t *body, size_t length)
{
	static const char head[] = OK "\r\n";
	uint8_t *der;

	length = answer_to(body, length, &der);
	for (size_t i = 0; i < sizeof(head) - 1; i += 20) {
		size_t rest = sizeof(head) - 1 - i;

		must(send(fd, head + i, rest < 20 ? rest : 20, MSG_NOSIGNAL) > 0);
		usleep(10000);
	}
	say(fd, "", der, 100);
	usleep(10000);
	say(fd, "", der + 100, length - 100);
	OPENSSL_free(der);
}

static inline void replay(int fd, const uint8_t *body, size_t length)
{
	pthread_mutex_lock(&server.lock);
	if (!server.first)
		server.first_length = answer_to(body, length, &server.first);
	pthread_mutex_unlock(&server.lock);
	say(fd, OK "\r\n", server.first, server.first_length);
}

static const struct {
	const char *path;
	void (*answer)(int fd, const uint8_t *body, size_t length);
} paths[] = {
	{"answer", answer_or_not},    {"slow", slow},	      {"silent", silent},     {"drip", drip},
	{"headers", endless_headers}, {"body", endless_body}, {"huge", huge},	      {"garbage", garbage},
	{"trailing", trailing},	      {"404", not_found},     {"redirect", redirect}, {"page", web_page},
	{"closed", hang_up},	      {"cut", cut_short},     {"pieces", in_pieces},  {"replay", replay},
};

/* Headers and as much as Content-Length says. */
static inline uint8_t *read_request(int fd, char *buffer, size_t size, size_t *length)
{
	size_t have = 0, wanted;
	ssize_t got;

	while ((got = recv(fd, buffer + have, size - 1 - have, 0)) > 0) {
		char *body, *header;

		have += got;
		buffer[have] = '\0';
		body = memmem(buffer, have, "\r\n\r\n", 4);
		header = strstr(buffer, "Content-Length: ");
		if (!body || !header)
			continue;
		wanted = strtoul(header + 16, NULL, 10);
		*length = have - (body + 4 - buffer);
		if (*length >= wanted)
			return (uint8_t *)body + 4;
	}
	return NULL;
}

static inline void *serve_one(void *argument)
{
	int fd = (int)(intptr_t)argument;
	char buffer[4096], path[32] = "";
	size_t length;
	uint8_t *body = read_request(fd, buffer, sizeof(buffer), &length);

	if (body && sscanf(buffer, "POST /%31[^ /] HTTP/1.0\r\n", path) == 1 &&
	    strstr(buffer, "\r\nHost: 127.0.0.1:") &&
	    strstr(buffer, "\r\nContent-Type: application/ocsp-request\r\n")) {
		server.requests++;
		for (size_t i = 0; i < COUNT(paths); i++) {
			if (strcmp(path, paths[i].path) == 0)
				paths[i].answer(fd, body, length);
		}
	}
	shutdown(fd, SHUT_WR);
	while (recv(fd, buffer, sizeof(buffer), 0) > 0)
		;
	close(fd);
	server.connections--;
	return NULL;
}

static inline void *serve(void *argument)
{
	int fd;

	while ((fd = accept(server.listener, NULL, NULL)) >= 0) {
		pthread_t thread;

		server.connections++;
		must(pthread_create(&thread, NULL, serve_one, (void *)(intptr_t)fd) == 0);
		pthread_detach(thread);
	}
	return argument;
}

/* A socket on a port of its own, which refuses connections unless it listens. */
static inline int bind_port(unsigned int *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(fd >= 0 && bind(fd, (struct sockaddr *)&address, length) == 0 &&
	     getsockname(fd, (struct sockaddr *)&address, &length) == 0);
	*port = ntohs(address.sin_port);
	return fd;
}

static inline const char *at(const char *path)
{
	static char url[16][64];
	static unsigned int n;
	char *chosen = url[n++ % 16];

	snprintf(chosen, 64, "http://127.0.0.1:%u/%s", server.port, path);
	return chosen;
}

static pthread_t server_thread;

static inline void start_server(void)
{
	struct certificate_plan plan = {
		.name = "root",
		.serial = 1,
		.from = time(NULL) - DAY,
		.until = time(NULL) + DAY,
		.extensions = {{"basicConstraints", "critical,CA:true"}, {"keyUsage", "critical,keyCertSign"}}};

	root = make_certificate(&plan);
	leaf_key = EVP_EC_gen("P-256");
	server.listener = bind_port(&server.port);
	must(leaf_key && listen(server.listener, 64) == 0 && pthread_create(&server_thread, NULL, serve, NULL) == 0);
}

static inline void stop_server(void)
{
	shutdown(server.listener, SHUT_RDWR);
	pthread_join(server_thread, NULL);
	close(server.listener);
	for (int i = 0; i < 100 && server.connections; i++)
		usleep(100000);
	OPENSSL_free(server.first);
	for (int i = 0; i < LEAVES; i++)
		free_authority(&leaves[i], false);
	free_authority(&root, true);
	EVP_PKEY_free(leaf_key);
}

#endif
