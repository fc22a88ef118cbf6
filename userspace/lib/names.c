/* SPDX-License-Identifier: MIT */
#include "ktlsd.h"

struct number_name {
	uint16_t number;
	const char *name;
};

#define name_of(table, number) find(table, sizeof(table) / sizeof((table)[0]), number)

static const char *find(const struct number_name *table, size_t count, uint16_t number)
{
	for (size_t i = 0; i < count; i++)
		if (table[i].number == number)
			return table[i].name;
	return "unknown";
}

const char *ktlsd_version_name(uint16_t version)
{
	static const struct number_name versions[] = {
		{0x0304, "TLS 1.3"},
		{0x0303, "TLS 1.2"},
	};

	return name_of(versions, version);
}

const char *ktlsd_cipher_name(uint16_t cipher)
{
	static const struct number_name ciphers[] = {
		{0x1301, "TLS_AES_128_GCM_SHA256"},
		{0x1302, "TLS_AES_256_GCM_SHA384"},
		{0x1303, "TLS_CHACHA20_POLY1305_SHA256"},
		{0x1304, "TLS_AES_128_CCM_SHA256"},
		{0x009c, "TLS_RSA_WITH_AES_128_GCM_SHA256"},
		{0x009d, "TLS_RSA_WITH_AES_256_GCM_SHA384"},
		{0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"},
		{0xc02c, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"},
		{0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
		{0xc030, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"},
		{0xcca8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"},
		{0xcca9, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"},
	};

	return name_of(ciphers, cipher);
}

const char *ktlsd_group_name(uint16_t group)
{
	static const struct number_name groups[] = {
		{0x001d, "X25519"},
		{0x0017, "P-256"},
		{0x0018, "P-384"},
		{0x11ec, "X25519MLKEM768"},
	};

	return name_of(groups, group);
}

/* RFC 8446 §6, and those that only TLS 1.2 peers send. */
const char *ktlsd_alert_name(uint8_t alert)
{
	static const struct number_name alerts[] = {
		{0, "close_notify"},
		{10, "unexpected_message"},
		{20, "bad_record_mac"},
		{22, "record_overflow"},
		{40, "handshake_failure"},
		{42, "bad_certificate"},
		{43, "unsupported_certificate"},
		{44, "certificate_revoked"},
		{45, "certificate_expired"},
		{46, "certificate_unknown"},
		{47, "illegal_parameter"},
		{48, "unknown_ca"},
		{49, "access_denied"},
		{50, "decode_error"},
		{51, "decrypt_error"},
		{70, "protocol_version"},
		{71, "insufficient_security"},
		{80, "internal_error"},
		{86, "inappropriate_fallback"},
		{90, "user_canceled"},
		{100, "no_renegotiation"},
		{109, "missing_extension"},
		{110, "unsupported_extension"},
		{112, "unrecognized_name"},
		{113, "bad_certificate_status_response"},
		{115, "unknown_psk_identity"},
		{116, "certificate_required"},
		{120, "no_application_protocol"},
	};

	return name_of(alerts, alert);
}
