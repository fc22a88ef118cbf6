/* SPDX-License-Identifier: MIT */
/*
 * The floor: what a full handshake costs the server's side in OpenSSL alone, between two memory BIOs. No server that uses
 * OpenSSL gets below it.
 *
 * Client and server take turns, a whole batch of pairs at a time: all clients speak, then all servers, and so on. The clock
 * is read only where the side changes, so its cost is spread over the batch, and what the client does is not counted.
 */
#include <err.h>
#include <malloc.h>
#include <openssl/err.h>
#include <stdlib.h>

#include "histogram.h"
#include "report.h"
#include "tls.h"

struct pair {
	SSL *client, *server;
};

struct measurement {
	const struct settings *settings;
	SSL_CTX *client, *server;
	struct pair *pairs;
	struct histogram batches; /* nanoseconds per handshake, mean of each batch */
	int64_t server_ns;
	uint64_t handshakes;
};

static BIO *memory(void)
{
	BIO *bio = BIO_new(BIO_s_mem());

	if (!bio)
		errx(1, "out of memory");
	BIO_set_mem_eof_return(bio, -1);
	return bio;
}

static void step(SSL *ssl)
{
	int result = SSL_do_handshake(ssl);

	if (result != 1 && SSL_get_error(ssl, result) != SSL_ERROR_WANT_READ)
		errx(1, "handshake: %s", ERR_reason_error_string(ERR_peek_error()));
}

static void new_clients(struct measurement *m)
{
	unsigned int i;

	for (i = 0; i < m->settings->batch; i++) {
		m->pairs[i].client = SSL_new(m->client);
		SSL_set_bio(m->pairs[i].client, memory(), memory());
		SSL_set_connect_state(m->pairs[i].client);
	}
}

/* Reads what its client writes, and the other way round. */
static void new_server(struct measurement *m, struct pair *pair)
{
	BIO *from_client = SSL_get_wbio(pair->client), *to_client = SSL_get_rbio(pair->client);

	pair->server = SSL_new(m->server);
	if (!pair->server)
		errx(1, "out of memory");
	BIO_up_ref(from_client);
	BIO_up_ref(to_client);
	SSL_set_bio(pair->server, from_client, to_client);
	SSL_set_accept_state(pair->server);
}

static void step_clients(struct measurement *m)
{
	unsigned int i;

	for (i = 0; i < m->settings->batch; i++)
		step(m->pairs[i].client);
}

/* One step of every server; the first creates them, and the step that ends the handshake frees them. */
static int64_t step_servers(struct measurement *m)
{
	int64_t began = now_ns();
	unsigned int i;

	for (i = 0; i < m->settings->batch; i++) {
		struct pair *pair = &m->pairs[i];

		if (!pair->server)
			new_server(m, pair);
		step(pair->server);
		if (!SSL_is_init_finished(pair->server))
			continue;
		SSL_free(pair->server);
		pair->server = NULL;
	}
	return now_ns() - began;
}

static int64_t run_batch(struct measurement *m)
{
	int64_t spent = 0;
	unsigned int i;

	new_clients(m);
	do {
		step_clients(m);
		spent += step_servers(m);
	} while (m->pairs[0].server);
	for (i = 0; i < m->settings->batch; i++) {
		if (m->pairs[i].server)
			errx(1, "the handshakes of a batch do not keep step");
		step(m->pairs[i].client);
		if (!SSL_is_init_finished(m->pairs[i].client))
			errx(1, "the client's side did not finish");
		SSL_free(m->pairs[i].client);
	}
	return spent;
}

static void measure(struct measurement *m)
{
	const struct settings *settings = m->settings;
	int64_t began = now_ns();
	int64_t warm = began + settings->warmup_s * 1e9, end = warm + settings->duration_s * 1e9;

	while (now_ns() < warm)
		run_batch(m);
	while (settings->count ? m->handshakes < settings->count : now_ns() < end) {
		int64_t spent = run_batch(m);

		histogram_add(&m->batches, spent / settings->batch);
		m->server_ns += spent;
		m->handshakes += settings->batch;
	}
}

int mode_floor(const struct settings *settings)
{
	struct measurement *m = calloc(1, sizeof(*m));

	if (!m)
		err(1, NULL);
	/* A batch's memory stays with the process: giving it back and faulting it in again is no part of the floor. */
	mallopt(M_TRIM_THRESHOLD, INT32_MAX);
	mallopt(M_MMAP_THRESHOLD, INT32_MAX);
	m->settings = settings;
	m->client = tls_client(settings);
	m->server = tls_server(settings);
	m->pairs = calloc(settings->batch, sizeof(*m->pairs));
	if (!m->pairs)
		err(1, NULL);
	measure(m);
	report_floor(settings, m->handshakes, m->server_ns, &m->batches);
	SSL_CTX_free(m->client);
	SSL_CTX_free(m->server);
	free(m->pairs);
	free(m);
	return 0;
}
