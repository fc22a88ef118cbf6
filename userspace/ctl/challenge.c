/* SPDX-License-Identifier: MIT */
/* ktlsctl challenge: has a service's key prove itself, and looks whether it did. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <json-c/json.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>

#include "../agent/proof.h"
#include "cert.h"
#include "ktlsd.h"

#define NONCE_LENGTH 32

static const char usage[] =
	"usage: ktlsctl challenge [--nonce HEX] [--ca FILE] [--json] SERVICE\n"
	"\n"
	"Has the agent sign a nonce with the key of a service's certificate, and verifies the signature: so the agent has\n"
	"that key. The service has to name this user in allow_challenge.\n"
	"\n"
	"  --nonce HEX  16 to 64 bytes that were never used before (default: 32 random ones)\n"
	"  --ca FILE    verifies the certificate's chain, too, with the authorities in FILE (PEM)\n"
	"  --json       one JSON object, with everything that it takes to verify the proof elsewhere\n";

struct question {
	const char *service, *ca;
	uint8_t nonce[KTLSD_NONCE_MAX];
	size_t nonce_length;
	bool json;
};

static void add_hex(struct json_object *report, const char *name, const uint8_t *bytes, size_t length)
{
	char hex[2 * KTLSD_SIGNATURE_MAX + 1];

	if (OPENSSL_buf2hexstr_ex(hex, sizeof(hex), NULL, bytes, length, '\0') == 1)
		report_text(report, name, hex);
}

static void add_name(struct json_object *report, const char *name, const X509_NAME *value)
{
	BIO *text = BIO_new(BIO_s_mem());
	char *data;

	if (!text)
		return;
	X509_NAME_print_ex(text, value, 0, XN_FLAG_RFC2253);
	BIO_write(text, "", 1);
	BIO_get_mem_data(text, &data);
	report_text(report, name, data);
	BIO_free(text);
}

static void add_certificate(struct json_object *report, X509 *certificate)
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned int length;
	int64_t end;

	add_name(report, "subject", X509_get_subject_name(certificate));
	add_name(report, "issuer", X509_get_issuer_name(certificate));
	if (seconds_of_time(X509_get0_notAfter(certificate), &end))
		report_time(report, "not_after", end);
	if (X509_digest(certificate, EVP_sha256(), digest, &length) == 1)
		add_hex(report, "sha256", digest, length);
}

/* PEM, for who goes on with it. */
static void add_chain(struct json_object *report, const STACK_OF(X509) *chain)
{
	struct json_object *list = json_object_new_array();

	for (int i = 0; i < sk_X509_num(chain); i++) {
		BIO *pem = BIO_new(BIO_s_mem());
		char *data;
		long length;

		if (pem && PEM_write_bio_X509(pem, sk_X509_value(chain, i)) == 1 &&
		    (length = BIO_get_mem_data(pem, &data)) > 0)
			json_object_array_add(list, json_object_new_string_len(data, length));
		BIO_free(pem);
	}
	json_object_object_add(report, "chain", list);
}

static STACK_OF(X509) *read_chain(const struct ktlsd_proof *proof)
{
	const struct ktlsd_result result = {.chain = proof->chain, .chain_length = proof->chain_length};
	STACK_OF(X509) *chain = sk_X509_new_null();
	size_t offset = 0, length;
	const uint8_t *der;

	while (chain && ktlsd_chain_next(&result, &offset, &der, &length)) {
		X509 *certificate = d2i_X509(NULL, &der, length);

		if (!certificate || sk_X509_push(chain, certificate) <= 0)
			break;
	}
	if (sk_X509_num(chain) > 0 && offset == proof->chain_length)
		return chain;
	sk_X509_pop_free(chain, X509_free);
	return NULL;
}

/* NULL: the chain is good. */
static const char *fault_of_chain(const char *ca, STACK_OF(X509) *chain)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *context = X509_STORE_CTX_new();
	const char *fault = "out of memory";

	if (!store || !context)
		goto out;
	if (X509_STORE_load_file(store, ca) != 1)
		fault = "the file of --ca holds no certificate that can be read";
	else if (X509_STORE_CTX_init(context, store, sk_X509_value(chain, 0), chain) == 1)
		fault = X509_verify_cert(context) == 1
				? NULL
				: X509_verify_cert_error_string(X509_STORE_CTX_get_error(context));
out:
	ERR_clear_error();
	X509_STORE_CTX_free(context);
	X509_STORE_free(store);
	return fault;
}

/* "verified" is what was asked for: the signature, and with --ca the chain. */
static int judge(const struct question *question, const struct ktlsd_proof *answer, STACK_OF(X509) *chain)
{
	struct proof proof = {.service = question->service,
			      .nonce = question->nonce,
			      .nonce_length = question->nonce_length,
			      .certificate = sk_X509_value(chain, 0)};
	const struct proof_scheme *scheme = proof_scheme_for(proof.certificate);
	struct json_object *report = json_object_new_object();
	const char *fault = NULL;

	if (!proof_verify(&proof, answer->scheme, answer->signature, answer->signature_length))
		fault = "the signature is not one of this nonce by the certificate's key";
	else if (question->ca)
		fault = fault_of_chain(question->ca, chain);
	json_object_object_add(report, "ok", json_object_new_boolean(!fault));
	report_text(report, "error", fault);
	report_text(report, "service", question->service);
	add_certificate(report, proof.certificate);
	json_object_object_add(report, "certificates", json_object_new_int(sk_X509_num(chain)));
	json_object_object_add(report, "chain_verified", json_object_new_boolean(!fault && question->ca));
	if (scheme && scheme->id == answer->scheme)
		report_text(report, "scheme", scheme->name);
	json_object_object_add(report, "scheme_number", json_object_new_int(answer->scheme));
	add_hex(report, "nonce", question->nonce, question->nonce_length);
	add_hex(report, "signature", answer->signature, answer->signature_length);
	if (question->json)
		add_chain(report, chain);
	report_print(report, question->json);
	json_object_put(report);
	return fault ? EXIT_PROBLEM : EXIT_OK;
}

static int challenge(const struct question *question)
{
	struct ktlsd_proof proof;
	STACK_OF(X509) *chain;
	char why[256];
	int status;

	if (ktlsd_challenge(question->service, question->nonce, question->nonce_length, &proof, why, sizeof(why)) < 0)
		return complain("%s", why);
	chain = read_chain(&proof);
	status = chain ? judge(question, &proof, chain) : complain("the agent's chain is not one of certificates");
	sk_X509_pop_free(chain, X509_free);
	ktlsd_proof_clear(&proof);
	return status;
}

static bool take_nonce(struct question *question, const char *hex)
{
	if (OPENSSL_hexstr2buf_ex(question->nonce, sizeof(question->nonce), &question->nonce_length, hex, '\0') == 1 &&
	    question->nonce_length >= KTLSD_NONCE_MIN)
		return true;
	complain("--nonce %s: expected 16 to 64 bytes in hexadecimal", hex);
	return false;
}

int challenge_main(int argc, char **argv)
{
	static const struct option options[] = {
		{"nonce", required_argument, NULL, 'n'},
		{"ca", required_argument, NULL, 'c'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct question question = {.ca = NULL};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 'n':
			if (!take_nonce(&question, optarg))
				return EXIT_USAGE;
			break;
		case 'c':
			question.ca = optarg;
			break;
		case 'j':
			question.json = true;
			break;
		case 'h':
			return help(usage);
		default:
			return misused(usage);
		}
	}
	if (optind != argc - 1)
		return misused(usage);
	question.service = argv[optind];
	if (question.nonce_length == 0) {
		if (RAND_bytes(question.nonce, NONCE_LENGTH) != 1)
			return complain("no random numbers for a nonce");
		question.nonce_length = NONCE_LENGTH;
	}
	return challenge(&question);
}
