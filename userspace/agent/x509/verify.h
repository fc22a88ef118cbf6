/* SPDX-License-Identifier: MIT */
/*
 * Whether a peer is who it has to be. X.509 is OpenSSL's (RFC 5280 §6: signatures, validity, constraints, key usage, names,
 * strength); what a service demands beyond that is here, in revocation.h, and the words for all of it in explain.h. Handshakes, resumptions and "ktlsctl
 * cert verify" go through the same functions. No I/O, but that OpenSSL looks for unknown issuers in the
 * system's folder where a service trusts that: what is not known here is left to be asked (pending).
 *
 * In this order, and the first that fails ends it: chain, purposes, name, allow list, revocation.
 */
#ifndef AGENT_VERIFY_H
#define AGENT_VERIFY_H

#include <openssl/x509_vfy.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ocsp.h"
#include "policy.h"

enum verify_verdict { VERIFY_PASSED, VERIFY_FAILED, VERIFY_SKIPPED };

/* One verification: what the caller knows, then the outcome. */
struct verification {
	/* Hears of each step, for who wants it explained; NULL: only a failure is put into words. */
	void (*explain)(void *argument, enum verify_verdict verdict, const char *step, const char *text);
	void *argument;
	const uint8_t *staple; /* that the peer sent with its certificate; NULL: none */
	size_t staple_length;
	bool staple_may_come;		    /* it did not yet */
	const struct ocsp_verdict *verdict; /* of who was asked; NULL: nobody was */

	const struct policy *policy;
	char why[512];	       /* "" or the step that failed */
	int error;	       /* X509_V_OK or X509_V_ERR_*, which chooses the alert */
	const char *peer_name; /* of the allow list, or NULL; lives as long as the policy */
	bool pending;	       /* all is well, but whether it was revoked has still to be found out: verify_rest() */
	struct ocsp_question question; /* pending: for the responder; its certificates are the chain's */
};

/* Once per process. */
bool verify_init(void);

/*
 * A chain as the peer sent it, in an initialized X509_STORE_CTX. name: of the server, as the caller gave it (DNS name, IP
 * address, URI, e-mail address), NULL in the server role. What X509_STORE_CTX_get_error() and get0_chain() then say is the
 * outcome.
 */
bool verify_chain(const struct policy *policy, X509_STORE_CTX *store, const char *name,
		  struct verification *verification);

/* What was pending, with what the caller knows now. chain: as X509_STORE_CTX_get0_chain() had it. */
bool verify_rest(const struct policy *policy, const STACK_OF(X509) *chain, struct verification *verification);

/*
 * What may have changed since a full handshake: time, allow list, revocation. The certificate is there, and of its chain the note
 * that revocation_note() made then.
 */
bool verify_again(const struct policy *policy, X509 *certificate, const uint8_t *note, size_t length,
		  struct verification *verification);

/* The kind of name that it is: only a DNS name goes into SNI. */
bool verify_is_dns_name(const char *name);

#endif
