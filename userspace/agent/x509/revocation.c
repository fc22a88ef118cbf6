/* SPDX-License-Identifier: MIT */
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

#include <ktlsd/protocol.h>

#include "../log.h"
#include "explain.h"
#include "moment.h"
#include "responder.h"
#include "revocation.h"
#include "verdicts.h"

static void look_up(const struct policy *policy, const X509_NAME *issuer_name, const ASN1_INTEGER *serial, X509 *issuer,
		    struct listing *answer)
{
	const struct crl_rules rules = {time(NULL), policy->leeway, policy->crl_expired_will_do};

	crls_look_up(policy->trust->crls, issuer_name, serial, issuer, &rules, answer);
}

static void look_up_certificate(const struct policy *policy, X509 *certificate, X509 *issuer, struct listing *answer)
{
	look_up(policy, X509_get_issuer_name(certificate), X509_get0_serialNumber(certificate), issuer, answer);
}

static bool is_good_enough(const struct policy *policy, const struct listing *answer)
{
	return answer->status == LISTED_GOOD || (answer->status == LISTED_UNKNOWN && policy->unknown_will_do);
}

/* *listed: a list says that the peer's own certificate is good. What no list knows of it, a responder may know. */
static bool check_lists(struct verification *v, const STACK_OF(X509) *chain, bool *listed)
{
	int i, last = v->policy->crl_leaf_only ? 1 : sk_X509_num(chain);
	struct listing answer;

	/* The root is nobody's to revoke. */
	for (i = 0; v->policy->trust->crls && i < last && i < sk_X509_num(chain) - 1; i++) {
		X509 *certificate = sk_X509_value(chain, i);
		char subject[160];

		look_up_certificate(v->policy, certificate, sk_X509_value(chain, i + 1), &answer);
		if (i == 0 && answer.status == LISTED_GOOD)
			*listed = true;
		if (!is_good_enough(v->policy, &answer) &&
		    !(i == 0 && answer.status == LISTED_UNKNOWN && v->policy->ocsp != OCSP_OFF))
			return verify_fail(v, answer.error, "revocation", "certificate %d of the peer's chain (%s): %s",
					   i, subject_of(certificate, subject), answer.text);
		if (v->explain)
			verify_pass(v, "revocation", "certificate %d (%s): %s", i, subject_of(certificate, subject),
				    answer.text);
	}
	return true;
}

static void look_at_staple(struct verification *v, struct ocsp_verdict *verdict)
{
	const struct ocsp_received staple = {v->staple, v->staple_length, "the server's staple", NULL};
	struct ocsp_verdict known;

	ocsp_check(&v->question, &v->policy->ocsp_settings, &staple, time(NULL), verdict);
	/* A staple from before the revocation is still signed, and when that was heard of makes no difference. */
	if (verdict->answer == OCSP_ANSWER_GOOD && verdicts_get_revoked(&v->question, &known) &&
	    known.this_update >= verdict->this_update)
		*verdict = known;
}

/* What there is to know without asking anybody. False: somebody has to be asked, or waited for. */
static bool find_verdict(struct verification *v, bool must_staple, struct ocsp_verdict *verdict)
{
	const struct policy *policy = v->policy;

	ocsp_unusable(verdict, "the server gave no staple%s", must_staple ? ", and its certificate demands one" : "");
	if (v->staple)
		look_at_staple(v, verdict);
	if (verdict->answer != OCSP_ANSWER_UNUSABLE)
		return true;
	if (v->staple_may_come)
		return false;
	if (must_staple || policy->ocsp != OCSP_ASK) {
		verdicts_get_revoked(&v->question, verdict); /* a service that asks may have heard of one */
		return true;
	}
	if (v->verdict)
		*verdict = *v->verdict;
	return v->verdict || responder_known(&v->question, &policy->ocsp_settings, time(NULL), verdict);
}

static bool judge_verdict(struct verification *v, const struct ocsp_verdict *verdict, bool must_staple)
{
	const char *const what = "the peer's certificate";

	if (verdict->answer == OCSP_ANSWER_REVOKED)
		return verify_fail(v, X509_V_ERR_CERT_REVOKED, "revocation", "%s: %s", what, verdict->text);
	if (verdict->answer != OCSP_ANSWER_GOOD && (must_staple || !v->policy->unknown_will_do))
		return verify_fail(v, X509_V_ERR_OCSP_VERIFY_FAILED, "revocation",
				   "whether %s was revoked can't be found out: %s", what, verdict->text);
	verify_pass(v, "revocation", "%s: %s", what, verdict->text);
	return true;
}

static bool check_responder(struct verification *v, const STACK_OF(X509) *chain, bool listed)
{
	X509 *leaf = sk_X509_value(chain, 0), *issuer = sk_X509_value(chain, 1);
	bool must_staple = v->policy->role == KTLSD_CLIENT && ocsp_must_staple(leaf);
	struct ocsp_verdict verdict;

	if (!issuer || (!must_staple && (listed || v->policy->ocsp == OCSP_OFF)))
		return true;
	v->question = ocsp_question(leaf, issuer);
	v->pending = !find_verdict(v, must_staple, &verdict);
	if (v->pending)
		verify_skip(v, "revocation",
			    v->staple_may_come
				    ? "a handshake would have the server's staple to look at"
				    : "the responder has not been asked yet; a handshake waits for its answer");
	return v->pending || judge_verdict(v, &verdict, must_staple);
}

bool revocation_check(struct verification *v, const STACK_OF(X509) *chain)
{
	bool listed = false;

	if (!v->policy->trust->crls && v->policy->ocsp == OCSP_OFF)
		verify_skip(v, "revocation", "the service looks at none (crl, ocsp)");
	return check_lists(v, chain, &listed) && check_responder(v, chain, listed);
}

/* ---- once more, for a resumption ---- */

#define PROVED_MAX 604800 /* seconds: a week, as long as a single ticket may live (RFC 8446 §4.6.1) */

/*
 * The note: a head, and behind it of each authority below the root its issuer's name and its serial number, both DER, as i2d_
 * makes them. A service whose lists come to count for the whole chain later must not take the tickets of before.
 */
struct note_head {
	int64_t proved;	      /* when the peer showed that it has its key: each resumption passes that on to the next */
	int64_t end;	      /* of the validity of the first certificate to expire */
	uint8_t question[32]; /* digest, where a responder is asked; else zero */
	uint8_t has_question, has_authorities;
};

static bool needs_authorities(const struct policy *policy)
{
	return policy->trust->crls && !policy->crl_leaf_only;
}

static int64_t end_of(const STACK_OF(X509) *chain)
{
	int64_t end = INT64_MAX;
	int i;

	for (i = 0; i < sk_X509_num(chain); i++) {
		int64_t last = moment_of(X509_get0_notAfter(sk_X509_value(chain, i)));

		end = last < end ? last : end;
	}
	return end;
}

/* Its end; NULL if there is not enough room. */
static uint8_t *note_authorities(const STACK_OF(X509) *chain, uint8_t *note, const uint8_t *end)
{
	int i;

	for (i = 1; i < sk_X509_num(chain) - 1; i++) {
		X509_NAME *issuer = X509_get_issuer_name(sk_X509_value(chain, i));
		ASN1_INTEGER *serial = X509_get_serialNumber(sk_X509_value(chain, i));
		int size = i2d_X509_NAME(issuer, NULL), serial_size = i2d_ASN1_INTEGER(serial, NULL);

		if (size <= 0 || serial_size <= 0 || size + serial_size > end - note)
			return NULL;
		i2d_X509_NAME(issuer, &note);
		i2d_ASN1_INTEGER(serial, &note);
	}
	return note;
}

size_t revocation_note(const struct policy *policy, const STACK_OF(X509) *chain, uint8_t note[REVOCATION_NOTE_MAX])
{
	struct note_head head;
	uint8_t *end;

	if (!policy->trust || !chain)
		return 0;
	memset(&head, 0, sizeof(head));
	head.proved = time(NULL);
	head.end = end_of(chain);
	if (policy->ocsp == OCSP_ASK && sk_X509_num(chain) > 1) {
		struct ocsp_question question = ocsp_question(sk_X509_value(chain, 0), sk_X509_value(chain, 1));

		memcpy(head.question, question.digest, sizeof(head.question));
		head.has_question = 1;
	}
	end = needs_authorities(policy) ? note_authorities(chain, note + sizeof(head), note + REVOCATION_NOTE_MAX)
					: NULL;
	head.has_authorities = end != NULL;
	memcpy(note, &head, sizeof(head));
	return end ? (size_t)(end - note) : sizeof(head);
}

/* With the issuer's certificate, which a full handshake has, a list might say more, so what nobody knows is not accepted. */
static bool is_still_good(const struct policy *policy, const struct listing *answer)
{
	return is_good_enough(policy, answer) &&
	       (answer->status == LISTED_GOOD || answer->error != X509_V_ERR_CRL_SIGNATURE_FAILURE);
}

static bool check_noted(struct verification *v, const X509_NAME *issuer, const ASN1_INTEGER *serial)
{
	struct listing answer;

	look_up(v->policy, issuer, serial, NULL, &answer);
	return is_still_good(v->policy, &answer) || verify_fail(v, answer.error, "revocation", "%s", answer.text);
}

/* Our own, from a sealed ticket, and yet: nothing but whole names and numbers counts. */
static bool check_noted_authorities(struct verification *v, const uint8_t *note, const uint8_t *end)
{
	bool good = true;

	while (good && note < end) {
		X509_NAME *issuer = d2i_X509_NAME(NULL, &note, end - note);
		ASN1_INTEGER *serial = issuer ? d2i_ASN1_INTEGER(NULL, &note, end - note) : NULL;

		good = serial ? check_noted(v, issuer, serial)
			      : verify_fail(v, X509_V_ERR_UNSPECIFIED, "revocation", "the ticket's note is damaged");
		X509_NAME_free(issuer);
		ASN1_INTEGER_free(serial);
	}
	return good;
}

static bool check_verdict_again(struct verification *v, const struct note_head *head)
{
	struct ocsp_question question = {0};
	struct ocsp_verdict verdict;

	memcpy(question.digest, head->question, sizeof(question.digest));
	if (!head->has_question || !responder_known(&question, &v->policy->ocsp_settings, time(NULL), &verdict))
		return verify_fail(v, X509_V_ERR_OCSP_VERIFY_NEEDED, "revocation",
				   "the responder has to be asked again");
	return judge_verdict(v, &verdict, false);
}

/* As check_lists() and check_responder() do it. */
static bool check_leaf_again(struct verification *v, X509 *certificate, const struct note_head *head)
{
	struct listing answer = {.status = LISTED_UNKNOWN, .error = X509_V_OK};
	bool asks = v->policy->ocsp == OCSP_ASK, good = true;

	if (v->policy->trust->crls) {
		look_up_certificate(v->policy, certificate, NULL, &answer);
		/* What no list has, the responder may know. */
		good = is_still_good(v->policy, &answer) ||
		       (asks && answer.status == LISTED_UNKNOWN && answer.error != X509_V_ERR_CRL_SIGNATURE_FAILURE);
	}
	if (!good)
		return verify_fail(v, answer.error, "revocation", "%s", answer.text);
	return !asks || answer.status == LISTED_GOOD || check_verdict_again(v, head);
}

bool revocation_check_again(struct verification *v, X509 *certificate, const uint8_t *note, size_t length)
{
	struct note_head head;

	if (length < sizeof(head))
		return verify_fail(v, X509_V_ERR_UNSPECIFIED, "validity", "the ticket holds nothing of the chain");
	memcpy(&head, note, sizeof(head));
	if (head.proved < time(NULL) - PROVED_MAX)
		return verify_fail(v, X509_V_ERR_UNSPECIFIED, "validity",
				   "the peer has not shown for a week that it has its private key");
	if (head.end < time(NULL) - v->policy->leeway)
		return verify_fail(v, X509_V_ERR_CERT_HAS_EXPIRED, "validity", "an authority of the chain has expired");
	if (!check_leaf_again(v, certificate, &head))
		return false;
	if (!needs_authorities(v->policy))
		return true;
	if (!head.has_authorities)
		return verify_fail(v, X509_V_ERR_UNSPECIFIED, "revocation", "the ticket holds no authorities");
	return check_noted_authorities(v, note + sizeof(head), note + length);
}
