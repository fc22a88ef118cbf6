// SPDX-License-Identifier: MIT
/*
 * odd_certificates FOLDER: certificates that no authority in its right mind issues and the openssl command line does not make, for
 * tests of bad input. FOLDER is one of scripts/pki. Leaves odd-NAME.pem of its intermediate, with both purposes, all for the
 * key odd.key; odd-deep.pem is a chain of a hundred.
 */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

#define DAY 86400

struct authority {
	X509 *certificate;
	EVP_PKEY *key;
};

static EVP_PKEY *key; /* of all leaves */

static FILE *open_file(const char *name, const char *mode)
{
	FILE *file = fopen(name, mode);

	must(file);
	return file;
}

static struct authority read_authority(const char *certificate, const char *private_key)
{
	FILE *files[] = {open_file(certificate, "r"), open_file(private_key, "r")};
	struct authority authority = {PEM_read_X509(files[0], NULL, NULL, NULL),
				      PEM_read_PrivateKey(files[1], NULL, NULL, NULL)};

	must(authority.certificate && authority.key);
	fclose(files[0]);
	fclose(files[1]);
	return authority;
}

static void write_leaf(const char *name, X509 *leaf, const struct authority *issuer)
{
	char path[64];
	FILE *file;

	must(X509_sign(leaf, issuer->key, EVP_sha256()) > 0);
	snprintf(path, sizeof(path), "odd-%s.pem", name);
	file = open_file(path, "w");
	must(PEM_write_X509(file, leaf) == 1 && PEM_write_X509(file, issuer->certificate) == 1);
	fclose(file);
	X509_free(leaf);
}

static void extend(X509 *certificate, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	must(extension && X509_add_ext(certificate, extension, -1) == 1);
	X509_EXTENSION_free(extension);
}

static X509 *begin(const char *subject, const struct authority *issuer, EVP_PKEY *public_key)
{
	static long serial = 0x0dd0000;
	X509 *certificate = X509_new();
	X509_NAME *name = X509_get_subject_name(certificate);

	must(X509_set_version(certificate, X509_VERSION_3) == 1 && X509_set_pubkey(certificate, public_key) == 1);
	must(ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++) == 1);
	must(X509_gmtime_adj(X509_getm_notBefore(certificate), -DAY) &&
	     X509_gmtime_adj(X509_getm_notAfter(certificate), DAY));
	must(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)subject, -1, -1, 0) == 1);
	must(X509_set_issuer_name(certificate, issuer ? X509_get_subject_name(issuer->certificate) : name) == 1);
	return certificate;
}

static X509 *leaf_of(const struct authority *issuer, const char *subject)
{
	X509 *leaf = begin(subject, issuer, key);

	extend(leaf, NID_ext_key_usage, "serverAuth,clientAuth");
	extend(leaf, NID_key_usage, "critical,digitalSignature");
	return leaf;
}

static X509 *plain_leaf(const struct authority *issuer, const char *subject)
{
	X509 *leaf = leaf_of(issuer, subject);

	extend(leaf, NID_subject_alt_name, "DNS:localhost");
	return leaf;
}

/* ---- the odd ones ---- */

static void many_names(const struct authority *issuer, const char *name, size_t bytes)
{
	X509 *leaf = leaf_of(issuer, name);
	char *text = malloc(bytes + 64);
	size_t used = sprintf(text, "DNS:localhost");

	for (unsigned int i = 0; used < bytes; i++)
		used += sprintf(text + used, ",DNS:host-%u.some-domain.example", i);
	extend(leaf, NID_subject_alt_name, text);
	write_leaf(name, leaf, issuer);
	free(text);
}

static void broken_key(const struct authority *issuer)
{
	X509 *leaf = plain_leaf(issuer, "broken key");
	X509_PUBKEY *public_key = X509_get_X509_PUBKEY(leaf);
	ASN1_OBJECT *algorithm = OBJ_nid2obj(NID_X9_62_id_ecPublicKey), *curve = OBJ_nid2obj(NID_X9_62_prime256v1);
	uint8_t *point = OPENSSL_malloc(65);

	memset(point, 0x11, 65);
	point[0] = 4; /* uncompressed, and on no curve */
	must(X509_PUBKEY_set0_param(public_key, algorithm, V_ASN1_OBJECT, curve, point, 65) == 1);
	write_leaf("broken-key", leaf, issuer);
}

static void unknown_algorithm(const struct authority *issuer)
{
	X509 *leaf = plain_leaf(issuer, "unknown algorithm");
	uint8_t *bytes = OPENSSL_malloc(32);

	memset(bytes, 0x11, 32);
	must(X509_PUBKEY_set0_param(X509_get_X509_PUBKEY(leaf), OBJ_txt2obj("1.2.3.4.5", 1), V_ASN1_UNDEF, NULL, bytes,
				    32) == 1);
	write_leaf("unknown-algorithm", leaf, issuer);
}

static void dates(const struct authority *issuer)
{
	X509 *leaf = plain_leaf(issuer, "backwards");

	must(X509_gmtime_adj(X509_getm_notBefore(leaf), -DAY) && X509_gmtime_adj(X509_getm_notAfter(leaf), -2 * DAY));
	write_leaf("backwards", leaf, issuer);
	leaf = plain_leaf(issuer, "no date");
	must(ASN1_STRING_set(X509_getm_notAfter(leaf), "99999999999999", 14) == 1);
	write_leaf("no-date", leaf, issuer);
}

static void serials(const struct authority *issuer)
{
	static const uint8_t long_serial[21] = {0x7f, 1, 2, 3, 4, 5, 6, 7, 8, 9};
	X509 *leaf = plain_leaf(issuer, "negative serial");

	must(ASN1_INTEGER_set(X509_get_serialNumber(leaf), -5) == 1);
	write_leaf("negative-serial", leaf, issuer);
	leaf = plain_leaf(issuer, "long serial");
	must(ASN1_STRING_set(X509_get_serialNumber(leaf), long_serial, sizeof(long_serial)) == 1);
	write_leaf("long-serial", leaf, issuer);
}

static void subjects(const struct authority *issuer)
{
	static const char escapes[] = "\x1b[31mred\r\n2030-01-01T00:00:00Z forged\x01";
	X509 *leaf = plain_leaf(issuer, "x");
	X509_NAME *none = X509_NAME_new();

	must(X509_set_subject_name(leaf, none) == 1);
	X509_NAME_free(none);
	write_leaf("no-subject", leaf, issuer);
	leaf = begin("x", issuer, key);
	extend(leaf, NID_ext_key_usage, "codeSigning"); /* the refusal names it */
	X509_NAME_delete_entry(X509_get_subject_name(leaf), 0);
	must(X509_NAME_add_entry_by_txt(X509_get_subject_name(leaf), "CN", MBSTRING_UTF8, (const uint8_t *)escapes,
					sizeof(escapes) - 1, -1, 0) == 1);
	extend(leaf, NID_subject_alt_name, "DNS:localhost");
	write_leaf("escapes", leaf, issuer);
	leaf = leaf_of(issuer, "x");
	X509_NAME_delete_entry(X509_get_subject_name(leaf), 0);
	must(X509_NAME_add_entry_by_txt(X509_get_subject_name(leaf), "CN", MBSTRING_UTF8, (const uint8_t *)escapes,
					sizeof(escapes) - 1, -1, 0) == 1);
	extend(leaf, NID_subject_alt_name, "DNS:localhost");
	write_leaf("escapes-with-purpose", leaf, issuer);
}

/* A name that C takes for "localhost", and names that would forge a line or a list. */
static void names(const struct authority *issuer)
{
	static const char *const texts[] = {"localhost\0.evil.example", "a.example, DNS:localhost", "x\r\n2030 forged"};
	static const size_t lengths[] = {23, 24, 14};
	GENERAL_NAMES *general = sk_GENERAL_NAME_new_null();
	X509 *leaf = leaf_of(issuer, "odd names");

	for (size_t i = 0; i < COUNT(texts); i++) {
		GENERAL_NAME *name = GENERAL_NAME_new();
		ASN1_IA5STRING *text = ASN1_IA5STRING_new();

		must(ASN1_STRING_set(text, texts[i], lengths[i]) == 1);
		GENERAL_NAME_set0_value(name, GEN_DNS, text);
		must(sk_GENERAL_NAME_push(general, name) > 0);
	}
	must(X509_add1_ext_i2d(leaf, NID_subject_alt_name, general, 0, 0) == 1);
	sk_GENERAL_NAME_pop_free(general, GENERAL_NAME_free);
	write_leaf("names", leaf, issuer);
}

static void doubled(const struct authority *issuer)
{
	X509 *leaf = plain_leaf(issuer, "doubled");

	extend(leaf, NID_ext_key_usage, "codeSigning");
	write_leaf("doubled", leaf, issuer);
}

static struct authority next_authority(const struct authority *issuer, unsigned int number)
{
	struct authority next = {.key = EVP_EC_gen("P-256")};
	char subject[32];

	snprintf(subject, sizeof(subject), "deep %u", number);
	next.certificate = begin(subject, issuer, next.key);
	extend(next.certificate, NID_basic_constraints, "critical,CA:true");
	extend(next.certificate, NID_key_usage, "critical,keyCertSign");
	must(X509_sign(next.certificate, issuer->key, EVP_sha256()) > 0);
	return next;
}

/* The leaf first, and what it was issued by up to the folder's intermediate. */
static void deep(struct authority issuer)
{
	enum { LENGTH = 100 };
	X509 *chain[LENGTH], *leaf;
	FILE *file;

	for (unsigned int i = 0; i < LENGTH; i++) {
		chain[i] = issuer.certificate;
		if (i < LENGTH - 1)
			issuer = next_authority(&issuer, i);
	}
	leaf = plain_leaf(&issuer, "deep leaf");
	must(X509_sign(leaf, issuer.key, EVP_sha256()) > 0);
	file = open_file("odd-deep.pem", "w");
	must(PEM_write_X509(file, leaf) == 1);
	for (unsigned int i = LENGTH; i > 0; i--)
		must(PEM_write_X509(file, chain[i - 1]) == 1);
	fclose(file);
}

int main(int argc, char **argv)
{
	struct authority issuer;
	FILE *file;

	must(argc == 2 && chdir(argv[1]) == 0);
	umask(077);
	issuer = read_authority("intermediate.pem", "intermediate/ca.key");
	key = EVP_EC_gen("P-256");
	file = open_file("odd.key", "w");
	must(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1);
	fclose(file);
	many_names(&issuer, "names-50k", 50000);
	many_names(&issuer, "names-1m", 1000000);
	broken_key(&issuer);
	unknown_algorithm(&issuer);
	dates(&issuer);
	serials(&issuer);
	subjects(&issuer);
	names(&issuer);
	doubled(&issuer);
	deep(issuer);
	return 0;
}
