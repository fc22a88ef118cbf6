/* SPDX-License-Identifier: MIT */
/* Somebody who asks the responder of ocsp_server.h through the agent's code. */
#ifndef TESTS_OCSP_ASKER_H
#define TESTS_OCSP_ASKER_H

#include <semaphore.h>

#include "ocsp_server.h"
#include "x509/responder.h"

struct asker {
	struct ocsp_waiter waiter;
	sem_t told;
	_Atomic unsigned int times;
	struct ocsp_verdict verdict;
	size_t length; /* of the response */
	bool at_once;
};

static inline struct ocsp_settings settings_for(const char *path)
{
	return (struct ocsp_settings){
		.responder = at(path), .timeout_ms = 2000, .refresh = 3600, .leeway = 5, .nonce = true};
}

static inline void told(struct ocsp_waiter *waiter, const struct ocsp_verdict *verdict, const uint8_t *der,
			size_t length)
{
	struct asker *asker = (struct asker *)waiter;

	asker->verdict = *verdict;
	asker->length = der ? length : 0;
	asker->times++;
	sem_post(&asker->told);
}

static inline void begin(struct asker *asker, long serial, const struct ocsp_settings *settings)
{
	struct authority about = leaf(serial);
	struct ocsp_question question = ocsp_question(about.certificate, root.certificate);

	memset(asker, 0, sizeof(*asker));
	sem_init(&asker->told, 0, 0);
	asker->waiter.answered = told;
	asker->at_once = responder_ask(&question, settings, &asker->waiter, &asker->verdict);
	free_authority(&about, false);
}

static inline bool wait_for(struct asker *asker)
{
	struct timespec until;

	if (asker->at_once)
		return true;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	return sem_timedwait(&asker->told, &until) == 0;
}

static inline struct asker ask(long serial, const struct ocsp_settings *settings)
{
	struct asker asker;

	begin(&asker, serial, settings);
	must(wait_for(&asker));
	return asker;
}

static inline bool known(long serial, const struct ocsp_settings *settings, struct ocsp_verdict *verdict)
{
	struct authority about = leaf(serial);
	struct ocsp_question question = ocsp_question(about.certificate, root.certificate);
	bool is = responder_known(&question, settings, time(NULL), verdict);

	free_authority(&about, false);
	return is;
}

#endif
