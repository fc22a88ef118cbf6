/* SPDX-License-Identifier: MIT */
#include <linux/tls.h>
#include <string.h>

#include "../lib/probe.h"
#include "cipher.h"
#include "log.h"

#define TLS13 0x0304
#define TLS12 0x0303
#define AES_128_GCM TLS_CIPHER_AES_GCM_128, 16, 4, 8, 32, "SHA256"
#define AES_256_GCM TLS_CIPHER_AES_GCM_256, 32, 4, 8, 48, "SHA384"
#define CHACHA20 TLS_CIPHER_CHACHA20_POLY1305, 32, 0, 12, 32, "SHA256"
#define AES_128_CCM TLS_CIPHER_AES_CCM_128, 16, 4, 8, 32, "SHA256"

const struct cipher_suite cipher_suites[] = {
	{0x1301, TLS13, "TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256", AES_128_GCM},
	{0x1302, TLS13, "TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384", AES_256_GCM},
	{0x1303, TLS13, "TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256", CHACHA20},
	{0x1304, TLS13, "TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_SHA256", AES_128_CCM},
	{0xc02b, TLS12, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256", AES_128_GCM},
	{0xc02f, TLS12, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256", AES_128_GCM},
	{0xc02c, TLS12, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384", AES_256_GCM},
	{0xc030, TLS12, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384", AES_256_GCM},
	{0xcca9, TLS12, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305", CHACHA20},
	{0xcca8, TLS12, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305", CHACHA20},
	{0x009c, TLS12, "TLS_RSA_WITH_AES_128_GCM_SHA256", "AES128-GCM-SHA256", AES_128_GCM},
	{0x009d, TLS12, "TLS_RSA_WITH_AES_256_GCM_SHA384", "AES256-GCM-SHA384", AES_256_GCM},
};
const size_t cipher_suite_count = sizeof(cipher_suites) / sizeof(*cipher_suites);

static bool offered[sizeof(cipher_suites) / sizeof(*cipher_suites)];

const struct cipher_suite *cipher_suite_find(uint16_t id)
{
	size_t i;

	for (i = 0; i < cipher_suite_count; i++) {
		if (cipher_suites[i].id == id)
			return &cipher_suites[i];
	}
	return NULL;
}

const struct cipher_suite *cipher_suite_named(const char *name)
{
	size_t i;

	for (i = 0; i < cipher_suite_count; i++) {
		if (strcmp(cipher_suites[i].name, name) == 0 || strcmp(cipher_suites[i].openssl_name, name) == 0)
			return &cipher_suites[i];
	}
	return NULL;
}

bool cipher_suite_is_key_transport(const struct cipher_suite *suite)
{
	return strncmp(suite->name, "TLS_RSA_", 8) == 0;
}

static bool takes(const struct ktls_cipher *cipher)
{
	int error = ktls_probe(cipher);

	if (error)
		log_line(LOG_WARNING, "%s is not offered: the kernel refuses it (%s); try modprobe -a %s", cipher->name,
			 strerror(-error), cipher->modules);
	return error == 0;
}

bool cipher_suites_probe(void)
{
	bool any = false;
	size_t i, j;

	for (i = 0; i < ktls_cipher_count; i++) {
		const struct ktls_cipher *cipher = &ktls_ciphers[i];
		bool taken = takes(cipher);

		any |= taken;
		for (j = 0; j < cipher_suite_count; j++) {
			if (cipher_suites[j].version == cipher->version &&
			    cipher_suites[j].kernel_cipher == cipher->kernel_cipher)
				offered[j] = taken;
		}
	}
	return any;
}

bool cipher_suite_offered(const struct cipher_suite *suite)
{
	return offered[suite - cipher_suites];
}

void cipher_suites_assume(void)
{
	memset(offered, true, sizeof(offered));
}
