/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "keys.h"
#include "log.h"

#define CLOCK_STEP 300 /* seconds that the clock may have been set back without making keys suspicious */
#define MAGIC "ktlsdkey"
#define VERSION 1

/* One slot is the one that a rotation writes, so no reader ever sees half a key. */
#define SLOTS (KEYS_TOKENS_OPEN + 1)
static struct key_generation slots[SLOTS];
static _Atomic unsigned int newest;

static struct record { /* the file */
	char magic[8];
	uint32_t version;
	uint32_t reserved;
	struct key_generation generations[KEYS_TOKENS_OPEN]; /* newest first */
} record;
static int file = -1;
static char *file_path;

unsigned int keys_newest(void)
{
	return atomic_load(&newest);
}

const struct key_generation *keys_of(unsigned int generation)
{
	return &slots[generation % SLOTS];
}

/* ---- generations ---- */

static bool generate(struct key_generation *generation, time_t now)
{
	struct ticket_key *ticket = &generation->ticket;
	struct token_key *token = &generation->token;

	generation->created = now;
	return RAND_bytes(ticket->name, sizeof(ticket->name)) == 1 &&
	       RAND_bytes(token->name, sizeof(token->name)) == 1 &&
	       RAND_priv_bytes(ticket->aes, sizeof(ticket->aes)) == 1 &&
	       RAND_priv_bytes(ticket->hmac, sizeof(ticket->hmac)) == 1 &&
	       RAND_priv_bytes(token->aes, sizeof(token->aes)) == 1;
}

static bool add_generation(time_t now)
{
	unsigned int next = atomic_load(&newest) + 1;

	if (!generate(&slots[next % SLOTS], now))
		return false;
	atomic_store(&newest, next);
	return true;
}

static bool write_file(void)
{
	unsigned int age;
	bool written;

	memset(&record, 0, sizeof(record));
	memcpy(record.magic, MAGIC, sizeof(record.magic));
	record.version = VERSION;
	for (age = 0; age < KEYS_TOKENS_OPEN; age++)
		record.generations[age] = *keys_of(keys_newest() - age);
	written = pwrite(file, &record, sizeof(record), 0) == sizeof(record);
	OPENSSL_cleanse(&record, sizeof(record));
	return written;
}

static void follow(void)
{
	if (file >= 0 && !write_file())
		log_line(LOG_WARNING, "key_file %s: %s; keys do not survive a restart", file_path, strerror(errno));
}

/* All of them: the slots of the generations before, too, hold random keys rather than zeroes. */
bool keys_init(void)
{
	unsigned int i;

	if (file >= 0)
		close(file);
	file = -1;
	for (i = 0; i < SLOTS; i++) {
		if (!add_generation(time(NULL)))
			return false;
	}
	return true;
}

bool keys_due(time_t now)
{
	int64_t age = now - keys_of(keys_newest())->created;

	return age >= KEYS_LIFETIME || age < -CLOCK_STEP;
}

bool keys_rotate(time_t now)
{
	if (!add_generation(now))
		return false;
	follow();
	return true;
}

/* ---- the file ---- */

enum verdict { GOOD, ABSENT, BAD, NOT_OURS };

static enum verdict say(enum verdict verdict, const char **why, const char *text)
{
	*why = text;
	return verdict;
}

static bool sane_times(time_t now)
{
	int64_t latest = now + CLOCK_STEP;
	unsigned int age;

	for (age = 0; age < KEYS_TOKENS_OPEN; age++) {
		int64_t created = record.generations[age].created;

		if (created <= 0 || created > latest)
			return false;
		latest = created + CLOCK_STEP;
	}
	return true;
}

/* A file that does not begin as ours do was named by mistake, perhaps: it is not touched. */
static enum verdict judge(int fd, time_t now, const char **why)
{
	struct stat status;
	ssize_t length;

	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
		return say(NOT_OURS, why, "is not a regular file");
	length = pread(fd, &record, sizeof(record), 0);
	if (length < 0)
		return say(NOT_OURS, why, strerror(errno));
	if (memcmp(record.magic, MAGIC,
		   (size_t)length < sizeof(record.magic) ? (size_t)length : sizeof(record.magic)) != 0)
		return say(NOT_OURS, why, "is no key file of ktlsd and stays as it is");
	if (status.st_uid != 0 && status.st_uid != geteuid())
		return say(BAD, why, "belongs to another user");
	if (status.st_mode & 077)
		return say(BAD, why, "is open to group or others (expected mode 0600)");
	if (length != sizeof(record) || status.st_size != sizeof(record))
		return say(BAD, why, "has the wrong size");
	if (record.version != VERSION || record.reserved)
		return say(BAD, why, "is of another version");
	if (!sane_times(now))
		return say(BAD, why, "has keys of the future, or out of order");
	return GOOD;
}

static enum verdict open_file(const char *path, time_t now, const char **why)
{
	enum verdict verdict;

	file = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (file < 0 && errno == ENOENT)
		return ABSENT;
	if (file < 0 && errno == ELOOP)
		return say(BAD, why, "is a symbolic link");
	if (file < 0)
		return say(errno == EACCES ? BAD : NOT_OURS, why, strerror(errno));
	verdict = judge(file, now, why);
	if (verdict == GOOD)
		return GOOD;
	close(file);
	file = -1;
	return verdict;
}

/* A new one in its place, not the old one written over: somebody may have that one open. */
static void replace_file(const char *path)
{
	if (unlink(path) != 0 && errno != ENOENT)
		return;
	file = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (file < 0 || write_file())
		return;
	close(file);
	file = -1;
}

/* The clock goes on while no agent runs: as many rotations are due as would have taken place. */
static void take_over(time_t now)
{
	int64_t missed = (now - record.generations[0].created) / KEYS_LIFETIME;
	unsigned int age;

	for (age = 0; age < KEYS_TOKENS_OPEN; age++)
		slots[(keys_newest() - age) % SLOTS] = record.generations[age];
	OPENSSL_cleanse(&record, sizeof(record));
	for (age = 0; age < SLOTS && age < missed; age++) {
		if (!keys_rotate(now))
			log_fatal("no random numbers for new keys");
	}
}

void keys_keep_in(const char *path, time_t now)
{
	const char *why = NULL;
	enum verdict verdict = open_file(path, now, &why);

	free(file_path);
	file_path = strdup(path);
	if (!file_path)
		log_fatal("out of memory");
	if (verdict == GOOD) {
		take_over(now);
		return;
	}
	OPENSSL_cleanse(&record, sizeof(record));
	errno = 0;
	if (verdict != NOT_OURS)
		replace_file(path);
	if (why)
		log_line(LOG_WARNING, "key_file %s: %s; tickets and tokens from before are void", path, why);
	if (file < 0)
		log_line(LOG_WARNING, "key_file %s can't be written%s%s; keys do not survive a restart", path,
			 errno ? ": " : "", errno ? strerror(errno) : "");
}
