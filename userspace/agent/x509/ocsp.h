/* SPDX-License-Identifier: MIT */
/*
 * OCSP (RFC 6960): what to ask a responder, and what its answer is worth. Pure but for a request's random nonce: the time
 * is the caller's.
 *
 * An answer counts if the certificate's issuer signed it, or somebody to whom that very issuer gave a certificate for it
 * (OCSPSigning). Whether such a delegate's own certificate was revoked is not asked: responders mark theirs
 * id-pkix-ocsp-nocheck, or have it replaced every few days. SHA-1 signatures don't count: part of what is signed (the
 * nonce) is the asker's choice.
 */
#ifndef AGENT_OCSP_H
#define AGENT_OCSP_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define OCSP_NONCE_LENGTH 32 /* RFC 8954 §2.1: the most */
#define OCSP_RESPONSE_MAX 65536
#define OCSP_URL_MAX 512
#define OCSP_TEXT_MAX 256
#define OCSP_SERIAL_MAX 64
#define OCSP_NAME_MAX 80

struct ocsp_settings {
	const char *responder;	 /* asked instead of the one that the certificate names; NULL */
	unsigned int timeout_ms; /* for one answer, connecting included */
	unsigned int refresh;	 /* seconds after which is asked again, however long an answer would be good */
	unsigned int max_age;	 /* seconds; 0: no limit */
	unsigned int leeway;	 /* seconds by which clocks may differ */
	bool nonce;		 /* sent */
	bool nonce_required;	 /* an answer without it does not count */
};

bool ocsp_settings_equal(const struct ocsp_settings *a, const struct ocsp_settings *b);

struct ocsp_question {
	X509 *certificate, *issuer;
	uint8_t digest[32]; /* SHA-256 of certificate and issuer */
};

/* The references stay the caller's. */
struct ocsp_question ocsp_question(X509 *certificate, X509 *issuer);

enum ocsp_answer {
	OCSP_ANSWER_UNUSABLE, /* nobody can say */
	OCSP_ANSWER_GOOD,
	OCSP_ANSWER_REVOKED,
	OCSP_ANSWER_UNKNOWN, /* the responder says that it does not know the certificate */
};

struct ocsp_verdict {
	enum ocsp_answer answer;
	bool nonce;		  /* it carries the nonce that was sent: it is no replay */
	int reason;		  /* revoked: CRLReason; -1: not given */
	time_t revoked;		  /* since when */
	time_t this_update;	  /* as of when it was true; 0 if unusable */
	time_t next_update;	  /* 0: not given */
	time_t signer_until;	  /* end of the delegate's certificate; 0: the issuer signed */
	time_t use_until;	  /* may be used as long as the time is less; 0 if unusable */
	char text[OCSP_TEXT_MAX]; /* a sentence for a person */
};

/* The DER of a request, to be freed with OPENSSL_free(). nonce: NULL, or what is sent. 0: no memory. */
size_t ocsp_request(const struct ocsp_question *question, const uint8_t *nonce, uint8_t **der);

struct ocsp_received {
	const uint8_t *der;
	size_t length;
	const char *from;     /* the responder's address, or who gave it to us, for the text */
	const uint8_t *nonce; /* that was sent with the request; NULL: none was */
};

void ocsp_check(const struct ocsp_question *question, const struct ocsp_settings *settings,
		const struct ocsp_received *received, time_t now, struct ocsp_verdict *verdict);

/* use_until of a verdict that is none of OCSP_ANSWER_UNUSABLE, for somebody with other settings. */
time_t ocsp_use_until(const struct ocsp_verdict *verdict, const struct ocsp_settings *settings);

/* Nobody will be able to use it any more: it is garbage or too old, by whomever it is signed. */
bool ocsp_has_lapsed(const uint8_t *der, size_t length, time_t now);

/* OCSP_ANSWER_UNUSABLE with these words. */
void ocsp_unusable(struct ocsp_verdict *verdict, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * The first responder with http:// that the certificate names. Not https://: to verify its certificate would take
 * another responder. False with *why.
 */
bool ocsp_responder(X509 *certificate, char url[static OCSP_URL_MAX], const char **why);

/* Whether the certificate demands a staple (RFC 7633: status_request). */
bool ocsp_must_staple(X509 *certificate);

/* Hexadecimal, upper case, no leading zeros, as "openssl x509 -serial" has it but for those. False if it is longer. */
bool ocsp_serial(const ASN1_INTEGER *serial, char text[static OCSP_SERIAL_MAX]);

/* RFC 2253, cut if it is long: for messages. Returns text. */
const char *ocsp_subject(X509 *certificate, char text[static OCSP_NAME_MAX]);

#endif
