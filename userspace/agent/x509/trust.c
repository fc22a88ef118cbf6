/* SPDX-License-Identifier: MIT */
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../files.h"
#include "../log.h"
#include "../source.h"
#include "certificate.h"
#include "trust.h"

static TAILQ_HEAD(, trust) known = TAILQ_HEAD_INITIALIZER(known);

/* As OpenSSL finds it (openssl-env(7)). */
const char *trust_system_file(void)
{
	const char *file = secure_getenv(X509_get_default_cert_file_env());

	return file ? file : X509_get_default_cert_file();
}

/* ---- loading ---- */

struct loading {
	struct trust *trust;
	const struct setting *setting;
	struct complaints *complaints;
};

static bool load_file(void *argument, const char *file)
{
	struct loading *loading = argument;
	struct setting setting = {.text = (char *)file, .line = loading->setting->line};
	STACK_OF(X509) *certificates = certificates_read(&setting, loading->complaints);
	X509 *certificate;

	while (certificates && (certificate = sk_X509_shift(certificates))) {
		if (X509_STORE_add_cert(loading->trust->store, certificate) != 1 ||
		    !sk_X509_push(loading->trust->authorities, certificate))
			log_fatal("out of memory");
	}
	sk_X509_free(certificates);
	return true;
}

/* Its bundle, and its folder, in which OpenSSL looks when it needs an issuer. */
static void load_system(struct trust *trust)
{
	trust->system = source_stamp(trust_system_file());
	if (X509_STORE_set_default_paths(trust->store) != 1)
		log_fatal("out of memory");
	ERR_clear_error(); /* there may be no bundle */
}

static void load_authorities(struct loading *loading, const struct service_settings *service)
{
	int before = 0;

	if (TAILQ_EMPTY(&service->ca))
		load_system(loading->trust);
	TAILQ_FOREACH(loading->setting, &service->ca, next) {
		unsigned int complaints = loading->complaints->count;

		if (strcmp(loading->setting->text, TRUST_SYSTEM) == 0) {
			load_system(loading->trust);
			continue;
		}
		files_each(loading->setting, FILES_CERTIFICATES, load_file, loading, loading->complaints);
		if (sk_X509_num(loading->trust->authorities) == before && loading->complaints->count == complaints)
			complain(loading->complaints, loading->setting->line,
				 "%s holds no certificate; expected files that end in .pem, .crt or .cer",
				 loading->setting->text);
		before = sk_X509_num(loading->trust->authorities);
	}
}

/* ---- sharing ---- */

/* What it is made of, and what that looked like: a folder's name, too, stands for all that is in it. */
static char *sources_of(const struct service_settings *service, uint64_t *stamp)
{
	const struct setting_list *lists[] = {&service->ca, &service->crl};
	const struct setting *setting;
	char *text = NULL;
	size_t length, i;
	FILE *stream = open_memstream(&text, &length);

	*stamp = TAILQ_EMPTY(&service->ca) ? source_stamp(trust_system_file()) : 0;
	for (i = 0; stream && i < 2; i++) {
		fprintf(stream, "%s\n", i ? "crl" : "ca");
		TAILQ_FOREACH(setting, lists[i], next) {
			bool system = strcmp(setting->text, TRUST_SYSTEM) == 0;

			fprintf(stream, "%s\n", setting->text);
			*stamp = *stamp * 31 + source_stamp(system ? trust_system_file() : setting->text);
		}
	}
	if (!stream || fclose(stream) != 0)
		log_fatal("out of memory");
	return text;
}

static struct trust *find(const char *sources, uint64_t stamp)
{
	struct trust *trust;

	TAILQ_FOREACH(trust, &known, next) {
		if (trust->stamp == stamp && strcmp(trust->sources, sources) == 0)
			return trust;
	}
	return NULL;
}

struct trust *trust_get(const struct service_settings *service, struct complaints *complaints)
{
	struct loading loading = {.complaints = complaints};
	unsigned int before = complaints->count;
	uint64_t stamp;
	char *sources = sources_of(service, &stamp);
	struct trust *trust = find(sources, stamp);

	if (trust) {
		free(sources);
		trust->references++;
		return trust;
	}
	trust = calloc(1, sizeof(*trust));
	if (!trust || !(trust->store = X509_STORE_new()) || !(trust->authorities = sk_X509_new_null()))
		log_fatal("out of memory");
	trust->references = 1;
	trust->sources = sources;
	trust->stamp = stamp;
	TAILQ_INSERT_HEAD(&known, trust, next);
	loading.trust = trust;
	load_authorities(&loading, service);
	if (complaints->count == before && !TAILQ_EMPTY(&service->crl))
		trust->crls = crls_load(&service->crl, trust->authorities, complaints);
	if (complaints->count == before)
		return trust;
	trust_put(trust);
	return NULL;
}

void trust_put(struct trust *trust)
{
	if (!trust || --trust->references > 0)
		return;
	TAILQ_REMOVE(&known, trust, next);
	X509_STORE_free(trust->store);
	sk_X509_pop_free(trust->authorities, X509_free);
	crls_free(trust->crls);
	free(trust->sources);
	free(trust);
}
