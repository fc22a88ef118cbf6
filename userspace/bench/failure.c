/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <openssl/err.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "failure.h"

const char *const failure_names[FAILURES] = {
	[FAILED_LOCALLY] = "local",
	[FAILED_FOR_DESCRIPTORS] = "descriptors",
	[FAILED_BY_REFUSAL] = "refused",
	[FAILED_TO_CONNECT] = "connect",
	[FAILED_BY_RESET] = "reset",
	[FAILED_BY_CLOSE] = "closed",
	[FAILED_BY_TIMEOUT] = "timeout",
	[FAILED_BY_ALERT] = "alert",
	[FAILED_BY_CERTIFICATE] = "certificate",
	[FAILED_WITHOUT_TLS] = "not_tls",
	[FAILED_IN_TLS] = "tls",
	[FAILED_IN_HTTP] = "http",
};

uint64_t failures_sum(const struct failures *failures)
{
	uint64_t sum = 0;
	int i;

	for (i = 0; i < FAILURES; i++)
		sum += failures->of[i];
	return sum;
}

void failures_merge(struct failures *into, const struct failures *from)
{
	int i;

	for (i = 0; i < FAILURES; i++)
		into->of[i] += from->of[i];
	for (i = 0; i < 256; i++)
		into->alerts[i] += from->alerts[i];
	if (!*into->first)
		memcpy(into->first, from->first, sizeof(into->first));
}

enum failure failure_of_connect(int error)
{
	switch (error) {
	case ECONNREFUSED:
		return FAILED_BY_REFUSAL;
	case ECONNRESET:
		return FAILED_BY_RESET;
	case ETIMEDOUT:
		return FAILED_BY_TIMEOUT;
	case EMFILE:
	case ENFILE:
		return FAILED_FOR_DESCRIPTORS;
	case EADDRNOTAVAIL:
	case ENOMEM:
	case ENOBUFS:
		return FAILED_LOCALLY;
	default:
		return FAILED_TO_CONNECT;
	}
}

enum failure failure_of_transfer(int error)
{
	return error == ETIMEDOUT ? FAILED_BY_TIMEOUT : FAILED_BY_RESET;
}

static bool means_no_tls(int reason)
{
	return reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST ||
	       reason == SSL_R_HTTPS_PROXY_REQUEST || reason == SSL_R_PACKET_LENGTH_TOO_LONG;
}

enum failure failure_of_tls(const SSL *ssl, char *words, size_t size, int *alert)
{
	unsigned long error = ERR_peek_error();
	int reason = ERR_GET_REASON(error);
	const char *text = ERR_reason_error_string(error);

	*alert = -1;
	ERR_clear_error();
	if (ERR_GET_LIB(error) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET &&
	    reason <= SSL_AD_REASON_OFFSET + 255) {
		*alert = reason - SSL_AD_REASON_OFFSET;
		snprintf(words, size, "the server sent the alert \"%s\"", SSL_alert_desc_string_long(*alert));
		return FAILED_BY_ALERT;
	}
	if (ERR_GET_LIB(error) == ERR_LIB_SSL && reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
		snprintf(words, size, "the server's certificate: %s",
			 X509_verify_cert_error_string(SSL_get_verify_result(ssl)));
		return FAILED_BY_CERTIFICATE;
	}
	snprintf(words, size, "TLS: %s", text ? text : "OpenSSL gives no reason");
	return ERR_GET_LIB(error) == ERR_LIB_SSL && means_no_tls(reason) ? FAILED_WITHOUT_TLS : FAILED_IN_TLS;
}
