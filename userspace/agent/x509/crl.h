/* SPDX-License-Identifier: MIT */
/*
 * Certificate revocation lists (RFC 5280 §5). OpenSSL would verify a list's signature with each certificate that it looks up,
 * which for a list of 100,000 entries costs more than the handshake. Here it does so once, and remembers with which key; the
 * look-up is OpenSSL's. Complete lists of the issuer's own certificates only: what has another scope is refused when it is
 * loaded. Immutable but for that memory; any thread may look up.
 */
#ifndef AGENT_CRL_H
#define AGENT_CRL_H

#include <openssl/x509.h>

#include "../complaint.h"
#include "../settings.h"

struct crls;

enum listed {
	LISTED_GOOD,
	LISTED_REVOKED,
	LISTED_UNKNOWN, /* no list can say */
};

/* What lists say of a certificate. */
struct listing {
	enum listed status;
	int error;	/* X509_V_ERR_*, unless it is good */
	char text[320]; /* who says so, or why nobody can */
};

/* The lists in files (PEM or DER) and folders. authorities: whoever's list is bad is found out at once. NULL with complaints. */
struct crls *crls_load(const struct setting_list *paths, const STACK_OF(X509) *authorities,
		       struct complaints *complaints);
void crls_free(struct crls *crls);

struct crl_rules {
	int64_t now;
	unsigned int leeway; /* seconds */
	bool expired_will_do;
};

/*
 * What the lists say of a certificate: its issuer's name and its serial number. issuer: its certificate, verified; NULL: for
 * who has only the name, which will do where all lists that bear it were found to be signed with one key.
 */
void crls_look_up(struct crls *crls, const X509_NAME *name, const ASN1_INTEGER *serial, X509 *issuer,
		  const struct crl_rules *rules, struct listing *answer);

/* All entries with this serial number, whoever issued it. */
void crls_find(const struct crls *crls, const ASN1_INTEGER *serial,
	       void (*found)(void *argument, const X509_NAME *issuer, const struct listing *answer), void *argument);

#endif
