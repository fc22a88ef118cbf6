// SPDX-License-Identifier: MIT
/*
 * certificates COUNT FOLDER AUTHORITY: so many server certificates, FOLDER/1.pem and on, each with its key and its issuer's
 * chain behind it, and a name of its own: 1.bench.example. AUTHORITY is a folder of scripts/pki, and its intermediate issues
 * them. What scripts/pki does itself takes four processes for each.
 */
#include <err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static const struct {
	int extension;
	const char *value;
} extensions[] = {
	{NID_basic_constraints, "critical,CA:false"},
	{NID_key_usage, "critical,digitalSignature"},
	{NID_ext_key_usage, "serverAuth"},
	{NID_subject_key_identifier, "hash"},
	{NID_authority_key_identifier, "keyid"},
};

static FILE *open_file(const char *folder, const char *name, const char *mode)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, mode);
	if (!file)
		err(1, "%s", path);
	return file;
}

static void extend(X509 *certificate, X509V3_CTX *context, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_nconf_nid(NULL, context, nid, value);

	if (!extension || X509_add_ext(certificate, extension, -1) != 1)
		errx(1, "%s: %s", OBJ_nid2sn(nid), value);
	X509_EXTENSION_free(extension);
}

static X509 *issue(long number, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key)
{
	X509 *certificate = X509_new();
	X509_NAME *subject = X509_get_subject_name(certificate);
	X509V3_CTX context;
	char name[64];
	size_t i;

	snprintf(name, sizeof(name), "DNS:%ld.bench.example", number);
	X509_set_version(certificate, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), number);
	X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 365 * 86400);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (unsigned char *)name + 4, -1, -1, 0);
	X509_set_issuer_name(certificate, X509_get_subject_name(issuer));
	X509_set_pubkey(certificate, key);
	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	extend(certificate, &context, NID_subject_alt_name, name);
	for (i = 0; i < sizeof(extensions) / sizeof(*extensions); i++)
		extend(certificate, &context, extensions[i].extension, extensions[i].value);
	if (X509_sign(certificate, issuer_key, EVP_sha256()) == 0)
		errx(1, "no signature");
	return certificate;
}

static void write_out(const char *folder, long number, X509 *certificate, EVP_PKEY *key, X509 *issuer)
{
	char name[32];
	FILE *file;

	snprintf(name, sizeof(name), "%ld.pem", number);
	file = open_file(folder, name, "wx");
	if (PEM_write_X509(file, certificate) != 1 || PEM_write_X509(file, issuer) != 1 ||
	    PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) != 1 || fclose(file) != 0)
		err(1, "%s/%s", folder, name);
}

int main(int argc, char **argv)
{
	EVP_PKEY *issuer_key, *key;
	X509 *issuer, *certificate;
	long number;
	FILE *file;

	if (argc != 4)
		return 2;
	umask(077);
	file = open_file(argv[3], "intermediate.pem", "r");
	issuer = PEM_read_X509(file, NULL, NULL, NULL);
	fclose(file);
	file = open_file(argv[3], "intermediate/ca.key", "r");
	issuer_key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
	fclose(file);
	if (!issuer || !issuer_key)
		errx(1, "%s: no authority", argv[3]);
	for (number = 1; number <= atol(argv[1]); number++) {
		key = EVP_EC_gen("P-256");
		certificate = issue(number, key, issuer, issuer_key);
		write_out(argv[2], number, certificate, key, issuer);
		X509_free(certificate);
		EVP_PKEY_free(key);
	}
	X509_free(issuer);
	EVP_PKEY_free(issuer_key);
	return 0;
}
