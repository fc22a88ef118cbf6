/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <err.h>
#include <openssl/err.h>
#include <unistd.h>

#include "resume.h"
#include "tls.h"

static SSL_CTX *new_context(const struct settings *settings, const SSL_METHOD *method)
{
	SSL_CTX *context = SSL_CTX_new(method);
	int (*set_cipher)(SSL_CTX *, const char *) =
		settings->version == TLS1_3_VERSION ? SSL_CTX_set_ciphersuites : SSL_CTX_set_cipher_list;

	if (!context || !SSL_CTX_set_min_proto_version(context, settings->version) ||
	    !SSL_CTX_set_max_proto_version(context, settings->version))
		errx(1, "OpenSSL: %s", ERR_reason_error_string(ERR_peek_last_error()));
	if (settings->cipher && !set_cipher(context, settings->cipher))
		errx(2, "--cipher %s: OpenSSL has no such cipher for this version", settings->cipher);
	if (settings->group && !SSL_CTX_set1_groups_list(context, settings->group))
		errx(2, "--group %s: OpenSSL has no such group", settings->group);
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	return context;
}

static void must_be_readable(const char *file)
{
	if (access(file, R_OK) != 0)
		err(1, "%s", file);
}

static void use_certificate(SSL_CTX *context, const struct settings *settings)
{
	must_be_readable(settings->certificate);
	must_be_readable(settings->key);
	if (SSL_CTX_use_certificate_chain_file(context, settings->certificate) != 1)
		errx(1, "%s: %s", settings->certificate, ERR_reason_error_string(ERR_peek_last_error()));
	if (SSL_CTX_use_PrivateKey_file(context, settings->key, SSL_FILETYPE_PEM) != 1)
		errx(1, "%s: %s", settings->key, ERR_reason_error_string(ERR_peek_last_error()));
}

SSL_CTX *tls_client(const struct settings *settings)
{
	SSL_CTX *context = new_context(settings, TLS_client_method());

	if (settings->certificate)
		use_certificate(context, settings);
	if (settings->kernel_tls)
		SSL_CTX_set_options(context, SSL_OP_ENABLE_KTLS);
	SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	if (settings->ca) {
		must_be_readable(settings->ca);
		if (SSL_CTX_load_verify_file(context, settings->ca) != 1)
			errx(1, "%s: %s", settings->ca, ERR_reason_error_string(ERR_peek_last_error()));
		SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	}
	if (settings->resume) {
		SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
		SSL_CTX_sess_set_new_cb(context, resume_new_session);
	}
	return context;
}

static bool is_address(const char *name)
{
	struct in6_addr address;

	return inet_pton(AF_INET, name, &address) == 1 || inet_pton(AF_INET6, name, &address) == 1;
}

bool tls_expect(SSL *ssl, const struct settings *settings, const struct target *target)
{
	const char *name = settings->name ? settings->name : target->host;
	bool address = is_address(name);

	if (!settings->name && !settings->ca)
		return true;
	if (!address && !SSL_set_tlsext_host_name(ssl, name))
		return false;
	if (!settings->ca)
		return true;
	return address ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) : SSL_set1_host(ssl, name);
}

SSL_CTX *tls_server(const struct settings *settings)
{
	SSL_CTX *context = new_context(settings, TLS_server_method());

	use_certificate(context, settings);
	SSL_CTX_set_num_tickets(context, settings->tickets);
	if (settings->tickets == 0)
		SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
	return context;
}
