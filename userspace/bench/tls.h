/* SPDX-License-Identifier: MIT */
/* OpenSSL contexts as the command line wants them. */
#ifndef BENCH_TLS_H
#define BENCH_TLS_H

#include <openssl/ssl.h>

#include "bench.h"

/* Both end the program with a message if OpenSSL refuses. */
SSL_CTX *tls_client(const struct settings *settings);
SSL_CTX *tls_server(const struct settings *settings);

/* The name that the client asks for, and what it demands to see if it verifies at all. False if memory is short. */
bool tls_expect(SSL *ssl, const struct settings *settings, const struct target *target);

#endif
