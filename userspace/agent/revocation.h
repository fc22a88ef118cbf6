/* SPDX-License-Identifier: MIT */
/* What is known of a certificate's revocation, and how it reads. */
#ifndef AGENT_REVOCATION_H
#define AGENT_REVOCATION_H

#include <stdint.h>

enum revocation_status {
	REVOCATION_GOOD,
	REVOCATION_REVOKED,
	REVOCATION_UNKNOWN, /* nobody can say */
	REVOCATION_PENDING, /* whom to ask is known, but has not been asked yet */
};

struct revocation {
	enum revocation_status status;
	int error;	/* X509_V_ERR_*, unless it is good */
	char text[320]; /* who says so, or why nobody can */
};

#endif
