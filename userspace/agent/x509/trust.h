/* SPDX-License-Identifier: MIT */
/*
 * Whom a service trusts to say who a peer is: authorities, and their revocation lists. Services that name the same files
 * share one, and so do generations of a configuration while the files don't change. Reference-counted; built, shared and let
 * go of by the main thread only.
 */
#ifndef AGENT_TRUST_H
#define AGENT_TRUST_H

#include <openssl/x509.h>
#include <sys/queue.h>

#include "../complaint.h"
#include "../settings.h"
#include "crl.h"

#define TRUST_SYSTEM "system" /* in place of a file: the system's store */

struct trust {
	X509_STORE *store;
	STACK_OF(X509) *authorities; /* those that files and folders name */
	struct crls *crls;	     /* NULL: none */
	uint64_t system;	     /* what the system's bundle looked like, if it counts; else 0 */
	unsigned int references;
	char *sources;	/* the files and folders */
	uint64_t stamp; /* of what is in them */
	TAILQ_ENTRY(trust) next;
};

/* What a service's ca and crl say; ca missing: the system's store. NULL with complaints. */
struct trust *trust_get(const struct service_settings *service, struct complaints *complaints);
void trust_put(struct trust *trust);

/* Where the system's store is. */
const char *trust_system_file(void);

#endif
