/* SPDX-License-Identifier: MIT */
/*
 * Which peers a service admits, of those whose certificates verify: an allow list of what certificates say of their owners
 * and issuers, and the names that we have for them. Immutable once loaded.
 *
 *	KIND:VALUE [as NAME]
 *
 * KIND is DNS, IP, URI or email (subjectAltName; "DNS:*.example" stands for one label, a URI that ends with "*" for all that
 * begin so), subject or issuer (RFC 2253, as results and "ktlsctl cert show" print it), sha256 (of the certificate) or
 * key-sha256 (of its public key; hexadecimal, colons allowed).
 */
#ifndef AGENT_PEERS_H
#define AGENT_PEERS_H

#include <openssl/x509.h>

#include "../complaint.h"
#include "../settings.h"

struct peers;

struct peer_entry {
	char *identity; /* "KIND:VALUE", in the form that identity.h has */
	char *name;	/* ours for the peer, or NULL */
	unsigned int line;
};

/* NULL if the service has no list, or with complaints. */
struct peers *peers_load(const struct service_settings *service, struct complaints *complaints);
void peers_free(struct peers *peers);

/*
 * The entry that admits a certificate, NULL if none does. Of several the most telling one: by fingerprint of the certificate,
 * of the key, by its names in their order, by subject, by issuer. Of several URIs with a star the longest.
 */
const struct peer_entry *peers_find(const struct peers *peers, X509 *certificate);

#endif
