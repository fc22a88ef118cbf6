/* SPDX-License-Identifier: MIT */
/* A certificate of ours: leaf, intermediates, private key. */
#ifndef AGENT_CERTIFICATE_H
#define AGENT_CERTIFICATE_H

#include <openssl/x509.h>
#include <time.h>

#include "../complaint.h"
#include "../settings.h"

struct certificate {
	X509 *leaf;
	STACK_OF(X509) *intermediates;
	EVP_PKEY *key;
	char **names; /* DNS names of its subjectAltName, lower case, wildcards included; NULL-terminated */
	time_t ends;  /* of the leaf and its intermediates, the first */
};

/* Loads and checks that the parts belong together. False with a complaint; certificate_clear() is due either way. */
bool certificate_load(struct certificate *certificate, const struct certificate_setting *setting,
		      bool readable_key_will_do, struct complaints *complaints);
void certificate_clear(struct certificate *certificate);

/* The staple that a leaf of ours is sent with, whoever holds the leaf; NULL: none. It has to outlive the leaf's use. */
struct staple;
void certificate_set_staple(X509 *leaf, struct staple *staple);
struct staple *certificate_staple(const X509 *leaf);

/* The certificates of a PEM file; NULL with a complaint. */
STACK_OF(X509) *certificates_read(const struct setting *file, struct complaints *complaints);

#endif
