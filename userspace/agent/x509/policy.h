/* SPDX-License-Identifier: MIT */
/* What a service demands of its peers; immutable. */
#ifndef AGENT_POLICY_H
#define AGENT_POLICY_H

#include <openssl/x509.h>
#include <stdbool.h>

#include "../complaint.h"
#include "../settings.h"
#include "ocsp.h"
#include "peers.h"
#include "trust.h"

struct policy {
	unsigned int role;		 /* ours, enum ktlsd_role */
	struct trust *trust;		 /* NULL: nobody is verified */
	STACK_OF(ASN1_OBJECT) *purposes; /* besides serverAuth or clientAuth */
	STACK_OF(ASN1_OBJECT) *policies; /* of which the chain has to be valid for one */
	struct peers *peers;		 /* NULL: whoever verifies */
	unsigned int max_depth, leeway;
	bool any_purpose;
	bool without_signature; /* a server's key need not sign: RSA key transport */
	bool crl_leaf_only, crl_expired_will_do, unknown_will_do;
	enum ocsp_use ocsp;
	struct ocsp_settings ocsp_settings;
	char *ocsp_responder; /* what ocsp_settings has */
};

/* False with complaints; policy_clear() is due either way. */
bool policy_build(struct policy *policy, const struct service_settings *settings, struct complaints *complaints);
void policy_clear(struct policy *policy);

#endif
