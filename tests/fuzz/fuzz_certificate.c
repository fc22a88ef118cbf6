/* SPDX-License-Identifier: MIT */
/*
 * What a peer shows: certificates in DER one behind the other, or PEM. The first byte chooses the service, the name and whether
 * the first certificate is signed anew, so that random changes come by the signature.
 */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../userspace/agent/cipher.h"
#include "../../userspace/agent/config.h"
#include "../../userspace/agent/engine.h"
#include "../../userspace/agent/inspect.h"
#include "../../userspace/agent/log.h"
#include "../../userspace/agent/peer.h"
#include "../../userspace/agent/x509/identity.h"
#include "../../userspace/agent/x509/revocation.h"
#include "fuzz.h"

#define SIGN 1
#define SERVICE(byte) ((byte) >> 1 & 3)
#define NAME(byte) ((byte) >> 3 & 7)
#define CHAIN_MAX 8

static const char *const services[] = {"client", "server", "strict", "unknown"};
static const char *const names[] = {"localhost", "a.b.example", "192.0.2.1", "2001:db8::1",
				    "s://a/b",	 "a@b.example", "*",	     "x"};

static struct config *config;
static struct {
	X509 *certificate;
	EVP_PKEY *key;
} root, intermediate, leaf;

static void must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "%s: failed\n", what);
	ERR_print_errors_fp(stderr);
	abort();
}

/* ---- good ones ---- */

static void extend(X509 *certificate, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	must(extension && X509_add_ext(certificate, extension, -1) == 1, value);
	X509_EXTENSION_free(extension);
}

static X509 *begin(const char *subject, X509 *issuer, EVP_PKEY *key)
{
	X509 *certificate = X509_new();
	X509_NAME *name = X509_get_subject_name(certificate);

	must(X509_set_version(certificate, X509_VERSION_3) == 1 && X509_set_pubkey(certificate, key) == 1 &&
		     ASN1_INTEGER_set(X509_get_serialNumber(certificate), 7) == 1 &&
		     X509_gmtime_adj(X509_getm_notBefore(certificate), -60) &&
		     X509_gmtime_adj(X509_getm_notAfter(certificate), 864000) &&
		     X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)subject, -1, -1, 0) == 1 &&
		     X509_set_issuer_name(certificate, issuer ? X509_get_subject_name(issuer) : name) == 1,
	     "a certificate");
	return certificate;
}

static void make_authority(const char *subject, X509 **certificate, EVP_PKEY **key, X509 *issuer, EVP_PKEY *issuer_key)
{
	*key = EVP_EC_gen("P-256");
	*certificate = begin(subject, issuer, *key);
	extend(*certificate, NID_basic_constraints, "critical,CA:true,pathlen:3");
	extend(*certificate, NID_key_usage, "critical,keyCertSign,cRLSign");
	extend(*certificate, NID_certificate_policies, "DER:3007300506032A0304"); /* 1.2.3.4 */
	if (issuer)
		extend(*certificate, NID_name_constraints, "permitted;DNS:.example,permitted;DNS:localhost");
	must(X509_sign(*certificate, issuer_key ? issuer_key : *key, EVP_sha256()) > 0, "signing");
}

static void make_leaf(void)
{
	leaf.key = EVP_EC_gen("P-256");
	leaf.certificate = begin("leaf", intermediate.certificate, leaf.key);
	extend(leaf.certificate, NID_ext_key_usage, "serverAuth,clientAuth,1.2.3.4");
	extend(leaf.certificate, NID_key_usage, "critical,digitalSignature");
	extend(leaf.certificate, NID_certificate_policies, "DER:300F300506032A030430060604551D2000");
	extend(leaf.certificate, NID_subject_alt_name,
	       "DNS:localhost,DNS:*.b.example,IP:192.0.2.1,IP:2001:db8::1,URI:s://a/b,email:a@b.example,RID:1.2.3,"
	       "otherName:1.2.3;UTF8:x");
	must(X509_sign(leaf.certificate, intermediate.key, EVP_sha256()) > 0, "signing");
}

static X509_CRL *make_crl(X509 *issuer, EVP_PKEY *key, long revoked)
{
	X509_CRL *crl = X509_CRL_new();
	X509_REVOKED *entry = X509_REVOKED_new();
	ASN1_INTEGER *serial = ASN1_INTEGER_new();
	ASN1_TIME *now = X509_gmtime_adj(NULL, -60), *later = X509_gmtime_adj(NULL, 864000);

	must(X509_CRL_set_version(crl, X509_CRL_VERSION_2) == 1 &&
		     X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer)) == 1 &&
		     X509_CRL_set1_lastUpdate(crl, now) == 1 && X509_CRL_set1_nextUpdate(crl, later) == 1 &&
		     ASN1_INTEGER_set(serial, revoked) == 1 && X509_REVOKED_set_serialNumber(entry, serial) == 1 &&
		     X509_REVOKED_set_revocationDate(entry, now) == 1 && X509_CRL_add0_revoked(crl, entry) == 1 &&
		     X509_CRL_sort(crl) == 1 && X509_CRL_sign(crl, key, EVP_sha256()) > 0,
	     "a CRL");
	ASN1_INTEGER_free(serial);
	ASN1_TIME_free(now);
	ASN1_TIME_free(later);
	return crl;
}

/* ---- the services ---- */

static void write_files(void)
{
	X509_CRL *lists[] = {make_crl(root.certificate, root.key, 9),
			     make_crl(intermediate.certificate, intermediate.key, 8)};
	FILE *file = fopen("ca.pem", "w");

	must(file && PEM_write_X509(file, root.certificate) == 1 && fclose(file) == 0, "ca.pem");
	file = fopen("crl.pem", "w");
	must(file && PEM_write_X509_CRL(file, lists[0]) == 1 && PEM_write_X509_CRL(file, lists[1]) == 1 &&
		     fclose(file) == 0,
	     "crl.pem");
	X509_CRL_free(lists[0]);
	X509_CRL_free(lists[1]);
	umask(077);
	file = fopen("own.pem", "w");
	must(file && PEM_write_X509(file, leaf.certificate) == 1 &&
		     PEM_write_PrivateKey(file, leaf.key, NULL, NULL, 0, NULL, NULL) == 1 && fclose(file) == 0,
	     "own.pem");
	file = fopen("conf", "w");
	must(file != NULL, "conf");
	fputs("[service client]\nrole = client\nca = ca.pem\n"
	      "[service server]\nrole = server\ncertificate = own.pem\nclient_certificate = require\nca = ca.pem\n"
	      "crl = crl.pem\nleeway = 60\n"
	      "[service strict]\nrole = client\nca = ca.pem\nany_purpose = yes\nmax_depth = 1\nrequire_purposes = 1.2.3.4\n"
	      "require_policies = 1.2.3.4\ncrl = crl.pem\nrevocation_unknown = accept\nallow_peer = URI:s://a/* as prefix\n"
	      "allow_peer = DNS:*.b.example as wild\nallow_peer = subject:CN=leaf\nallow_peer = IP:192.0.2.1 as ip\n",
	      file);
	fclose(file);
}

static void prepare(void)
{
	char directory[] = "/tmp/fuzz-certificate-XXXXXX", before[4096];
	struct complaints complaints = {0};

	must(getcwd(before, sizeof(before)) && mkdtemp(directory) && chdir(directory) == 0, directory);
	log_set_level(LOG_ERR);
	cipher_suites_assume();
	must(engine_init(NULL), "engine_init");
	make_authority("root", &root.certificate, &root.key, NULL, NULL);
	make_authority("intermediate", &intermediate.certificate, &intermediate.key, root.certificate, root.key);
	make_leaf();
	write_files();
	config = config_load("conf", NULL, &complaints);
	must(config != NULL, complaints.text);
	must(unlink("ca.pem") == 0 && unlink("crl.pem") == 0 && unlink("own.pem") == 0 && unlink("conf") == 0 &&
		     chdir(before) == 0 && rmdir(directory) == 0,
	     directory);
}

/* ---- an input ---- */

static bool note_name(void *argument, const char *name)
{
	*(size_t *)argument += strlen(name);
	return true;
}

static void describe(X509 *certificate)
{
	uint8_t data[8192] __attribute__((aligned(8)));
	struct datagram_writer datagram = {.data = data, .size = sizeof(data)};
	char text[300];
	size_t length = 0;

	identity_names(certificate, note_name, &length);
	identity_text(X509_get_subject_name(certificate), text, sizeof(text));
	identity_text(X509_get_issuer_name(certificate), text, sizeof(text));
	identity_fingerprint(certificate, text);
	identity_key_fingerprint(certificate, text);
	if (message_begin(&datagram, KTLSD_MSG_RESULT, sizeof(struct ktlsd_msg_result), 0)) {
		peer_describe(certificate, &datagram);
		message_end(&datagram);
	}
}

/* With the same bytes but a good signature, if OpenSSL can put it together again. */
static X509 *sign_anew(X509 *certificate)
{
	unsigned char *der = NULL;
	const unsigned char *at;
	X509 *signed_one = NULL;
	int length;

	if (X509_sign(certificate, intermediate.key, EVP_sha256()) <= 0)
		return certificate;
	length = i2d_X509(certificate, &der);
	at = der;
	if (length > 0)
		signed_one = d2i_X509(NULL, &at, length);
	OPENSSL_free(der);
	if (!signed_one)
		return certificate;
	X509_free(certificate);
	return signed_one;
}

static STACK_OF(X509) *read_chain(const uint8_t *data, size_t size, bool sign)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	const unsigned char *at = data;
	X509 *certificate;

	while (sk_X509_num(chain) < CHAIN_MAX && (certificate = d2i_X509(NULL, &at, data + size - at))) {
		if (sign && sk_X509_num(chain) == 0)
			certificate = sign_anew(certificate);
		must(sk_X509_push(chain, certificate) > 0, "sk_X509_push");
	}
	return chain;
}

/* A verification that fails has words and an error; one that passes has neither. */
static void must_be_explained(bool good, const struct verification *verification)
{
	size_t i;

	if (good != (verification->error == X509_V_OK) || good != (verification->why[0] == '\0'))
		abort();
	for (i = 0; verification->why[i]; i++) {
		if (verification->why[i] < ' ' || verification->why[i] > '~')
			abort();
	}
}

static void verify(const struct service *service, const char *name, STACK_OF(X509) *chain)
{
	struct verification verification = {0};
	X509_STORE_CTX *store = X509_STORE_CTX_new();
	uint8_t note[REVOCATION_NOTE_MAX];
	X509 *first = sk_X509_value(chain, 0);
	bool good;

	must(X509_STORE_CTX_init(store, service->policy.trust->store, first, chain) == 1, "X509_STORE_CTX_init");
	good = verify_chain(&service->policy, store, service->role == KTLSD_CLIENT ? name : NULL, &verification);
	must_be_explained(good, &verification);
	if (good) {
		size_t length = revocation_note(&service->policy, X509_STORE_CTX_get0_chain(store), note);

		if (!verify_again(&service->policy, first, note, length, &verification))
			abort();
		must_be_explained(true, &verification);
	}
	X509_STORE_CTX_free(store);
}

static void inspect(const char *service, const char *name, const uint8_t *data, size_t size)
{
	json_object_put(
		inspect_chain(config, service, strcmp(service, "server") == 0 ? "" : name, (const char *)data, size));
	json_object_put(inspect_revocation(config, "", (const char *)data, size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	STACK_OF(X509) *chain;
	const char *service, *name;
	int i;

	if (!config)
		prepare();
	if (size < 2)
		return 0;
	service = services[SERVICE(data[0])];
	name = names[NAME(data[0])];
	if (data[1] == '-') {
		inspect(service, name, data + 1, size - 1);
		return 0;
	}
	chain = read_chain(data + 1, size - 1, data[0] & SIGN);
	for (i = 0; i < sk_X509_num(chain); i++)
		describe(sk_X509_value(chain, i));
	if (sk_X509_num(chain) > 0 && config_service(config, service))
		verify(config_service(config, service), name, chain);
	sk_X509_pop_free(chain, X509_free);
	ERR_clear_error();
	return 0;
}

/* ---- seeds ---- */

static size_t put_pem(X509 *const *chain, uint8_t *data)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;
	long length;

	for (; *chain; chain++)
		must(PEM_write_bio_X509(bio, *chain) == 1, "PEM");
	length = BIO_get_mem_data(bio, &text);
	memcpy(data, text, length);
	BIO_free(bio);
	return length;
}

static size_t put_der(X509 *const *chain, uint8_t *data)
{
	unsigned char *at = data;

	for (; *chain; chain++)
		must(i2d_X509(*chain, &at) > 0, "DER");
	return at - data;
}

/* The chain, for each service and name; signed anew or not; then as PEM. */
size_t fuzz_seed(unsigned int number, uint8_t data[static FUZZ_INPUT_MAX])
{
	X509 *chain[] = {NULL, NULL, NULL};

	if (!config)
		prepare();
	chain[0] = leaf.certificate;
	chain[1] = intermediate.certificate;
	data[0] = number;
	if (number < 64)
		return 1 + put_der(chain, data + 1);
	if (number < 68)
		return 1 + put_pem(chain, data + 1);
	if (number > 68)
		return 0;
	chain[0] = root.certificate;
	chain[1] = NULL;
	return 1 + put_der(chain, data + 1);
}
