/* SPDX-License-Identifier: MIT */
/*
 * Asks OCSP responders, on threads of its own, and remembers what they said: in memory (verdicts.h), and over restarts if
 * there is a folder for it (kept.h). Any thread may call.
 *
 * Whom it connects to stands in certificates: ask only about certificates whose issuer is trusted, or anybody could have
 * the agent send requests to hosts of his choice. Only http://, no redirections, no proxy.
 *
 * A verdict is good until its own end, or until the settings' refresh interval is over: then the responder is asked again,
 * so a revocation is noticed within one interval. A certificate that was revoked stays so until an answer that is younger
 * says otherwise, whether the responder can be reached or not.
 */
#ifndef AGENT_RESPONDER_H
#define AGENT_RESPONDER_H

#include <sys/queue.h>

#include "ocsp.h"

#define RESPONDER_THREADS 8 /* started when they are needed */
#define RESPONDER_SHARE 4   /* of the threads for one address, so that a slow responder does not hold up the others */
#define RESPONDER_QUESTIONS 16384  /* under way, or failed a moment ago */
#define RESPONDER_BACK_OFF_MS 5000 /* after a failure, nobody is asked the same again for so long */

struct inquiry;

struct ocsp_waiter { /* part of whatever waits */
	/*
	 * Called once, on another thread, which it must not hold up: no lock is held. der: the response, for as long as the
	 * call takes; NULL if the verdict is none of a response.
	 */
	void (*answered)(struct ocsp_waiter *waiter, const struct ocsp_verdict *verdict, const uint8_t *der,
			 size_t length);
	struct inquiry *inquiry; /* responder.c's */
	TAILQ_ENTRY(ocsp_waiter) next;
};

/* What is known, asking nobody: no wait, no I/O. */
bool responder_known(const struct ocsp_question *question, const struct ocsp_settings *settings, time_t now,
		     struct ocsp_verdict *verdict);

/*
 * True: *verdict is there at once, because it is known, or because nobody can be asked (the text says why). Else
 * waiter->answered is called, unless responder_forget() says true before. The same question, asked with the same settings
 * by several, is asked once. Certificates are referenced, settings copied.
 */
bool responder_ask(const struct ocsp_question *question, const struct ocsp_settings *settings,
		   struct ocsp_waiter *waiter, struct ocsp_verdict *verdict);

/*
 * After responder_ask() said false. True: answered() will not be called. False: it was or is being called, and what it
 * does is to be waited for before the waiter may go.
 */
bool responder_forget(struct ocsp_waiter *waiter);

/* Stops what runs, calls all who wait (unusable), forgets everything. Waits for a name's lookup that is under way. */
void responder_stop(void);

#endif
