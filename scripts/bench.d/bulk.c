// SPDX-License-Identifier: MIT
/*
 * bulk WAY MIB CERTIFICATE KEY: sendfile() of so many MiB through kernel TLS, once the handshake has been made
 *
 *	openssl		by OpenSSL itself, SSL_OP_ENABLE_KTLS, and the file sent with SSL_sendfile()
 *	ktlsd		by the agent, service "web", and the file sent with ktlsd_stream_sendfile()
 *
 * It prints the nanoseconds of CPU time that a GB took.
 * The other end is a child that throws records away undecrypted. Where there is one CPU, the child has real-time priority,
 * and what passes while it waits is the sender's time: User Mode Linux has no better clock. Elsewhere getrusage() says.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ktlsd.h"

#define FILE_SIZE (16 << 20) /* sent over and over */
#define ONCE (1 << 20)
#define SWALLOW (256 << 10)
#define WARM (32LL << 20) /* bytes before it counts */

static long long bytes;
static int file;

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

static double cpu_s(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void make_file(void)
{
	char data[4096];

	file = memfd_create("bulk", 0);
	memset(data, 'x', sizeof(data));
	for (int i = 0; i < FILE_SIZE / (int)sizeof(data); i++)
		if (write(file, data, sizeof(data)) != sizeof(data))
			err(1, "memfd");
}

/* ---- the end that receives ---- */

static void shake_hands_as_client(int fd)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(context);

	SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
	SSL_set_ciphersuites(ssl, "TLS_AES_128_GCM_SHA256");
	SSL_set_fd(ssl, fd);
	if (SSL_connect(ssl) != 1)
		errx(1, "client: %s", ERR_reason_error_string(ERR_peek_error()));
}

/* The seconds that it waited, once WARM bytes have come. */
static double swallow(int fd)
{
	static char data[SWALLOW];
	long long received = 0;
	double waited = 0, began;
	ssize_t n;

	do {
		began = now_s();
		n = recv(fd, data, sizeof(data), MSG_TRUNC | MSG_WAITALL);
		if (received > WARM)
			waited += now_s() - began;
		received += n;
	} while (n > 0);
	if (received < bytes + WARM)
		errx(1, "%lld bytes of %lld", received, bytes + WARM);
	return waited;
}

static void receive(const struct sockaddr_in *address, int answer)
{
	struct sched_param priority = {.sched_priority = 2};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	double waited;

	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		err(1, "connect");
	shake_hands_as_client(fd);
	sched_setscheduler(0, SCHED_FIFO, &priority);
	waited = swallow(fd);
	if (write(answer, &waited, sizeof(waited)) != sizeof(waited))
		err(1, "pipe");
	exit(0);
}

/* ---- the end that sends, and counts ---- */

static SSL *shake_hands_with_openssl(int fd, const char *certificate, const char *key)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	SSL *ssl;

	SSL_CTX_set_options(context, SSL_OP_ENABLE_KTLS);
	if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1 ||
	    SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
		errx(1, "%s, %s: %s", certificate, key, ERR_reason_error_string(ERR_peek_error()));
	ssl = SSL_new(context);
	SSL_set_fd(ssl, fd);
	if (SSL_accept(ssl) != 1)
		errx(1, "OpenSSL: %s", ERR_reason_error_string(ERR_peek_error()));
	if (!BIO_get_ktls_send(SSL_get_wbio(ssl)))
		errx(1, "OpenSSL did not put its keys into the kernel");
	return ssl;
}

static struct ktlsd_stream *shake_hands_with_ktlsd(int fd)
{
	struct ktlsd_handoff handoff = {0};
	struct ktlsd_stream *stream;
	char why[256];

	ktlsd_prep_server(&handoff, fd, "web");
	if (ktlsd_handshake(&handoff, &stream, why, sizeof(why)) < 0)
		errx(1, "ktlsd: %s", why);
	return stream;
}

/* One of ssl and stream. */
static void send_all(SSL *ssl, struct ktlsd_stream *stream, long long left)
{
	off_t offset = 0;
	ssize_t n;

	while (left > 0) {
		if (offset == FILE_SIZE)
			offset = 0;
		if (ssl) {
			n = SSL_sendfile(ssl, file, offset, ONCE, 0);
			offset += n > 0 ? n : 0;
		} else {
			n = ktlsd_stream_sendfile(stream, file, &offset, ONCE);
		}
		if (n <= 0)
			errx(1, "sendfile: %zd %s", n, strerror(errno));
		left -= n;
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd, answer[2], status;
	socklen_t length = sizeof(address);
	struct ktlsd_stream *stream = NULL;
	double spent, waited = 0;
	SSL *ssl = NULL;

	if (argc != 5)
		errx(2, "usage: bulk openssl|ktlsd MIB CERTIFICATE KEY");
	bytes = atoll(argv[2]) << 20;
	make_file();
	if (pipe(answer) < 0 || bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, 1) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &length) < 0)
		err(1, "listen");
	if (fork() == 0)
		receive(&address, answer[1]);
	close(answer[1]);
	fd = accept(listener, NULL, NULL);
	if (strcmp(argv[1], "openssl") == 0)
		ssl = shake_hands_with_openssl(fd, argv[3], argv[4]);
	else
		stream = shake_hands_with_ktlsd(fd);
	send_all(ssl, stream, WARM);
	spent = -cpu_s();
	send_all(ssl, stream, bytes);
	spent += cpu_s();
	shutdown(fd, SHUT_WR);
	if (read(answer[0], &waited, sizeof(waited)) != sizeof(waited) || wait(&status) < 0 || status)
		errx(1, "the receiver failed");
	printf("%.0f\n", (sysconf(_SC_NPROCESSORS_ONLN) == 1 ? waited : spent) * 1e9 / (bytes / 1e9));
	return 0;
}
