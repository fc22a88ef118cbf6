/* SPDX-License-Identifier: MIT */
/* How connections fail, in kinds that say whose fault it is. */
#ifndef BENCH_FAILURE_H
#define BENCH_FAILURE_H

#include <openssl/ssl.h>
#include <stdint.h>

enum failure {
	FAILED_LOCALLY,		/* no port, no memory */
	FAILED_FOR_DESCRIPTORS, /* ours */
	FAILED_BY_REFUSAL,
	FAILED_TO_CONNECT, /* in another way */
	FAILED_BY_RESET,
	FAILED_BY_CLOSE, /* the server closed too early */
	FAILED_BY_TIMEOUT,
	FAILED_BY_ALERT,       /* the server sent one */
	FAILED_BY_CERTIFICATE, /* the server's did not pass */
	FAILED_WITHOUT_TLS,    /* what the server speaks is something else */
	FAILED_IN_TLS,	       /* otherwise */
	FAILED_IN_HTTP,
	FAILURES,
};

extern const char *const failure_names[FAILURES];

struct failures {
	uint64_t of[FAILURES];
	uint64_t alerts[256]; /* by their numbers */
	char first[192];      /* in words */
};

uint64_t failures_sum(const struct failures *failures);
void failures_merge(struct failures *into, const struct failures *from);

/* An errno of socket() or connect(), and of sending or receiving. */
enum failure failure_of_connect(int error);
enum failure failure_of_transfer(int error);

/* What OpenSSL's queue of errors says, which is empty then. alert is the server's, or -1. */
enum failure failure_of_tls(const SSL *ssl, char *words, size_t size, int *alert);

#endif
