// SPDX-License-Identifier: MIT
/* Ticket keys from files: the forms that they have, which of them seals, what opens, and what is said of a bad one. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ticket_keys.h"
#include "unit.h"

static char directory[] = "/tmp/unit-ticket-keys-XXXXXX";

/* Bytes that count up, so that each part of a key is known by its first; no two keys have the same name. */
static void fill(uint8_t *bytes, size_t length, uint8_t first)
{
	for (size_t i = 0; i < length; i++)
		bytes[i] = first + i;
}

static void write_key(const char *name, size_t length, uint8_t first)
{
	uint8_t bytes[128];
	int fd;

	fill(bytes, length, first);
	unlink(name);
	fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0600);
	must(fd >= 0 && write(fd, bytes, length) == (ssize_t)length && close(fd) == 0);
}

/* ---- a file's content ---- */

static void test_forms(void)
{
	uint8_t bytes[TICKET_KEY_LENGTH + 1], zeroes[32] = {0};
	struct shared_key parsed;
	unsigned int refused = 0;

	fill(bytes, sizeof(bytes), 1);
	check(ticket_key_parse(&parsed, bytes, 80) && !parsed.aes_128, "80 bytes");
	check_bytes(parsed.key.name, bytes, 16, "begin with the name");
	check_bytes(parsed.key.hmac, bytes + 16, 32, "then HMAC's key");
	check_bytes(parsed.key.aes, bytes + 48, 32, "then AES's");

	memset(&parsed, 0xff, sizeof(parsed));
	check(ticket_key_parse(&parsed, bytes, 48) && parsed.aes_128, "48 bytes");
	check_bytes(parsed.key.name, bytes, 16, "begin with the name");
	check_bytes(parsed.key.aes, bytes + 16, 16, "then AES's key");
	check_bytes(parsed.key.hmac, bytes + 32, 16, "then HMAC's");
	check_bytes(parsed.key.hmac + 16, zeroes, 16, "which ends in zeroes, as HMAC would have it");

	for (size_t length = 0; length <= sizeof(bytes); length++)
		refused += !ticket_key_parse(&parsed, bytes, length);
	check(refused == sizeof(bytes) - 1, "no other length will do (%u)", refused);
	memset(bytes + 48, 0, 32);
	check(!ticket_key_parse(&parsed, bytes, 80), "zeroes are no key");
	fill(bytes, sizeof(bytes), 1);
	memset(bytes + 16, 'A', 16);
	check(!ticket_key_parse(&parsed, bytes, 48), "nor is one letter");
}

/* ---- which seals, what opens ---- */

/* words: what is set, with blanks between. */
static struct ticket_keys *load(const char *words, struct complaints *complaints)
{
	struct setting_list list = TAILQ_HEAD_INITIALIZER(list);
	struct setting settings[TICKET_KEYS_MAX + 2] = {0};
	char *copy = strdup(words), *rest = copy, *word;
	struct ticket_keys *keys;
	size_t i = 0;

	must(copy);
	*complaints = (struct complaints){.file = "conf"};
	while ((word = strsep(&rest, " "))) {
		must(i < COUNT(settings));
		settings[i] = (struct setting){.text = word, .line = 7};
		if (*word)
			TAILQ_INSERT_TAIL(&list, &settings[i], next);
		i++;
	}
	keys = ticket_keys_load(&list, complaints);
	free(copy);
	return keys;
}

/* use: "s" if the key whose name begins with this byte seals, "o" if it opens, "r" if tickets are renewed as well. */
static void check_use(uint8_t first, const char *use)
{
	struct ticket_key_choice seals = ticket_key_to_seal(), opens;
	uint8_t name[KEYS_NAME_LENGTH];
	char found[4] = "";

	fill(name, sizeof(name), first);
	opens = ticket_key_to_open(name);
	if (seals.key && memcmp(seals.key->name, name, sizeof(name)) == 0)
		strcat(found, "s");
	if (opens.key && memcmp(opens.key->name, name, sizeof(name)) == 0)
		strcat(found, "o");
	if (opens.renew)
		strcat(found, "r");
	check_text(found, use, "what a key is used for");
}

static void test_use(void)
{
	struct complaints complaints;
	struct ticket_keys *list, *folder;
	char text[TICKET_KEY_TEXT];

	must(mkdir("folder", 0700) == 0 && mkdir("folder/.hidden", 0700) == 0);
	write_key("a", 80, 10);
	write_key("b", 48, 20);
	write_key("folder/previous.key", 80, 30);
	write_key("folder/current.key", 48, 40);
	write_key("folder/next.key", 80, 50);
	write_key("folder/before-that", 80, 60);
	write_key("folder/.not-this", 70, 70);

	check(!load("", &complaints) && complaints.count == 0, "no files: no keys, no complaint");
	check_use(10, "");
	check(!!ticket_key_to_seal().key, "the agent's own seal");
	list = load("a b", &complaints);
	must(list);
	check(list->count == 2, "two files");
	ticket_keys_use(list);
	check_use(10, "so");
	check_use(20, "or");
	check_use(40, "");
	check(!ticket_key_to_seal().aes_128, "the first is one for AES-256");
	check_text(ticket_key_text(&list->keys[0].key, text), "0a0b0c0d", "what people read of it");

	folder = load("folder", &complaints);
	must(folder);
	check(folder->count == 4, "a folder with four, and two that are hidden");
	ticket_keys_use(folder);
	check_use(40, "so");
	check_use(30, "or");
	check_use(50, "o");
	check_use(60, "or");
	check_use(10, "");
	check(ticket_key_to_seal().aes_128, "current is one for AES-128");
	ticket_keys_use(NULL);
	check_use(40, "");
	ticket_keys_put(ticket_keys_get(list));
	check(list->count == 2, "who has it keeps it");
	ticket_keys_put(list);
	ticket_keys_put(folder);
	must(system("rm -r folder a b") == 0);
}

/* ---- bad ones ---- */

static const struct {
	const char *what, *prepare, *set, *says;
} faults[] = {
	{"nothing there", "true", "a",
	 "conf:7: a can't be read: No such file or directory; expected a ticket key that user"},
	{"a byte too few", "head -c 79 key >a", "a",
	 "conf:7: a has 79 bytes; expected 80 random bytes (openssl rand 80)"},
	{"a byte too many", "cat key key | head -c 81 >a", "a", "a has 81 bytes; expected 80"},
	{"half of it", "head -c 40 key >a", "a", "a has 40 bytes; expected 80"},
	{"nothing in it", ": >a", "a", "a has 0 bytes; expected 80"},
	{"base64", "base64 key >a", "a", "a has 110 bytes; expected 80"},
	{"two keys in one", "cat key key >a", "a", "a has 160 bytes; expected 80"},
	{"a hole", "truncate -s 80 a", "a", "a holds no key, but 80 bytes that are all the same"},
	{"readable by all", "cp key a; chmod 644 a", "a",
	 "a may be read by everyone (mode 0644); expected a ticket key to be protected like a private key: chmod o= a"},
	{"writable by all", "cp key a; chmod 602 a", "a", "a may be written by everyone (mode 0602)"},
	{"a pipe", "mkfifo -m 600 a", "a", "a is not a regular file"},
	{"a device", "ln -s /dev/zero a", "a", "a is not a regular file"},
	{"a link to itself", "ln -s a a", "a", "a can't be read: Too many levels of symbolic links"},
	{"an empty folder", "mkdir a", "a",
	 "a has no ticket key called current; expected files current and, beside it, previous and next"},
	{"a folder with hidden files", "mkdir a; cp key a/.current", "a", "a has no ticket key called current"},
	{"a folder with others", "mkdir a; cp key a/currently; cp other a/previous", "a",
	 "a has no ticket key called current"},
	{"two that are current", "mkdir a; cp key a/current; cp other a/current.old", "a",
	 "a/current and a/current.old: both are called current"},
	{"a folder in a folder", "mkdir -p a/b; cp key a/current", "a", "a/b is not a regular file"},
	{"one bad one among good ones", "mkdir a; cp key a/current; head -c 70 other >a/next", "a",
	 "a/next has 70 bytes; expected 80"},
	{"a folder beside a file", "mkdir a; cp key a/current; cp other b", "b a",
	 "a is a folder beside other ticket keys; expected files, or one folder alone"},
	{"the same twice", "mkdir a; cp key a/current; cp key a/previous", "a",
	 "a/current and a/previous: ticket keys with the same name (01020304...)"},
	{"another of the same name", "cp key a; (head -c 16 key; head -c 64 other) >b", "a b",
	 "a and b: ticket keys with the same name (01020304...); expected each to be made anew: openssl rand 80"},
	{"too many",
	 "mkdir a; cp key a/current; for i in $(seq 10 25); do (printf ${i}56789012345678; head -c 64 key) >a/$i; done",
	 "a", "is one ticket key too many; expected at most 16"},
};

static void test_faults(void)
{
	write_key("key", 80, 1);
	write_key("other", 80, 101);
	for (size_t i = 0; i < COUNT(faults); i++) {
		struct complaints complaints;
		struct ticket_keys *keys;

		must(system("rm -rf a b") == 0 && system(faults[i].prepare) == 0);
		keys = load(faults[i].set, &complaints);
		if (!check(!keys && complaints.count > 0 && strstr(complaints.text, faults[i].says), "%s: %s",
			   faults[i].what, faults[i].says))
			printf("# %s", complaints.text);
		ticket_keys_put(keys);
	}
}

/* Root may read everything. */
static void test_unreadable(void)
{
	struct complaints complaints;

	must(system("rm -rf a; cp key a; chmod 0 a") == 0 && chmod(".", 0755) == 0);
	must(geteuid() != 0 || seteuid(65534) == 0);
	check(!load("a", &complaints) &&
		      strstr(complaints.text, "a can't be read: Permission denied; expected a ticket "
					      "key that user "),
	      "a file that we may not read");
	must(getuid() != 0 || seteuid(0) == 0);
}

int main(void)
{
	char command[64];

	umask(077);
	must(keys_init() && mkdtemp(directory) && chdir(directory) == 0);
	test_forms();
	test_use();
	test_faults();
	test_unreadable();
	snprintf(command, sizeof(command), "rm -r %s", directory);
	must(system(command) == 0);
	return finish();
}
