/* SPDX-License-Identifier: MIT */
/* Points in time, as certificates and people write them. */
#ifndef AGENT_MOMENT_H
#define AGENT_MOMENT_H

#include <openssl/asn1.h>
#include <stdint.h>

#define MOMENT_TEXT 32

int64_t moment_of(const ASN1_TIME *time);			  /* seconds since 1970; INT64_MIN if it is no time */
const char *moment_text(int64_t seconds, char text[MOMENT_TEXT]); /* "2026-11-21T09:10:55Z" */

#endif
