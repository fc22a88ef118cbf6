/* SPDX-License-Identifier: MIT */
#include <openssl/err.h>
#include <openssl/objects.h>
#include <string.h>
#include <stdlib.h>

#include <ktlsd/protocol.h>

#include "../log.h"
#include "policy.h"

static STACK_OF(ASN1_OBJECT) *read_oids(const struct setting_list *list, const char *what,
					struct complaints *complaints)
{
	STACK_OF(ASN1_OBJECT) *oids = NULL;
	const struct setting *setting;

	TAILQ_FOREACH(setting, list, next) {
		ASN1_OBJECT *oid = OBJ_txt2obj(setting->text, 0);

		ERR_clear_error();
		if (!oid) {
			complain(complaints, setting->line, "\"%s\" is no %s; expected an OID such as 1.2.3.4",
				 setting->text, what);
			continue;
		}
		if ((!oids && !(oids = sk_ASN1_OBJECT_new_null())) || !sk_ASN1_OBJECT_push(oids, oid))
			log_fatal("out of memory");
	}
	return oids;
}

bool policy_build(struct policy *policy, const struct service_settings *settings, struct complaints *complaints)
{
	unsigned int before = complaints->count;

	*policy = (struct policy){
		.role = settings->role,
		.max_depth = settings->max_depth,
		.leeway = settings->leeway,
		.any_purpose = settings->any_purpose,
		.without_signature = settings->rsa_key_transport,
		.crl_leaf_only = settings->crl_leaf_only,
		.crl_expired_will_do = settings->crl_expired_will_do,
		.unknown_will_do = settings->unknown_will_do,
		.ocsp = settings->ocsp,
		.ocsp_settings = {.timeout_ms = settings->ocsp_timeout_ms,
				  .refresh = settings->ocsp_refresh,
				  .max_age = settings->ocsp_max_age,
				  .leeway = settings->leeway,
				  .nonce = settings->ocsp_nonce},
	};
	if (settings->ocsp_responder.text && !(policy->ocsp_responder = strdup(settings->ocsp_responder.text)))
		log_fatal("out of memory");
	policy->ocsp_settings.responder = policy->ocsp_responder;
	if (settings->role == KTLSD_SERVER && !settings->client_certificate)
		return true;
	policy->trust = trust_get(settings, complaints);
	policy->purposes = read_oids(&settings->purposes, "purpose (extended key usage)", complaints);
	policy->policies = read_oids(&settings->policies, "certificate policy", complaints);
	policy->peers = peers_load(settings, complaints);
	return complaints->count == before;
}

void policy_clear(struct policy *policy)
{
	trust_put(policy->trust);
	sk_ASN1_OBJECT_pop_free(policy->purposes, ASN1_OBJECT_free);
	sk_ASN1_OBJECT_pop_free(policy->policies, ASN1_OBJECT_free);
	peers_free(policy->peers);
	free(policy->ocsp_responder);
}
