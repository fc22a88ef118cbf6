/* SPDX-License-Identifier: MIT */
/*
 * OpenSSL contexts for a service: versions, cipher suites and groups that OpenSSL and this kernel have in common, trust,
 * tickets, ALPN. A service has one context for each set of certificates that a name may get.
 */
#ifndef AGENT_CONTEXT_H
#define AGENT_CONTEXT_H

#include <openssl/ssl.h>

#include "complaint.h"
#include "settings.h"
#include "x509/certificate.h"
#include "x509/policy.h"

enum { CONTEXT_ECDSA, CONTEXT_RSA, CONTEXT_EDDSA, CONTEXT_KINDS };

struct certificate_choice { /* at most one of each kind of key */
	const struct certificate *of_kind[CONTEXT_KINDS];
};

struct alpn { /* protocols in our order of preference, wire format (RFC 7301 §3.1) */
	size_t length;
	uint8_t wire[];
};

/* What all contexts of a service share; context_settings_complete() fills in the lower half. */
struct context_settings {
	const struct service_settings *service;
	const struct alpn *alpn;     /* NULL: none; lives as long as the contexts do */
	const struct policy *policy; /* likewise */

	char ciphersuites[256]; /* TLS 1.3 */
	char cipher_list[512];	/* TLS 1.2 */
	char groups[128];
	STACK_OF(X509_NAME) *authorities; /* named in CertificateRequest */
	uint8_t binding[32];		  /* digest of what a ticket is bound to */
};

/* False with complaints; context_settings_clear() is due either way. */
bool context_settings_complete(struct context_settings *common, const struct certificate *certificates, size_t count,
			       struct complaints *complaints);
void context_settings_clear(struct context_settings *common);

SSL_CTX *context_new(const struct context_settings *common, const struct certificate_choice *choice,
		     struct complaints *complaints);

/* Whether the kernel can limit the size of records: set once, before the first context is made. */
void context_set_max_payload(bool kernel_has_it);

#endif
