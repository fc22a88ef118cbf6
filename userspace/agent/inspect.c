/* SPDX-License-Identifier: MIT */
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

#include <ktlsd/protocol.h>

#include "identity.h"
#include "inspect.h"
#include "log.h"
#include "verify.h"

#define CHAIN_MAX 200 /* certificates that are looked at */

static json_object *failed(const char *format, ...) __attribute__((format(printf, 1, 2)));

static json_object *failed(const char *format, ...)
{
	json_object *answer = json_object_new_object();
	va_list arguments;
	char text[256];

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	json_object_object_add(answer, "error", json_object_new_string(text));
	return answer;
}

static void put_text(json_object *object, const char *name, const char *text)
{
	json_object_object_add(object, name, json_object_new_string(text));
}

static STACK_OF(X509) *read_chain(const char *pem, size_t length)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	BIO *bio = BIO_new_mem_buf(pem, length);
	X509 *certificate;

	if (!chain || !bio)
		log_fatal("out of memory");
	while (sk_X509_num(chain) < CHAIN_MAX && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		if (!sk_X509_push(chain, certificate))
			log_fatal("out of memory");
	}
	ERR_clear_error();
	BIO_free(bio);
	return chain;
}

/* ---- verify ---- */

static void add_step(void *steps, enum verify_verdict verdict, const char *step, const char *text)
{
	static const char *const verdicts[] = {
		[VERIFY_PASSED] = "passed", [VERIFY_FAILED] = "failed", [VERIFY_SKIPPED] = "skipped"};
	json_object *object = json_object_new_object();

	put_text(object, "step", step);
	put_text(object, "verdict", verdicts[verdict]);
	put_text(object, "text", text);
	json_object_array_add(steps, object);
}

static json_object *verify(const struct service *service, const char *name, STACK_OF(X509) *chain)
{
	json_object *answer = json_object_new_object(), *steps = json_object_new_array();
	struct verification verification = {.explain = add_step, .argument = steps};
	X509_STORE_CTX *store = X509_STORE_CTX_new();
	bool accepted;

	if (!store || X509_STORE_CTX_init(store, service->policy.trust->store, sk_X509_value(chain, 0), chain) != 1)
		log_fatal("out of memory");
	accepted = verify_chain(&service->policy, store, *name ? name : NULL, &verification);
	X509_STORE_CTX_free(store);
	ERR_clear_error();
	put_text(answer, "service", service->name);
	put_text(answer, "peer", service->role == KTLSD_SERVER ? "client" : "server");
	json_object_object_add(answer, "accepted", json_object_new_boolean(accepted));
	if (!accepted)
		put_text(answer, "why", verification.why);
	if (verification.peer_name)
		put_text(answer, "peer_name", verification.peer_name);
	json_object_object_add(answer, "steps", steps);
	return answer;
}

json_object *inspect_chain(const struct config *config, const char *name_of_service, const char *name, const char *pem,
			   size_t length)
{
	const struct service *service = config_service(config, name_of_service);
	STACK_OF(X509) *chain;
	json_object *answer;

	if (!service)
		return failed("there is no service \"%s\"", name_of_service);
	if (!service->policy.trust)
		return failed("service \"%s\" verifies nobody: it asks clients for no certificate "
			      "(client_certificate = none)",
			      service->name);
	chain = read_chain(pem, length);
	if (sk_X509_num(chain) == 0)
		answer = failed("no certificate; expected PEM (-----BEGIN CERTIFICATE-----), the peer's own first");
	else
		answer = verify(service, name, chain);
	sk_X509_pop_free(chain, X509_free);
	return answer;
}

/* ---- revocation ---- */

struct findings {
	json_object *list;
	const struct service *service;
};

static void add_finding(void *argument, const X509_NAME *issuer, const struct revocation *revocation)
{
	static const char *const statuses[] = {[REVOCATION_GOOD] = "good",
					       [REVOCATION_REVOKED] = "revoked",
					       [REVOCATION_UNKNOWN] = "unknown",
					       [REVOCATION_PENDING] = "not asked yet"};
	struct findings *findings = argument;
	json_object *object = json_object_new_object();
	char text[256];

	put_text(object, "service", findings->service->name);
	if (identity_text(issuer, text, sizeof(text)))
		put_text(object, "issuer", text);
	put_text(object, "status", statuses[revocation->status]);
	put_text(object, "text", revocation->text);
	json_object_array_add(findings->list, object);
}

static ASN1_INTEGER *read_serial(const char *text)
{
	ASN1_INTEGER *serial = NULL;
	BIGNUM *number = NULL;

	if (strlen(text) <= 64 && text[strspn(text, "0123456789abcdefABCDEF")] == '\0' && BN_hex2bn(&number, text) > 0)
		serial = BN_to_ASN1_INTEGER(number, NULL);
	BN_free(number);
	return serial;
}

static bool knows_revocation(const struct service *service)
{
	return service->policy.trust && service->policy.trust->crls;
}

static json_object *answer_with(json_object *list, const char *nothing)
{
	json_object *answer = json_object_new_object();

	json_object_object_add(answer, "answers", list);
	if (json_object_array_length(list) == 0)
		put_text(answer, "nothing", nothing);
	return answer;
}

static json_object *find_serial(const struct config *config, const char *text)
{
	struct findings findings = {.list = json_object_new_array()};
	ASN1_INTEGER *serial = read_serial(text);
	size_t i;

	if (!serial) {
		json_object_put(findings.list);
		return failed("\"%.70s\" is no serial number; expected hexadecimal digits, at most 64", text);
	}
	for (i = 0; i < config->service_count; i++) {
		findings.service = config->services[i];
		if (knows_revocation(findings.service))
			crls_find(findings.service->policy.trust->crls, serial, add_finding, &findings);
	}
	ASN1_INTEGER_free(serial);
	return answer_with(findings.list, "no service has a list that revokes this number");
}

static json_object *find_certificate(const struct config *config, X509 *certificate, X509 *issuer)
{
	struct findings findings = {.list = json_object_new_array()};
	struct revocation revocation;
	size_t i;

	for (i = 0; i < config->service_count; i++) {
		findings.service = config->services[i];
		if (!knows_revocation(findings.service))
			continue;
		verify_revocation(&findings.service->policy, certificate, issuer, &revocation);
		add_finding(&findings, X509_get_issuer_name(certificate), &revocation);
	}
	return answer_with(findings.list, "no service looks at revocation (crl, ocsp)");
}

json_object *inspect_revocation(const struct config *config, const char *serial, const char *pem, size_t length)
{
	STACK_OF(X509) *chain;
	json_object *answer;

	if (*serial)
		return find_serial(config, serial);
	chain = read_chain(pem, length);
	if (sk_X509_num(chain) == 0)
		answer = failed("no certificate; expected PEM (-----BEGIN CERTIFICATE-----), its issuer's behind it");
	else
		answer = find_certificate(config, sk_X509_value(chain, 0), sk_X509_value(chain, 1));
	sk_X509_pop_free(chain, X509_free);
	return answer;
}
