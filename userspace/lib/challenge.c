/* SPDX-License-Identifier: MIT */
/* Proof of possession: a nonce to the agent, a signature and a chain back. To verify them takes more than libc. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "connection.h"

#define ANSWER_MS 10000

static int send_challenge(struct ktlsd *agent, const char *service, const void *nonce, size_t nonce_length)
{
	struct datagram_writer datagram = {.data = agent->outbound, .size = sizeof(agent->outbound)};

	message_begin(&datagram, KTLSD_MSG_CHALLENGE, sizeof(struct ktlsd_msg_challenge), 0);
	message_text(&datagram, KTLSD_ATTR_SERVICE, service);
	message_attribute(&datagram, KTLSD_ATTR_NONCE, nonce, nonce_length);
	if (!message_end(&datagram))
		return -EMSGSIZE;
	return connection_send(agent, &datagram, NULL, 0);
}

static int read_error(const struct ktlsd_msg_header *header, char *why, size_t why_size)
{
	struct attribute_reader reader;
	struct attribute attribute;

	if (!attributes_begin(&reader, header, sizeof(struct ktlsd_msg_challenge)))
		return -EBADMSG;
	while (attributes_next(&reader, &attribute))
		if (attribute.type == KTLSD_ATTR_ERROR && why)
			attribute_text(&attribute, why, why_size);
	return -(int)((const struct ktlsd_msg_challenge *)header)->error;
}

static int read_signature(const struct ktlsd_msg_header *header, struct ktlsd_proof *proof)
{
	struct attribute_reader reader;
	struct attribute attribute;

	attributes_begin(&reader, header, sizeof(struct ktlsd_msg_challenge));
	while (attributes_next(&reader, &attribute)) {
		if (attribute.type != KTLSD_ATTR_SIGNATURE || attribute.length > sizeof(proof->signature))
			continue;
		memcpy(proof->signature, attribute.value, attribute.length);
		proof->signature_length = attribute.length;
	}
	proof->scheme = ((const struct ktlsd_msg_challenge *)header)->scheme;
	return proof->signature_length > 0 && proof->chain ? 0 : -EBADMSG;
}

static int read_answer(struct ktlsd *agent, struct ktlsd_proof *proof, char *why, size_t why_size)
{
	const struct ktlsd_msg_header *header = connection_answer(agent, 0, ANSWER_MS);
	int fd, err;

	if (header && header->type == KTLSD_MSG_CHAIN && header->length >= sizeof(struct ktlsd_msg_chain)) {
		fd = inbound_take_fd(&agent->inbound);
		proof->chain_length = ((const struct ktlsd_msg_chain *)header)->bytes;
		proof->chain = chain_map(fd, proof->chain_length);
		if (fd >= 0)
			close(fd);
		header = message_next(&agent->inbound.reader);
	}
	if (!header)
		return -ETIMEDOUT;
	if (header->type == KTLSD_MSG_RESULT) {
		err = connection_refusal(header, why, why_size);
		return err < 0 ? err : -EBADMSG;
	}
	if (header->type != KTLSD_MSG_CHALLENGE)
		return -EBADMSG;
	err = read_error(header, why, why_size);
	if (err < 0)
		return err;
	return read_signature(header, proof);
}

static int ask(const char *service, const void *nonce, size_t nonce_length, struct ktlsd_proof *proof, char *why,
	       size_t why_size)
{
	struct ktlsd *agent;
	int err;

	err = ktlsd_open(&agent, NULL);
	if (err < 0)
		return err;
	err = send_challenge(agent, service, nonce, nonce_length);
	if (err == 0)
		err = read_answer(agent, proof, why, why_size);
	ktlsd_close(agent);
	return err;
}

int ktlsd_challenge(const char *service, const void *nonce, size_t nonce_length, struct ktlsd_proof *proof, char *why,
		    size_t why_size)
{
	int err;

	*proof = (struct ktlsd_proof){0};
	if (why && why_size > 0)
		*why = '\0';
	err = ask(service, nonce, nonce_length, proof, why, why_size);
	if (err < 0) {
		ktlsd_proof_clear(proof);
		if (why && why_size > 0 && !*why)
			snprintf(why, why_size, "no proof from the agent: %s", strerror(-err));
	}
	return err;
}

void ktlsd_proof_clear(struct ktlsd_proof *proof)
{
	if (proof->chain)
		munmap((void *)proof->chain, proof->chain_length);
	*proof = (struct ktlsd_proof){0};
}
