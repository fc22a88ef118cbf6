/* SPDX-License-Identifier: MIT */
/* What lists say of a certificate, and how it reads. */
#ifndef AGENT_REVOCATION_H
#define AGENT_REVOCATION_H

#include <stdint.h>

enum revocation_status {
	REVOCATION_GOOD,
	REVOCATION_REVOKED,
	REVOCATION_UNKNOWN, /* no list can say */
};

struct revocation {
	enum revocation_status status;
	int error;	/* X509_V_ERR_*, unless it is good */
	char text[320]; /* who says so, or why nobody can */
};

#endif
