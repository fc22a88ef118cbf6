// SPDX-License-Identifier: MIT
/*
 * tls_script PORT PKI STEP...: a TLS client (OpenSSL) that does what it is told, record by record, on 127.0.0.1. What it says
 * lies in its hands until it is flushed, so that records can arrive together.
 *
 *	say:TEXT	data; \n and \r as in C
 *	bulk:N		N bytes of data, the same each time
 *	update, request	a KeyUpdate; one that asks for another
 *	end		close_notify
 *	flush		what was said goes out, at once
 *	fin		the TCP stream ends
 *	hear:TEXT	waits for it
 *	hear_bulk:N	for what bulk:N sends
 *	hear_end	for close_notify
 *	hear_fin	for the end of the TCP stream, in order, and nothing before it
 *	wait:MS
 *
 * Options before the port: -2: TLS 1.2; -n NAME: SNI; -a PROTOCOL: ALPN; -c: with the client's certificate of PKI. It ends with
 * status 0 when all went as told, else says what did not.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit.h"

#define PATIENCE_MS 10000

static int fd;
static SSL *ssl;
static BIO *in, *out;
static const char *step;

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...)
{
	va_list arguments;

	printf("at \"%s\": ", step);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
	ERR_print_errors_fp(stdout);
	exit(1);
}

/* ---- bytes ---- */

/* False: the end of the TCP stream. */
static bool pull(void)
{
	struct pollfd socket = {.fd = fd, .events = POLLIN};
	char bytes[16384];
	ssize_t n;

	if (poll(&socket, 1, PATIENCE_MS) != 1)
		fail("nothing comes");
	n = recv(fd, bytes, sizeof(bytes), 0);
	if (n < 0)
		fail("%s", strerror(errno));
	must(n == 0 || BIO_write(in, bytes, n) == n);
	return n > 0;
}

/* What cannot be sent at once waits for the server, which may wait for us to receive, or have said its last. */
static void flush(void)
{
	bool goes_on = !(SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN);
	char *bytes;
	long length = BIO_get_mem_data(out, &bytes), sent = 0;

	while (sent < length) {
		struct pollfd socket = {.fd = fd, .events = goes_on ? POLLIN | POLLOUT : POLLOUT};
		ssize_t n;

		if (poll(&socket, 1, PATIENCE_MS) != 1)
			fail("nothing can be sent");
		if (socket.revents & POLLIN && !pull())
			fail("the server has ended the stream");
		n = send(fd, bytes + sent, length - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN)
			fail("%s", strerror(errno));
		sent += n > 0 ? n : 0;
	}
	must(BIO_reset(out) == 1);
}

/* ---- steps ---- */

static void shake_hands(void)
{
	int result;

	step = "handshake";
	while ((result = SSL_do_handshake(ssl)) != 1) {
		if (SSL_get_error(ssl, result) != SSL_ERROR_WANT_READ)
			fail("it failed");
		flush();
		if (!pull())
			fail("the server has ended the stream");
	}
	flush();
}

static void say(const void *data, int length)
{
	if (SSL_write(ssl, data, length) != length)
		fail("SSL_write");
}

/* Bytes of data; 0: close_notify. */
static int hear(void *data, int length)
{
	int n;

	while ((n = SSL_read(ssl, data, length)) <= 0) {
		if (SSL_get_error(ssl, n) == SSL_ERROR_ZERO_RETURN)
			return 0;
		if (SSL_get_error(ssl, n) != SSL_ERROR_WANT_READ)
			fail("SSL_read");
		if (!pull())
			fail("the TCP stream ends without close_notify");
	}
	return n;
}

static void hear_exactly(const char *wanted, int length)
{
	char *got = malloc(length);

	for (int n, done = 0; done < length; done += n) {
		n = hear(got + done, length - done);
		if (n == 0)
			fail("close_notify came too early");
	}
	if (memcmp(got, wanted, length) != 0)
		fail("something else came: %.*s", length < 100 ? length : 100, got);
	free(got);
}

static void hear_end(void)
{
	char data[64];
	int n = hear(data, sizeof(data));

	if (n > 0)
		fail("data came: %.*s", n, data);
}

static void hear_fin(void)
{
	if (pull())
		fail("more came");
}

static void key_update(int kind)
{
	if (SSL_key_update(ssl, kind) != 1 || SSL_do_handshake(ssl) != 1)
		fail("SSL_key_update");
}

/* "\n" becomes a newline, "\r" a carriage return. */
static int unescape(const char *text, char *bytes)
{
	int length = 0;

	for (; *text; text++) {
		bool escaped = text[0] == '\\' && (text[1] == 'n' || text[1] == 'r');

		text += escaped;
		bytes[length++] = !escaped ? *text : *text == 'n' ? '\n' : '\r';
	}
	return length;
}

static void bulk(int length, void (*use)(const char *, int))
{
	char *bytes = malloc(length);
	uint32_t state = 1;

	for (int i = 0; i < length; i++)
		bytes[i] = (state = state * 1664525 + 1013904223) >> 24;
	use(bytes, length);
	free(bytes);
}

static void say_text(const char *bytes, int length)
{
	say(bytes, length);
}

static void do_step(const char *argument)
{
	char bytes[4096];
	int length = unescape(argument, bytes);

	if (strncmp(step, "say:", 4) == 0)
		say(bytes, length);
	else if (strncmp(step, "bulk:", 5) == 0)
		bulk(atoi(argument), say_text);
	else if (strncmp(step, "hear:", 5) == 0)
		hear_exactly(bytes, length);
	else if (strncmp(step, "hear_bulk:", 10) == 0)
		bulk(atoi(argument), hear_exactly);
	else if (strncmp(step, "wait:", 5) == 0)
		usleep(atoi(argument) * 1000);
	else if (strcmp(step, "update") == 0)
		key_update(SSL_KEY_UPDATE_NOT_REQUESTED);
	else if (strcmp(step, "request") == 0)
		key_update(SSL_KEY_UPDATE_REQUESTED);
	else if (strcmp(step, "end") == 0)
		SSL_shutdown(ssl);
	else if (strcmp(step, "flush") == 0)
		flush();
	else if (strcmp(step, "fin") == 0)
		must(shutdown(fd, SHUT_WR) == 0);
	else if (strcmp(step, "hear_end") == 0)
		hear_end();
	else if (strcmp(step, "hear_fin") == 0)
		hear_fin();
	else
		fail("what is that?");
}

/* ---- the beginning ---- */

static SSL_CTX *context;

static void use_certificate(const char *pki)
{
	char file[512];

	snprintf(file, sizeof(file), "%s/client.pem", pki);
	must(SSL_CTX_use_certificate_chain_file(context, file) == 1);
	snprintf(file, sizeof(file), "%s/client.key", pki);
	must(SSL_CTX_use_PrivateKey_file(context, file, SSL_FILETYPE_PEM) == 1);
}

static void set_up(const char *pki, const char *name, const char *protocol)
{
	unsigned char list[64];
	char file[512];

	snprintf(file, sizeof(file), "%s/ca.pem", pki);
	must(SSL_CTX_load_verify_locations(context, file, NULL) == 1);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	ssl = SSL_new(context);
	in = BIO_new(BIO_s_mem());
	out = BIO_new(BIO_s_mem());
	BIO_set_mem_eof_return(in, -1);
	SSL_set_bio(ssl, in, out);
	SSL_set_connect_state(ssl);
	if (name)
		must(SSL_set_tlsext_host_name(ssl, name) == 1);
	if (protocol) {
		list[0] = strlen(protocol);
		must(list[0] < sizeof(list));
		memcpy(list + 1, protocol, list[0]);
		must(SSL_set_alpn_protos(ssl, list, list[0] + 1) == 0);
	}
}

static void connect_to(int port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	step = "connect";
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail("%s", strerror(errno));
}

int main(int argc, char **argv)
{
	const char *name = NULL, *protocol = NULL;
	bool certificate = false;
	int option;

	context = SSL_CTX_new(TLS_client_method());
	while ((option = getopt(argc, argv, "+2n:a:c")) >= 0) {
		switch (option) {
		case '2':
			must(SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION) == 1);
			break;
		case 'n':
			name = optarg;
			break;
		case 'a':
			protocol = optarg;
			break;
		case 'c':
			certificate = true;
			break;
		default:
			return 2;
		}
	}
	must(argc - optind >= 2);
	if (certificate)
		use_certificate(argv[optind + 1]);
	set_up(argv[optind + 1], name, protocol);
	connect_to(atoi(argv[optind]));
	shake_hands();
	for (int i = optind + 2; i < argc; i++) {
		step = argv[i];
		do_step(strchr(step, ':') ? strchr(step, ':') + 1 : "");
	}
	close(fd);
	return 0;
}
