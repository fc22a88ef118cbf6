/* SPDX-License-Identifier: MIT */
/* What a certificate calls its owner, as text: results, allow lists and explanations use the same words. */
#ifndef AGENT_IDENTITY_H
#define AGENT_IDENTITY_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stdint.h>

#define IDENTITY_MAX 512 /* bytes of one name with its kind, NUL included */

/*
 * The names of subjectAltName, "DNS:a.example", "IP:192.0.2.1", "URI:spiffe://a.example/b" or "email:a@b.example", one by one,
 * until take() says false. A name that holds a comma, a space or anything unprintable is left out: no list can hold it.
 */
void identity_names(X509 *certificate, bool (*take)(void *argument, const char *name), void *argument);

/* RFC 2253. False if it does not fit, or does not come out as text. */
bool identity_text(const X509_NAME *name, char *text, size_t size);

/* Hexadecimal, upper case, two digits a byte. False if it is longer than any certificate should have (RFC 5280 §4.1.2.2). */
#define IDENTITY_SERIAL 64
bool identity_serial(X509 *certificate, char text[IDENTITY_SERIAL]);

/* Hexadecimal SHA-256, lower case. */
#define IDENTITY_SHA256 65
void identity_hex(const uint8_t digest[static 32], char text[IDENTITY_SHA256]);
bool identity_fingerprint(X509 *certificate, char text[IDENTITY_SHA256]);
bool identity_key_fingerprint(X509 *certificate, char text[IDENTITY_SHA256]); /* of SubjectPublicKeyInfo */

#endif
