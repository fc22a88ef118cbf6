/* SPDX-License-Identifier: MIT */
/*
 * The words of a verification: what was found, what was expected, what to change. They are for log, caller and ktlsctl; what
 * they quote of a certificate is printable (identity.h).
 */
#ifndef AGENT_EXPLAIN_H
#define AGENT_EXPLAIN_H

#include "verify.h"

/* A step's end. Only a failure is put into words if nobody wants it explained. */
void verify_pass(struct verification *verification, const char *step, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void verify_skip(struct verification *verification, const char *step, const char *text);

/* Always false. error: X509_V_ERR_*. The first reason stays. */
bool verify_fail(struct verification *verification, int error, const char *step, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* What OpenSSL objects to; false, as verify_fail() is. */
bool explain_error(struct verification *verification, X509_STORE_CTX *store);
bool explain_dates(struct verification *verification, int error, const char *which, X509 *certificate);

/* What passed when OpenSSL had no objection. */
void explain_chain(struct verification *verification, const STACK_OF(X509) *chain);

/* What a certificate has, as far as it fits. */
#define EXPLAIN_NAME 160
const char *subject_of(X509 *certificate, char text[EXPLAIN_NAME]);
const char *issuer_of(X509 *certificate, char text[EXPLAIN_NAME]);
const char *purposes_of(X509 *certificate, char *text, size_t size);
const char *policies_of(X509 *certificate, char *text, size_t size);
const char *names_of(X509 *certificate, char *text, size_t size);

/* What a peer's certificate has to be good for. */
const char *purpose_needed(const struct policy *policy);

#endif
