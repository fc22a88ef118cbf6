/* SPDX-License-Identifier: MIT */
/* Certificates from a server: connects, takes what it sends, believes none of it. All of it is over after PATIENCE_MS. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <json-c/json.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "cert.h"
#include "ktlsd.h"

#define PATIENCE_MS 5000
#define CHAIN_MAX (4 << 20)

struct visit {
	const struct address *address;
	const char *server_name; /* NULL: none is sent */
	int64_t end_ms;
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

static int64_t left_ms(const struct visit *visit)
{
	int64_t left = visit->end_ms - now_ms();

	return left > 0 ? left : 0;
}

/* 0, or ETIMEDOUT. */
static int wait_for(int fd, short events, int64_t patience_ms)
{
	struct pollfd waiting = {.fd = fd, .events = events};
	int n;

	do
		n = poll(&waiting, 1, (int)patience_ms);
	while (n < 0 && errno == EINTR);
	return n > 0 ? 0 : ETIMEDOUT;
}

/* The C library asks in a thread of its own: a name server that does not answer can't keep us. */
static struct addrinfo *look_up(const struct visit *visit)
{
	static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	static struct address asked; /* the thread may outlive this function */
	static struct gaicb request;
	struct gaicb *requests[] = {&request};
	struct timespec patience = {.tv_sec = PATIENCE_MS / 1000};
	int err;

	asked = *visit->address;
	request = (struct gaicb){.ar_name = asked.host, .ar_service = asked.port, .ar_request = &hints};
	err = getaddrinfo_a(GAI_NOWAIT, requests, 1, NULL);
	if (err == 0) {
		gai_suspend((const struct gaicb *const *)requests, 1, &patience);
		err = gai_error(&request);
	}
	if (err == 0)
		return request.ar_result;
	complain("%s port %s can't be looked up: %s; is it written right? HOST:PORT, [IPv6]:PORT or https://HOST/",
		 asked.host, asked.port, err == EAI_INPROGRESS ? "no name server answers" : gai_strerror(err));
	return NULL;
}

/* 0, or errno. */
static int connect_to(int fd, const struct addrinfo *to, int64_t patience_ms)
{
	socklen_t length = sizeof(int);
	int err;

	if (connect(fd, to->ai_addr, to->ai_addrlen) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return errno;
	err = wait_for(fd, POLLOUT, patience_ms);
	if (err == 0)
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &length);
	return err;
}

static const char *connect_remedy(int error)
{
	switch (error) {
	case ECONNREFUSED:
		return "nobody listens there: is the port right, does the server run?";
	case ETIMEDOUT:
		return "nothing came back: is the address right, does a firewall drop it?";
	case ENETUNREACH:
	case EHOSTUNREACH:
		return "there is no way to it from here: see ip route get";
	default:
		return "is the address right?";
	}
}

/* The addresses of a host share the time, so that one that swallows everything leaves some for the next. */
static int open_connection(const struct visit *visit)
{
	struct addrinfo *addresses = look_up(visit);
	int fd = -1, count = 0, err = EADDRNOTAVAIL;

	if (!addresses)
		return -1;
	for (const struct addrinfo *to = addresses; to; to = to->ai_next)
		count++;
	for (const struct addrinfo *to = addresses; to && fd < 0; to = to->ai_next, count--) {
		fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		err = fd < 0 ? errno : connect_to(fd, to, left_ms(visit) / count);
		if (fd >= 0 && err != 0) {
			close(fd);
			fd = -1;
		}
	}
	freeaddrinfo(addresses);
	if (fd < 0)
		complain("can't connect to %s port %s: %s; %s", visit->address->host, visit->address->port,
			 strerror(err), connect_remedy(err));
	return fd;
}

/* It is to be looked at, not trusted: whatever protocol and key it has. */
static SSL *prepare(SSL_CTX *context, const struct visit *visit, int fd)
{
	SSL *ssl;

	SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_security_level(context, 0);
	SSL_CTX_set_min_proto_version(context, TLS1_VERSION);
	SSL_CTX_set_max_cert_list(context, CHAIN_MAX);
	SSL_CTX_set_tlsext_status_type(context, TLSEXT_STATUSTYPE_ocsp);
	ssl = SSL_new(context);
	if (ssl && SSL_set_fd(ssl, fd) == 1 &&
	    (!visit->server_name || SSL_set_tlsext_host_name(ssl, visit->server_name) == 1))
		return ssl;
	SSL_free(ssl);
	return NULL;
}

/* NULL, or what went wrong. */
static const char *handshake(SSL *ssl, const struct visit *visit)
{
	int n, error, reason;

	while ((n = SSL_connect(ssl)) != 1) {
		error = SSL_get_error(ssl, n);
		if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
			short events = error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;

			if (wait_for(SSL_get_fd(ssl), events, left_ms(visit)) == 0)
				continue;
			return "no answer in time; does it speak TLS from the first byte on? (STARTTLS is not offered)";
		}
		if (error == SSL_ERROR_SYSCALL)
			return errno ? strerror(errno) : "the server closed the connection";
		reason = ERR_GET_REASON(ERR_peek_error());
		if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
			return "the server closed the connection; is the port one for TLS, does it want another "
			       "--servername?";
		if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_PACKET_LENGTH_TOO_LONG ||
		    reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_HTTP_REQUEST)
			return "it does not answer in TLS 1.0 to 1.3; is the port right? (STARTTLS is not offered)";
		return ERR_reason_error_string(ERR_peek_error());
	}
	return NULL;
}

static void add_numeric_address(struct json_object *object, int fd)
{
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer);
	char address[INET6_ADDRSTRLEN + 16];

	if (getpeername(fd, (struct sockaddr *)&peer, &length) == 0 &&
	    getnameinfo((struct sockaddr *)&peer, length, address, sizeof(address), NULL, 0, NI_NUMERICHOST) == 0)
		add(object, "address", json_object_new_string(address));
}

static struct json_object *describe_connection(SSL *ssl, const struct visit *visit, const STACK_OF(X509) *certificates)
{
	struct json_object *object = json_object_new_object();
	const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);
	const unsigned char *response;
	long length = SSL_get_tlsext_status_ocsp_resp(ssl, &response);

	add(object, "host", json_object_new_string(visit->address->host));
	add(object, "port", json_object_new_string(visit->address->port));
	add_numeric_address(object, SSL_get_fd(ssl));
	add(object, "server_name", visit->server_name ? json_object_new_string(visit->server_name) : NULL);
	add(object, "version",
	    json_object_new_string(SSL_version(ssl) >= TLS1_2_VERSION ? ktlsd_version_name(SSL_version(ssl))
								      : SSL_get_version(ssl)));
	add(object, "cipher", cipher ? json_object_new_string(SSL_CIPHER_standard_name(cipher)) : NULL);
	json_object_object_add(object, "staple", length > 0 ? describe_staple(response, length, certificates) : NULL);
	return object;
}

/* A server that wants a certificate of us sends its own all the same, before it refuses. */
static bool take_chain(struct given *given, SSL *ssl, const struct visit *visit)
{
	const char *error = handshake(ssl, visit);
	STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);

	if (sk_X509_num(chain) <= 0) {
		complain("%s port %s: no certificate came: %s", visit->address->host, visit->address->port,
			 error ? error : "the server has none");
		return false;
	}
	if (sk_X509_num(chain) > CERTIFICATES_MAX) {
		complain("%s port %s: the server sends more than %d certificates", visit->address->host,
			 visit->address->port, CERTIFICATES_MAX);
		return false;
	}
	if (error)
		given_remark(given, "the handshake failed behind the certificates: %s", error);
	given->certificates = X509_chain_up_ref(chain);
	given->connection = describe_connection(ssl, visit, given->certificates);
	if (!error)
		SSL_shutdown(ssl);
	return given->certificates != NULL;
}

static bool is_number(const char *host)
{
	unsigned char address[16];

	return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1 || strchr(host, '%');
}

bool given_by_server(struct given *given, const struct address *address, const char *server_name)
{
	struct visit visit = {.address = address, .server_name = server_name, .end_ms = now_ms() + PATIENCE_MS};
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	void (*before)(int);
	bool taken = false;
	SSL *ssl = NULL;
	int fd;

	given->remarks = json_object_new_array();
	if (!server_name && !is_number(address->host))
		visit.server_name = address->host;
	fd = open_connection(&visit);
	if (fd >= 0 && context)
		ssl = prepare(context, &visit, fd);
	if (ssl) {
		before = signal(SIGPIPE, SIG_IGN); /* a server may hang up any time */
		taken = take_chain(given, ssl, &visit);
		signal(SIGPIPE, before);
	} else if (fd >= 0) {
		complain("\"%s\" can't be asked for: %s; expected a host name",
			 visit.server_name ? visit.server_name : "", ERR_reason_error_string(ERR_peek_error()));
	}
	SSL_free(ssl);
	SSL_CTX_free(context);
	if (fd >= 0)
		close(fd);
	ERR_clear_error();
	return taken;
}
