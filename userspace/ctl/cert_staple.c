/* SPDX-License-Identifier: MIT */
/* An OCSP response that came with a certificate. Its signature is for who verifies to look at. */
#include <time.h>
#include <json-c/json.h>
#include <openssl/err.h>
#include <openssl/ocsp.h>

#include "cert.h"

#define ANSWERS_MAX 16

/* Its serial number and, where the issuer is there, the issuer's name and key. */
static bool is_about(const OCSP_SINGLERESP *answer, const STACK_OF(X509) *certificates)
{
	const OCSP_CERTID *id = OCSP_SINGLERESP_get0_id(answer);
	X509 *leaf = sk_X509_value(certificates, 0), *issuer = sk_X509_value(certificates, 1);
	ASN1_OBJECT *hash;
	OCSP_CERTID *ours;
	ASN1_INTEGER *serial;
	bool same;

	OCSP_id_get0_info(NULL, &hash, NULL, &serial, (OCSP_CERTID *)id);
	if (!issuer || X509_check_issued(issuer, leaf) != X509_V_OK)
		return ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(leaf)) == 0;
	ours = OCSP_cert_to_id(EVP_get_digestbyobj(hash), leaf, issuer);
	same = ours && OCSP_id_cmp(ours, id) == 0;
	OCSP_CERTID_free(ours);
	return same;
}

static struct json_object *describe_answer(OCSP_SINGLERESP *answer, const STACK_OF(X509) *certificates)
{
	struct json_object *object = json_object_new_object();
	ASN1_GENERALIZEDTIME *revoked = NULL, *updated = NULL, *next = NULL;
	int reason = -1, status = OCSP_single_get0_status(answer, &reason, &revoked, &updated, &next);
	ASN1_INTEGER *serial;
	int64_t until;

	OCSP_id_get0_info(NULL, NULL, NULL, &serial, (OCSP_CERTID *)OCSP_SINGLERESP_get0_id(answer));
	add(object, "serial", text_of_serial(serial));
	add(object, "about_certificate_1", json_object_new_boolean(is_about(answer, certificates)));
	add(object, "status", json_object_new_string(OCSP_cert_status_str(status)));
	add(object, "revoked", text_of_time(revoked));
	add(object, "reason", reason >= 0 ? json_object_new_string(OCSP_crl_reason_str(reason)) : NULL);
	add(object, "this_update", text_of_time(updated));
	add(object, "next_update", text_of_time(next));
	if (seconds_of_time(next, &until))
		add(object, "time_left_s", json_object_new_int64(until - time(NULL)));
	return object;
}

static const char *response_word(OCSP_RESPONSE *response, const OCSP_BASICRESP *basic)
{
	int status = response ? OCSP_response_status(response) : OCSP_RESPONSE_STATUS_SUCCESSFUL;

	return status == OCSP_RESPONSE_STATUS_SUCCESSFUL && !basic ? "damaged" : OCSP_response_status_str(status);
}

struct json_object *describe_staple(const unsigned char *der, size_t length, const STACK_OF(X509) *certificates)
{
	struct json_object *object = json_object_new_object(), *answers = json_object_new_array();
	OCSP_RESPONSE *response = d2i_OCSP_RESPONSE(NULL, &der, (long)length);
	OCSP_BASICRESP *basic = response ? OCSP_response_get1_basic(response) : NULL;

	add(object, "response", json_object_new_string(response_word(response, basic)));
	for (int i = 0; basic && i < OCSP_resp_count(basic) && i < ANSWERS_MAX; i++)
		json_object_array_add(answers, describe_answer(OCSP_resp_get0(basic, i), certificates));
	add(object, "answers", answers);
	OCSP_BASICRESP_free(basic);
	OCSP_RESPONSE_free(response);
	ERR_clear_error();
	return object;
}
