/* SPDX-License-Identifier: MIT */
/* Whether a peer was revoked, of what is known here: lists, staples, what responders have said. */
#ifndef AGENT_REVOCATION_H
#define AGENT_REVOCATION_H

#include "verify.h"

/* chain: verified, leaf first. May leave the verification pending. False, as verify_fail() is. */
bool revocation_check(struct verification *verification, const STACK_OF(X509) *chain);

/*
 * A resumption has the peer's certificate, but not its chain. So its ticket gets a note: when the peer proved its key, when the chain
 * ends, and what it takes to look at it again. Its length, 0 if nobody was verified.
 */
#define REVOCATION_NOTE_MAX 2048
#define REVOCATION_NOTE_FORM 2 /* which tickets are bound to: another agent may write them otherwise */
size_t revocation_note(const struct policy *policy, const STACK_OF(X509) *chain, uint8_t note[REVOCATION_NOTE_MAX]);

/* Once more, with the certificate and that note. */
bool revocation_check_again(struct verification *verification, X509 *certificate, const uint8_t *note, size_t length);

#endif
