// SPDX-License-Identifier: MIT
/* Rekey tokens, the keys that seal them, and the file that these keys are kept in. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <ktlsd/protocol.h>

#include "keys.h"
#include "token.h"
#include "unit.h"

static time_t now;
static char directory[] = "/tmp/unit-token-XXXXXX", path[64], other_path[64];

static struct token example(unsigned int suite)
{
	struct token token = {
		.suite = cipher_suite_find(suite),
		.role = KTLSD_SERVER,
		.service = "web",
		.connection_id = 0x0123456789abcdef,
		.expires = now + 60,
		.client.generation = 7,
		.server.generation = UINT64_C(1) << 40,
	};

	must(token.suite);
	for (unsigned int i = 0; i < token.suite->secret_length; i++) {
		token.client.secret[i] = i;
		token.server.secret[i] = 0x80 + i;
	}
	return token;
}

static void seal(uint8_t sealed[static TOKEN_LENGTH])
{
	struct token token = example(0x1301);

	must(token_seal(&token, sealed));
}

static int open_error(const uint8_t *sealed, size_t length)
{
	struct token token;
	const char *why;

	return token_open(&token, sealed, length, now, &why);
}

/* ---- tokens ---- */

static bool same(const struct token *a, const struct token *b)
{
	return a->suite == b->suite && a->role == b->role && strcmp(a->service, b->service) == 0 &&
	       a->connection_id == b->connection_id && a->expires == b->expires &&
	       memcmp(&a->client, &b->client, sizeof(a->client)) == 0 &&
	       memcmp(&a->server, &b->server, sizeof(a->server)) == 0;
}

static void test_round_trip(void)
{
	static const unsigned int suites[] = {0x1301, 0x1302, 0x1303, 0x1304};
	uint8_t sealed[TOKEN_LENGTH], again[TOKEN_LENGTH];
	const char *why;

	for (size_t i = 0; i < COUNT(suites); i++) {
		struct token token = example(suites[i]), opened;

		token.role = i % 2 ? KTLSD_CLIENT : KTLSD_SERVER;
		must(token_seal(&token, sealed) && token_seal(&token, again));
		check(token_open(&opened, sealed, sizeof(sealed), now, &why) == 0 && same(&token, &opened),
		      "%s: a token opens as it was sealed", token.suite->name);
		check(memcmp(sealed, again, sizeof(sealed)) != 0, "no two are the same");
		check(!memmem(sealed, sizeof(sealed), token.client.secret, 8) &&
			      !memmem(sealed, sizeof(sealed), token.server.secret, 8) &&
			      !memmem(sealed, sizeof(sealed), "web", 4),
		      "and nothing of it is in plain sight");
	}
}

static void test_alterations(void)
{
	static const uint8_t nothing[sizeof(((struct token *)NULL)->client)];
	uint8_t sealed[TOKEN_LENGTH + 1] = {0};
	unsigned int flipped = 0, cut = 0;
	struct token token;
	const char *why;

	seal(sealed);
	for (size_t bit = 0; bit < TOKEN_LENGTH * 8; bit++) {
		sealed[bit / 8] ^= 1 << bit % 8;
		flipped += open_error(sealed, TOKEN_LENGTH) == EBADMSG;
		sealed[bit / 8] ^= 1 << bit % 8;
	}
	check(flipped == TOKEN_LENGTH * 8, "each of its %d bits, flipped: EBADMSG (%u)", TOKEN_LENGTH * 8, flipped);
	for (size_t length = 0; length < TOKEN_LENGTH; length++)
		cut += open_error(sealed, length) == EBADMSG;
	check(cut == TOKEN_LENGTH, "cut to each length: EBADMSG (%u)", cut);
	check(open_error(sealed, TOKEN_LENGTH + 1) == EBADMSG, "a byte more: EBADMSG");
	check(open_error(sealed, TOKEN_LENGTH) == 0, "untouched, it opens");

	sealed[TOKEN_LENGTH - 1] ^= 1;
	check(token_open(&token, sealed, TOKEN_LENGTH, now, &why) == EBADMSG, "altered");
	check_text(why, "the token was altered", "and says so");
	check(memcmp(&token.client, nothing, sizeof(nothing)) == 0 &&
		      memcmp(&token.server, nothing, sizeof(nothing)) == 0,
	      "and hands out no secrets");
	memset(sealed, 0, sizeof(sealed));
	check(open_error(sealed, TOKEN_LENGTH) == EBADMSG, "zeroes: EBADMSG");
}

static void test_lapse(void)
{
	uint8_t sealed[TOKEN_LENGTH];
	struct token token;
	const char *why;

	seal(sealed);
	check(token_open(&token, sealed, sizeof(sealed), now + 59, &why) == 0, "a second before its end it opens");
	check(token_open(&token, sealed, sizeof(sealed), now + 60, &why) == EKEYEXPIRED, "then: EKEYEXPIRED");
	check_text(why, "the token has lapsed", "and says so");
}

/* What no version of this program seals: from another that shares the keys, perhaps. */
static void test_strange_content(void)
{
	const struct cipher_suite unknown = {.id = 0x1399};
	struct token tokens[] = {example(0x1301), example(0x1301), example(0x1301), example(0x1301), example(0x1301)};
	uint8_t sealed[TOKEN_LENGTH];

	tokens[0].suite = &unknown;
	tokens[1].suite = cipher_suite_find(0xc02b); /* TLS 1.2 */
	tokens[2].role = 0;
	tokens[3].role = 3;
	memset(tokens[4].service, 'a', sizeof(tokens[4].service));
	for (size_t i = 0; i < COUNT(tokens); i++) {
		must(token_seal(&tokens[i], sealed));
		check(open_error(sealed, sizeof(sealed)) == EBADMSG, "strange content %zu: EBADMSG", i);
	}
}

static void test_rotation(void)
{
	uint8_t sealed[TOKEN_LENGTH];
	struct token token;
	const char *why;

	must(keys_init());
	seal(sealed);
	for (int rotations = 1; rotations <= 2; rotations++) {
		must(keys_rotate(now));
		check(open_error(sealed, sizeof(sealed)) == 0, "after %d rotations it opens", rotations);
	}
	must(keys_rotate(now));
	check(token_open(&token, sealed, sizeof(sealed), now, &why) == EBADMSG, "after 3: EBADMSG");
	check_text(why, "the token is sealed with a key that the agent does not have, or no longer", "and says so");
	seal(sealed);
	must(keys_init());
	check(open_error(sealed, sizeof(sealed)) == EBADMSG, "of an agent with other keys: EBADMSG");
	check(!keys_due(now) && !keys_due(now + KEYS_LIFETIME - 60) && keys_due(now + KEYS_LIFETIME + 60),
	      "a rotation is due when its time has come");
	check(keys_due(now - 3600), "or when the clock was set back");
}

/* ---- the file ---- */

static FILE *log_file;

/* What was logged since the last call. */
static const char *logged(void)
{
	static char text[4096];
	size_t length;

	rewind(log_file);
	length = fread(text, 1, sizeof(text) - 1, log_file);
	text[length] = '\0';
	must(ftruncate(fileno(log_file), 0) == 0);
	must(lseek(STDERR_FILENO, 0, SEEK_SET) == 0);
	return text;
}

/* As a new process would, at this time. */
static void restart(time_t at)
{
	must(keys_init());
	logged();
	keys_keep_in(path, at);
}

static void write_bytes(const char *name, const void *bytes, size_t length)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	must(fd >= 0 && write(fd, bytes, length) == (ssize_t)length && close(fd) == 0);
}

static size_t read_bytes(const char *name, uint8_t *bytes, size_t size)
{
	int fd = open(name, O_RDONLY);
	ssize_t length = read(fd, bytes, size);

	must(fd >= 0 && length >= 0);
	close(fd);
	return length;
}

static bool is_private_file(void)
{
	struct stat status;

	return lstat(path, &status) == 0 && S_ISREG(status.st_mode) && (status.st_mode & 07777) == 0600 &&
	       status.st_uid == geteuid() && status.st_size > 0;
}

static void test_kept(void)
{
	static const struct {
		int hours;
		bool opens;
	} pauses[] = {{0, true}, {11, true}, {13, true}, {25, true}, {35, true}, {37, false}, {1000, false}};
	uint8_t sealed[TOKEN_LENGTH], before[1024], after[1024];
	size_t length;

	for (size_t i = 0; i < COUNT(pauses); i++) {
		unlink(path);
		restart(now);
		check_text(logged(), "", "a new file needs no word");
		check(is_private_file(), "nobody else can read it");
		seal(sealed);
		restart(now + pauses[i].hours * 3600);
		check((open_error(sealed, sizeof(sealed)) == 0) == pauses[i].opens,
		      "a restart %d hours later: a token %s", pauses[i].hours, pauses[i].opens ? "opens" : "is void");
		check(!keys_due(now + pauses[i].hours * 3600), "and no rotation is overdue");
		check_text(logged(), "", "nor is anything said");
	}

	unlink(path);
	restart(now);
	length = read_bytes(path, before, sizeof(before));
	must(keys_rotate(now));
	check(read_bytes(path, after, sizeof(after)) == length && memcmp(before, after, length) != 0,
	      "a rotation rewrites it");
	seal(sealed);
	restart(now);
	check(open_error(sealed, sizeof(sealed)) == 0, "and the new key is in it");
}

/* Each breaks the file at path. */
static void truncate_it(uint8_t *bytes, size_t length)
{
	write_bytes(path, bytes, length - 1);
}

static void empty_it(uint8_t *bytes, size_t length)
{
	(void)length;
	write_bytes(path, bytes, 0);
}

static void lengthen_it(uint8_t *bytes, size_t length)
{
	bytes[length] = 0;
	write_bytes(path, bytes, length + 1);
}

static void open_to_all(uint8_t *bytes, size_t length)
{
	(void)bytes, (void)length;
	must(chmod(path, 0604) == 0);
}

static void open_to_group(uint8_t *bytes, size_t length)
{
	(void)bytes, (void)length;
	must(chmod(path, 0620) == 0);
}

static void give_away(uint8_t *bytes, size_t length)
{
	(void)bytes, (void)length;
	must(chown(path, 65534, -1) == 0);
}

static void link_it(uint8_t *bytes, size_t length)
{
	(void)bytes, (void)length;
	must(rename(path, other_path) == 0 && symlink(other_path, path) == 0);
}

static void other_version(uint8_t *bytes, size_t length)
{
	bytes[8]++;
	write_bytes(path, bytes, length);
}

static void from_the_future(uint8_t *bytes, size_t length)
{
	int64_t created = now + 3600;

	memcpy(bytes + 16, &created, sizeof(created));
	write_bytes(path, bytes, length);
}

static void zero_it(uint8_t *bytes, size_t length)
{
	memset(bytes + 16, 0, length - 16);
	write_bytes(path, bytes, length);
}

static void test_broken(void)
{
	static const struct {
		void (*harm)(uint8_t *bytes, size_t length);
		const char *says;
	} harms[] = {
		{truncate_it, "has the wrong size"},
		{empty_it, "has the wrong size"},
		{lengthen_it, "has the wrong size"},
		{open_to_all, "is open to group or others"},
		{open_to_group, "is open to group or others"},
		{give_away, "belongs to another user"},
		{link_it, "is a symbolic link"},
		{other_version, "is of another version"},
		{from_the_future, "has keys of the future"},
		{zero_it, "has keys of the future, or out of order"},
	};
	uint8_t sealed[TOKEN_LENGTH], bytes[1024];

	for (size_t i = 0; i < COUNT(harms); i++) {
		const char *log;

		if (harms[i].harm == give_away && geteuid() != 0)
			continue;
		unlink(path);
		restart(now);
		seal(sealed);
		harms[i].harm(bytes, read_bytes(path, bytes, sizeof(bytes) - 1));
		restart(now);
		log = logged();
		check(strstr(log, harms[i].says) && strstr(log, path) && !strstr(log, "do not survive"),
		      "a file that %s: the log says it", harms[i].says);
		check(open_error(sealed, sizeof(sealed)) == EBADMSG, "the keys are new");
		check(is_private_file(), "and so is the file");
		seal(sealed);
		restart(now);
		check(open_error(sealed, sizeof(sealed)) == 0 && !*logged(), "which is good for the next time");
	}
}

static void test_not_ours(void)
{
	static const char text[] = "-----BEGIN PRIVATE KEY-----\n";
	uint8_t sealed[TOKEN_LENGTH], bytes[64];
	const char *log;

	unlink(path);
	write_bytes(path, text, sizeof(text));
	restart(now);
	log = logged();
	check(strstr(log, "is no key file of ktlsd") && strstr(log, "do not survive"),
	      "some other file: the log says it");
	check(read_bytes(path, bytes, sizeof(bytes)) == sizeof(text) && memcmp(bytes, text, sizeof(text)) == 0,
	      "it is not touched");
	seal(sealed);
	check(open_error(sealed, sizeof(sealed)) == 0, "and tokens are good as long as the agent runs");
	restart(now);
	check(open_error(sealed, sizeof(sealed)) == EBADMSG, "but no longer");

	unlink(path);
	must(mkdir(path, 0700) == 0);
	restart(now);
	check(strstr(logged(), "do not survive") != NULL, "a directory: the log says it");
	rmdir(path);
	must(mkfifo(path, 0600) == 0);
	restart(now);
	log = logged();
	check(strstr(log, "is not a regular file") && strstr(log, "do not survive"), "a pipe: the log says it");
	unlink(path);
	snprintf(path, sizeof(path), "%s/nowhere/keys", directory);
	restart(now);
	log = logged();
	check(strstr(log, "No such file or directory") && strstr(log, "do not survive"),
	      "no directory: the log says it");
	snprintf(path, sizeof(path), "%s/keys", directory);
}

int main(void)
{
	now = time(NULL);
	must(mkdtemp(directory) && secrets_init() && token_init() && keys_init());
	snprintf(path, sizeof(path), "%s/keys", directory);
	snprintf(other_path, sizeof(other_path), "%s/other", directory);
	test_round_trip();
	test_alterations();
	test_lapse();
	test_strange_content();
	test_rotation();
	log_file = tmpfile();
	must(log_file && dup2(fileno(log_file), STDERR_FILENO) >= 0);
	test_kept();
	test_broken();
	test_not_ours();
	unlink(path);
	unlink(other_path);
	rmdir(directory);
	return finish();
}
