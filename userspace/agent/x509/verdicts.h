/* SPDX-License-Identifier: MIT */
/* Verified OCSP verdicts by the digest of their question, the last VERDICTS_MAX of them. Any thread. */
#ifndef AGENT_VERDICTS_H
#define AGENT_VERDICTS_H

#include "ocsp.h"

#define VERDICTS_MAX 16384

/*
 * asked: when, CLOCK_MONOTONIC, milliseconds. If a revocation is known, an answer that says otherwise has to be younger
 * than it, or it is a replay: *verdict is the revocation then.
 */
void verdicts_put(const struct ocsp_question *question, struct ocsp_verdict *verdict, int64_t asked);

/* Whether there is one that is good now, and was asked for within the settings' refresh interval. */
bool verdicts_get(const struct ocsp_question *question, const struct ocsp_settings *settings, time_t now, int64_t clock,
		  struct ocsp_verdict *verdict);

/* Whether the last that was heard, however long ago, was that the certificate is revoked. */
bool verdicts_get_revoked(const struct ocsp_question *question, struct ocsp_verdict *verdict);

bool verdicts_have(const struct ocsp_question *question);

/* Up to max of those with this serial number (ocsp_serial()). */
size_t verdicts_find(const char *serial, struct ocsp_verdict *found, size_t max);

void verdicts_clear(void);

#endif
