/* SPDX-License-Identifier: MIT */
/*
 * A service: a named policy, built from its settings and immutable from then on; configurations share it, and the last
 * that goes takes it along. What changes while it serves (how many handshakes are under way) stands in its usage, which
 * later generations of the same service share.
 */
#ifndef AGENT_SERVICE_H
#define AGENT_SERVICE_H

#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "complaint.h"
#include "context.h"
#include "kernel/use.h"
#include "settings.h"
#include "source.h"
#include "x509/expiry.h"
#include "x509/policy.h"

struct service_usage {
	_Atomic unsigned int holders; /* services that share it */
	_Atomic unsigned int in_flight;
	_Atomic uint64_t done, failed;
};

struct sni_name {
	char *name;	  /* lower case; "*.example.org" for a wildcard */
	SSL_CTX *context; /* with the certificates that carry the name */
};

struct service {
	unsigned int holders;			 /* configurations, all of them the main thread's to make and to free */
	const struct service_settings *settings; /* of those configurations */
	char *name;
	unsigned int role; /* enum ktlsd_role */
	unsigned int timeout_ms;
	unsigned int max_handshakes;
	unsigned int tickets;
	bool has_certificate;
	SSL_CTX *context;	/* where every handshake begins: the default certificates, tickets, trust */
	struct sni_name *names; /* sorted by name */
	size_t name_count;
	struct alpn *alpn; /* NULL: none */
	struct policy policy;
	bool allow_everyone;
	uid_t *users;
	size_t user_count;
	gid_t *groups;
	size_t group_count;
	uid_t *challengers; /* who may have proof that we have the first certificate's key; nobody else, root included */
	size_t challenger_count;
	STACK_OF(X509) *chain; /* that certificate first, and its key; NULL without challengers */
	EVP_PKEY *key;
	struct kernel_use kernel;
	struct service_usage *usage;
	struct staple **staples; /* of its certificates, in the order of the settings; NULL where there is none */
	size_t staple_count;

	/* The main thread's alone. */
	struct watched files;
	struct expiry expiry;
};

/* Never NULL, but of no use if there are complaints. predecessor: its last generation, or NULL. */
struct service *service_new(const struct service_settings *settings, const struct service *predecessor,
			    struct complaints *complaints);
struct service *service_get(struct service *service);
void service_put(struct service *service);

/* Whether a caller with this identity may use the service. */
bool service_allows(const struct service *service, uid_t user, gid_t group, const gid_t *groups, size_t group_count);
bool service_may_challenge(const struct service *service, uid_t user);

#endif
