/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../log.h"
#include "identity.h"
#include "peers.h"

#define SUBJECT_MAX 2048
#define NAME_MAX_LENGTH 127 /* of ours for a peer */

struct peers {
	struct peer_entry *entries; /* sorted by identity */
	size_t count, room;
	struct peer_entry *prefixes; /* those of URI:...*, without the star, sorted likewise */
	size_t prefix_count, prefix_room;
};

/* ---- the form in which identities are compared ---- */

/* What identity_names() leaves out would never match anything. */
static bool plain(char *value)
{
	for (; *value; value++) {
		if (*value <= ' ' || *value > '~' || *value == ',')
			return false;
	}
	return true;
}

/* Nor would a star that does not stand for the first label as a whole. */
static bool dns_name(char *value)
{
	const char *star = strrchr(value, '*');
	char *c;

	for (c = value; *c; c++)
		*c = tolower((unsigned char)*c);
	return plain(value) && (!star || (star == value && star[1] == '.' && star[2]));
}

static bool as_it_is(char *value)
{
	(void)value;
	return true;
}

static bool address(char *value)
{
	struct in6_addr binary;
	int family = strchr(value, ':') ? AF_INET6 : AF_INET;

	return inet_pton(family, value, &binary) == 1 && inet_ntop(family, &binary, value, INET6_ADDRSTRLEN);
}

static bool fingerprint(char *value)
{
	char *from, *to = value;

	for (from = value; *from; from++) {
		if (*from == ':')
			continue;
		if (!isxdigit((unsigned char)*from))
			return false;
		*to++ = tolower((unsigned char)*from);
	}
	*to = '\0';
	return to - value == IDENTITY_SHA256 - 1;
}

static const struct {
	const char *kind;
	bool (*normalize)(char *value);
} kinds[] = {
	{"DNS", dns_name},     {"IP", address},	     {"URI", plain},	      {"email", plain},
	{"subject", as_it_is}, {"issuer", as_it_is}, {"sha256", fingerprint}, {"key-sha256", fingerprint},
};

/* In place, in a buffer that has INET6_ADDRSTRLEN bytes of room behind the kind. */
static bool normalize(char *identity)
{
	char *value = strchr(identity, ':');
	size_t i, length = value ? (size_t)(value - identity) : 0;

	for (i = 0; value && i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (strlen(kinds[i].kind) == length && strncmp(kinds[i].kind, identity, length) == 0)
			return value[1] && kinds[i].normalize(value + 1);
	}
	return false;
}

/* ---- loading ---- */

static struct peer_entry *add(struct peer_entry **entries, size_t *count, size_t *room)
{
	if (*count == *room) {
		*room = *room ? *room * 2 : 16;
		*entries = reallocarray(*entries, *room, sizeof(**entries));
		if (!*entries)
			log_fatal("out of memory");
	}
	return &(*entries)[(*count)++];
}

/* A blank behind a backslash is the subject's own (RFC 2253 §2.4). */
static char *trim(char *text)
{
	char *end = text + strlen(text);

	while (end > text && isspace((unsigned char)end[-1]) && !(end - 1 > text && end[-2] == '\\'))
		*--end = '\0';
	return text + strspn(text, " \t");
}

/* " as NAME" at the end: a subject may hold such words, too, but not behind its last one. */
static char *split_name(char *text)
{
	char *name = NULL, *found;

	for (found = strstr(text, " as "); found; found = strstr(found + 1, " as "))
		name = found;
	if (!name)
		return NULL;
	*name = '\0';
	return trim(name + 4);
}

static bool is_good_name(const char *name)
{
	size_t i;

	for (i = 0; name[i]; i++) {
		if (!isprint((unsigned char)name[i]))
			return false;
	}
	return i > 0 && i <= NAME_MAX_LENGTH;
}

static const char *take_text(struct peers *peers, char *text, unsigned int number)
{
	char *name = split_name(text), *identity = trim(text);
	struct peer_entry *entry;
	size_t length;

	if (name && !is_good_name(name))
		return "a name of 1 to 127 printable characters behind \"as\"";
	if (!normalize(identity))
		return "DNS:, IP:, URI:, email:, subject:, issuer:, sha256: or key-sha256: with a value";
	length = strlen(identity);
	if (strncmp(identity, "URI:", 4) == 0 && identity[length - 1] == '*') {
		identity[length - 1] = '\0';
		/* Behind a scheme and a host, or anybody's name would do. */
		if (!strstr(identity, "://") || !strchr(strstr(identity, "://") + 3, '/'))
			return "a URI with a \"*\" behind its host's \"/\" only";
		entry = add(&peers->prefixes, &peers->prefix_count, &peers->prefix_room);
	} else {
		entry = add(&peers->entries, &peers->count, &peers->room);
	}
	*entry = (struct peer_entry){strdup(identity), name ? strdup(name) : NULL, number};
	if (!entry->identity || (name && !entry->name))
		log_fatal("out of memory");
	return NULL;
}

/* NULL, or what was expected instead. */
static const char *take(struct peers *peers, const char *line, unsigned int number)
{
	char *text = malloc(strlen(line) + INET6_ADDRSTRLEN);
	const char *expected;

	if (!text)
		log_fatal("out of memory");
	expected = take_text(peers, strcpy(text, line), number);
	free(text);
	return expected;
}

static void read_file(struct peers *peers, const struct setting *file, struct complaints *complaints)
{
	FILE *stream = fopen(file->text, "re");
	unsigned int number = 0;
	size_t size = 0;
	char *line = NULL;

	if (!stream) {
		complain(complaints, file->line, "%s can't be read: %s; expected a list of peers, one a line",
			 file->text, strerror(errno));
		return;
	}
	while (getline(&line, &size, stream) >= 0) {
		char *text = trim(line);
		const char *expected;

		number++;
		if (!*text || *text == '#')
			continue;
		expected = take(peers, text, number);
		if (expected)
			complain(complaints, file->line, "%s, line %u: \"%.100s\"; expected %s", file->text, number,
				 text, expected);
	}
	if (ferror(stream))
		complain(complaints, file->line, "%s can't be read: %s", file->text, strerror(errno));
	free(line);
	fclose(stream);
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct peer_entry *)a)->identity, ((const struct peer_entry *)b)->identity);
}

/* One peer with two names: nobody could say which one counts. */
static void sort(struct peer_entry *entries, size_t count, const char *star, const struct service_settings *service,
		 struct complaints *complaints)
{
	size_t i;

	if (count == 0)
		return;
	qsort(entries, count, sizeof(*entries), compare);
	for (i = 1; i < count; i++) {
		if (compare(&entries[i - 1], &entries[i]) == 0)
			complain(complaints, service->line,
				 "service \"%s\": its list of peers has %s%s twice; expected it once", service->name,
				 entries[i].identity, star);
	}
}

struct peers *peers_load(const struct service_settings *service, struct complaints *complaints)
{
	struct peers *peers = calloc(1, sizeof(*peers));
	unsigned int before = complaints->count;
	const struct setting *setting;

	if (!peers)
		log_fatal("out of memory");
	TAILQ_FOREACH(setting, &service->allow_peers, next) {
		const char *expected = take(peers, setting->text, setting->line);

		if (expected)
			complain(complaints, setting->line, "allow_peer = %s; expected %s", setting->text, expected);
	}
	TAILQ_FOREACH(setting, &service->allow_peers_files, next)
		read_file(peers, setting, complaints);
	sort(peers->entries, peers->count, "", service, complaints);
	sort(peers->prefixes, peers->prefix_count, "*", service, complaints);
	if (complaints->count == before &&
	    !(TAILQ_EMPTY(&service->allow_peers) && TAILQ_EMPTY(&service->allow_peers_files)))
		return peers;
	peers_free(peers);
	return NULL;
}

static void free_entries(struct peer_entry *entries, size_t count)
{
	while (count > 0) {
		free(entries[--count].identity);
		free(entries[count].name);
	}
	free(entries);
}

void peers_free(struct peers *peers)
{
	if (!peers)
		return;
	free_entries(peers->entries, peers->count);
	free_entries(peers->prefixes, peers->prefix_count);
	free(peers);
}

/* ---- looking up ---- */

struct search {
	const struct peers *peers;
	const struct peer_entry *found;
};

static const struct peer_entry *find(const struct peers *peers, const char *identity)
{
	struct peer_entry wanted = {.identity = (char *)identity};

	return peers->count ? bsearch(&wanted, peers->entries, peers->count, sizeof(wanted), compare) : NULL;
}

/* The longest: of two that fit, one begins with the other, and stands behind it. */
static const struct peer_entry *find_prefix(const struct peers *peers, const char *identity)
{
	const struct peer_entry *found = NULL;
	size_t i;

	for (i = 0; i < peers->prefix_count; i++) {
		if (strncmp(peers->prefixes[i].identity, identity, strlen(peers->prefixes[i].identity)) == 0)
			found = &peers->prefixes[i];
	}
	return found;
}

static bool try_name(void *argument, const char *name)
{
	struct search *search = argument;
	char identity[IDENTITY_MAX + INET6_ADDRSTRLEN], *rest;

	snprintf(identity, sizeof(identity), "%s", name);
	normalize(identity);
	search->found = find(search->peers, identity);
	if (!search->found)
		search->found = find_prefix(search->peers, identity);
	rest = strchr(identity, '.');
	if (!search->found && strncmp(identity, "DNS:", 4) == 0 && rest && rest > identity + 4) {
		memcpy(rest - 5, "DNS:*", 5);
		search->found = find(search->peers, rest - 5);
	}
	return !search->found;
}

static const struct peer_entry *find_kind(const struct peers *peers, const char *kind, const char *value)
{
	char identity[SUBJECT_MAX + 16];

	snprintf(identity, sizeof(identity), "%s:%s", kind, value);
	return find(peers, identity);
}

const struct peer_entry *peers_find(const struct peers *peers, X509 *certificate)
{
	struct search search = {.peers = peers};
	char text[SUBJECT_MAX];

	if (identity_fingerprint(certificate, text) && (search.found = find_kind(peers, "sha256", text)))
		return search.found;
	if (identity_key_fingerprint(certificate, text) && (search.found = find_kind(peers, "key-sha256", text)))
		return search.found;
	identity_names(certificate, try_name, &search);
	if (search.found)
		return search.found;
	if (identity_text(X509_get_subject_name(certificate), text, sizeof(text)) &&
	    (search.found = find_kind(peers, "subject", text)))
		return search.found;
	return identity_text(X509_get_issuer_name(certificate), text, sizeof(text)) ? find_kind(peers, "issuer", text)
										    : NULL;
}
