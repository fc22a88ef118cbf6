// SPDX-License-Identifier: MIT
/* What an OCSP response is worth, and what is asked. */
#include "ocsp_authority.h"
#include "unit.h"
#include "x509/ocsp.h"

#define NOW 2000030400 /* 2033-05-18T12:00:00Z: far from the clock that the test runs by */
#define HOUR 3600
#define DAY 86400
#define FROM "http://ocsp.example/"
#define CA_EXTENSIONS                                                                                                  \
	{                                                                                                              \
		{"basicConstraints", "critical,CA:true"},                                                              \
		{                                                                                                      \
			"keyUsage", "critical,keyCertSign,cRLSign"                                                     \
		}                                                                                                      \
	}
#define OCSP_SIGNING                                                                                                   \
	{                                                                                                              \
		{                                                                                                      \
			"extendedKeyUsage", "OCSPSigning"                                                              \
		}                                                                                                      \
	}

static struct authority root, intermediate, stranger, leaf, sibling, intermediate_leaf;
static struct authority delegate, idle_delegate, any_delegate, old_delegate, short_delegate, strange_delegate,
	grandchild, impostor, forged_delegate, rsa_delegate, ed25519_delegate;
static uint8_t nonce[32], other_nonce[32];

static struct authority with_key(const char *name, const struct authority *issuer, long serial, const char *usage,
				 EVP_PKEY *key)
{
	struct certificate_plan plan = {.name = name,
					.issuer = issuer,
					.key = key,
					.serial = serial,
					.from = NOW - 30 * DAY,
					.until = NOW + 30 * DAY,
					.extensions = {{"extendedKeyUsage", usage}}};

	return make_certificate(&plan);
}

static struct authority plain(const char *name, const struct authority *issuer, long serial, const char *usage)
{
	return with_key(name, issuer, serial, usage, NULL);
}

static struct authority ca(const char *name, const struct authority *issuer, long serial)
{
	struct certificate_plan plan = {.name = name,
					.issuer = issuer,
					.serial = serial,
					.from = NOW - 300 * DAY,
					.until = NOW + 300 * DAY,
					.extensions = CA_EXTENSIONS};

	return make_certificate(&plan);
}

static struct authority delegate_until(const char *name, time_t until)
{
	struct certificate_plan plan = {.name = name,
					.issuer = &root,
					.serial = 20,
					.from = NOW - 30 * DAY,
					.until = until,
					.extensions = OCSP_SIGNING};

	return make_certificate(&plan);
}

static const EVP_MD *built_in(void)
{
	return NULL;
}

static void make_everybody(void)
{
	root = ca("root", NULL, 1);
	intermediate = ca("intermediate", &root, 2);
	stranger = ca("stranger", NULL, 1);
	leaf = plain("leaf", &root, 0x1234, "clientAuth");
	sibling = plain("sibling", &root, 0x1235, "clientAuth");
	intermediate_leaf = plain("leaf", &intermediate, 0x1234, "clientAuth");
	delegate = plain("responder", &root, 10, "OCSPSigning");
	idle_delegate = plain("idle", &root, 11, "clientAuth");
	any_delegate = plain("any", &root, 12, "anyExtendedKeyUsage");
	old_delegate = delegate_until("old", NOW - DAY);
	short_delegate = delegate_until("short", NOW + HOUR);
	strange_delegate = plain("foreign", &stranger, 13, "OCSPSigning");
	grandchild = plain("grandchild", &intermediate, 14, "OCSPSigning");
	impostor = ca("root", NULL, 1); /* the name is the same, the key is not */
	forged_delegate = plain("forged", &impostor, 15, "OCSPSigning");
	rsa_delegate = with_key("rsa", &root, 16, "OCSPSigning", EVP_RSA_gen(2048));
	ed25519_delegate = with_key("ed25519", &root, 17, "OCSPSigning", EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
	memset(nonce, 1, sizeof(nonce));
	memset(other_nonce, 2, sizeof(other_nonce));
}

/* ---- responses ---- */

static const struct row {
	const char *what;
	struct response_plan
		response; /* where it says nothing: good, signed by root, an hour old, good for a day more */
	bool undated;	  /* no nextUpdate */
	const struct authority *about; /* whom we ask about; NULL: leaf */
	struct ocsp_settings settings;
	const uint8_t *sent; /* the nonce that we sent */
	enum ocsp_answer answer;
	const char *says;
	time_t until; /* 0: not looked at */
	bool has_nonce;
} rows[] = {
	{"good",
	 {0},
	 .answer = OCSP_ANSWER_GOOD,
	 .says = "not revoked, says " FROM " of 2033-05-18T11:00:00Z",
	 .until = NOW + DAY},
	{"good, whatever the reason says", {.reason = 5}, .answer = OCSP_ANSWER_GOOD, .says = "not revoked"},
	{"revoked",
	 {.status = V_OCSP_CERTSTATUS_REVOKED, .reason = OCSP_REVOKED_STATUS_KEYCOMPROMISE, .revoked = NOW - DAY},
	 .answer = OCSP_ANSWER_REVOKED,
	 .says = "revoked 2033-05-17T12:00:00Z (keyCompromise), says " FROM " of 2033-05-18T11:00:00Z",
	 .until = NOW + DAY},
	{"revoked without a reason",
	 {.status = V_OCSP_CERTSTATUS_REVOKED, .reason = OCSP_REVOKED_STATUS_NOSTATUS, .revoked = NOW - DAY},
	 .answer = OCSP_ANSWER_REVOKED,
	 .says = "revoked 2033-05-17T12:00:00Z, says " FROM},
	{"unknown",
	 {.status = V_OCSP_CERTSTATUS_UNKNOWN},
	 .answer = OCSP_ANSWER_UNKNOWN,
	 .says = "unknown to the responder"},
	{"the signer named by key", {.flags = OCSP_RESPID_KEY}, .answer = OCSP_ANSWER_GOOD},
	{"signed by the issuer, without its certificate", {.flags = OCSP_NOCERTS}, .answer = OCSP_ANSWER_GOOD},
	{"identifiers by SHA-256, as in a staple", {.id = EVP_sha256}, .answer = OCSP_ANSWER_GOOD},
	{"identifiers by SHA-512", {.id = EVP_sha512}, .says = "is about another certificate"},
	{"an intermediate's certificate",
	 {.signer = &intermediate, .about = &intermediate_leaf, .issuer = &intermediate},
	 .about = &intermediate_leaf,
	 .answer = OCSP_ANSWER_GOOD},

	/* who signs */
	{"a delegate with OCSPSigning", {.signer = &delegate}, .answer = OCSP_ANSWER_GOOD, .until = NOW + DAY},
	{"the same, named by key", {.signer = &delegate, .flags = OCSP_RESPID_KEY}, .answer = OCSP_ANSWER_GOOD},
	{"a delegate whose certificate is not there",
	 {.signer = &delegate, .flags = OCSP_NOCERTS},
	 .says = "signed by neither the issuer nor a certificate within it"},
	{"a delegate whose certificate ends before the response",
	 {.signer = &short_delegate},
	 .answer = OCSP_ANSWER_GOOD,
	 .until = NOW + HOUR},
	{"a delegate whose certificate has expired", {.signer = &old_delegate}, .says = "certificate has expired"},
	{"a delegate without OCSPSigning",
	 {.signer = &idle_delegate},
	 .says = "signed by CN=idle, which lacks OCSPSigning (1.3.6.1.5.5.7.3.9)"},
	{"a delegate with anyExtendedKeyUsage", {.signer = &any_delegate}, .says = "which lacks OCSPSigning"},
	{"the certificate itself", {.signer = &leaf}, .says = "which lacks OCSPSigning"},
	{"an intermediate of the issuer", {.signer = &intermediate}, .says = "which lacks OCSPSigning"},
	{"a delegate of that intermediate",
	 {.signer = &grandchild},
	 .says = "signed by CN=grandchild, which is neither the issuer CN=root nor certified by it"},
	{"who is one of the intermediate's own certificates",
	 {.signer = &grandchild, .about = &intermediate_leaf, .issuer = &intermediate},
	 .about = &intermediate_leaf,
	 .answer = OCSP_ANSWER_GOOD},
	{"the issuer's issuer",
	 {.signer = &root, .about = &intermediate_leaf, .issuer = &intermediate},
	 .about = &intermediate_leaf,
	 .says = "neither the issuer CN=intermediate nor certified by it"},
	{"a delegate of another authority",
	 {.signer = &strange_delegate},
	 .says = "signed by CN=foreign, which is neither the issuer CN=root nor certified by it"},
	{"another authority", {.signer = &stranger}, .says = "neither the issuer CN=root nor certified by it"},
	{"one that calls itself as the issuer does",
	 {.signer = &impostor},
	 .says = "says to be signed by CN=root, but the signature does not fit"},
	{"one that calls itself so, named by key", {.signer = &impostor, .flags = OCSP_RESPID_KEY}, .says = "CN=root"},
	{"a signature with SHA-1", {.digest = EVP_sha1}, .says = "SHA-1 or weaker"},
	{"a signature with SHA-384", {.digest = EVP_sha384}, .answer = OCSP_ANSWER_GOOD},

	{"a delegate of that one", {.signer = &forged_delegate}, .says = "CN=forged, which does not count: "},
	{"a signature with RSA-PSS and SHA-256", {.signer = &rsa_delegate, .pss = true}, .answer = OCSP_ANSWER_GOOD},
	{"a signature with RSA-PSS and SHA-1",
	 {.signer = &rsa_delegate, .pss = true, .digest = EVP_sha1},
	 .says = "SHA-1 or weaker"},
	{"a signature with RSA and SHA-1", {.signer = &rsa_delegate, .digest = EVP_sha1}, .says = "SHA-1 or weaker"},
	{"a signature with Ed25519", {.signer = &ed25519_delegate, .digest = built_in}, .answer = OCSP_ANSWER_GOOD},

	/* about whom */
	{"another certificate of the issuer",
	 {.about = &sibling},
	 .says = "is about another certificate; expected serial 1234 of this issuer"},
	{"the same serial number of another issuer",
	 {.about = &intermediate_leaf, .issuer = &intermediate},
	 .says = "is about another certificate"},

	/* when */
	{"from the future",
	 {.this_update = NOW + 61},
	 .says = "is of 2033-05-18T12:01:01Z, which is the future; the clock here says 2033-05-18T12:00:00Z"},
	{"from the future, within leeway",
	 {.this_update = NOW + 60},
	 .settings.leeway = 60,
	 .answer = OCSP_ANSWER_GOOD,
	 .until = NOW + DAY + 60},
	{"from the future, beyond leeway", {.this_update = NOW + 61}, .settings.leeway = 60, .says = "the future"},
	{"of now", {.this_update = NOW}, .answer = OCSP_ANSWER_GOOD},
	{"at its end",
	 {.next_update = NOW},
	 .says = "was good until 2033-05-18T12:00:00Z; the clock here says 2033-05-18T12:00:00Z"},
	{"a second before its end", {.next_update = NOW + 1}, .answer = OCSP_ANSWER_GOOD, .until = NOW + 1},
	{"past its end, within leeway", {.next_update = NOW - 59}, .settings.leeway = 60, .answer = OCSP_ANSWER_GOOD},
	{"past its end, beyond leeway", {.next_update = NOW - 60}, .settings.leeway = 60, .says = "was good until"},
	{"a revocation past its end",
	 {.status = V_OCSP_CERTSTATUS_REVOKED, .revoked = NOW - DAY, .next_update = NOW - 60},
	 .says = "was good until"},
	{"older than max_age",
	 {.this_update = NOW - 3 * DAY},
	 .settings.max_age = DAY,
	 .says = "the response is 3 d old; expected at most 1 d"},
	{"younger than max_age",
	 {.this_update = NOW - 3 * DAY},
	 .settings.max_age = 4 * DAY,
	 .answer = OCSP_ANSWER_GOOD,
	 .until = NOW + DAY},
	{"max_age ends before the response",
	 {0},
	 .settings.max_age = 2 * HOUR,
	 .answer = OCSP_ANSWER_GOOD,
	 .until = NOW + HOUR},
	{"ends before it begins", {.this_update = NOW, .next_update = NOW - DAY}, .says = "was good until"},
	{"no nextUpdate, half an hour old",
	 {.this_update = NOW - 1800},
	 .undated = true,
	 .answer = OCSP_ANSWER_GOOD,
	 .until = NOW + 1800},
	{"no nextUpdate, two hours old",
	 {.this_update = NOW - 2 * HOUR},
	 .undated = true,
	 .says = "is 2 h old and does not say how long it is good; expected at most 1 h"},
	{"no nextUpdate, max_age a day",
	 {.this_update = NOW - 2 * HOUR},
	 .undated = true,
	 .settings.max_age = DAY,
	 .answer = OCSP_ANSWER_GOOD,
	 .until = NOW + 22 * HOUR},

	/* the nonce */
	{"our nonce", {.nonce = nonce}, .sent = nonce, .answer = OCSP_ANSWER_GOOD, .has_nonce = true},
	{"our nonce, required",
	 {.nonce = nonce},
	 .sent = nonce,
	 .settings.nonce_required = true,
	 .answer = OCSP_ANSWER_GOOD,
	 .has_nonce = true},
	{"another nonce", {.nonce = other_nonce}, .sent = nonce, .says = "another nonce than we sent"},
	{"no nonce", {0}, .sent = nonce, .answer = OCSP_ANSWER_GOOD},
	{"no nonce, required",
	 {0},
	 .sent = nonce,
	 .settings.nonce_required = true,
	 .says = "lacks the nonce that we sent"},
	{"a nonce that nobody asked for", {.nonce = nonce}, .answer = OCSP_ANSWER_GOOD},

	/* what is no answer */
	{"tryLater", {.outer = OCSP_RESPONSE_STATUS_TRYLATER}, .says = FROM " says \"trylater\""},
	{"unauthorized", {.outer = OCSP_RESPONSE_STATUS_UNAUTHORIZED}, .says = "says \"unauthorized\""},
	{"an unknown status", {.outer = 77}, .says = "says \""},
	{"a critical extension",
	 {.critical_extension = NID_id_pkix_OCSP_archiveCutoff},
	 .says = "a critical extension that is unknown"},
	{"a critical extension of the one answer",
	 {.critical_single_extension = NID_id_pkix_OCSP_CrlID},
	 .says = "a critical extension that is unknown"},
};

static struct response_plan complete(const struct row *row)
{
	struct response_plan plan = row->response;

	if (!plan.signer)
		plan.signer = &root;
	if (!plan.issuer)
		plan.issuer = &root;
	if (!plan.about)
		plan.about = &leaf;
	if (!plan.this_update)
		plan.this_update = NOW - HOUR;
	if (!plan.next_update && !row->undated)
		plan.next_update = NOW + DAY;
	return plan;
}

static struct ocsp_verdict check_bytes_of(const uint8_t *der, size_t length)
{
	struct ocsp_question question = ocsp_question(leaf.certificate, root.certificate);
	struct ocsp_received received = {.der = der, .length = length, .from = FROM};
	struct ocsp_settings settings = {0};
	struct ocsp_verdict verdict;

	ocsp_check(&question, &settings, &received, NOW, &verdict);
	return verdict;
}

static void test_row(const struct row *row)
{
	struct response_plan plan = complete(row);
	bool of_intermediate = row->about == &intermediate_leaf;
	struct ocsp_question question = ocsp_question((row->about ? row->about : &leaf)->certificate,
						      (of_intermediate ? &intermediate : &root)->certificate);
	struct ocsp_received received = {.from = FROM, .nonce = row->sent};
	struct ocsp_verdict verdict;
	uint8_t *der;
	bool good;

	received.length = make_response(&plan, &der);
	received.der = der;
	ocsp_check(&question, &row->settings, &received, NOW, &verdict);
	good = verdict.answer == row->answer && (!row->says || strstr(verdict.text, row->says)) &&
	       (!row->until || verdict.use_until == row->until) && verdict.nonce == row->has_nonce;
	if (verdict.answer == OCSP_ANSWER_UNUSABLE)
		good &= row->says && !verdict.use_until && !verdict.this_update;
	else
		good &= verdict.this_update == plan.this_update && verdict.next_update == plan.next_update &&
			verdict.use_until > NOW;
	check(good, "%s: %s", row->what, verdict.text);
	if (!good)
		printf("# wanted: %d, %s, until %lld; got: %d, until %lld\n", row->answer, row->says ? row->says : "",
		       (long long)row->until, verdict.answer, (long long)verdict.use_until);
	OPENSSL_free(der);
}

/* Responses that are none, or no longer. */
static void test_damage(void)
{
	struct row row = {0};
	struct response_plan plan = complete(&row);
	uint8_t *der, *longer, garbage[64];
	size_t length = make_response(&plan, &der), cut = 0, flipped = 0;
	struct ocsp_verdict verdict;

	for (size_t shorter = 0; shorter < length; shorter++)
		cut += check_bytes_of(der, shorter).answer == OCSP_ANSWER_UNUSABLE;
	check(cut == length, "cut to each length: unusable (%zu of %zu)", cut, length);
	for (size_t i = 0; i < length; i++) {
		der[i] ^= 1;
		verdict = check_bytes_of(der, length);
		/* The enclosed certificate is not needed, so nobody looks at it. */
		flipped += verdict.answer == OCSP_ANSWER_UNUSABLE || verdict.use_until == NOW + DAY;
		der[i] ^= 1;
	}
	check(flipped == length, "no changed byte changes what it says (%zu of %zu)", flipped, length);
	longer = malloc(length + 1);
	must(longer);
	memcpy(longer, der, length);
	longer[length] = 0;
	verdict = check_bytes_of(longer, length + 1);
	check(strstr(verdict.text, "no OCSP response") != NULL, "a byte behind it: %s", verdict.text);
	memset(garbage, 0x30, sizeof(garbage));
	verdict = check_bytes_of(garbage, sizeof(garbage));
	check(strstr(verdict.text, "gave 64 bytes that are no OCSP response") != NULL, "garbage: %s", verdict.text);
	longer = realloc(longer, OCSP_RESPONSE_MAX + 1);
	must(longer);
	check(check_bytes_of(longer, OCSP_RESPONSE_MAX + 1).answer == OCSP_ANSWER_UNUSABLE, "too long");
	check(check_bytes_of(der, length).answer == OCSP_ANSWER_GOOD, "untouched, it is good");
	free(longer);
	OPENSSL_free(der);
}

/* Somebody with other settings. */
static void test_use_until(void)
{
	struct ocsp_verdict verdict = {.this_update = NOW - HOUR, .next_update = NOW + DAY};
	struct ocsp_settings settings = {.max_age = 2 * HOUR, .leeway = 5};

	check(ocsp_use_until(&verdict, &settings) == NOW + HOUR + 5, "until max_age");
	settings.max_age = 0;
	check(ocsp_use_until(&verdict, &settings) == NOW + DAY + 5, "until nextUpdate");
	verdict.signer_until = NOW + 7;
	check(ocsp_use_until(&verdict, &settings) == NOW + 7, "until the delegate's end");
	verdict = (struct ocsp_verdict){.this_update = NOW};
	check(ocsp_use_until(&verdict, &settings) == NOW + HOUR + 5, "an hour");
}

static void test_lapse(void)
{
	struct row dated = {0}, undated = {.undated = true};
	struct response_plan plans[] = {complete(&dated), complete(&undated)};
	time_t ends[] = {NOW + 2 * DAY, NOW + DAY}; /* a day of leeway, since nobody knows who will ask */
	uint8_t *der;

	for (size_t i = 0; i < COUNT(plans); i++) {
		size_t length = make_response(&plans[i], &der);

		check(!ocsp_has_lapsed(der, length, ends[i] - 1) && ocsp_has_lapsed(der, length, ends[i]), "%s lapses",
		      i ? "no nextUpdate: a kept response" : "a kept response");
		check(ocsp_has_lapsed(der, length - 1, NOW), "a part of it is of no use");
		OPENSSL_free(der);
	}
}

/* ---- requests ---- */

static void test_request(void)
{
	struct ocsp_question question = ocsp_question(leaf.certificate, root.certificate),
			     other = ocsp_question(sibling.certificate, root.certificate);
	const uint8_t *nonces[] = {NULL, nonce};

	check(memcmp(question.digest, other.digest, sizeof(other.digest)) != 0, "questions differ");
	other = ocsp_question(leaf.certificate, stranger.certificate);
	check(memcmp(question.digest, other.digest, sizeof(other.digest)) != 0, "by their issuers, too");
	for (size_t i = 0; i < COUNT(nonces); i++) {
		OCSP_CERTID *id = OCSP_cert_to_id(EVP_sha1(), leaf.certificate, root.certificate);
		uint8_t *der;
		const unsigned char *end;
		size_t length = ocsp_request(&question, nonces[i], &der);
		OCSP_REQUEST *request;

		end = der;
		request = d2i_OCSP_REQUEST(NULL, &end, (long)length);
		must(request && id);
		check(OCSP_request_onereq_count(request) == 1 &&
			      OCSP_id_cmp(OCSP_onereq_get0_id(OCSP_request_onereq_get0(request, 0)), id) == 0,
		      "a request is for this one certificate");
		check((OCSP_REQUEST_get_ext_by_NID(request, NID_id_pkix_OCSP_Nonce, -1) >= 0) == !!nonces[i] &&
			      !!memmem(der, length, nonce, sizeof(nonce)) == !!nonces[i],
		      "%s", i ? "with the nonce" : "without a nonce");
		OCSP_CERTID_free(id);
		OCSP_REQUEST_free(request);
		OPENSSL_free(der);
	}
}

/* ---- what a certificate says ---- */

static struct authority with_extension(const char *name, const char *value)
{
	struct certificate_plan plan = {.name = "leaf",
					.issuer = &root,
					.serial = 3,
					.from = NOW,
					.until = NOW + DAY,
					.extensions = {{name, value}}};

	return make_certificate(&plan);
}

static void test_address(void)
{
	static const struct {
		const char *extension, *value, *url, *says;
	} cases[] = {
		{"authorityInfoAccess", "OCSP;URI:http://a.example/ocsp", "http://a.example/ocsp", NULL},
		{"authorityInfoAccess", "caIssuers;URI:http://b.example/,OCSP;URI:HTTP://a.example", "HTTP://a.example",
		 NULL},
		{"authorityInfoAccess", "OCSP;URI:https://a.example/,OCSP;URI:http://b.example/", "http://b.example/",
		 NULL},
		{"authorityInfoAccess", "OCSP;URI:https://a.example/", NULL, "no OCSP responder with http://"},
		{"authorityInfoAccess", "OCSP;URI:http://a.example/\r\nX: y", NULL, "an address that is none"},
		{"authorityInfoAccess", "OCSP;URI:http://a b.example/", NULL, "an address that is none"},
		{"extendedKeyUsage", "clientAuth", NULL, "names no OCSP responder"},
	};
	char url[OCSP_URL_MAX], long_url[700];
	struct authority certificate;
	const char *why;

	for (size_t i = 0; i < COUNT(cases); i++) {
		bool found;

		certificate = with_extension(cases[i].extension, cases[i].value);
		found = ocsp_responder(certificate.certificate, url, &why);
		check(cases[i].url ? found && strcmp(url, cases[i].url) == 0 : !found && strstr(why, cases[i].says),
		      "responder: %s", found ? url : why);
		free_authority(&certificate, true);
	}
	snprintf(long_url, sizeof(long_url), "OCSP;URI:http://a.example/%0512d", 0);
	certificate = with_extension("authorityInfoAccess", long_url);
	check(!ocsp_responder(certificate.certificate, url, &why), "an address of 500 bytes: %s", why);
	free_authority(&certificate, true);
}

static void test_must_staple(void)
{
	static const struct {
		const char *extension, *value;
		bool must;
	} cases[] = {
		{"tlsfeature", "status_request", true},
		{"tlsfeature", "5", true},
		{"tlsfeature", "17", false},
		{"tlsfeature", "17,5", true},
		{"extendedKeyUsage", "serverAuth", false},
		{"1.3.6.1.5.5.7.1.24", "DER:01:02", true}, /* not to be read */
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct authority certificate = with_extension(cases[i].extension, cases[i].value);

		check(ocsp_must_staple(certificate.certificate) == cases[i].must, "%s = %s: %s", cases[i].extension,
		      cases[i].value, cases[i].must ? "must staple" : "need not");
		free_authority(&certificate, true);
	}
}

static void test_serial(void)
{
	static const struct {
		const char *decimal, *text;
	} cases[] = {
		{"0", "0"},
		{"10", "A"},
		{"4660", "1234"},
		{"48879", "BEEF"},
		{"-4660", "-1234"},
		{"1461501637330902918203684832716283019655932542975", "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"},
	};
	char text[OCSP_SERIAL_MAX], digits[200];
	ASN1_INTEGER *serial;

	for (size_t i = 0; i < COUNT(cases); i++) {
		serial = s2i_ASN1_INTEGER(NULL, cases[i].decimal);
		must(serial);
		check(ocsp_serial(serial, text), "serial number %s", cases[i].decimal);
		check_text(text, cases[i].text, "as text");
		ASN1_INTEGER_free(serial);
	}
	snprintf(digits, sizeof(digits), "1%0150d", 0);
	serial = s2i_ASN1_INTEGER(NULL, digits);
	check(!ocsp_serial(serial, text) && !*text, "one that is too long");
	ASN1_INTEGER_free(serial);
}

static void test_settings(void)
{
	struct ocsp_settings a = {.responder = "http://a/", .timeout_ms = 1}, b = a;
	char same[] = "http://a/";

	b.responder = same;
	check(ocsp_settings_equal(&a, &b), "equal settings");
	b.leeway = 1;
	check(!ocsp_settings_equal(&a, &b), "others");
	b = a;
	b.responder = NULL;
	check(!ocsp_settings_equal(&a, &b) && !ocsp_settings_equal(&b, &a), "no responder");
}

int main(void)
{
	struct authority *all[] = {
		&root,	     &intermediate,  &stranger,	       &leaf,	      &sibling,		&intermediate_leaf,
		&delegate,   &idle_delegate, &any_delegate,    &old_delegate, &short_delegate,	&strange_delegate,
		&grandchild, &impostor,	     &forged_delegate, &rsa_delegate, &ed25519_delegate};

	make_everybody();
	for (size_t i = 0; i < COUNT(rows); i++)
		test_row(&rows[i]);
	test_damage();
	test_use_until();
	test_lapse();
	test_request();
	test_address();
	test_must_staple();
	test_serial();
	test_settings();
	for (size_t i = 0; i < COUNT(all); i++)
		free_authority(all[i], true);
	return finish();
}
