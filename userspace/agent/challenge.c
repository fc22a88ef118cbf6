/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "caller.h"
#include "challenge.h"
#include "intake.h"
#include "log.h"
#include "peer.h"
#include "proof.h"

/* ---- the question ---- */

static const char wrong_service[] = "the challenge does not name one service, by 1 to 63 bytes without a NUL";
static const char wrong_nonce[] = "the challenge does not have one nonce, of 16 to 64 bytes";

static int take_attribute(struct challenge *challenge, const struct attribute *attribute, const char **why)
{
	switch (attribute->type) {
	case KTLSD_ATTR_SERVICE:
		*why = wrong_service;
		if (*challenge->service_name ||
		    !attribute_text(attribute, challenge->service_name, sizeof(challenge->service_name)))
			return EINVAL;
		return 0;
	case KTLSD_ATTR_NONCE:
		*why = wrong_nonce;
		if (challenge->nonce_length || attribute->length < KTLSD_NONCE_MIN ||
		    attribute->length > KTLSD_NONCE_MAX)
			return EINVAL;
		memcpy(challenge->nonce, attribute->value, attribute->length);
		challenge->nonce_length = attribute->length;
		return 0;
	}
	*why = "the challenge has an attribute that this agent does not know";
	return EINVAL;
}

int challenge_parse(struct challenge *challenge, const struct ktlsd_msg_header *message, const char **why)
{
	const struct ktlsd_msg_challenge *body = (const void *)message;
	struct attribute_reader reader;
	struct attribute attribute;

	*why = "the challenge message is too short";
	if (!attributes_begin(&reader, message, sizeof(*body)))
		return EINVAL;
	while (attributes_next(&reader, &attribute)) {
		if (take_attribute(challenge, &attribute, why) != 0)
			return EINVAL;
	}
	if (reader.malformed)
		*why = "an attribute's length does not fit its message";
	else if (message->reserved || body->error || body->scheme || body->reserved)
		*why = "a reserved field is not zero";
	else if (!*challenge->service_name)
		*why = wrong_service;
	else if (!challenge->nonce_length)
		*why = wrong_nonce;
	else
		return 0;
	return EINVAL;
}

/* Nobody is let in by being root, or by being allowed handshakes. */
static int admit(struct challenge *challenge, const char **why)
{
	const struct caller *caller = challenge->caller;
	struct config *config = caller->door->worker->config;

	*why = "the agent is about to stop";
	if (caller->door->draining)
		return ESHUTDOWN;
	challenge->service = config_service(config, challenge->service_name);
	*why = "there is no such service in the agent's configuration";
	if (!challenge->service)
		return ENOENT;
	*why = "the service does not name the caller's user in allow_challenge";
	if (!service_may_challenge(challenge->service, caller->owner.user))
		return EACCES;
	*why = "busy: too many challenges of this caller wait for their turn";
	if (caller->challenge_count >= CHALLENGES_MAX)
		return EBUSY;
	*why = "busy: max_handshakes_per_caller are in flight";
	if (caller->open_count >= config->settings->max_handshakes_per_caller)
		return EBUSY;
	challenge->config = config_get(config);
	return 0;
}

/* ---- the turns ---- */

static void answer(struct challenge *challenge)
{
	struct caller *caller = challenge->caller;
	struct stats *stats = &caller->door->worker->stats;

	stats_add(challenge->error ? &stats->challenges_refused : &stats->challenges, 1);
	if (challenge->error)
		log_limited(LOG_NOTICE, "challenge by user %u, process %d, is refused: %s", caller->owner.user,
			    caller->owner.pid, challenge->why);
	else
		log_limited(LOG_INFO, "service %s: possession of its key is proved to user %u, process %d",
			    challenge->service->name, caller->owner.user, caller->owner.pid);
	TAILQ_INSERT_TAIL(&caller->proofs, challenge, entry);
	caller->answer_count++;
	caller->touched = true;
}

static void leave_queue(struct challenges *challenges, struct challenge *challenge)
{
	TAILQ_REMOVE(&challenges->waiting, challenge, entry);
	challenge->caller->challenge_count--;
	challenge->caller->open_count--;
	challenge->caller->touched = true;
}

/* An operation that does nothing: with its completion the worker comes by here again, after all that is due before. */
static void ask_for_turn(struct challenges *challenges)
{
	struct io_uring_sqe *sqe;

	if (challenges->turn_due || TAILQ_EMPTY(&challenges->waiting))
		return;
	ring_reserve(&challenges->worker->ring);
	sqe = io_uring_get_sqe(&challenges->worker->ring);
	io_uring_prep_nop(sqe);
	ring_last(sqe, ring_tag(&challenges->completion, 0));
	challenges->turn_due = true;
}

static void sign(struct challenge *challenge)
{
	const struct service *service = challenge->service;
	struct proof proof = {.service = service->name,
			      .nonce = challenge->nonce,
			      .nonce_length = challenge->nonce_length,
			      .certificate = sk_X509_value(service->chain, 0)};

	challenge->signature_length = EVP_PKEY_get_size(service->key);
	challenge->signature = intake_zeroed(challenge->signature_length);
	challenge->scheme = proof_scheme_for(proof.certificate)->id;
	if (proof_sign(&proof, service->key, challenge->signature, &challenge->signature_length))
		return;
	challenge->error = EIO;
	challenge->why = "OpenSSL can't sign with the service's key";
}

static void turn(struct completion *completion, unsigned int operation, int result, unsigned int flags)
{
	struct challenges *challenges = (struct challenges *)completion;
	struct challenge *challenge = TAILQ_FIRST(&challenges->waiting);

	(void)operation, (void)result, (void)flags;
	challenges->turn_due = false;
	if (!challenge)
		return;
	leave_queue(challenges, challenge);
	sign(challenge);
	answer(challenge);
	ask_for_turn(challenges);
}

void challenges_init(struct challenges *challenges, struct worker *worker)
{
	challenges->completion.complete = turn;
	challenges->worker = worker;
	TAILQ_INIT(&challenges->waiting);
}

void challenge_take(struct caller *caller, const struct ktlsd_msg_header *message)
{
	struct challenges *challenges = &caller->door->challenges;
	struct challenge *challenge = intake_zeroed(sizeof(*challenge));

	challenge->caller = caller;
	challenge->cookie = message->cookie;
	challenge->error = challenge_parse(challenge, message, &challenge->why);
	if (!challenge->error)
		challenge->error = admit(challenge, &challenge->why);
	if (challenge->error) {
		answer(challenge);
		return;
	}
	TAILQ_INSERT_TAIL(&challenges->waiting, challenge, entry);
	caller->challenge_count++;
	caller->open_count++;
	ask_for_turn(challenges);
}

void challenges_forget(struct caller *caller)
{
	struct challenges *challenges = &caller->door->challenges;
	struct challenge *challenge, *next;

	for (challenge = TAILQ_FIRST(&challenges->waiting); challenge; challenge = next) {
		next = TAILQ_NEXT(challenge, entry);
		if (challenge->caller != caller)
			continue;
		leave_queue(challenges, challenge);
		challenge_free(challenge);
	}
}

/* ---- the answer ---- */

static void write_answer(const struct challenge *challenge, int error, const char *why,
			 struct datagram_writer *datagram)
{
	struct ktlsd_msg_challenge *message =
		message_begin(datagram, KTLSD_MSG_CHALLENGE, sizeof(*message), challenge->cookie);

	if (message) {
		message->error = error;
		message->scheme = error ? 0 : challenge->scheme;
	}
	if (error)
		message_text(datagram, KTLSD_ATTR_ERROR, why);
	else
		message_attribute(datagram, KTLSD_ATTR_SIGNATURE, challenge->signature, challenge->signature_length);
}

bool challenge_write(const struct challenge *challenge, struct datagram_writer *datagram, int *chain_fd)
{
	struct datagram_writer before = *datagram;

	*chain_fd = -1;
	if (!challenge->error)
		*chain_fd = peer_write_chain(challenge->service->chain, challenge->cookie, datagram);
	if (challenge->error)
		write_answer(challenge, challenge->error, challenge->why, datagram);
	else if (*chain_fd >= 0)
		write_answer(challenge, 0, NULL, datagram);
	else /* where there is no room for the chain, there is none for this either */
		write_answer(challenge, ENOMEM, "no memory or no descriptor for the chain", datagram);
	if (message_end(datagram))
		return true;
	if (*chain_fd >= 0)
		close(*chain_fd);
	*chain_fd = -1;
	*datagram = before;
	return false;
}

void challenge_free(struct challenge *challenge)
{
	config_put(challenge->config);
	free(challenge->signature);
	free(challenge);
}
