/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "../log.h"
#include "kept.h"
#include "moment.h"
#include "responder.h"
#include "staple.h"

#define NEVER INT64_MAX

enum staple_state { FETCHING, HELD, FAILING, REVOKED }; /* what was logged last */

struct staple {
	struct ocsp_waiter waiter;
	struct ocsp_question question;
	struct ocsp_settings settings;
	char *responder;				 /* what settings has */
	char name[OCSP_NAME_MAX + OCSP_SERIAL_MAX + 16]; /* for the log */
	TAILQ_ENTRY(staple) next;

	/* all_lock */
	unsigned int references;
	bool asked;  /* its waiter waits, or is being told */
	int64_t due; /* CLOCK_MONOTONIC, seconds */
	enum staple_state state;
	unsigned int retry; /* seconds */

	pthread_mutex_t lock; /* what handshakes read */
	uint8_t *der;	      /* NULL: none */
	size_t length;
	struct ocsp_verdict verdict; /* of der */
	time_t until;
	char fault[OCSP_TEXT_MAX]; /* why the last attempt failed; "": it did not */
};

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t change; /* on CLOCK_MONOTONIC */
static TAILQ_HEAD(, staple) all = TAILQ_HEAD_INITIALIZER(all);
static pthread_t fetcher;
static bool started, fetching, stopping;

static int64_t clock_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

/* ---- what is held ---- */

/* Leeway is for our own clock: to clients a response is good until nextUpdate and not a second more. */
static time_t end_of(const struct ocsp_verdict *verdict)
{
	return verdict->next_update && verdict->next_update < verdict->use_until ? verdict->next_update
										 : verdict->use_until;
}

/* Takes over der. */
static void hold(struct staple *staple, uint8_t *der, size_t length, const struct ocsp_verdict *verdict)
{
	uint8_t *before;

	pthread_mutex_lock(&staple->lock);
	before = staple->der;
	staple->der = der;
	staple->length = length;
	staple->verdict = *verdict;
	staple->until = end_of(verdict);
	staple->fault[0] = '\0';
	pthread_mutex_unlock(&staple->lock);
	OPENSSL_free(before);
}

uint8_t *staple_copy(struct staple *staple, time_t now, size_t *length)
{
	uint8_t *copy = NULL;

	pthread_mutex_lock(&staple->lock);
	if (staple->der && staple->until > now) {
		copy = OPENSSL_memdup(staple->der, staple->length);
		*length = staple->length;
	}
	pthread_mutex_unlock(&staple->lock);
	return copy;
}

void staple_describe(struct staple *staple, time_t now, char text[static STAPLE_TEXT_MAX])
{
	char until[MOMENT_TEXT];
	const char *what = "none yet";

	pthread_mutex_lock(&staple->lock);
	moment_text(staple->until, until);
	if (staple->der)
		what = staple->until > now ? staple->verdict.text : "none any more";
	snprintf(text, STAPLE_TEXT_MAX, "%s%s%s%s%s", what, staple->der ? "; until " : "", staple->der ? until : "",
		 *staple->fault ? "; last attempt: " : "", staple->fault);
	pthread_mutex_unlock(&staple->lock);
}

/* ---- what a response means; all_lock is held ---- */

static int64_t half_of(time_t left)
{
	return left > 2 ? left / 2 : 1;
}

static void enter(struct staple *staple, enum staple_state state, const char *text)
{
	enum staple_state before = staple->state;
	char until[MOMENT_TEXT];

	staple->state = state;
	if (state == before)
		return;
	if (state == REVOKED)
		log_line(LOG_ERR, "OUR CERTIFICATE %s IS REVOKED: %s; clients that check refuse it: replace it",
			 staple->name, text);
	else if (state == FAILING)
		log_line(LOG_WARNING,
			 "no new OCSP response to staple for %s: %s; the one that is there is good until %s",
			 staple->name, text, staple->der ? moment_text(staple->until, until) : "(none is)");
	else
		log_line(before == FETCHING ? LOG_DEBUG : LOG_INFO, "OCSP response to staple for %s: %s", staple->name,
			 text);
}

static void fail(struct staple *staple, const char *text)
{
	pthread_mutex_lock(&staple->lock);
	snprintf(staple->fault, sizeof(staple->fault), "%s", text);
	pthread_mutex_unlock(&staple->lock);
	staple->due = clock_seconds() + staple->retry + 1; /* this second has begun, and a responder has its back-off */
	staple->retry = staple->retry * 2 < STAPLE_RETRY_LAST ? staple->retry * 2 : STAPLE_RETRY_LAST;
	enter(staple, FAILING, text);
}

static void take(struct staple *staple, const struct ocsp_verdict *verdict, const uint8_t *der, size_t length)
{
	bool revoked = verdict->answer == OCSP_ANSWER_REVOKED, good = verdict->answer == OCSP_ANSWER_GOOD;
	time_t left = end_of(verdict) - time(NULL);
	uint8_t *copy = der && (good || revoked) && left > 0 ? OPENSSL_memdup(der, length) : NULL;

	if (!copy) {
		fail(staple, verdict->text);
		return;
	}
	hold(staple, copy, length, verdict);
	staple->retry = STAPLE_RETRY_FIRST;
	staple->due = clock_seconds() + half_of(left);
	enter(staple, revoked ? REVOKED : HELD, verdict->text);
}

static struct staple *of_waiter(struct ocsp_waiter *waiter)
{
	return (struct staple *)((char *)waiter - offsetof(struct staple, waiter));
}

static void free_staple(struct staple *staple)
{
	pthread_mutex_destroy(&staple->lock);
	OPENSSL_free(staple->der);
	X509_free(staple->question.certificate);
	X509_free(staple->question.issuer);
	free(staple->responder);
	free(staple);
}

/* On a responder's thread. */
static void answered(struct ocsp_waiter *waiter, const struct ocsp_verdict *verdict, const uint8_t *der, size_t length)
{
	struct staple *staple = of_waiter(waiter);
	bool gone;

	pthread_mutex_lock(&all_lock);
	staple->asked = false;
	gone = staple->references == 0;
	if (!gone)
		take(staple, verdict, der, length);
	pthread_cond_signal(&change);
	pthread_mutex_unlock(&all_lock);
	if (gone)
		free_staple(staple);
}

/* ---- fetching ---- */

static struct staple *first_due(void)
{
	struct staple *staple, *first = NULL;

	TAILQ_FOREACH(staple, &all, next) {
		if (!staple->asked && (!first || staple->due < first->due))
			first = staple;
	}
	return first;
}

/* all_lock is let go while the responder is asked; `asked` keeps the staple alive. */
static void fetch(struct staple *staple)
{
	struct ocsp_verdict verdict;
	bool at_once;

	staple->asked = true;
	pthread_mutex_unlock(&all_lock);
	at_once = responder_ask(&staple->question, &staple->settings, &staple->waiter, &verdict);
	if (at_once)
		answered(&staple->waiter, &verdict, NULL, 0);
	pthread_mutex_lock(&all_lock);
}

static void *fetch_all(void *argument)
{
	struct staple *staple;

	(void)argument;
	pthread_mutex_lock(&all_lock);
	while (!stopping) {
		staple = first_due();
		if (staple && staple->due <= clock_seconds()) {
			fetch(staple);
		} else if (staple) {
			struct timespec until = {.tv_sec = staple->due};

			pthread_cond_timedwait(&change, &all_lock, &until);
		} else {
			pthread_cond_wait(&change, &all_lock);
		}
	}
	pthread_mutex_unlock(&all_lock);
	return NULL;
}

/* With all signals blocked: they are the main thread's. */
static void start_fetching(void)
{
	pthread_condattr_t monotonic;
	sigset_t every, before;
	static bool ready; /* and it stays: a responder's thread may still have something to signal */
	int error;

	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	if (!ready)
		pthread_cond_init(&change, &monotonic);
	ready = true;
	pthread_condattr_destroy(&monotonic);
	sigfillset(&every);
	pthread_sigmask(SIG_SETMASK, &every, &before);
	error = pthread_create(&fetcher, NULL, fetch_all, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		log_fatal("no thread to fetch OCSP responses: %s", strerror(error));
	fetching = true;
}

void staple_stop(void)
{
	pthread_mutex_lock(&all_lock);
	stopping = true;
	if (fetching)
		pthread_cond_signal(&change);
	pthread_mutex_unlock(&all_lock);
	if (fetching)
		pthread_join(fetcher, NULL);
	fetching = stopping = false;
}

/* ---- who wants one ---- */

static struct staple *find(const struct ocsp_question *question, const struct ocsp_settings *settings)
{
	struct staple *staple;

	TAILQ_FOREACH(staple, &all, next) {
		if (memcmp(staple->question.digest, question->digest, sizeof(question->digest)) == 0 &&
		    ocsp_settings_equal(&staple->settings, settings))
			return staple;
	}
	return NULL;
}

static void take_kept(struct staple *staple)
{
	struct ocsp_received received = {.from = "the response that was kept"};
	struct ocsp_verdict verdict;
	time_t now = time(NULL), written;
	uint8_t *der;

	if (!kept_read(staple->question.digest, &der, &received.length, &written))
		return;
	received.der = der;
	ocsp_check(&staple->question, &staple->settings, &received, now, &verdict);
	if (verdict.answer == OCSP_ANSWER_GOOD || verdict.answer == OCSP_ANSWER_REVOKED)
		take(staple, &verdict, der, received.length);
	staple->due = 0; /* it may have been revoked since */
	OPENSSL_free(der);
}

static struct staple *new_staple(const struct ocsp_question *question, const struct ocsp_settings *settings)
{
	struct staple *staple = calloc(1, sizeof(*staple));
	char serial[OCSP_SERIAL_MAX], subject[OCSP_NAME_MAX];

	if (!staple)
		log_fatal("out of memory");
	staple->waiter.answered = answered;
	staple->question = *question;
	X509_up_ref(question->certificate);
	X509_up_ref(question->issuer);
	staple->settings = *settings;
	if (settings->responder) {
		staple->responder = strdup(settings->responder);
		if (!staple->responder)
			log_fatal("out of memory");
		staple->settings.responder = staple->responder;
	}
	ocsp_serial(X509_get0_serialNumber(question->certificate), serial);
	snprintf(staple->name, sizeof(staple->name), "%s (serial %s)", ocsp_subject(question->certificate, subject),
		 serial);
	staple->retry = STAPLE_RETRY_FIRST;
	pthread_mutex_init(&staple->lock, NULL);
	if (started)
		take_kept(staple);
	return staple;
}

void staple_start(void)
{
	struct staple *staple;

	pthread_mutex_lock(&all_lock);
	started = true;
	TAILQ_FOREACH(staple, &all, next)
		take_kept(staple);
	if (!TAILQ_EMPTY(&all) && !fetching)
		start_fetching();
	pthread_mutex_unlock(&all_lock);
}

struct staple *staple_get(X509 *certificate, X509 *issuer, const struct ocsp_settings *settings, const char **why)
{
	struct ocsp_question question = ocsp_question(certificate, issuer);
	struct ocsp_settings fresh = *settings;
	char address[OCSP_URL_MAX];
	struct staple *staple;

	fresh.refresh = 0; /* nothing that the responders' cache has is new enough: it has no bytes to staple */
	if (!settings->responder && !ocsp_responder(certificate, address, why))
		return NULL;
	pthread_mutex_lock(&all_lock);
	if (started && !fetching)
		start_fetching();
	staple = find(&question, &fresh);
	if (!staple) {
		staple = new_staple(&question, &fresh);
		TAILQ_INSERT_TAIL(&all, staple, next);
		if (fetching)
			pthread_cond_signal(&change);
	}
	staple->references++;
	pthread_mutex_unlock(&all_lock);
	return staple;
}

void staple_put(struct staple *staple)
{
	bool last;

	if (!staple)
		return;
	pthread_mutex_lock(&all_lock);
	last = --staple->references == 0;
	if (last) {
		TAILQ_REMOVE(&all, staple, next);
		last = !staple->asked; /* else answered() frees it */
	}
	pthread_mutex_unlock(&all_lock);
	if (last)
		free_staple(staple);
}
