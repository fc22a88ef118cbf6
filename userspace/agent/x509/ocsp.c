/* SPDX-License-Identifier: MIT */
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../log.h"
#include "moment.h"
#include "ocsp.h"

#define UNDATED_LIFETIME 3600 /* seconds: an answer without nextUpdate, where max_age does not say */
#define LEAST_DIGEST 28	      /* bytes: SHA-224 */

bool ocsp_settings_equal(const struct ocsp_settings *a, const struct ocsp_settings *b)
{
	bool same_responder =
		a->responder && b->responder ? strcmp(a->responder, b->responder) == 0 : a->responder == b->responder;

	return same_responder && a->timeout_ms == b->timeout_ms && a->refresh == b->refresh &&
	       a->max_age == b->max_age && a->leeway == b->leeway && a->nonce == b->nonce &&
	       a->nonce_required == b->nonce_required;
}

/* ---- asking ---- */

static void digest_certificate(EVP_MD_CTX *digest, X509 *certificate)
{
	unsigned char *der = NULL;
	int length = i2d_X509(certificate, &der);

	if (length <= 0 || EVP_DigestUpdate(digest, der, length) != 1)
		log_fatal("out of memory");
	OPENSSL_free(der);
}

struct ocsp_question ocsp_question(X509 *certificate, X509 *issuer)
{
	struct ocsp_question question = {.certificate = certificate, .issuer = issuer};
	EVP_MD_CTX *digest = EVP_MD_CTX_new();

	if (!digest || EVP_DigestInit_ex(digest, EVP_sha256(), NULL) != 1)
		log_fatal("out of memory");
	digest_certificate(digest, certificate);
	digest_certificate(digest, issuer);
	EVP_DigestFinal_ex(digest, question.digest, NULL);
	EVP_MD_CTX_free(digest);
	return question;
}

static bool add_nonce(OCSP_REQUEST *request, const uint8_t *nonce)
{
	return OCSP_request_add1_nonce(request, (unsigned char *)nonce, OCSP_NONCE_LENGTH) == 1;
}

/* SHA-1 names the certificate here, which secures nothing, and is what every responder understands (RFC 5019 §2.1.1). */
size_t ocsp_request(const struct ocsp_question *question, const uint8_t *nonce, uint8_t **der)
{
	OCSP_REQUEST *request = OCSP_REQUEST_new();
	OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), question->certificate, question->issuer);
	int length = 0;

	*der = NULL;
	if (request && id && OCSP_request_add0_id(request, id)) {
		id = NULL;
		if (!nonce || add_nonce(request, nonce))
			length = i2d_OCSP_REQUEST(request, der);
	}
	OCSP_CERTID_free(id);
	OCSP_REQUEST_free(request);
	ERR_clear_error();
	return length > 0 ? length : 0;
}

static bool is_plain(const char *url)
{
	for (; *url; url++) {
		if (*url <= ' ' || *url > '~')
			return false;
	}
	return true;
}

bool ocsp_responder(X509 *certificate, char url[static OCSP_URL_MAX], const char **why)
{
	STACK_OF(OPENSSL_STRING) *addresses = X509_get1_ocsp(certificate);
	bool found = false;
	int i;

	*why = addresses ? "the certificate names no OCSP responder with http://"
			 : "the certificate names no OCSP responder";
	for (i = 0; !found && i < sk_OPENSSL_STRING_num(addresses); i++) {
		const char *address = sk_OPENSSL_STRING_value(addresses, i);

		if (strncasecmp(address, "http://", 7) != 0)
			continue;
		found = strlen(address) < OCSP_URL_MAX && is_plain(address);
		if (found)
			strcpy(url, address);
		else
			*why = "the certificate names an OCSP responder with an address that is none";
	}
	X509_email_free(addresses);
	return found;
}

bool ocsp_must_staple(X509 *certificate)
{
	int critical, i;
	TLS_FEATURE *features = X509_get_ext_d2i(certificate, NID_tlsfeature, &critical, NULL);
	bool must = !features && critical != -1; /* it demands something that can't be read: better too much */

	for (i = 0; i < sk_ASN1_INTEGER_num(features); i++)
		must |= ASN1_INTEGER_get(sk_ASN1_INTEGER_value(features, i)) == 5; /* status_request */
	TLS_FEATURE_free(features);
	ERR_clear_error();
	return must;
}

bool ocsp_serial(const ASN1_INTEGER *serial, char text[static OCSP_SERIAL_MAX])
{
	BIGNUM *number = ASN1_INTEGER_to_BN(serial, NULL);
	char *digits = number ? BN_bn2hex(number) : NULL;
	const char *start = digits ? digits + (digits[0] == '0' && digits[1]) : "";
	bool fits = digits && strlen(start) < OCSP_SERIAL_MAX;

	snprintf(text, OCSP_SERIAL_MAX, "%s", fits ? start : "");
	OPENSSL_free(digits);
	BN_free(number);
	return fits;
}

/* ---- words ---- */

void ocsp_unusable(struct ocsp_verdict *verdict, const char *format, ...)
{
	va_list arguments;

	memset(verdict, 0, sizeof(*verdict));
	verdict->answer = OCSP_ANSWER_UNUSABLE;
	va_start(arguments, format);
	vsnprintf(verdict->text, sizeof(verdict->text), format, arguments);
	va_end(arguments);
}

const char *ocsp_subject(X509 *certificate, char text[static OCSP_NAME_MAX])
{
	BIO *bio = BIO_new(BIO_s_mem());
	int length = 0;

	if (bio && X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) >= 0)
		length = BIO_read(bio, text, OCSP_NAME_MAX - 1);
	text[length > 0 ? length : 0] = '\0';
	BIO_free(bio);
	return text;
}

static const char *duration_text(time_t seconds, char text[32])
{
	static const struct {
		const char *name;
		int seconds;
	} units[] = {{"d", 86400}, {"h", 3600}, {"min", 60}, {"s", 1}};
	size_t i = 0;

	while (units[i].seconds > 1 && seconds < units[i].seconds)
		i++;
	snprintf(text, 32, "%lld %s", (long long)seconds / units[i].seconds, units[i].name);
	return text;
}

/* ---- checking ---- */

struct examination {
	const struct ocsp_question *question;
	const struct ocsp_settings *settings;
	const struct ocsp_received *received;
	time_t now;
	struct ocsp_verdict *verdict;
	OCSP_BASICRESP *basic;
	OCSP_SINGLERESP *single; /* what it says of our certificate */
};

#define REFUSE(examination, ...) (ocsp_unusable((examination)->verdict, __VA_ARGS__), false)

static OCSP_RESPONSE *parse(const uint8_t *der, size_t length)
{
	const uint8_t *end = der;
	OCSP_RESPONSE *response = length <= OCSP_RESPONSE_MAX ? d2i_OCSP_RESPONSE(NULL, &end, (long)length) : NULL;

	if (!response || end == der + length)
		return response;
	OCSP_RESPONSE_free(response);
	return NULL;
}

static bool unpack(struct examination *examination)
{
	const struct ocsp_received *received = examination->received;
	OCSP_RESPONSE *response = parse(received->der, received->length);
	int status;

	if (!response)
		return REFUSE(examination, "%s gave %zu bytes that are no OCSP response", received->from,
			      received->length);
	status = OCSP_response_status(response);
	if (status == OCSP_RESPONSE_STATUS_SUCCESSFUL)
		examination->basic = OCSP_response_get1_basic(response);
	OCSP_RESPONSE_free(response);
	if (status != OCSP_RESPONSE_STATUS_SUCCESSFUL)
		return REFUSE(examination, "%s says \"%s\" instead of an answer", received->from,
			      OCSP_response_status_str(status));
	if (!examination->basic)
		return REFUSE(examination, "%s gave an OCSP response of an unknown type", received->from);
	return true;
}

/* We ask with SHA-1; an answer that others asked for, a staple, may have the other. */
static bool find_single(struct examination *examination)
{
	const struct ocsp_question *question = examination->question;
	const EVP_MD *digests[] = {EVP_sha1(), EVP_sha256()};
	char serial[OCSP_SERIAL_MAX];
	int index = -1;
	size_t i;

	for (i = 0; index < 0 && i < sizeof(digests) / sizeof(*digests); i++) {
		OCSP_CERTID *id = OCSP_cert_to_id(digests[i], question->certificate, question->issuer);

		index = id ? OCSP_resp_find(examination->basic, id, -1) : -1;
		OCSP_CERTID_free(id);
	}
	examination->single = index < 0 ? NULL : OCSP_resp_get0(examination->basic, index);
	if (examination->single)
		return true;
	ocsp_serial(X509_get0_serialNumber(question->certificate), serial);
	return REFUSE(examination, "the response of %s is about another certificate; expected serial %s of this issuer",
		      examination->received->from, serial);
}

/* Whoever made an extension critical means it to be understood. */
static bool understand_extensions(struct examination *examination)
{
	int at = -1;

	while ((at = OCSP_BASICRESP_get_ext_by_critical(examination->basic, 1, at)) >= 0) {
		X509_EXTENSION *extension = OCSP_BASICRESP_get_ext(examination->basic, at);

		if (OBJ_obj2nid(X509_EXTENSION_get_object(extension)) != NID_id_pkix_OCSP_Nonce)
			return REFUSE(examination, "the response of %s has a critical extension that is unknown",
				      examination->received->from);
	}
	if (OCSP_SINGLERESP_get_ext_by_critical(examination->single, 1, -1) >= 0)
		return REFUSE(examination, "the response of %s has a critical extension that is unknown",
			      examination->received->from);
	return true;
}

static const EVP_MD *pss_digest(const X509_ALGOR *algorithm)
{
	RSA_PSS_PARAMS *pss = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(RSA_PSS_PARAMS), algorithm->parameter);
	const EVP_MD *digest = EVP_sha1(); /* unless it says otherwise */

	if (pss && pss->hashAlgorithm)
		digest = EVP_get_digestbyobj(pss->hashAlgorithm->algorithm);
	RSA_PSS_PARAMS_free(pss);
	return digest;
}

/* What has its digest built in, as Ed25519 has, or is unknown here, is OpenSSL's to judge. */
static bool is_strong(const X509_ALGOR *algorithm)
{
	int nid = OBJ_obj2nid(algorithm->algorithm), digest_nid = NID_undef;
	const EVP_MD *digest;

	if (nid != NID_rsassaPss && (OBJ_find_sigid_algs(nid, &digest_nid, NULL) != 1 || digest_nid == NID_undef))
		return true;
	digest = nid == NID_rsassaPss ? pss_digest(algorithm) : EVP_get_digestbynid(digest_nid);
	return digest && EVP_MD_get_size(digest) >= LEAST_DIGEST;
}

/* The words that OpenSSL would not find; it checks all of it once more. */
static bool accept_delegate(struct examination *examination, X509 *signer)
{
	X509 *issuer = examination->question->issuer;
	char name[OCSP_NAME_MAX], expected[OCSP_NAME_MAX];

	ocsp_subject(signer, name);
	if (X509_check_issued(issuer, signer) != X509_V_OK)
		return REFUSE(examination,
			      "the response is signed by %s, which is neither the issuer %s nor certified by it", name,
			      ocsp_subject(issuer, expected));
	if (!(X509_get_extension_flags(signer) & EXFLAG_XKUSAGE) ||
	    !(X509_get_extended_key_usage(signer) & XKU_OCSP_SIGN))
		return REFUSE(examination, "the response is signed by %s, which lacks OCSPSigning (1.3.6.1.5.5.7.3.9)",
			      name);
	examination->verdict->signer_until = moment_of(X509_get0_notAfter(signer));
	return true;
}

/* The issuer and nobody else is trusted, and no certificates in between: who signs is the issuer or its own delegate. */
static X509_STORE *trust_only(X509 *issuer, time_t now)
{
	X509_STORE *store = X509_STORE_new();
	X509_VERIFY_PARAM *parameters = store ? X509_STORE_get0_param(store) : NULL;

	if (!store || X509_STORE_add_cert(store, issuer) != 1)
		log_fatal("out of memory");
	X509_VERIFY_PARAM_set_time(parameters, now);
	X509_VERIFY_PARAM_set_auth_level(parameters, 2); /* a delegate's certificate signed with SHA-1: no */
	return store;
}

/*
 * OCSP_TRUSTOTHER: the issuer is the caller's to have verified, and is not verified again. OCSP_PARTIAL_CHAIN: it need not
 * be a root. OCSP_NOEXPLICIT: no root is trusted to sign for other authorities.
 */
static bool verify_signature(struct examination *examination, STACK_OF(X509) *issuer, X509 *signer)
{
	X509_STORE *store = trust_only(examination->question->issuer, examination->now);
	const unsigned long flags = OCSP_TRUSTOTHER | OCSP_NOCHAIN | OCSP_NOEXPLICIT | OCSP_PARTIAL_CHAIN;
	bool good = OCSP_basic_verify(examination->basic, issuer, store, flags) == 1;
	unsigned long error;
	const char *data = NULL, *reason;
	char name[OCSP_NAME_MAX];
	int data_flags = 0;

	X509_STORE_free(store);
	if (good)
		return true;
	ocsp_subject(signer, name);
	error = ERR_peek_last_error_all(NULL, NULL, NULL, &data, &data_flags);
	if (ERR_GET_LIB(error) == ERR_LIB_OCSP && ERR_GET_REASON(error) == OCSP_R_SIGNATURE_FAILURE)
		return REFUSE(examination, "the response says to be signed by %s, but the signature does not fit",
			      name);
	reason = ERR_reason_error_string(error);
	return REFUSE(examination, "the response is signed by %s, which does not count: %s", name,
		      data && *data && (data_flags & ERR_TXT_STRING) ? data
		      : reason					     ? reason
								     : "refused");
}

static bool verify(struct examination *examination)
{
	STACK_OF(X509) *issuer = sk_X509_new_null();
	X509 *signer = NULL;
	bool good;

	if (!issuer || !sk_X509_push(issuer, examination->question->issuer))
		log_fatal("out of memory");
	if (OCSP_resp_get0_signer(examination->basic, &signer, issuer) != 1)
		good = REFUSE(examination,
			      "the response of %s is signed by neither the issuer nor a certificate within it",
			      examination->received->from);
	else if (!is_strong(OCSP_resp_get0_tbs_sigalg(examination->basic)))
		good = REFUSE(examination, "the response of %s is signed with SHA-1 or weaker; expected SHA-256",
			      examination->received->from);
	else
		good = (signer == examination->question->issuer || accept_delegate(examination, signer)) &&
		       verify_signature(examination, issuer, signer);
	sk_X509_free(issuer);
	return good;
}

static bool compare_nonce(struct examination *examination)
{
	OCSP_REQUEST *sent;
	int result;

	if (!examination->received->nonce)
		return true;
	sent = OCSP_REQUEST_new();
	if (!sent || !add_nonce(sent, examination->received->nonce))
		log_fatal("out of memory");
	result = OCSP_check_nonce(sent, examination->basic);
	OCSP_REQUEST_free(sent);
	if (result == -1 && !examination->settings->nonce_required)
		return true;
	examination->verdict->nonce = result == 1;
	if (result == 1)
		return true;
	return REFUSE(examination, "the response of %s %s, so it may be a replay", examination->received->from,
		      result == -1 ? "lacks the nonce that we sent" : "has another nonce than we sent");
}

time_t ocsp_use_until(const struct ocsp_verdict *verdict, const struct ocsp_settings *settings)
{
	unsigned int undated = settings->max_age ? settings->max_age : UNDATED_LIFETIME;
	time_t until = verdict->next_update ? verdict->next_update : verdict->this_update + undated;

	if (settings->max_age && until > verdict->this_update + settings->max_age)
		until = verdict->this_update + settings->max_age;
	until += settings->leeway;
	return verdict->signer_until && until > verdict->signer_until ? verdict->signer_until : until;
}

/* False: there is one, but it is no time. */
static bool read_time(const ASN1_GENERALIZEDTIME *given, time_t *time)
{
	int64_t moment = given ? moment_of(given) : 0;

	*time = moment;
	return moment >= 0;
}

static bool check_times(struct examination *examination)
{
	const struct ocsp_settings *settings = examination->settings;
	struct ocsp_verdict *verdict = examination->verdict;
	time_t now = examination->now, age;
	char at[MOMENT_TEXT], clock[MOMENT_TEXT], is[32], may_be[32];

	age = now - verdict->this_update;
	moment_text(now, clock);
	if (age < -(time_t)settings->leeway)
		return REFUSE(examination, "the response is of %s, which is the future; the clock here says %s",
			      moment_text(verdict->this_update, at), clock);
	if (settings->max_age && age >= (time_t)settings->max_age + settings->leeway)
		return REFUSE(examination, "the response is %s old; expected at most %s", duration_text(age, is),
			      duration_text(settings->max_age, may_be));
	verdict->use_until = ocsp_use_until(verdict, settings);
	if (verdict->use_until > now)
		return true;
	if (verdict->next_update)
		return REFUSE(examination, "the response was good until %s; the clock here says %s",
			      moment_text(verdict->next_update, at), clock);
	return REFUSE(examination, "the response is %s old and does not say how long it is good; expected at most %s",
		      duration_text(age, is), duration_text(UNDATED_LIFETIME, may_be));
}

static void put_in_words(struct ocsp_verdict *verdict, const char *from)
{
	char revoked[MOMENT_TEXT], as_of[MOMENT_TEXT], reason[48] = "";

	moment_text(verdict->this_update, as_of);
	if (verdict->reason >= 0)
		snprintf(reason, sizeof(reason), " (%s)", OCSP_crl_reason_str(verdict->reason));
	if (verdict->answer == OCSP_ANSWER_GOOD)
		snprintf(verdict->text, sizeof(verdict->text), "not revoked, says %s of %s", from, as_of);
	else if (verdict->answer == OCSP_ANSWER_REVOKED)
		snprintf(verdict->text, sizeof(verdict->text), "revoked %s%s, says %s of %s",
			 moment_text(verdict->revoked, revoked), reason, from, as_of);
	else
		snprintf(verdict->text, sizeof(verdict->text), "unknown to the responder, says %s of %s", from, as_of);
}

static bool judge(struct examination *examination)
{
	static const enum ocsp_answer answers[] = {
		[V_OCSP_CERTSTATUS_GOOD] = OCSP_ANSWER_GOOD,
		[V_OCSP_CERTSTATUS_REVOKED] = OCSP_ANSWER_REVOKED,
		[V_OCSP_CERTSTATUS_UNKNOWN] = OCSP_ANSWER_UNKNOWN,
	};
	ASN1_GENERALIZEDTIME *revoked = NULL, *this_update = NULL, *next_update = NULL;
	struct ocsp_verdict *verdict = examination->verdict;
	int status =
		OCSP_single_get0_status(examination->single, &verdict->reason, &revoked, &this_update, &next_update);

	if (status < 0 || (size_t)status >= sizeof(answers) / sizeof(*answers) || !this_update ||
	    !read_time(this_update, &verdict->this_update) || !read_time(next_update, &verdict->next_update) ||
	    !read_time(revoked, &verdict->revoked))
		return REFUSE(examination, "the response of %s has times that are none", examination->received->from);
	if (!check_times(examination))
		return false;
	verdict->answer = answers[status];
	if (verdict->answer != OCSP_ANSWER_REVOKED)
		verdict->reason = -1;
	put_in_words(verdict, examination->received->from);
	return true;
}

void ocsp_check(const struct ocsp_question *question, const struct ocsp_settings *settings,
		const struct ocsp_received *received, time_t now, struct ocsp_verdict *verdict)
{
	struct examination examination = {
		.question = question,
		.settings = settings,
		.received = received,
		.now = now,
		.verdict = verdict,
	};

	memset(verdict, 0, sizeof(*verdict));
	if (unpack(&examination) && find_single(&examination) && understand_extensions(&examination) &&
	    verify(&examination) && compare_nonce(&examination))
		judge(&examination);
	OCSP_BASICRESP_free(examination.basic);
	ERR_clear_error();
}

/* Only what says itself how long it is good can be kept longer than an hour. */
bool ocsp_has_lapsed(const uint8_t *der, size_t length, time_t now)
{
	const struct ocsp_settings lax = {.leeway = 86400};
	OCSP_RESPONSE *response = parse(der, length);
	OCSP_BASICRESP *basic = response ? OCSP_response_get1_basic(response) : NULL;
	OCSP_SINGLERESP *single = basic && OCSP_resp_count(basic) > 0 ? OCSP_resp_get0(basic, 0) : NULL;
	ASN1_GENERALIZEDTIME *this_update = NULL, *next_update = NULL;
	struct ocsp_verdict verdict = {0};
	bool lapsed = true;

	if (single && OCSP_single_get0_status(single, NULL, NULL, &this_update, &next_update) >= 0 && this_update &&
	    read_time(this_update, &verdict.this_update) && read_time(next_update, &verdict.next_update))
		lapsed = ocsp_use_until(&verdict, &lax) <= now;
	OCSP_BASICRESP_free(basic);
	OCSP_RESPONSE_free(response);
	ERR_clear_error();
	return lapsed;
}
