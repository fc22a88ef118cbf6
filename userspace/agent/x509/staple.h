/* SPDX-License-Identifier: MIT */
/*
 * OCSP responses for our own certificates, for servers to send along (RFC 6066 §8). Each is fetched in the background as
 * soon as somebody wants it, again at half of its life, and kept over restarts (kept.h).
 *
 * When the responder says that our certificate was revoked, that is what is stapled from then on, and an error is logged.
 * The last good response would still be valid, but to go on sending it would vouch for a key that its authority has
 * disowned; and to send none would let in those clients that take a missing staple for a good one. A response that says
 * "unknown" is not stapled: an authority says so of certificates that it has just issued, and it counts as a failure.
 */
#ifndef AGENT_STAPLE_H
#define AGENT_STAPLE_H

#include "ocsp.h"

#define STAPLE_RETRY_FIRST 5 /* seconds; doubled with each failure */
#define STAPLE_RETRY_LAST 300

struct staple;

/* From here on they are fetched, and read from where they are kept; before, staple_get() only notes who is wanted. */
void staple_start(void);

/*
 * For a certificate and its issuer; what is asked with the same settings is shared (refresh counts for nothing here). NULL with *why: the certificate names no responder, and the settings don't either.
 */
struct staple *staple_get(X509 *certificate, X509 *issuer, const struct ocsp_settings *settings, const char **why);
void staple_put(struct staple *staple);

/*
 * The response to send, in memory from OPENSSL_malloc() as SSL_set_tlsext_status_ocsp_resp() takes it; NULL: there is none
 * that is good now. Any thread; never waits for a fetch.
 */
uint8_t *staple_copy(struct staple *staple, time_t now, size_t *length);

/* What "ktlsctl status" says: whether there is one, until when, what went wrong last. */
#define STAPLE_TEXT_MAX 640
void staple_describe(struct staple *staple, time_t now, char text[static STAPLE_TEXT_MAX]);

/* Ends the thread that fetches; before responder_stop(). What is held can still be read and put. */
void staple_stop(void);

#endif
