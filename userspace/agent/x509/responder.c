/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../clock.h"
#include "../log.h"
#include "http.h"
#include "kept.h"
#include "responder.h"
#include "verdicts.h"

#define BUCKETS 1024 /* a power of two */
#define STACK_SIZE (1 << 20)

enum inquiry_state { QUEUED, RUNNING, FAILED };

TAILQ_HEAD(waiter_list, ocsp_waiter);

struct inquiry { /* a question on its way, or one that failed a moment ago */
	struct ocsp_question question;
	struct ocsp_settings settings; /* responder: the address, wherever it comes from */
	bool address_of_settings;
	char address[OCSP_URL_MAX];
	enum inquiry_state state;
	int64_t failed_until; /* CLOCK_MONOTONIC, milliseconds */
	struct ocsp_verdict verdict;
	uint8_t *der;
	size_t length;
	struct waiter_list waiters;
	LIST_ENTRY(inquiry) bucket;
	TAILQ_ENTRY(inquiry) next; /* in the list of its state */
};

TAILQ_HEAD(inquiry_list, inquiry);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;
static LIST_HEAD(, inquiry) buckets[BUCKETS];
static struct inquiry_list queue = TAILQ_HEAD_INITIALIZER(queue), running = TAILQ_HEAD_INITIALIZER(running),
			   failed = TAILQ_HEAD_INITIALIZER(failed);
static struct inquiry_list *const lists[] = {[QUEUED] = &queue, [RUNNING] = &running, [FAILED] = &failed};
static unsigned int inquiries, queued;
static pthread_t threads[RESPONDER_THREADS];
static unsigned int thread_count, idle;
static bool stopping;
static int stop_event = -1;

/* ---- inquiries; the lock is held ---- */

static unsigned int bucket_of(const struct ocsp_question *question)
{
	return (question->digest[0] << 8 | question->digest[1]) & (BUCKETS - 1);
}

static bool same_settings(const struct inquiry *inquiry, const struct ocsp_settings *settings)
{
	struct ocsp_settings own = inquiry->settings;

	if (!inquiry->address_of_settings)
		own.responder = NULL;
	return ocsp_settings_equal(&own, settings);
}

static struct inquiry *find(const struct ocsp_question *question, const struct ocsp_settings *settings)
{
	struct inquiry *inquiry;

	LIST_FOREACH(inquiry, &buckets[bucket_of(question)], bucket)
	{
		if (memcmp(inquiry->question.digest, question->digest, sizeof(question->digest)) == 0 &&
		    same_settings(inquiry, settings))
			return inquiry;
	}
	return NULL;
}

static struct inquiry *new_inquiry(const struct ocsp_question *question, const struct ocsp_settings *settings,
				   const char *address)
{
	struct inquiry *inquiry = calloc(1, sizeof(*inquiry));

	if (!inquiry)
		return NULL;
	inquiry->question = *question;
	X509_up_ref(question->certificate);
	X509_up_ref(question->issuer);
	inquiry->settings = *settings;
	inquiry->address_of_settings = settings->responder != NULL;
	snprintf(inquiry->address, sizeof(inquiry->address), "%s", address);
	inquiry->settings.responder = inquiry->address;
	TAILQ_INIT(&inquiry->waiters);
	LIST_INSERT_HEAD(&buckets[bucket_of(question)], inquiry, bucket);
	TAILQ_INSERT_TAIL(&queue, inquiry, next);
	inquiries++;
	queued++;
	return inquiry;
}

static void set_state(struct inquiry *inquiry, enum inquiry_state state)
{
	TAILQ_REMOVE(lists[inquiry->state], inquiry, next);
	queued -= inquiry->state == QUEUED;
	inquiry->state = state;
	TAILQ_INSERT_TAIL(lists[state], inquiry, next);
}

static void free_inquiry(struct inquiry *inquiry)
{
	TAILQ_REMOVE(lists[inquiry->state], inquiry, next);
	queued -= inquiry->state == QUEUED;
	LIST_REMOVE(inquiry, bucket);
	inquiries--;
	X509_free(inquiry->question.certificate);
	X509_free(inquiry->question.issuer);
	OPENSSL_free(inquiry->der);
	free(inquiry);
}

static void end_back_offs(int64_t clock)
{
	struct inquiry *inquiry, *next;

	for (inquiry = TAILQ_FIRST(&failed); inquiry && inquiry->failed_until <= clock; inquiry = next) {
		next = TAILQ_NEXT(inquiry, next);
		free_inquiry(inquiry);
	}
}

/* ---- asking; on a thread of ours, without the lock ---- */

/* Whether what was kept makes asking unnecessary. */
static bool take_kept(struct inquiry *inquiry)
{
	const struct ocsp_question *question = &inquiry->question;
	struct ocsp_settings lax = {.leeway = inquiry->settings.leeway};
	struct ocsp_received received = {.from = inquiry->address};
	time_t now = time(NULL), written;
	uint8_t *der;

	if (verdicts_have(question) || !kept_read(question->digest, &der, &received.length, &written))
		return false;
	received.der = der;
	ocsp_check(question, &lax, &received, now, &inquiry->verdict);
	if (inquiry->verdict.answer == OCSP_ANSWER_UNUSABLE || written > now) {
		kept_remove(question->digest);
		OPENSSL_free(der);
		return false;
	}
	verdicts_put(question, &inquiry->verdict, clock_ms() - (int64_t)(now - written) * 1000);
	inquiry->der = der;
	inquiry->length = received.length;
	return verdicts_get(question, &inquiry->settings, now, clock_ms(), &inquiry->verdict);
}

static bool post(struct inquiry *inquiry, const uint8_t *nonce)
{
	struct http_post request = {
		.url = inquiry->address,
		.content_type = "application/ocsp-request",
		.expected_type = "application/ocsp-response",
		.limit = OCSP_RESPONSE_MAX,
		.timeout_ms = inquiry->settings.timeout_ms,
		.stop = stop_event,
	};
	uint8_t *der;
	bool done;

	request.length = ocsp_request(&inquiry->question, nonce, &der);
	request.content = der;
	OPENSSL_free(inquiry->der);
	inquiry->der = NULL;
	done = request.length > 0 && http_post(&request);
	if (!done)
		ocsp_unusable(&inquiry->verdict, "%s: %s", inquiry->address,
			      request.length ? request.why : "no memory");
	inquiry->der = request.answer;
	inquiry->length = request.answer_length;
	OPENSSL_free(der);
	return done;
}

static void ask(struct inquiry *inquiry)
{
	const struct ocsp_settings *settings = &inquiry->settings;
	bool with_nonce = settings->nonce || settings->nonce_required;
	uint8_t nonce[OCSP_NONCE_LENGTH];
	struct ocsp_received received = {.from = inquiry->address, .nonce = with_nonce ? nonce : NULL};

	if (take_kept(inquiry))
		return;
	if (with_nonce && RAND_bytes(nonce, sizeof(nonce)) != 1)
		log_fatal("no random numbers for a nonce");
	if (post(inquiry, received.nonce)) {
		received.der = inquiry->der;
		received.length = inquiry->length;
		ocsp_check(&inquiry->question, settings, &received, time(NULL), &inquiry->verdict);
	}
	if (inquiry->verdict.answer != OCSP_ANSWER_UNUSABLE) {
		struct ocsp_verdict said = inquiry->verdict;

		verdicts_put(&inquiry->question, &inquiry->verdict, clock_ms());
		if (said.answer == inquiry->verdict.answer) {
			kept_write(inquiry->question.digest, inquiry->der, inquiry->length);
			return;
		}
	} else {
		verdicts_get_revoked(&inquiry->question, &inquiry->verdict);
	}
	OPENSSL_free(inquiry->der);
	inquiry->der = NULL;
}

/* ---- the threads ---- */

static unsigned int running_at(const char *address)
{
	const struct inquiry *inquiry;
	unsigned int count = 0;

	TAILQ_FOREACH(inquiry, &running, next)
		count += strcmp(inquiry->address, address) == 0;
	return count;
}

static struct inquiry *next_inquiry(void)
{
	struct inquiry *inquiry;

	TAILQ_FOREACH(inquiry, &queue, next) {
		if (running_at(inquiry->address) < RESPONDER_SHARE)
			return inquiry;
	}
	return NULL;
}

struct outcome { /* of an inquiry, for those who waited for it */
	struct waiter_list waiters;
	struct ocsp_verdict verdict;
	uint8_t *der;
	size_t length;
};

/* From here on nobody can forget them. */
static void take_outcome(struct inquiry *inquiry, struct outcome *outcome)
{
	struct ocsp_waiter *waiter;

	TAILQ_INIT(&outcome->waiters);
	TAILQ_CONCAT(&outcome->waiters, &inquiry->waiters, next);
	TAILQ_FOREACH(waiter, &outcome->waiters, next)
		waiter->inquiry = NULL;
	outcome->verdict = inquiry->verdict;
	outcome->der = inquiry->der;
	outcome->length = inquiry->length;
	inquiry->der = NULL;
}

/* Without the lock. A waiter may be gone when it has been told. */
static void tell(struct outcome *outcome)
{
	struct ocsp_waiter *waiter;

	while ((waiter = TAILQ_FIRST(&outcome->waiters))) {
		TAILQ_REMOVE(&outcome->waiters, waiter, next);
		waiter->answered(waiter, &outcome->verdict, outcome->der, outcome->length);
	}
	OPENSSL_free(outcome->der);
}

static void run(struct inquiry *inquiry)
{
	struct outcome outcome;

	set_state(inquiry, RUNNING);
	pthread_mutex_unlock(&lock);
	ask(inquiry);
	pthread_mutex_lock(&lock);
	take_outcome(inquiry, &outcome);
	if (inquiry->verdict.answer == OCSP_ANSWER_UNUSABLE) {
		inquiry->failed_until = clock_ms() + RESPONDER_BACK_OFF_MS;
		set_state(inquiry, FAILED);
	} else {
		free_inquiry(inquiry);
	}
	pthread_cond_signal(&work); /* its responder may be asked something else now */
	pthread_mutex_unlock(&lock);
	tell(&outcome);
	if (kept_sweep_due())
		kept_sweep(time(NULL));
	pthread_mutex_lock(&lock);
}

static void *serve(void *argument)
{
	struct inquiry *inquiry;

	(void)argument;
	pthread_mutex_lock(&lock);
	while (!stopping) {
		inquiry = next_inquiry();
		if (inquiry) {
			run(inquiry);
			continue;
		}
		idle++;
		pthread_cond_wait(&work, &lock);
		idle--;
	}
	pthread_mutex_unlock(&lock);
	return NULL;
}

/* With all signals blocked: they are the main thread's. */
static bool start_thread(void)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	int error;

	if (stop_event < 0)
		stop_event = eventfd(0, EFD_CLOEXEC);
	sigfillset(&all);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&threads[thread_count], &attributes, serve, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	if (!error)
		thread_count++;
	else
		log_limited(LOG_WARNING, "no thread to ask OCSP responders: %s", strerror(error));
	return thread_count > 0;
}

/* ---- who asks ---- */

bool responder_known(const struct ocsp_question *question, const struct ocsp_settings *settings, time_t now,
		     struct ocsp_verdict *verdict)
{
	return verdicts_get(question, settings, now, clock_ms(), verdict);
}

static bool choose_address(const struct ocsp_question *question, const struct ocsp_settings *settings,
			   char address[static OCSP_URL_MAX], struct ocsp_verdict *verdict)
{
	const char *why;

	if (settings->responder) {
		snprintf(address, OCSP_URL_MAX, "%s", settings->responder);
		return true;
	}
	if (ocsp_responder(question->certificate, address, &why))
		return true;
	ocsp_unusable(verdict, "%s", why);
	return false;
}

/* The inquiry to join; NULL: there is none, or it has failed already, as *verdict says. */
static struct inquiry *join(const struct ocsp_question *question, const struct ocsp_settings *settings,
			    const char *address, struct ocsp_verdict *verdict)
{
	struct inquiry *inquiry;

	end_back_offs(clock_ms());
	inquiry = find(question, settings);
	if (inquiry && inquiry->state == FAILED) {
		*verdict = inquiry->verdict;
		return NULL;
	}
	if (inquiry)
		return inquiry;
	if (stopping || inquiries >= RESPONDER_QUESTIONS) {
		ocsp_unusable(verdict, "%s",
			      stopping ? "the agent stops" : "busy: too many questions to OCSP responders");
		return NULL;
	}
	if (idle <= queued && thread_count < RESPONDER_THREADS && !start_thread()) {
		ocsp_unusable(verdict, "no thread to ask %s", address);
		return NULL;
	}
	inquiry = new_inquiry(question, settings, address);
	if (inquiry)
		pthread_cond_signal(&work);
	else
		ocsp_unusable(verdict, "no memory to ask %s", address);
	return inquiry;
}

bool responder_ask(const struct ocsp_question *question, const struct ocsp_settings *settings,
		   struct ocsp_waiter *waiter, struct ocsp_verdict *verdict)
{
	char address[OCSP_URL_MAX];
	struct inquiry *inquiry;

	if (responder_known(question, settings, time(NULL), verdict))
		return true;
	if (!choose_address(question, settings, address, verdict)) {
		verdicts_get_revoked(question, verdict);
		return true;
	}
	pthread_mutex_lock(&lock);
	inquiry = join(question, settings, address, verdict);
	waiter->inquiry = inquiry;
	if (inquiry)
		TAILQ_INSERT_TAIL(&inquiry->waiters, waiter, next);
	pthread_mutex_unlock(&lock);
	if (!inquiry)
		verdicts_get_revoked(question, verdict);
	return !inquiry;
}

bool responder_forget(struct ocsp_waiter *waiter)
{
	bool waiting;

	pthread_mutex_lock(&lock);
	waiting = waiter->inquiry != NULL;
	if (waiting)
		TAILQ_REMOVE(&waiter->inquiry->waiters, waiter, next);
	waiter->inquiry = NULL;
	pthread_mutex_unlock(&lock);
	return waiting;
}

static void give_up(struct inquiry *inquiry)
{
	struct outcome outcome;

	ocsp_unusable(&inquiry->verdict, "the agent stops");
	take_outcome(inquiry, &outcome);
	free_inquiry(inquiry);
	pthread_mutex_unlock(&lock);
	tell(&outcome);
	pthread_mutex_lock(&lock);
}

void responder_stop(void)
{
	unsigned int i;

	pthread_mutex_lock(&lock);
	stopping = true;
	if (stop_event >= 0)
		eventfd_write(stop_event, 1);
	pthread_cond_broadcast(&work);
	pthread_mutex_unlock(&lock);
	for (i = 0; i < thread_count; i++)
		pthread_join(threads[i], NULL);
	pthread_mutex_lock(&lock);
	while (!TAILQ_EMPTY(&queue))
		give_up(TAILQ_FIRST(&queue));
	end_back_offs(INT64_MAX);
	thread_count = 0;
	if (stop_event >= 0)
		close(stop_event);
	stop_event = -1;
	stopping = false;
	pthread_mutex_unlock(&lock);
	verdicts_clear();
}
