/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "log.h"
#include "ticket_keys.h"

static _Atomic(const struct ticket_keys *) in_use;

const char *ticket_key_text(const struct ticket_key *key, char text[static TICKET_KEY_TEXT])
{
	size_t i;

	for (i = 0; i < TICKET_KEY_TEXT / 2; i++)
		sprintf(text + 2 * i, "%02x", key->name[i]);
	return text;
}

/* ---- those in use ---- */

void ticket_keys_use(const struct ticket_keys *keys)
{
	char text[TICKET_KEY_TEXT];

	if (atomic_exchange(&in_use, keys) == keys)
		return;
	if (keys)
		log_line(LOG_INFO, "ticket keys from files: %zu; tickets are sealed with %s from %s", keys->count,
			 ticket_key_text(&keys->keys[0].key, text), keys->keys[0].file);
	else
		log_line(LOG_INFO, "tickets are sealed with keys of the agent's own");
}

struct ticket_key_choice ticket_key_to_seal(void)
{
	const struct ticket_keys *shared = atomic_load_explicit(&in_use, memory_order_acquire);

	if (!shared)
		return (struct ticket_key_choice){.key = &keys_of(keys_newest())->ticket};
	return (struct ticket_key_choice){.key = &shared->keys[0].key, .aes_128 = shared->keys[0].aes_128};
}

static struct ticket_key_choice open_with_own(const uint8_t name[static KEYS_NAME_LENGTH])
{
	unsigned int newest = keys_newest(), age;

	for (age = 0; age < KEYS_TICKETS_OPEN; age++) {
		const struct ticket_key *key = &keys_of(newest - age)->ticket;

		if (memcmp(key->name, name, sizeof(key->name)) == 0)
			return (struct ticket_key_choice){.key = key, .renew = age > 0};
	}
	return (struct ticket_key_choice){0};
}

/* A ticket under the next key outlives one that we could give for it (which TLS 1.3 gives nevertheless: ticket.c). */
struct ticket_key_choice ticket_key_to_open(const uint8_t name[static KEYS_NAME_LENGTH])
{
	const struct ticket_keys *shared = atomic_load_explicit(&in_use, memory_order_acquire);
	size_t i;

	if (!shared)
		return open_with_own(name);
	for (i = 0; i < shared->count; i++) {
		const struct shared_key *key = &shared->keys[i];

		if (memcmp(key->key.name, name, sizeof(key->key.name)) == 0)
			return (struct ticket_key_choice){
				.key = &key->key, .aes_128 = key->aes_128, .renew = i > 0 && !key->next};
	}
	return (struct ticket_key_choice){0};
}

/* ---- a file ---- */

static bool all_the_same(const uint8_t *bytes, size_t length)
{
	return memcmp(bytes, bytes + 1, length - 1) == 0;
}

/* A shorter HMAC key is one with zeroes behind it (RFC 2104 §2), so only the cipher tells the two forms apart. */
bool ticket_key_parse(struct shared_key *parsed, const uint8_t *bytes, size_t length)
{
	struct ticket_key *key = &parsed->key;
	const uint8_t *secret = bytes + sizeof(key->name);

	if (length != TICKET_KEY_LENGTH && length != TICKET_KEY_LENGTH_SHORT)
		return false;
	parsed->aes_128 = length == TICKET_KEY_LENGTH_SHORT;
	memset(key, 0, sizeof(*key));
	memcpy(key->name, bytes, sizeof(key->name));
	if (parsed->aes_128) {
		memcpy(key->aes, secret, 16);
		memcpy(key->hmac, secret + 16, 16);
	} else {
		memcpy(key->hmac, secret, 32);
		memcpy(key->aes, secret + 32, 32);
	}
	return !all_the_same(key->aes, 16) && !all_the_same(key->hmac, 16);
}

struct loading {
	struct ticket_keys *keys;
	const struct setting *setting;
	bool alone; /* no other path is set */
	struct complaints *complaints;
};

#define FORM "expected %d random bytes (openssl rand %d), or %d as nginx takes them, too"
#define FORM_NUMBERS TICKET_KEY_LENGTH, TICKET_KEY_LENGTH, TICKET_KEY_LENGTH_SHORT

static bool may_be_used(const struct loading *loading, const char *file, int fd)
{
	unsigned int line = loading->setting->line;
	struct stat status;

	if (fd < 0 || fstat(fd, &status) != 0) {
		complain(loading->complaints, line, "%s can't be read: %s; expected a ticket key that user %u may read",
			 file, strerror(errno), (unsigned int)geteuid());
		return false;
	}
	if (S_ISDIR(status.st_mode) && file == loading->setting->text)
		complain(loading->complaints, line,
			 "%s is a folder beside other ticket keys; expected files, or one folder alone", file);
	else if (!S_ISREG(status.st_mode))
		complain(loading->complaints, line, "%s is not a regular file; " FORM, file, FORM_NUMBERS);
	else if (status.st_mode & (S_IROTH | S_IWOTH))
		complain(
			loading->complaints, line,
			"%s may be %s by everyone (mode %04o); expected a ticket key to be protected like a private key: chmod o= %s",
			file, status.st_mode & S_IROTH ? "read" : "written", (unsigned int)status.st_mode & 07777,
			file);
	else if (status.st_size != TICKET_KEY_LENGTH && status.st_size != TICKET_KEY_LENGTH_SHORT)
		complain(loading->complaints, line, "%s has %lld bytes; " FORM, file, (long long)status.st_size,
			 FORM_NUMBERS);
	else
		return true;
	return false;
}

/* One byte more than there may be, so that a file that has just grown is not taken for a whole one. */
static bool read_key(const struct loading *loading, struct shared_key *key, const char *file, int fd)
{
	uint8_t bytes[TICKET_KEY_LENGTH + 1];
	ssize_t length = read(fd, bytes, sizeof(bytes));
	bool good = length >= 0 && ticket_key_parse(key, bytes, length);
	int error = errno;

	OPENSSL_cleanse(bytes, sizeof(bytes));
	if (length < 0)
		complain(loading->complaints, loading->setting->line, "%s can't be read: %s; " FORM, file,
			 strerror(error), FORM_NUMBERS);
	else if (!good)
		complain(loading->complaints, loading->setting->line, "%s holds no key, but %zd bytes%s; " FORM, file,
			 length,
			 length == TICKET_KEY_LENGTH || length == TICKET_KEY_LENGTH_SHORT ? " that are all the same"
											  : "",
			 FORM_NUMBERS);
	return good;
}

/* Whether a file is called so, with or without an ending. */
static bool is_called(const char *file, const char *name)
{
	const char *slash = strrchr(file, '/'), *base = slash ? slash + 1 : file;
	size_t length = strlen(name);

	return strncmp(base, name, length) == 0 && (base[length] == '\0' || base[length] == '.');
}

static bool take_file(void *argument, const char *file)
{
	struct loading *loading = argument;
	struct ticket_keys *keys = loading->keys;
	struct shared_key *key = &keys->keys[keys->count];
	int fd;

	if (keys->count == TICKET_KEYS_MAX) {
		complain(loading->complaints, loading->setting->line,
			 "%s is one ticket key too many; expected at most %d", file, TICKET_KEYS_MAX);
		return false;
	}
	fd = open(file, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (may_be_used(loading, file, fd) && read_key(loading, key, file, fd)) {
		key->file = strdup(file);
		if (!key->file)
			log_fatal("out of memory");
		key->next = is_called(file, "next");
		keys->count++;
	}
	if (fd >= 0)
		close(fd);
	return true;
}

/* ---- all of them ---- */

/* In a folder there is no order but by name. */
static void put_current_first(struct ticket_keys *keys, const struct loading *loading)
{
	size_t i, current = keys->count;
	struct shared_key first;

	for (i = 0; i < keys->count; i++) {
		if (!is_called(keys->keys[i].file, "current"))
			continue;
		if (current < keys->count)
			complain(loading->complaints, loading->setting->line,
				 "%s and %s: both are called current; expected one ticket key to seal with",
				 keys->keys[current].file, keys->keys[i].file);
		current = i;
	}
	if (current == keys->count) {
		complain(
			loading->complaints, loading->setting->line,
			"%s has no ticket key called current; expected files current and, beside it, previous and next",
			loading->setting->text);
		return;
	}
	first = keys->keys[current];
	keys->keys[current] = keys->keys[0];
	keys->keys[0] = first;
	OPENSSL_cleanse(&first, sizeof(first));
}

static void check_names(const struct ticket_keys *keys, unsigned int line, struct complaints *complaints)
{
	char text[TICKET_KEY_TEXT];
	size_t i, j;

	for (i = 0; i < keys->count; i++) {
		for (j = 0; j < i; j++) {
			const struct ticket_key *a = &keys->keys[j].key, *b = &keys->keys[i].key;

			if (memcmp(a->name, b->name, sizeof(a->name)) == 0)
				complain(
					complaints, line,
					"%s and %s: ticket keys with the same name (%s...); expected each to be made anew: openssl rand %d",
					keys->keys[j].file, keys->keys[i].file, ticket_key_text(a, text),
					TICKET_KEY_LENGTH);
		}
	}
}

static bool is_folder(const char *path)
{
	struct stat status;

	return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static void load_path(struct loading *loading)
{
	unsigned int before = loading->complaints->count;

	if (!loading->alone || !is_folder(loading->setting->text)) {
		take_file(loading, loading->setting->text);
		return;
	}
	files_each(loading->setting, NULL, take_file, loading, loading->complaints);
	if (loading->complaints->count == before)
		put_current_first(loading->keys, loading);
}

struct ticket_keys *ticket_keys_load(const struct setting_list *paths, struct complaints *complaints)
{
	const struct setting *setting = TAILQ_FIRST(paths);
	struct loading loading = {.complaints = complaints, .alone = setting && !TAILQ_NEXT(setting, next)};
	unsigned int before = complaints->count;
	struct ticket_keys *keys;

	if (!setting)
		return NULL;
	loading.keys = keys = calloc(1, sizeof(*keys));
	if (!keys)
		log_fatal("out of memory");
	keys->holders = 1;
	keys->loaded = time(NULL);
	TAILQ_INIT(&keys->files.sources);
	TAILQ_FOREACH(setting, paths, next) {
		source_add(&keys->files.sources, setting->text);
		loading.setting = setting;
		load_path(&loading);
	}
	check_names(keys, TAILQ_FIRST(paths)->line, complaints);
	if (complaints->count == before)
		return keys;
	ticket_keys_put(keys);
	return NULL;
}

struct ticket_keys *ticket_keys_get(struct ticket_keys *keys)
{
	if (keys)
		keys->holders++;
	return keys;
}

void ticket_keys_put(struct ticket_keys *keys)
{
	if (!keys || --keys->holders > 0)
		return;
	while (keys->count > 0)
		free(keys->keys[--keys->count].file);
	watched_clear(&keys->files);
	OPENSSL_cleanse(keys, sizeof(*keys));
	free(keys);
}
