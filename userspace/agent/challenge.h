/* SPDX-License-Identifier: MIT */
/*
 * Proof of possession (proof.h) for a caller that a service names in allow_challenge: KTLSD_MSG_CHALLENGE in, with a nonce,
 * KTLSD_MSG_CHALLENGE out, with a signature, and the service's chain in front of it. A signature keeps a worker busy, so
 * they are made one a turn, between which everything else has its own.
 */
#ifndef AGENT_CHALLENGE_H
#define AGENT_CHALLENGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "../lib/message.h"
#include "config.h"
#include "ring.h"

#define CHALLENGES_MAX 16 /* that wait, per caller */

struct caller;
struct worker;

struct challenge {
	TAILQ_ENTRY(challenge) entry; /* in the worker's waiting ones, then in the caller's answers */
	struct caller *caller;
	uint64_t cookie;
	char service_name[64];
	uint8_t nonce[KTLSD_NONCE_MAX];
	size_t nonce_length;
	struct config *config; /* a reference: keeps service alive */
	const struct service *service;
	int error; /* 0 or positive errno */
	const char *why;
	uint16_t scheme;
	uint8_t *signature;
	size_t signature_length;
};

TAILQ_HEAD(challenge_list, challenge);

struct challenges { /* those that wait on a worker */
	struct completion completion;
	struct worker *worker;
	struct challenge_list waiting;
	bool turn_due;
};

void challenges_init(struct challenges *challenges, struct worker *worker);

/* Reads a message. 0 or a positive errno with *why. Pure. */
int challenge_parse(struct challenge *challenge, const struct ktlsd_msg_header *message, const char **why);

/* Has it wait for its turn, or queues the answer that says why not. */
void challenge_take(struct caller *caller, const struct ktlsd_msg_header *message);

/* A caller is gone: those of it that wait. */
void challenges_forget(struct caller *caller);

/*
 * Writes the answer, with the chain before it (*chain_fd, else -1). False if it does not fit behind what is in the datagram
 * already, which is then unchanged.
 */
bool challenge_write(const struct challenge *challenge, struct datagram_writer *datagram, int *chain_fd);
void challenge_free(struct challenge *challenge);

#endif
