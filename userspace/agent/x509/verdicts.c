/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "verdicts.h"

#define BUCKETS 8192	    /* a power of two */
#define PASSED_OVER_MAX 256 /* revocations, for one that makes room */

struct entry {
	uint8_t digest[32];
	char serial[OCSP_SERIAL_MAX];
	int64_t asked;
	struct ocsp_verdict verdict;
	LIST_ENTRY(entry) next;	  /* in its bucket */
	TAILQ_ENTRY(entry) older; /* of all */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static LIST_HEAD(, entry) buckets[BUCKETS];
static TAILQ_HEAD(, entry) entries = TAILQ_HEAD_INITIALIZER(entries); /* oldest first */
static unsigned int count;

/* The digest is SHA-256: any of its bytes are as good as a hash. */
static unsigned int bucket_of(const uint8_t *digest)
{
	return (digest[0] << 8 | digest[1]) & (BUCKETS - 1);
}

static struct entry *find(const uint8_t *digest)
{
	struct entry *entry;

	LIST_FOREACH(entry, &buckets[bucket_of(digest)], next)
	{
		if (memcmp(entry->digest, digest, sizeof(entry->digest)) == 0)
			return entry;
	}
	return NULL;
}

static void discard(struct entry *entry)
{
	LIST_REMOVE(entry, next);
	TAILQ_REMOVE(&entries, entry, older);
	count--;
	free(entry);
}

/* The oldest goes, but rather a good one than a revocation, which a responder that is down would not repeat. */
static void make_room(void)
{
	struct entry *entry;
	unsigned int passed;

	for (passed = 0; passed < PASSED_OVER_MAX; passed++) {
		entry = TAILQ_FIRST(&entries);
		if (entry->verdict.answer != OCSP_ANSWER_REVOKED)
			break;
		TAILQ_REMOVE(&entries, entry, older);
		TAILQ_INSERT_TAIL(&entries, entry, older);
	}
	discard(TAILQ_FIRST(&entries));
}

static struct entry *add(const struct ocsp_question *question)
{
	struct entry *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return NULL;
	if (count >= VERDICTS_MAX)
		make_room();
	memcpy(entry->digest, question->digest, sizeof(entry->digest));
	ocsp_serial(X509_get0_serialNumber(question->certificate), entry->serial);
	LIST_INSERT_HEAD(&buckets[bucket_of(entry->digest)], entry, next);
	TAILQ_INSERT_TAIL(&entries, entry, older);
	count++;
	return entry;
}

void verdicts_put(const struct ocsp_question *question, struct ocsp_verdict *verdict, int64_t asked)
{
	struct entry *entry;

	pthread_mutex_lock(&lock);
	entry = find(question->digest);
	if (entry && entry->verdict.answer == OCSP_ANSWER_REVOKED && verdict->answer != OCSP_ANSWER_REVOKED &&
	    verdict->this_update <= entry->verdict.this_update) {
		*verdict = entry->verdict;
	} else {
		if (entry) {
			TAILQ_REMOVE(&entries, entry, older);
			TAILQ_INSERT_TAIL(&entries, entry, older);
		} else {
			entry = add(question);
		}
		if (entry) {
			entry->verdict = *verdict;
			entry->asked = asked;
		}
	}
	pthread_mutex_unlock(&lock);
}

static bool serves(const struct entry *entry, const struct ocsp_settings *settings, time_t now, int64_t clock)
{
	return clock - entry->asked < (int64_t)settings->refresh * 1000 &&
	       entry->verdict.this_update <= now + (time_t)settings->leeway &&
	       ocsp_use_until(&entry->verdict, settings) > now && (entry->verdict.nonce || !settings->nonce_required);
}

bool verdicts_get(const struct ocsp_question *question, const struct ocsp_settings *settings, time_t now, int64_t clock,
		  struct ocsp_verdict *verdict)
{
	const struct entry *entry;
	bool found;

	pthread_mutex_lock(&lock);
	entry = find(question->digest);
	found = entry && serves(entry, settings, now, clock);
	if (found)
		*verdict = entry->verdict;
	pthread_mutex_unlock(&lock);
	if (found)
		verdict->use_until = ocsp_use_until(verdict, settings);
	return found;
}

bool verdicts_get_revoked(const struct ocsp_question *question, struct ocsp_verdict *verdict)
{
	const struct entry *entry;
	bool found;

	pthread_mutex_lock(&lock);
	entry = find(question->digest);
	found = entry && entry->verdict.answer == OCSP_ANSWER_REVOKED;
	if (found)
		*verdict = entry->verdict;
	pthread_mutex_unlock(&lock);
	return found;
}

bool verdicts_have(const struct ocsp_question *question)
{
	bool found;

	pthread_mutex_lock(&lock);
	found = find(question->digest) != NULL;
	pthread_mutex_unlock(&lock);
	return found;
}

/* For who asks once in a while: a look at every entry takes about a millisecond, so the lock is let go in between. */
size_t verdicts_find(const char *serial, struct ocsp_verdict *found, size_t max)
{
	const struct entry *entry;
	size_t n = 0, i;

	for (i = 0; i < BUCKETS; i++) {
		pthread_mutex_lock(&lock);
		LIST_FOREACH(entry, &buckets[i], next)
		{
			if (n < max && strcmp(entry->serial, serial) == 0)
				found[n++] = entry->verdict;
		}
		pthread_mutex_unlock(&lock);
	}
	return n;
}

void verdicts_clear(void)
{
	struct entry *entry, *next;

	pthread_mutex_lock(&lock);
	for (entry = TAILQ_FIRST(&entries); entry; entry = next) {
		next = TAILQ_NEXT(entry, older);
		discard(entry);
	}
	pthread_mutex_unlock(&lock);
}
