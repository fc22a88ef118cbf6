/* SPDX-License-Identifier: MIT */
/* OpenSSL contexts as the command line wants them. */
#ifndef BENCH_TLS_H
#define BENCH_TLS_H

#include <openssl/ssl.h>

#include "bench.h"

/* Both end the program with a message if OpenSSL refuses. The client does not verify: it is the server that is measured. */
SSL_CTX *tls_client(const struct settings *settings);
SSL_CTX *tls_server(const struct settings *settings);

#endif
