/* SPDX-License-Identifier: MIT */
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ktlsd/protocol.h>

#include "inspect.h"
#include "log.h"
#include "x509/identity.h"
#include "x509/responder.h"
#include "x509/verdicts.h"
#include "x509/verify.h"

#define CHAIN_MAX 200 /* certificates that are looked at */
#define VERDICTS_SHOWN 16
#define WORDS_MAX 2048

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

/* NULL, with an answer that says what is wrong. */
static STACK_OF(X509) *read_chain(const char *pem, size_t length, const char *expected, json_object **answer)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	BIO *bio = BIO_new_mem_buf(pem, length);
	X509 *certificate;
	unsigned long error;

	if (!chain || !bio)
		log_fatal("out of memory");
	while (sk_X509_num(chain) < CHAIN_MAX && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		if (!sk_X509_push(chain, certificate))
			log_fatal("out of memory");
	}
	error = ERR_peek_last_error();
	ERR_clear_error();
	BIO_free(bio);
	if (sk_X509_num(chain) == CHAIN_MAX)
		*answer = failed("too many certificates; expected fewer than %d", CHAIN_MAX);
	else if (ERR_GET_REASON(error) != PEM_R_NO_START_LINE)
		*answer = failed("certificate %d is damaged (%s)", sk_X509_num(chain) + 1,
				 ERR_reason_error_string(error));
	else if (sk_X509_num(chain) == 0)
		*answer = failed("no certificate; expected PEM (-----BEGIN CERTIFICATE-----), %s", expected);
	else
		return chain;
	sk_X509_pop_free(chain, X509_free);
	return NULL;
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

static void forget(struct ocsp_waiter *waiter, const struct ocsp_verdict *verdict, const uint8_t *der, size_t length)
{
	(void)verdict, (void)der, (void)length;
	free(waiter);
}

/*
 * True with the verdict, if there is one at once. Else what comes of it is in the cache when somebody looks again. The chain
 * has been verified: see responder.h.
 */
static bool ask(const struct ocsp_question *question, const struct ocsp_settings *settings,
		struct ocsp_verdict *verdict)
{
	struct ocsp_waiter *waiter = calloc(1, sizeof(*waiter));

	if (!waiter)
		log_fatal("out of memory");
	waiter->answered = forget;
	if (!responder_ask(question, settings, waiter, verdict))
		return false;
	free(waiter);
	return true;
}

/* As a handshake would, but for a staple, which only a server has. */
static bool verify(const struct policy *policy, const char *name, STACK_OF(X509) *chain,
		   struct verification *verification)
{
	X509_STORE_CTX *store = X509_STORE_CTX_new();
	X509 *leaf = sk_X509_value(chain, 0);
	struct ocsp_verdict verdict;
	bool accepted;

	verification->staple_may_come =
		policy->role == KTLSD_CLIENT && (policy->ocsp != OCSP_ASK || ocsp_must_staple(leaf));
	if (!store || X509_STORE_CTX_init(store, policy->trust->store, leaf, chain) != 1)
		log_fatal("out of memory");
	accepted = verify_chain(policy, store, name, verification);
	if (accepted && verification->pending && !verification->staple_may_come &&
	    ask(&verification->question, &policy->ocsp_settings, &verdict)) {
		verification->verdict = &verdict;
		accepted = verify_rest(policy, X509_STORE_CTX_get0_chain(store), verification);
		verification->verdict = NULL;
	}
	X509_STORE_CTX_free(store);
	ERR_clear_error();
	return accepted;
}

static json_object *explain(const struct service *service, const char *name, STACK_OF(X509) *chain)
{
	json_object *answer = json_object_new_object(), *steps = json_object_new_array();
	struct verification verification = {.explain = add_step, .argument = steps};
	bool accepted = verify(&service->policy, *name ? name : NULL, chain, &verification);

	put_text(answer, "service", service->name);
	put_text(answer, "peer", service->role == KTLSD_SERVER ? "client" : "server");
	json_object_object_add(answer, "accepted", json_object_new_boolean(accepted));
	json_object_object_add(answer, "pending",
			       json_object_new_boolean(verification.pending && !verification.staple_may_come));
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
	if (*name && service->role == KTLSD_SERVER)
		return failed("service \"%s\" verifies clients, and those need no name of their own; expected none",
			      service->name);
	chain = read_chain(pem, length, "the peer's own first", &answer);
	if (!chain)
		return answer;
	answer = explain(service, name, chain);
	sk_X509_pop_free(chain, X509_free);
	return answer;
}

/* ---- revocation ---- */

struct findings {
	json_object *list;
	const char *service; /* NULL: of no service in particular */
};

static void add_finding(const struct findings *findings, const char *issuer, const char *status, const char *text)
{
	json_object *object = json_object_new_object();

	if (findings->service)
		put_text(object, "service", findings->service);
	if (issuer)
		put_text(object, "issuer", issuer);
	put_text(object, "status", status);
	put_text(object, "text", text);
	json_object_array_add(findings->list, object);
}

static void add_listed(void *findings, const X509_NAME *issuer, const struct listing *listing)
{
	char text[256];

	add_finding(findings, identity_text(issuer, text, sizeof(text)) ? text : NULL, "revoked", listing->text);
}

static ASN1_INTEGER *read_serial(const char *text)
{
	ASN1_INTEGER *serial = NULL;
	BIGNUM *number = NULL;

	if (strlen(text) < OCSP_SERIAL_MAX && text[strspn(text, "0123456789abcdefABCDEF")] == '\0' &&
	    BN_hex2bn(&number, text) > 0)
		serial = BN_to_ASN1_INTEGER(number, NULL);
	BN_free(number);
	return serial;
}

static json_object *answer_with(json_object *list, const char *nothing)
{
	json_object *answer = json_object_new_object();

	json_object_object_add(answer, "answers", list);
	if (json_object_array_length(list) == 0)
		put_text(answer, "nothing", nothing);
	return answer;
}

static void find_verdicts(const struct findings *findings, const ASN1_INTEGER *serial)
{
	static const char *const statuses[] = {[OCSP_ANSWER_UNUSABLE] = "unknown",
					       [OCSP_ANSWER_GOOD] = "good",
					       [OCSP_ANSWER_REVOKED] = "revoked",
					       [OCSP_ANSWER_UNKNOWN] = "unknown"};
	struct ocsp_verdict verdicts[VERDICTS_SHOWN];
	char text[OCSP_SERIAL_MAX];
	size_t count = ocsp_serial(serial, text) ? verdicts_find(text, verdicts, VERDICTS_SHOWN) : 0, i;

	for (i = 0; i < count; i++)
		add_finding(findings, NULL, statuses[verdicts[i].answer], verdicts[i].text);
}

static json_object *find_serial(const struct config *config, const char *text)
{
	struct findings findings = {.list = json_object_new_array()};
	ASN1_INTEGER *serial = read_serial(text);
	size_t i;

	if (!serial) {
		json_object_put(findings.list);
		return failed("\"%.70s\" is no serial number; expected hexadecimal digits, at most %d", text,
			      OCSP_SERIAL_MAX - 1);
	}
	find_verdicts(&findings, serial);
	for (i = 0; i < config->service_count; i++) {
		const struct trust *trust = config->services[i]->policy.trust;

		findings.service = config->services[i]->name;
		if (trust && trust->crls)
			crls_find(trust->crls, serial, add_listed, &findings);
	}
	ASN1_INTEGER_free(serial);
	return answer_with(findings.list, "no list revokes this number, and no responder was asked about it lately");
}

/* What the steps about revocation say, one behind the other. */
static void keep_words(void *argument, enum verify_verdict verdict, const char *step, const char *text)
{
	char *words = argument;
	size_t used = strlen(words);

	(void)verdict;
	if (strcmp(step, "revocation") == 0)
		snprintf(words + used, WORDS_MAX - used, "%s%s", used ? "; " : "", text);
}

static bool find_in_service(struct findings *findings, const struct service *service, STACK_OF(X509) *chain)
{
	char words[WORDS_MAX] = "";
	struct verification verification = {.explain = keep_words, .argument = words};
	bool accepted = verify(&service->policy, NULL, chain, &verification);

	findings->service = service->name;
	if (verification.error == X509_V_ERR_CERT_REVOKED)
		add_finding(findings, NULL, "revoked", verification.why);
	else if (!accepted)
		add_finding(findings, NULL, "refused", verification.why);
	else
		add_finding(findings, NULL, verification.pending ? "not asked yet" : "accepted", words);
	return verification.pending && !verification.staple_may_come;
}

static json_object *find_certificate(const struct config *config, STACK_OF(X509) *chain)
{
	struct findings findings = {.list = json_object_new_array()};
	bool pending = false;
	json_object *answer;
	size_t i;

	for (i = 0; i < config->service_count; i++) {
		const struct policy *policy = &config->services[i]->policy;

		if (policy->trust && (policy->trust->crls || policy->ocsp != OCSP_OFF))
			pending = find_in_service(&findings, config->services[i], chain) || pending;
	}
	answer = answer_with(findings.list, "no service looks at revocation (crl, ocsp)");
	json_object_object_add(answer, "pending", json_object_new_boolean(pending));
	return answer;
}

json_object *inspect_revocation(const struct config *config, const char *serial, const char *pem, size_t length)
{
	STACK_OF(X509) *chain;
	json_object *answer;

	if (*serial)
		return find_serial(config, serial);
	chain = read_chain(pem, length, "its intermediates behind it", &answer);
	if (!chain)
		return answer;
	answer = find_certificate(config, chain);
	sk_X509_pop_free(chain, X509_free);
	return answer;
}
