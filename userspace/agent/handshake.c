/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ktlsd/protocol.h>

#include "disposal.h"
#include "handshake.h"
#include "kernel/keyring.h"
#include "log.h"

#define CLOSE_DRAIN_MS 1000	      /* how long a peer may take to read our alert */
#define CLOSE_DRAIN_BYTES (64 * 1024) /* and how much it may send meanwhile */

enum operation { /* of the handshake's completion */
		 OP_ATTACH,
		 OP_DISCARD,
		 OP_WAIT,
		 OP_SEND,
		 OP_RECEIVE,
		 OP_INSTALL,
		 OP_INSTALLED,
		 OP_SHUTDOWN,
		 OP_DRAIN,
		 OP_RUN,    /* posted by the home worker: begin here */
		 OP_ANSWER, /* posted to the home worker: over */
		 OP_RUN_FAILED,
		 OP_ANSWER_FAILED,
		 OP_VERDICT, /* posted by a responder's thread */
		 OP_FLUSHED,
};

static void give_up(struct handshake *hs, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void aborted(struct handshake *hs);

static uint64_t tag(struct handshake *hs, enum operation operation)
{
	return ring_tag(&hs->completion, operation);
}

/* ---- the members of the chains ---- */

static struct io_uring_sqe *get(struct handshake *hs)
{
	return io_uring_get_sqe(&hs->worker->ring);
}

/* On a non-blocking socket the ring does not wait for readiness by itself: the chain gets a member that does. */
static void add_wait(struct handshake *hs, unsigned int events)
{
	struct io_uring_sqe *sqe = get(hs);

	io_uring_prep_poll_add(sqe, hs->fd, events);
	ring_link(sqe, tag(hs, OP_WAIT));
}

/* Takes what was peeked at and used off the socket's queue, without copying it (tcp(7), MSG_TRUNC). */
static void add_discard(struct handshake *hs)
{
	struct io_uring_sqe *sqe;

	if (hs->discard == 0)
		return;
	sqe = get(hs);
	io_uring_prep_recv(sqe, hs->fd, NULL, hs->discard, MSG_TRUNC | MSG_DONTWAIT);
	ring_link(sqe, tag(hs, OP_DISCARD));
}

static void add_send(struct handshake *hs)
{
	struct io_uring_sqe *sqe;

	if (hs->sent == hs->engine.output_length)
		return;
	if (hs->send_blocked)
		add_wait(hs, POLLOUT);
	sqe = get(hs);
	io_uring_prep_send(sqe, hs->fd, hs->engine.output + hs->sent, hs->engine.output_length - hs->sent,
			   MSG_NOSIGNAL | MSG_WAITALL);
	ring_link(sqe, tag(hs, OP_SEND));
}

/* Looks without taking: what turns out to lie behind the handshake belongs to the kernel's TLS. */
static void add_peek(struct handshake *hs)
{
	struct io_uring_sqe *sqe;

	if (hs->nonblocking)
		add_wait(hs, POLLIN);
	sqe = get(hs);
	ring_prep_receive(sqe, hs->fd, MSG_PEEK);
	ring_last(sqe, tag(hs, OP_RECEIVE));
}

/* For a chain whose last member would else be left out at times. */
static void add_end(struct handshake *hs, enum operation operation)
{
	struct io_uring_sqe *sqe = get(hs);

	io_uring_prep_nop(sqe);
	ring_last(sqe, tag(hs, operation));
}

/* ---- exchange: receive, engine, send ---- */

static void exchange(struct handshake *hs)
{
	ring_reserve(&hs->worker->ring);
	if (!hs->attached)
		install_prepare_ulp(&hs->worker->ring, hs->fd, tag(hs, OP_ATTACH));
	add_discard(hs);
	add_send(hs);
	add_peek(hs);
}

static bool start_role(struct handshake *hs)
{
	const struct alpn *alpn = hs->service->alpn;

	if (hs->role == KTLSD_SERVER)
		return engine_start_server(&hs->engine, hs->service->context);
	if (hs->alpn_length == 0 && alpn)
		return engine_start_client(&hs->engine, hs->service->context, hs->server_name, alpn->wire,
					   alpn->length);
	return engine_start_client(&hs->engine, hs->service->context, hs->server_name, hs->alpn, hs->alpn_length);
}

static bool use_keyring(struct handshake *hs)
{
	uint8_t certificate[KEYRING_KEY_MAX], key[KEYRING_KEY_MAX];
	int certificate_length = keyring_read(hs->certificate_serial, certificate, sizeof(certificate));
	int key_length = keyring_read(hs->key_serial, key, sizeof(key));
	bool good = certificate_length > 0 && key_length > 0 &&
		    engine_use_certificate(&hs->engine, certificate, certificate_length, key, key_length);

	if (certificate_length <= 0 || key_length <= 0)
		snprintf(hs->engine.why, sizeof(hs->engine.why),
			 "the certificate or private key that the kernel names can't be read");
	OPENSSL_cleanse(key, sizeof(key));
	return good;
}

static bool start_engine(struct handshake *hs)
{
	if (!start_role(hs))
		return false;
	if (hs->psk && !engine_use_psk(&hs->engine, hs->psk))
		return false;
	if (hs->anonymous)
		SSL_certs_clear(hs->engine.ssl);
	return hs->certificate_serial == 0 || use_keyring(hs);
}

/* Tickets out, keys in, and our descriptor is no longer needed. */
static void submit_install(struct handshake *hs)
{
	struct io_uring *ring = &hs->worker->ring;

	ring_reserve(ring);
	add_discard(hs);
	add_send(hs);
	install_prepare(ring, hs->fd, &hs->keys, tag(hs, OP_INSTALL));
	hs->linger_known = install_prepare_linger(ring, hs->fd, &hs->linger, tag(hs, OP_INSTALLED));
	if (!hs->linger_known)
		add_end(hs, OP_INSTALLED);
}

/* What a later KeyUpdate starts from goes to who asked for it: here it is forgotten in a moment. */
static void seal_token(struct handshake *hs)
{
	const struct session_secrets *secrets = &hs->engine.secrets;
	struct token token;

	if (!(hs->want & KTLSD_WANT_TOKEN) || secrets->suite->version != TLS1_3_VERSION || !install_can_replace())
		return;
	token = (struct token){
		.suite = secrets->suite,
		.role = hs->role,
		.connection_id = hs->connection_id,
		.expires = token_expiry(hs->worker->time, hs->config->settings->token_lifetime),
	};
	snprintf(token.service, sizeof(token.service), "%s", hs->service->name);
	memcpy(token.client.secret, secrets->client_traffic, SECRET_MAX);
	memcpy(token.server.secret, secrets->server_traffic, SECRET_MAX);
	hs->has_token = token_seal(&token, hs->token);
	OPENSSL_cleanse(&token, sizeof(token));
}

/* The last point at which TLS can fail; from here on only the kernel can. */
static void install(struct handshake *hs)
{
	struct session_keys *keys = &hs->keys;

	engine_describe(&hs->engine, hs->want, &hs->outcome);
	if (!engine_export_secrets(&hs->engine) || !secrets_to_crypto_info(&hs->engine.secrets, &keys->tx, &keys->rx)) {
		give_up(hs, EPROTO, "%s", *hs->engine.why ? hs->engine.why : "key derivation failed");
		return;
	}
	keys->max_payload = hs->outcome.max_fragment;
	seal_token(hs);
	engine_stop(&hs->engine);
	hs->state = HANDSHAKE_INSTALL;
	submit_install(hs);
}

/* ---- was the peer revoked? ---- */

/* The flight with which TLS ended, because the peer decrypts the alert behind it only then. */
static void flush_refusal(struct handshake *hs)
{
	ring_reserve(&hs->worker->ring);
	add_discard(hs);
	add_send(hs);
	add_end(hs, OP_FLUSHED);
}

static void refuse(struct handshake *hs)
{
	if (engine_refuse(&hs->engine)) {
		hs->state = HANDSHAKE_EXCHANGE;
		give_up(hs, EKEYREJECTED, "%s", hs->engine.why);
		return;
	}
	hs->error = EKEYREJECTED;
	engine_describe(&hs->engine, hs->want & KTLSD_WANT_CHAIN, &hs->outcome);
	hs->outcome.flags &= ~KTLSD_RESULT_VERIFIED;
	hs->state = HANDSHAKE_REFUSE;
	hs->deadline = hs->worker->now + CLOSE_DRAIN_MS;
	flush_refusal(hs);
}

static void decide(struct handshake *hs)
{
	enum engine_status status;

	if (hs->abort) {
		aborted(hs);
		return;
	}
	status = engine_decide(&hs->engine, &hs->verdict, hs->service->tickets);
	hs->state = HANDSHAKE_EXCHANGE;
	if (status == ENGINE_DONE)
		install(hs);
	else if (status == ENGINE_REFUSED)
		refuse(hs);
	else
		give_up(hs, EPROTO, "%s", hs->engine.why);
}

/* On a responder's thread. */
static void answered(struct ocsp_waiter *waiter, const struct ocsp_verdict *verdict, const uint8_t *der, size_t length)
{
	struct handshake *hs = (void *)((char *)waiter - offsetof(struct handshake, waiter));

	(void)der, (void)length;
	hs->verdict = *verdict;
	ring_post_from_outside(hs->worker->ring.ring_fd, tag(hs, OP_VERDICT));
}

static void hold(struct handshake *hs)
{
	const struct ocsp_settings *settings = &hs->service->policy.ocsp_settings;

	hs->state = HANDSHAKE_HOLD;
	hs->patience = hs->worker->now + settings->timeout_ms;
	hs->waiter.answered = answered;
	if (responder_ask(&hs->engine.verification.question, settings, &hs->waiter, &hs->verdict))
		decide(hs);
}

/* Nothing runs in the ring that could be canceled. An answer that is on its way is waited for. */
static void end_hold(struct handshake *hs)
{
	if (!responder_forget(&hs->waiter))
		return;
	ocsp_unusable(&hs->verdict, "the responder did not answer within %u ms",
		      hs->service->policy.ocsp_settings.timeout_ms);
	decide(hs);
}

/* With what was received. OpenSSL keeps what is left of a record that is longer than a buffer. */
static void step(struct handshake *hs, const uint8_t *input, size_t length)
{
	enum engine_status status;

	if (!hs->engine.ssl && !start_engine(hs)) {
		if (*hs->engine.why)
			give_up(hs, ENOKEY, "%s", hs->engine.why);
		else
			give_up(hs, ENOMEM, "OpenSSL can't begin a handshake");
		return;
	}
	status = engine_step(&hs->engine, input, length, &hs->discard);
	hs->sent = 0;
	if (status == ENGINE_WANTS_INPUT)
		exchange(hs);
	else if (status == ENGINE_DONE)
		install(hs);
	else if (status == ENGINE_UNDECIDED)
		hold(hs);
	else if (status == ENGINE_REFUSED)
		refuse(hs);
	else
		give_up(hs, hs->engine.verification.error ? EKEYREJECTED : EPROTO, "%s", hs->engine.why);
}

/* ---- the two ends ---- */

/*
 * The one socket option that is in the way: with it the kernel does not wake us for a short record. It is looked for only
 * when nothing has moved for a while; lowering it makes the kernel look again (tcp_set_rcvlowat).
 */
static void lower_low_water(struct handshake *hs)
{
	socklen_t length = sizeof(hs->low_water);
	int one = 1;

	if (hs->low_water != 0 || hs->worker->now - hs->moved < WORKER_SWEEP_MS)
		return;
	hs->low_water = 1;
	if (getsockopt(hs->fd, SOL_SOCKET, SO_RCVLOWAT, &hs->low_water, &length) == 0 && hs->low_water > 1)
		setsockopt(hs->fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof(one));
}

static void restore_low_water(struct handshake *hs)
{
	if (hs->low_water > 1)
		setsockopt(hs->fd, SOL_SOCKET, SO_RCVLOWAT, &hs->low_water, sizeof(hs->low_water));
}

bool handshake_closes_at_once(const struct handshake *hs)
{
	return hs->linger_known ? !hs->linger.l_onoff : admission_closes_at_once(hs->fd);
}

static void release_socket(struct handshake *hs)
{
	if (hs->keep_fd && !hs->error) {
		admission_settle(&hs->admission);
		return;
	}
	if (hs->keep_fd)
		dispose_accepted(hs->worker, hs->fd);
	else
		dispose(hs->worker, hs->admission.user, hs->fd, handshake_closes_at_once(hs));
	hs->fd = -1;
	admission_leave(&hs->admission);
}

static void finish(struct handshake *hs)
{
	struct worker *worker = hs->worker;
	struct service_usage *usage = hs->service->usage;

	restore_low_water(hs);
	release_socket(hs);
	OPENSSL_cleanse(&hs->keys, sizeof(hs->keys));
	engine_stop(&hs->engine);
	hs->state = HANDSHAKE_OVER;
	TAILQ_REMOVE(&worker->active, hs, active);
	atomic_fetch_sub_explicit(&worker->active_count, 1, memory_order_relaxed);
	stats_add(&worker->stats.in_flight, -1);
	atomic_fetch_add_explicit(hs->error ? &usage->failed : &usage->done, 1, memory_order_relaxed);
	stats_add(hs->error ? &worker->stats.failed : &worker->stats.done, 1);
	if (hs->error && hs->error < STATS_ERRORS)
		stats_add(&worker->stats.by_error[hs->error], 1);
	if (hs->home == worker)
		hs->door->answer(hs);
	else
		ring_post(&worker->ring, hs->home->ring.ring_fd, tag(hs, OP_ANSWER), tag(hs, OP_ANSWER_FAILED));
}

static void succeed(struct handshake *hs)
{
	const struct cipher_suite *suite = cipher_suite_find(hs->outcome.cipher);

	hs->outcome.flags |= KTLSD_RESULT_TX | KTLSD_RESULT_RX;
	stats_add(&hs->worker->stats.by_suite[suite - cipher_suites], 1);
	if (hs->outcome.flags & KTLSD_RESULT_RESUMED)
		stats_add(&hs->worker->stats.resumed, 1);
	log_line(LOG_DEBUG, "%016lx: service %s, %s%s", hs->connection_id, hs->service->name, suite->name,
		 hs->outcome.flags & KTLSD_RESULT_RESUMED ? ", resumed" : "");
	finish(hs);
}

static void die(struct handshake *hs)
{
	char address[INET6_ADDRSTRLEN];

	log_limited(LOG_NOTICE, "%016lx: service %s, peer %s: %s (%s)", hs->connection_id, hs->service->name,
		    admission_address(&hs->peer, address), hs->engine.why, strerrorname_np(hs->error));
	if (!hs->refused)
		shutdown(hs->fd, SHUT_RDWR);
	finish(hs);
}

/* Reads and drops what the peer still sends: unread data would turn our close into a reset, which eats the alert. */
static void drain(struct handshake *hs)
{
	struct io_uring_sqe *sqe;

	ring_reserve(&hs->worker->ring);
	if (hs->nonblocking)
		add_wait(hs, POLLIN);
	sqe = get(hs);
	io_uring_prep_recv(sqe, hs->fd, NULL, CLOSE_DRAIN_BYTES, MSG_TRUNC);
	ring_last(sqe, tag(hs, OP_DRAIN));
}

/* What the engine has left to say goes out, then our end of the stream. */
static void end_sending(struct handshake *hs)
{
	struct io_uring_sqe *sqe;

	ring_reserve(&hs->worker->ring);
	add_send(hs);
	sqe = get(hs);
	io_uring_prep_shutdown(sqe, hs->fd, SHUT_WR);
	ring_last(sqe, tag(hs, OP_SHUTDOWN));
}

/* Ends in a dead socket: at once, or after the alert that the engine left in its output was sent and could be read. */
static void give_up(struct handshake *hs, int error, const char *format, ...)
{
	va_list arguments;
	char why[sizeof(hs->engine.why)];

	va_start(arguments, format);
	vsnprintf(why, sizeof(why), format, arguments);
	va_end(arguments);
	memcpy(hs->engine.why, why, sizeof(why));
	hs->error = error;
	if (hs->engine.ssl && hs->state == HANDSHAKE_EXCHANGE) {
		outcome_clear(&hs->outcome);
		engine_describe(&hs->engine, hs->want & KTLSD_WANT_CHAIN, &hs->outcome);
		hs->outcome.flags &= ~KTLSD_RESULT_VERIFIED;
	}
	if (hs->state != HANDSHAKE_EXCHANGE || !hs->attached || hs->abort || hs->engine.alert_sent == KTLSD_NO_ALERT) {
		die(hs);
		return;
	}
	hs->state = HANDSHAKE_CLOSE;
	hs->deadline = hs->worker->now + CLOSE_DRAIN_MS;
	hs->discard = 0;
	end_sending(hs);
}

/* ---- completions ---- */

static void attach_failed(struct handshake *hs, int error)
{
	hs->refused = true;
	switch (error) {
	case EEXIST:
		give_up(hs, EEXIST, "the socket already has a ULP");
		return;
	case ENOTCONN:
		give_up(hs, ENOTCONN, "the connection is not open in both directions");
		return;
	case ENOENT:
		give_up(hs, EIO, "the kernel has no TLS (modprobe tls)");
		return;
	}
	if (admission_is_tcp(hs->fd))
		give_up(hs, EPROTONOSUPPORT, "the socket does not take the TLS ULP: %s", strerror(error));
	else
		give_up(hs, EPROTONOSUPPORT, "the socket is not TCP");
}

static void connection_failed(struct handshake *hs, int error)
{
	if (error == ECONNRESET || error == EPIPE)
		give_up(hs, ECONNRESET, "the peer reset the connection in the middle of the handshake");
	else
		give_up(hs, error, "%s", strerror(error));
}

/* Whatever stood in the chain before a member that ran went through. */
static void note_progress(struct handshake *hs)
{
	hs->attached = true;
	hs->discard = 0;
}

/* False if the connection is broken. Else what is left of the output waits for room. */
static bool sent_some(struct handshake *hs, int result)
{
	if (result < 0 && result != -EAGAIN) {
		connection_failed(hs, -result);
		return false;
	}
	note_progress(hs);
	hs->sent += result > 0 ? result : 0;
	hs->send_blocked = true;
	return true;
}

static void received(struct handshake *hs, int result, const uint8_t *input)
{
	note_progress(hs);
	hs->send_blocked = false;
	hs->engine.output_length = hs->sent = 0;
	if (result > 0) {
		step(hs, input, result);
	} else if (result == -ENOBUFS) {
		exchange(hs);
	} else if (result == 0) {
		give_up(hs, ECONNABORTED, "the peer closed the connection in the middle of the handshake");
	} else if (result == -EAGAIN) {
		hs->nonblocking = true;
		exchange(hs);
	} else {
		connection_failed(hs, -result);
	}
}

void handshake_send_plain_alert(int fd)
{
	static const uint8_t alert[] = {SSL3_RT_ALERT, 3, 1, 0, 2, SSL3_AL_FATAL, SSL_AD_INTERNAL_ERROR};

	if (send(fd, alert, sizeof(alert), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_line(LOG_DEBUG, "an alert for a client that is gone already: %s", strerror(errno));
}

static void aborted(struct handshake *hs)
{
	/* Later on, only OpenSSL could encrypt one. */
	if (hs->keep_fd && hs->abort != ETIMEDOUT && hs->state == HANDSHAKE_EXCHANGE && engine_is_silent(&hs->engine))
		handshake_send_plain_alert(hs->fd);
	if (hs->abort == ETIMEDOUT)
		give_up(hs, ETIMEDOUT, "the handshake took longer than %u ms", hs->timeout_ms);
	else if (hs->abort == ECANCELED)
		give_up(hs, ECANCELED, "canceled by the caller");
	else
		give_up(hs, ESHUTDOWN, "the agent stops");
}

static void exchange_completed(struct handshake *hs, enum operation operation, int result, const uint8_t *input)
{
	if (hs->abort)
		aborted(hs);
	else if (operation == OP_ATTACH)
		attach_failed(hs, -result);
	else if (operation == OP_RECEIVE)
		received(hs, result, input);
	else if (operation != OP_SEND)
		connection_failed(hs, result < 0 ? -result : EIO);
	else if (sent_some(hs, result))
		exchange(hs);
}

static void install_completed(struct handshake *hs, enum operation operation, int result)
{
	hs->linger_known = operation == OP_INSTALLED && result == sizeof(hs->linger);
	if (operation == OP_INSTALLED)
		result = install_complete(hs->fd, &hs->keys);
	if (operation == OP_INSTALLED && result == 0)
		succeed(hs);
	else if (operation == OP_INSTALLED || operation == OP_INSTALL)
		give_up(hs, EIO, "the kernel refused the keys: %s", strerror(-result));
	else if (hs->abort)
		aborted(hs);
	else if (operation != OP_SEND)
		connection_failed(hs, result < 0 ? -result : EIO);
	else if (sent_some(hs, result))
		submit_install(hs);
}

static void refuse_completed(struct handshake *hs, enum operation operation, int result)
{
	struct session_keys *keys = &hs->keys;

	if (hs->abort || (operation != OP_SEND && operation != OP_FLUSHED)) {
		die(hs);
		return;
	}
	if (operation == OP_SEND) {
		if (sent_some(hs, result))
			flush_refusal(hs);
		return;
	}
	if (engine_export_secrets(&hs->engine) && secrets_to_crypto_info(&hs->engine.secrets, &keys->tx, &keys->rx))
		install_last_words(hs->fd, keys, hs->engine.alert_sent);
	hs->state = HANDSHAKE_CLOSE;
	hs->engine.output_length = hs->sent = hs->discard = 0;
	end_sending(hs);
}

static void close_completed(struct handshake *hs, enum operation operation, int result)
{
	if (operation == OP_DRAIN && result == -EAGAIN)
		hs->nonblocking = true;
	else if (operation == OP_DRAIN && result > 0)
		hs->discard += result;
	else if (operation != OP_SHUTDOWN || result != 0) {
		die(hs);
		return;
	}
	if (hs->abort || hs->discard > CLOSE_DRAIN_BYTES)
		die(hs);
	else
		drain(hs);
}

static void run(struct handshake *hs)
{
	struct worker *worker = hs->worker;
	int error = install_complete_ulp(hs->fd);

	hs->attached = install_way() == INSTALL_SETSOCKOPT && error == 0;
	hs->moved = worker->now;
	hs->deadline = worker->now + hs->timeout_ms;
	TAILQ_INSERT_TAIL(&worker->active, hs, active);
	stats_add(&worker->stats.in_flight, 1);
	if (error)
		attach_failed(hs, -error);
	else if (hs->role == KTLSD_CLIENT)
		step(hs, NULL, 0); /* the ClientHello comes from us */
	else
		exchange(hs);
}

/* The ring of the worker that was to run it is full for the moment: it stays at home. */
static void run_at_home(struct handshake *hs)
{
	atomic_fetch_sub_explicit(&hs->worker->active_count, 1, memory_order_relaxed);
	hs->worker = hs->home;
	atomic_fetch_add_explicit(&hs->worker->active_count, 1, memory_order_relaxed);
	run(hs);
}

static void complete(struct completion *completion, unsigned int operation, int result, unsigned int flags)
{
	struct handshake *hs = (struct handshake *)completion;
	struct ring_buffers *buffers = &hs->worker->buffers;

	hs->moved = hs->worker->now;
	if (operation == OP_RUN)
		run(hs);
	else if (operation == OP_RUN_FAILED)
		run_at_home(hs);
	else if (operation == OP_ANSWER)
		hs->door->answer(hs);
	else if (operation == OP_ANSWER_FAILED) /* the home ring is full for the moment: again */
		ring_post(&hs->worker->ring, hs->home->ring.ring_fd, tag(hs, OP_ANSWER), tag(hs, OP_ANSWER_FAILED));
	else if (hs->state == HANDSHAKE_EXCHANGE)
		exchange_completed(hs, operation, result, ring_buffer(buffers, flags));
	else if (hs->state == HANDSHAKE_INSTALL)
		install_completed(hs, operation, result);
	else if (hs->state == HANDSHAKE_HOLD)
		decide(hs);
	else if (hs->state == HANDSHAKE_REFUSE)
		refuse_completed(hs, operation, result);
	else
		close_completed(hs, operation, result);
	if (flags & IORING_CQE_F_BUFFER)
		ring_buffer_return(buffers, flags);
}

void handshake_begin(struct handshake *hs)
{
	hs->completion.complete = complete;
	hs->state = HANDSHAKE_EXCHANGE;
	hs->engine.alert_sent = hs->engine.alert_received = KTLSD_NO_ALERT;
	hs->engine.why[0] = '\0';
	hs->worker = worker_least_busy(hs->home);
	atomic_fetch_add_explicit(&hs->worker->active_count, 1, memory_order_relaxed);
	if (hs->worker == hs->home)
		run(hs);
	else
		ring_post(&hs->home->ring, hs->worker->ring.ring_fd, tag(hs, OP_RUN), tag(hs, OP_RUN_FAILED));
}

void handshake_cancel(struct handshake *hs)
{
	atomic_store(&hs->canceled, true);
}

static int reason_to_abort(const struct worker *worker, const struct handshake *hs)
{
	if (atomic_load_explicit(&hs->canceled, memory_order_relaxed))
		return ECANCELED;
	if (worker->now >= hs->deadline)
		return ETIMEDOUT;
	return worker->stopping ? ESHUTDOWN : 0;
}

void handshake_sweep(struct worker *worker)
{
	struct handshake *hs, *next;

	for (hs = TAILQ_FIRST(&worker->active); hs; hs = next) {
		next = TAILQ_NEXT(hs, active); /* a held one may end here */
		if (!hs->abort)
			hs->abort = reason_to_abort(worker, hs);
		if (hs->state == HANDSHAKE_HOLD && (hs->abort || worker->now >= hs->patience))
			end_hold(hs);
		else if (hs->abort)
			ring_cancel(&worker->ring, hs->fd);
		else
			lower_low_water(hs);
	}
}
