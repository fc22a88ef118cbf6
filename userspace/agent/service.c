/* SPDX-License-Identifier: MIT */
#include <grp.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ktlsd/protocol.h>

#include "log.h"
#include "proof.h"
#include "service.h"
#include "x509/certificate.h"
#include "x509/staple.h"

#define SERVICE_CERTIFICATES 64 /* per service */

struct certificates {
	struct certificate item[SERVICE_CERTIFICATES];
	size_t count;
};

static int key_kind(const struct certificate *certificate)
{
	switch (EVP_PKEY_get_base_id(certificate->key)) {
	case EVP_PKEY_EC:
		return CONTEXT_ECDSA;
	case EVP_PKEY_RSA:
	case EVP_PKEY_RSA_PSS:
		return CONTEXT_RSA;
	case EVP_PKEY_ED25519:
	case EVP_PKEY_ED448:
		return CONTEXT_EDDSA;
	}
	return -1;
}

static bool load_certificates(struct certificates *certificates, const struct service_settings *settings,
			      struct complaints *complaints)
{
	const struct certificate_setting *setting;
	unsigned int before = complaints->count;

	TAILQ_FOREACH(setting, &settings->certificates, next) {
		struct certificate *certificate = &certificates->item[certificates->count];

		if (certificates->count == SERVICE_CERTIFICATES) {
			complain(complaints, setting->certificate.line,
				 "too many certificates; expected at most %d per service", SERVICE_CERTIFICATES);
			break;
		}
		certificates->count++;
		if (certificate_load(certificate, setting, settings->readable_key_will_do, complaints) &&
		    key_kind(certificate) < 0)
			complain(complaints, setting->certificate.line,
				 "%s has a key of an unknown kind; expected ECDSA, RSA or EdDSA",
				 setting->certificate.text);
	}
	return complaints->count == before;
}

static bool carries(const struct certificate *certificate, const char *name)
{
	char **n;

	for (n = certificate->names; *n; n++) {
		if (strcmp(*n, name) == 0)
			return true;
	}
	return false;
}

/* The first certificate of each kind that carries the name (any, if it is NULL): OpenSSL picks by what the client can verify. */
static struct certificate_choice choose(const struct certificates *certificates, const char *name)
{
	struct certificate_choice choice = {0};
	size_t i;

	for (i = 0; i < certificates->count; i++) {
		const struct certificate *certificate = &certificates->item[i];
		int kind = key_kind(certificate);

		if (!choice.of_kind[kind] && (!name || carries(certificate, name)))
			choice.of_kind[kind] = certificate;
	}
	return choice;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct sni_name *)a)->name, ((const struct sni_name *)b)->name);
}

static SSL_CTX *find_name(const struct service *service, const char *name)
{
	struct sni_name wanted = {.name = (char *)name}, *found;

	found = bsearch(&wanted, service->names, service->name_count, sizeof(*service->names), compare_names);
	return found ? found->context : NULL;
}

/* Exact, then with the first label wild (RFC 6125 §6.4.3); a name that nobody carries gets the default certificates. */
static int choose_by_server_name(SSL *ssl, int *alert, void *argument)
{
	const struct service *service = argument;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name), *rest;
	char lower[256];
	SSL_CTX *context;
	size_t i;

	(void)alert;
	if (!name || strlen(name) >= sizeof(lower) - 1)
		return SSL_TLSEXT_ERR_NOACK;
	for (i = 0; name[i]; i++)
		lower[i] = name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i];
	lower[i] = '\0';
	context = find_name(service, lower);
	rest = strchr(lower, '.');
	if (!context && rest && rest > lower) {
		lower[rest - lower - 1] = '*';
		context = find_name(service, rest - 1);
	}
	if (context)
		SSL_set_SSL_CTX(ssl, context);
	return SSL_TLSEXT_ERR_OK;
}

static size_t count_names(const struct certificates *certificates)
{
	size_t i, count = 0;
	char **name;

	for (i = 0; i < certificates->count; i++) {
		for (name = certificates->item[i].names; *name; name++)
			count++;
	}
	return count;
}

/* Names with the same certificates share a context: a thousand names of one certificate cost one. */
static void build_names(struct service *service, const struct certificates *certificates,
			const struct context_settings *common, struct complaints *complaints)
{
	struct certificate_choice default_choice = choose(certificates, NULL);
	struct certificate_choice *choices = calloc(count_names(certificates) + 1, sizeof(*choices));
	size_t i, j;
	char **name;

	service->names = calloc(count_names(certificates) + 1, sizeof(*service->names));
	if (!service->names || !choices)
		log_fatal("out of memory");
	for (i = 0; i < certificates->count; i++) {
		for (name = certificates->item[i].names; *name; name++) {
			struct certificate_choice choice = choose(certificates, *name);
			size_t n = service->name_count;
			SSL_CTX *context =
				memcmp(&choice, &default_choice, sizeof(choice)) == 0 ? service->context : NULL;

			for (j = 0; j < n && !context; j++) {
				if (memcmp(&choices[j], &choice, sizeof(choice)) == 0)
					context = service->names[j].context;
			}
			if (context)
				SSL_CTX_up_ref(context);
			else
				context = context_new(common, &choice, complaints);
			if (!context)
				goto out;
			choices[n] = choice;
			service->names[n].context = context;
			service->names[n].name = strdup(*name);
			if (!service->names[n].name)
				log_fatal("out of memory");
			service->name_count++;
		}
	}
	qsort(service->names, service->name_count, sizeof(*service->names), compare_names);
out:
	free(choices);
}

static struct alpn *encode_alpn(const struct setting_list *list, struct complaints *complaints)
{
	const struct setting *setting;
	struct alpn *alpn;
	size_t size = 0;

	TAILQ_FOREACH(setting, list, next) {
		if (strlen(setting->text) > 255)
			complain(complaints, setting->line, "alpn: a protocol name of %zu bytes; expected at most 255",
				 strlen(setting->text));
		size += 1 + strlen(setting->text);
	}
	if (size == 0)
		return NULL;
	alpn = calloc(1, sizeof(*alpn) + size);
	if (!alpn)
		log_fatal("out of memory");
	TAILQ_FOREACH(setting, list, next) {
		alpn->wire[alpn->length++] = strlen(setting->text);
		memcpy(alpn->wire + alpn->length, setting->text, strlen(setting->text));
		alpn->length += strlen(setting->text);
	}
	return alpn;
}

static bool parse_id(const char *text, unsigned int *id)
{
	char *end;
	unsigned long number = strtoul(text, &end, 10);

	*id = number;
	return *text >= '0' && *text <= '9' && !*end && number < UINT32_MAX;
}

static bool find_user(const char *text, unsigned int *id)
{
	const struct passwd *user = getpwnam(text);

	if (user)
		*id = user->pw_uid;
	return user || parse_id(text, id);
}

static bool find_group(const char *text, unsigned int *id)
{
	const struct group *group = getgrnam(text);

	if (group)
		*id = group->gr_gid;
	return group || parse_id(text, id);
}

static unsigned int *resolve(const struct setting_list *list, bool (*find)(const char *, unsigned int *),
			     const char *what, size_t *count, struct complaints *complaints)
{
	const struct setting *setting;
	unsigned int *ids;
	size_t n = 0;

	TAILQ_FOREACH(setting, list, next)
		n++;
	ids = calloc(n + 1, sizeof(*ids));
	if (!ids)
		log_fatal("out of memory");
	*count = 0;
	TAILQ_FOREACH(setting, list, next) {
		if (find(setting->text, &ids[*count]))
			++*count;
		else
			complain(complaints, setting->line, "there is no %s \"%s\"; expected a name or a number", what,
				 setting->text);
	}
	return ids;
}

/* The system's bundle, where there is one: update-ca-certificates renews it. */
static void note_system(struct service *service)
{
	if (access(trust_system_file(), F_OK) == 0)
		source_add(&service->files.sources, trust_system_file());
}

static void note_list(struct service *service, const struct setting_list *list)
{
	const struct setting *setting;

	TAILQ_FOREACH(setting, list, next) {
		if (strcmp(setting->text, TRUST_SYSTEM) == 0)
			note_system(service);
		else
			source_add(&service->files.sources, setting->text);
	}
}

static void note_sources(struct service *service)
{
	const struct certificate_setting *certificate;

	TAILQ_INIT(&service->files.sources);
	TAILQ_FOREACH(certificate, &service->settings->certificates, next) {
		source_add(&service->files.sources, certificate->certificate.text);
		if (certificate->key.text)
			source_add(&service->files.sources, certificate->key.text);
	}
	if (service->settings->role == KTLSD_CLIENT && TAILQ_EMPTY(&service->settings->ca))
		note_system(service);
	note_list(service, &service->settings->ca);
	note_list(service, &service->settings->crl);
	note_list(service, &service->settings->allow_peers_files);
}

static void note_expiry(struct service *service, const struct certificates *certificates,
			const struct service *predecessor)
{
	const struct certificate_setting *setting = TAILQ_FIRST(&service->settings->certificates), *first = setting;
	time_t ends = 0;
	size_t i;

	for (i = 0; i < certificates->count; i++, setting = TAILQ_NEXT(setting, next)) {
		if (i > 0 && certificates->item[i].ends >= ends)
			continue;
		first = setting;
		ends = certificates->item[i].ends;
	}
	if (certificates->count > 0)
		expiry_set(&service->expiry, first->certificate.text, ends, predecessor ? &predecessor->expiry : NULL);
}

/* What challenges are answered with: the first certificate, its intermediates and its key. */
static void keep_for_proofs(struct service *service, const struct certificate *certificate,
			    const struct setting *setting, struct complaints *complaints)
{
	if (!proof_scheme_for(certificate->leaf)) {
		complain(
			complaints, setting->line,
			"service \"%s\": its first certificate's key can't sign a proof; expected key usage digitalSignature, and ECDSA (P-256, P-384, P-521), RSA or EdDSA",
			service->name);
		return;
	}
	service->chain = X509_chain_up_ref(certificate->intermediates);
	if (!service->chain || X509_up_ref(certificate->leaf) != 1 ||
	    !sk_X509_unshift(service->chain, certificate->leaf) || EVP_PKEY_up_ref(certificate->key) != 1)
		log_fatal("out of memory");
	service->key = certificate->key;
}

/* Whoever issued our certificate stands behind it in its file. */
static struct staple *find_staple(const struct certificate *certificate, const struct setting *file,
				  const struct service_settings *settings, struct complaints *complaints)
{
	const struct ocsp_settings ocsp = {.responder = settings->staple_responder.text,
					   .timeout_ms = settings->ocsp_timeout_ms};
	X509 *issuer = sk_X509_value(certificate->intermediates, 0);
	const char *why = "its issuer's certificate has to stand behind it in the file";
	struct staple *staple = NULL;

	if (issuer && X509_check_issued(issuer, certificate->leaf) == X509_V_OK)
		staple = staple_get(certificate->leaf, issuer, &ocsp, &why);
	if (!staple)
		complain(complaints, file->line, "%s can't have a staple: %s; or set staple = no", file->text, why);
	return staple;
}

static void get_staples(struct service *service, const struct certificates *certificates, struct complaints *complaints)
{
	const struct certificate_setting *setting = TAILQ_FIRST(&service->settings->certificates);
	size_t i;

	service->staples = calloc(certificates->count + 1, sizeof(*service->staples));
	if (!service->staples)
		log_fatal("out of memory");
	for (i = 0; i < certificates->count; i++, setting = TAILQ_NEXT(setting, next)) {
		const struct certificate *certificate = &certificates->item[i];

		if (service->settings->staple)
			service->staples[i] =
				find_staple(certificate, &setting->certificate, service->settings, complaints);
		else if (service->role == KTLSD_SERVER && ocsp_must_staple(certificate->leaf))
			log_line(LOG_WARNING,
				 "service \"%s\": %s demands a staple (must-staple); expected staple = yes",
				 service->name, setting->certificate.text);
		certificate_set_staple(certificate->leaf, service->staples[i]);
		service->staple_count++;
	}
}

static struct service_usage *share_usage(const struct service *predecessor)
{
	struct service_usage *usage = predecessor ? predecessor->usage : calloc(1, sizeof(*usage));

	if (!usage)
		log_fatal("out of memory");
	atomic_fetch_add(&usage->holders, 1);
	return usage;
}

struct service *service_new(const struct service_settings *settings, const struct service *predecessor,
			    struct complaints *complaints)
{
	struct context_settings common = {.service = settings};
	struct service *service = calloc(1, sizeof(*service));
	struct certificates certificates = {0};
	struct certificate_choice choice;

	if (!service || !(service->name = strdup(settings->name)))
		log_fatal("out of memory");
	service->holders = 1;
	service->settings = settings;
	note_sources(service);
	service->role = settings->role;
	service->timeout_ms = settings->timeout_ms;
	service->max_handshakes = settings->max_handshakes;
	service->tickets = settings->tickets;
	service->usage = share_usage(predecessor);
	service->allow_everyone = settings->allow_everyone;
	service->users = resolve(&settings->allow_users, find_user, "user", &service->user_count, complaints);
	service->groups = resolve(&settings->allow_groups, find_group, "group", &service->group_count, complaints);
	service->challengers =
		resolve(&settings->allow_challenge, find_user, "user", &service->challenger_count, complaints);
	service->alpn = encode_alpn(&settings->alpn, complaints);
	kernel_use_build(&service->kernel, settings, complaints);
	common.alpn = service->alpn;
	common.policy = &service->policy;
	if (policy_build(&service->policy, settings, complaints) &&
	    load_certificates(&certificates, settings, complaints) &&
	    context_settings_complete(&common, &certificates.item[0], certificates.count, complaints)) {
		choice = choose(&certificates, NULL);
		service->has_certificate = certificates.count > 0;
		note_expiry(service, &certificates, predecessor);
		get_staples(service, &certificates, complaints);
		service->context = context_new(&common, &choice, complaints);
		if (!TAILQ_EMPTY(&settings->allow_challenge))
			keep_for_proofs(service, &certificates.item[0], TAILQ_FIRST(&settings->allow_challenge),
					complaints);
		if (service->context && service->role == KTLSD_SERVER) {
			build_names(service, &certificates, &common, complaints);
			SSL_CTX_set_tlsext_servername_callback(service->context, choose_by_server_name);
			SSL_CTX_set_tlsext_servername_arg(service->context, service);
		}
	}
	context_settings_clear(&common);
	while (certificates.count > 0)
		certificate_clear(&certificates.item[--certificates.count]);
	return service;
}

struct service *service_get(struct service *service)
{
	service->holders++;
	return service;
}

void service_put(struct service *service)
{
	size_t i;

	if (--service->holders > 0)
		return;
	for (i = 0; i < service->name_count; i++) {
		free(service->names[i].name);
		SSL_CTX_free(service->names[i].context);
	}
	free(service->names);
	SSL_CTX_free(service->context);
	for (i = 0; i < service->staple_count; i++)
		staple_put(service->staples[i]);
	free(service->staples);
	policy_clear(&service->policy);
	free(service->alpn);
	free(service->users);
	free(service->groups);
	free(service->challengers);
	kernel_use_clear(&service->kernel);
	sk_X509_pop_free(service->chain, X509_free);
	EVP_PKEY_free(service->key);
	free(service->name);
	free(service->expiry.file);
	watched_clear(&service->files);
	if (service->usage && atomic_fetch_sub(&service->usage->holders, 1) == 1)
		free(service->usage);
	free(service);
}

static bool listed(const unsigned int *ids, size_t count, unsigned int id)
{
	size_t i;

	for (i = 0; i < count; i++) {
		if (ids[i] == id)
			return true;
	}
	return false;
}

bool service_allows(const struct service *service, uid_t user, gid_t group, const gid_t *groups, size_t group_count)
{
	size_t i;

	if (service->allow_everyone || user == 0 || user == geteuid() ||
	    listed(service->users, service->user_count, user) || listed(service->groups, service->group_count, group))
		return true;
	for (i = 0; i < group_count; i++) {
		if (listed(service->groups, service->group_count, groups[i]))
			return true;
	}
	return false;
}

bool service_may_challenge(const struct service *service, uid_t user)
{
	return listed(service->challengers, service->challenger_count, user);
}
