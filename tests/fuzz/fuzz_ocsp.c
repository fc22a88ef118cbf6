/* SPDX-License-Identifier: MIT */
/*
 * An OCSP response. The authority here has never called the certificate good, so nothing that is made of its responses may.
 */
#include <stdlib.h>
#include <string.h>

#include "../../userspace/agent/x509/ocsp.h"
#include "../ocsp_authority.h"
#include "fuzz.h"

#define NOW 2000030400
#define DAY 86400

static struct authority root, delegate, leaf;
static struct ocsp_question question;

static struct authority made(const char *name, const struct authority *issuer, const char *extension, const char *value)
{
	struct certificate_plan plan = {.name = name,
					.issuer = issuer,
					.serial = 1,
					.from = NOW - DAY,
					.until = NOW + 30 * DAY,
					.extensions = {{extension, value}}};

	return make_certificate(&plan);
}

static void prepare(void)
{
	if (root.key)
		return;
	root = made("root", NULL, "basicConstraints", "critical,CA:true");
	delegate = made("responder", &root, "extendedKeyUsage", "OCSPSigning");
	leaf = made("leaf", &root, "extendedKeyUsage", "clientAuth");
	question = ocsp_question(leaf.certificate, root.certificate);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct ocsp_settings settings = {.max_age = DAY, .leeway = 5};
	const struct ocsp_received received = {.der = data, .length = size, .from = "http://ocsp.example/"};
	struct ocsp_verdict verdict;

	prepare();
	ocsp_check(&question, &settings, &received, NOW, &verdict);
	if (verdict.answer == OCSP_ANSWER_GOOD || !memchr(verdict.text, '\0', sizeof(verdict.text)) || !*verdict.text)
		abort();
	if ((verdict.answer == OCSP_ANSWER_UNUSABLE) != (verdict.use_until <= NOW))
		abort();
	ocsp_has_lapsed(data, size, NOW);
	return 0;
}

size_t fuzz_seed(unsigned int number, uint8_t data[static FUZZ_INPUT_MAX])
{
	struct response_plan plan = {.signer = number & 1 ? &delegate : &root,
				     .about = &leaf,
				     .issuer = &root,
				     .status = number & 2 ? V_OCSP_CERTSTATUS_REVOKED : V_OCSP_CERTSTATUS_UNKNOWN,
				     .revoked = number & 2 ? NOW - DAY : 0,
				     .this_update = NOW - 60,
				     .next_update = number & 4 ? NOW + DAY : 0,
				     .flags = number & 1 ? OCSP_RESPID_KEY : 0,
				     .outer = number == 8 ? OCSP_RESPONSE_STATUS_TRYLATER : 0};
	uint8_t *der;
	size_t length;

	prepare();
	if (number > 8)
		return 0;
	length = make_response(&plan, &der);
	if (length > FUZZ_INPUT_MAX)
		abort();
	memcpy(data, der, length);
	OPENSSL_free(der);
	return length;
}
