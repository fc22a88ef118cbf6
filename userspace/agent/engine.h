/* SPDX-License-Identifier: MIT */
/*
 * One TLS handshake in OpenSSL, between bytes in and bytes out. The engine does no I/O: it is lent what was received,
 * says how much of it the handshake took (never a byte behind the record that ends it, because OpenSSL without read_ahead
 * asks for a record's five bytes and then for its body), and leaves in output what has to be sent.
 */
#ifndef AGENT_ENGINE_H
#define AGENT_ENGINE_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel/psk.h"
#include "secrets.h"
#include "x509/verify.h"

#define ENGINE_INPUT_MAX (256UL * 1024)	 /* bytes of handshake that a peer may send */
#define ENGINE_OUTPUT_MAX (256UL * 1024) /* and that we may */

enum engine_status {
	ENGINE_WANTS_INPUT,
	ENGINE_DONE,
	ENGINE_UNDECIDED, /* TLS is through, but verification.question has to be asked: engine_decide() */
	ENGINE_REFUSED,	  /* TLS is through, but the peer was revoked: engine_refuse() */
	ENGINE_FAILED,
};

struct engine {
	SSL *ssl;
	const uint8_t *input; /* lent for one step */
	size_t input_length, input_taken;
	size_t input_total;
	uint8_t *output; /* to be sent; the owner sets output_length back to 0 when it is */
	size_t output_length, output_size;
	struct session_secrets secrets;
	uint8_t alert_sent, alert_received; /* or KTLSD_NO_ALERT */
	const char *server_name;	    /* client role: whom the peer has to be */
	struct verification verification;   /* of the peer's certificate, if it showed one */
	struct psk *psk;		    /* instead of certificates; NULL: no */
	char why[512];			    /* of a failure, for a person */
};

/* What the handshake found out; strings are "" and pointers NULL where there is nothing. */
struct outcome {
	unsigned int flags; /* enum ktlsd_result_flags */
	uint16_t version, cipher, group;
	char server_name[256];
	uint8_t alpn[256];
	unsigned int alpn_length;
	uint8_t channel_binding[32];
	X509 *peer;
	char peer_name[128]; /* ours for it */
	STACK_OF(X509) *chain;
	unsigned int max_fragment; /* bytes, 0: not limited */
};

/* Once per process: key_log_file is for debugging, NULL otherwise. */
bool engine_init(const char *key_log_file);

/* Every context whose handshakes run here goes through these. */
void engine_prepare(SSL_CTX *context);
void engine_set_verify(SSL_CTX *context, int mode, const struct policy *policy);

/* For callbacks of a context: why the handshake is about to fail. The first explanation stays. */
void engine_explain(SSL *ssl, const char *why);

/* For the callbacks of tickets: whether the peer of a session would still get in, and what has to be noted for that. */
bool engine_verify_again(SSL *ssl, const struct policy *policy, SSL_SESSION *session);
void engine_note_chain(SSL *ssl, const struct policy *policy, SSL_SESSION *session);

/*
 * server_name lives as long as the handshake. output and output_size stay from the last use, so that a recycled engine does not
 * allocate.
 */
bool engine_start_server(struct engine *engine, SSL_CTX *context);
/* A server that waits for the whole ClientHello still, or was not started. */
bool engine_is_silent(const struct engine *engine);
bool engine_start_client(struct engine *engine, SSL_CTX *context, const char *server_name, const uint8_t *alpn,
			 size_t alpn_length);

/*
 * Right after the start: a handshake by an external pre-shared key, or none. In the client role it is there; in the server role the client
 * names it, and it is looked for in the keyrings. psk lives as long as the engine. False with engine->why.
 */
bool engine_use_psk(struct engine *engine, struct psk *psk);

/*
 * Right after the start, in place of the context's certificates. False with engine->why. Both in DER; the
 * certificate's intermediates may stand behind it.
 */
bool engine_use_certificate(struct engine *engine, const uint8_t *certificate, size_t certificate_length,
			    const uint8_t *key, size_t key_length);

/* One step with what has been received; *taken bytes of it are consumed. */
enum engine_status engine_step(struct engine *engine, const uint8_t *input, size_t length, size_t *taken);

/*
 * With the answer; DONE or REFUSED. DONE leaves the flight that ends the handshake in output, tickets (so many, server role)
 * included: none leaves before.
 */
enum engine_status engine_decide(struct engine *engine, const struct ocsp_verdict *verdict, unsigned int tickets);

/*
 * After ENGINE_REFUSED. True: output ends in the alert, as plaintext, because the peer has not seen our keys yet (TLS 1.2,
 * server role). False: it has, and the alert has to be encrypted with them, behind what output has.
 */
bool engine_refuse(struct engine *engine);

/* After ENGINE_DONE and ENGINE_REFUSED: fills engine->secrets. False with engine->why. */
bool engine_export_secrets(struct engine *engine);

/* What is known, at the end or when it failed. want: enum ktlsd_want. */
void engine_describe(struct engine *engine, unsigned int want, struct outcome *outcome);
void outcome_clear(struct outcome *outcome);

/* Ends it, at any moment; wipes every secret. What is in output may still be sent. */
void engine_stop(struct engine *engine);

#endif
