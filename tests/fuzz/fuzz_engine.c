/* SPDX-License-Identifier: MIT */
/*
 * What a peer sends to the server role. The first byte of an input says into pieces of which length the rest is cut; then
 * come the bytes, from the ClientHello on.
 */
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../userspace/agent/cipher.h"
#include "../../userspace/agent/config.h"
#include "../../userspace/agent/engine.h"
#include "../../userspace/agent/keys.h"
#include "fuzz.h"

static const struct config *config;

static void must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "fuzz_engine: %s\n", what);
	exit(2);
}

static X509 *self_signed(EVP_PKEY *key)
{
	X509 *certificate = X509_new();
	X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:a.example");

	must(certificate && names, "a certificate");
	X509_set_version(certificate, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC, (const uint8_t *)"a.example",
				   -1, -1, 0);
	X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
	X509_set_pubkey(certificate, key);
	X509_add_ext(certificate, names, -1);
	X509_EXTENSION_free(names);
	must(X509_sign(certificate, key, EVP_sha256()) > 0, "X509_sign");
	return certificate;
}

/* Services of both versions and roles, with a certificate made for the occasion. */
static void prepare(void)
{
	static struct complaints complaints;
	char directory[] = "/tmp/fuzz-XXXXXX", path[64], pem[64];
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate;
	FILE *file;

	must(secrets_init() && keys_init() && engine_init(NULL) && key && mkdtemp(directory), "preparation");
	cipher_suites_assume();
	certificate = self_signed(key);
	umask(077); /* a private key is to be protected */
	snprintf(pem, sizeof(pem), "%s/pem", directory);
	file = fopen(pem, "w");
	must(file && PEM_write_X509(file, certificate) && PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL),
	     "writing the certificate");
	fclose(file);
	snprintf(path, sizeof(path), "%s/conf", directory);
	file = fopen(path, "w");
	must(file, "writing the configuration");
	fprintf(file,
		"[service server]\nrole = server\ncertificate = %s\nclient_certificate = request\nca = %s\nalpn = h2\n",
		pem, pem);
	fprintf(file, "[service client]\nrole = client\nca = %s\n", pem);
	fprintf(file, "[service client12]\nrole = client\nca = %s\nmax_version = 1.2\n", pem);
	fclose(file);
	config = config_load(path, NULL, &complaints);
	must(config != NULL, complaints.text);
	unlink(path);
	unlink(pem);
	rmdir(directory);
	X509_free(certificate);
	EVP_PKEY_free(key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct engine engine; /* its output buffer is kept, as the agent keeps it */
	enum engine_status status = ENGINE_WANTS_INPUT;
	size_t at = 1, piece = size ? 1 + data[0] * 16 : 1, taken;

	if (!config)
		prepare();
	must(engine_start_server(&engine, config_service(config, "server")->context), "engine_start_server");
	while (at < size && status == ENGINE_WANTS_INPUT) {
		status = engine_step(&engine, data + at, size - at < piece ? size - at : piece, &taken);
		if (taken > (size - at < piece ? size - at : piece))
			abort();
		if (taken == 0)
			break;
		at += taken;
		engine.output_length = 0;
	}
	if (status == ENGINE_DONE) /* without the keys that nobody told it? */
		abort();
	engine_stop(&engine);
	return 0;
}

/* A ClientHello of each client service. */
size_t fuzz_seed(unsigned int number, uint8_t data[static FUZZ_INPUT_MAX])
{
	static const char *const services[] = {"client", "client12"};
	struct engine client = {0};
	size_t taken, length;

	if (!config)
		prepare();
	if (number >= sizeof(services) / sizeof(*services))
		return 0;
	must(engine_start_client(&client, config_service(config, services[number])->context, "a.example",
				 (const uint8_t *)"\2h2", 3) &&
		     engine_step(&client, NULL, 0, &taken) == ENGINE_WANTS_INPUT,
	     "a ClientHello");
	length = client.output_length;
	data[0] = number * 16;
	memcpy(data + 1, client.output, length);
	engine_stop(&client);
	free(client.output);
	return length + 1;
}
