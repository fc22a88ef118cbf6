/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ktlsd/protocol.h>

#include "keys.h"
#include "log.h"
#include "settings.h"
#include "settings_check.h"

struct reading {
	FILE *stream;
	unsigned int line;
	bool bad_line; /* the line was complained about already */
	struct settings *settings;
	struct service_settings *service; /* of the section that is being read; NULL: [ktlsd] or none */
	bool in_agent_section;
	struct complaints *complaints;
};

struct word {
	const char *text;
	unsigned int value;
};

struct key {
	const char *name;
	bool (*set)(struct reading *reading, const struct key *key, void *field, const char *value);
	size_t offset;
	unsigned int least, most;
	const struct word *words;
	const char *expected;
};

static char *duplicate(const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		log_fatal("out of memory");
	return copy;
}

static void *zeroed(size_t size)
{
	void *memory = calloc(1, size);

	if (!memory)
		log_fatal("out of memory");
	return memory;
}

static bool set_string(struct reading *reading, const struct key *key, void *field, const char *value)
{
	(void)reading, (void)key;
	free(*(char **)field);
	*(char **)field = duplicate(value);
	return *value != '\0';
}

static bool set_setting(struct reading *reading, const struct key *key, void *field, const char *value)
{
	struct setting *setting = field;

	setting->line = reading->line;
	return set_string(reading, key, &setting->text, value);
}

static bool set_list(struct reading *reading, const struct key *key, void *field, const char *value)
{
	struct setting_list *list = field;
	char *copy = duplicate(value), *rest = copy, *item;

	(void)key;
	while ((item = strsep(&rest, ", \t"))) {
		struct setting *setting;

		if (!*item)
			continue;
		setting = zeroed(sizeof(*setting));
		setting->text = duplicate(item);
		setting->line = reading->line;
		TAILQ_INSERT_TAIL(list, setting, next);
	}
	free(copy);
	return *value != '\0';
}

/* The whole line is one item. */
static bool set_line(struct reading *reading, const struct key *key, void *field, const char *value)
{
	struct setting *setting = zeroed(sizeof(*setting));

	TAILQ_INSERT_TAIL((struct setting_list *)field, setting, next);
	return set_setting(reading, key, setting, value);
}

static bool parse_number(const char *value, int base, unsigned int least, unsigned int most, unsigned int *number)
{
	char *end;
	unsigned long parsed;

	errno = 0;
	parsed = strtoul(value, &end, base);
	if (!isdigit((unsigned char)*value) || *end || errno || parsed < least || parsed > most)
		return false;
	*number = parsed;
	return true;
}

static bool set_number(struct reading *reading, const struct key *key, void *field, const char *value)
{
	(void)reading;
	return parse_number(value, 10, key->least, key->most, field);
}

static bool set_mode(struct reading *reading, const struct key *key, void *field, const char *value)
{
	(void)reading, (void)key;
	return parse_number(value, 8, 0, 0777, field);
}

/* Seconds in the file, milliseconds in here; fractions are allowed. */
static bool set_seconds(struct reading *reading, const struct key *key, void *field, const char *value)
{
	char *end;
	double seconds = strtod(value, &end);

	(void)reading;
	if (!isdigit((unsigned char)*value) || *end || !(seconds * 1000 >= key->least && seconds * 1000 <= key->most))
		return false;
	*(unsigned int *)field = seconds * 1000;
	return true;
}

static bool set_word(struct reading *reading, const struct key *key, void *field, const char *value)
{
	const struct word *word;

	(void)reading;
	for (word = key->words; word->text; word++) {
		if (strcmp(word->text, value) == 0) {
			*(unsigned int *)field = word->value;
			return true;
		}
	}
	return false;
}

/* Of a choice between two. */
static bool set_either(struct reading *reading, const struct key *key, void *field, const char *value)
{
	unsigned int chosen;

	if (!set_word(reading, key, &chosen, value))
		return false;
	*(bool *)field = chosen;
	return true;
}

static bool set_boolean(struct reading *reading, const struct key *key, void *field, const char *value)
{
	(void)reading, (void)key;
	*(bool *)field = strcmp(value, "yes") == 0;
	return *(bool *)field || strcmp(value, "no") == 0;
}

static bool set_certificate(struct reading *reading, const struct key *key, void *field, const char *value)
{
	struct certificate_setting *certificate = zeroed(sizeof(*certificate));

	(void)field;
	TAILQ_INSERT_TAIL(&reading->service->certificates, certificate, next);
	return set_setting(reading, key, &certificate->certificate, value);
}

static bool set_key(struct reading *reading, const struct key *key, void *field, const char *value)
{
	struct certificate_setting *certificate = TAILQ_LAST(&reading->service->certificates, certificate_list);

	(void)field;
	if (!certificate || certificate->key.text)
		return false;
	return set_setting(reading, key, &certificate->key, value);
}

static const struct word install_words[] = {
	{"auto", INSTALL_AUTO}, {"io_uring", INSTALL_IO_URING}, {"setsockopt", INSTALL_SETSOCKOPT}, {0}};
static const struct word level_words[] = {{"error", LOG_ERR}, {"warning", LOG_WARNING}, {"notice", LOG_NOTICE},
					  {"info", LOG_INFO}, {"debug", LOG_DEBUG},	{0}};
static const struct word role_words[] = {{"server", KTLSD_SERVER}, {"client", KTLSD_CLIENT}, {0}};
static const struct word version_words[] = {{"1.2", 0x0303}, {"1.3", 0x0304}, {0}};
static const struct word ocsp_words[] = {{"off", OCSP_OFF}, {"staple", OCSP_STAPLE}, {"ask", OCSP_ASK}, {0}};
static const struct word leaf_words[] = {{"chain", false}, {"leaf", true}, {0}};
static const struct word mercy_words[] = {{"refuse", false}, {"accept", true}, {0}};
static const struct word client_certificate_words[] = {{"none", CLIENT_CERTIFICATE_NONE},
						       {"request", CLIENT_CERTIFICATE_REQUEST},
						       {"require", CLIENT_CERTIFICATE_REQUIRE},
						       {0}};

#define AGENT(field) offsetof(struct settings, field)
#define SERVICE(field) offsetof(struct service_settings, field)
#define MOST_HANDSHAKES 1000000
#define UNSET UINT_MAX

static const struct key agent_keys[] = {
	{"handoff_socket", set_string, AGENT(handoff_socket), 0, 0, NULL, "a path"},
	{"handoff_mode", set_mode, AGENT(handoff_mode), 0, 0, NULL, "permissions in octal, such as 0666"},
	{"control_socket", set_string, AGENT(control_socket), 0, 0, NULL, "a path"},
	{"control_group", set_setting, AGENT(control_group), 0, 0, NULL, "a group that may use ktlsctl status"},
	{"user", set_setting, AGENT(user), 0, 0, NULL, "a user to run as"},
	{"workers", set_number, AGENT(workers), 0, 255, NULL, "a number from 0 (one per CPU) to 255"},
	{"max_callers", set_number, AGENT(max_callers), 1, 65536, NULL, "a number from 1 to 65536"},
	{"max_handshakes", set_number, AGENT(max_handshakes), 1, MOST_HANDSHAKES, NULL, "a number from 1 to 1000000"},
	{"max_handshakes_per_caller", set_number, AGENT(max_handshakes_per_caller), 1, MOST_HANDSHAKES, NULL,
	 "a number from 1 to 1000000"},
	{"max_handshakes_per_user", set_number, AGENT(max_handshakes_per_user), 1, MOST_HANDSHAKES, NULL,
	 "a number from 1 to 1000000"},
	{"max_handshakes_per_peer", set_number, AGENT(max_handshakes_per_peer), 1, MOST_HANDSHAKES, NULL,
	 "a number from 1 to 1000000"},
	{"drain_timeout", set_seconds, AGENT(drain_timeout_ms), 0, 3600000, NULL, "seconds, from 0 to 3600"},
	{"install", set_word, AGENT(install), 0, 0, install_words, "auto, io_uring or setsockopt"},
	{"log_level", set_word, AGENT(log_level), 0, 0, level_words, "error, warning, notice, info or debug"},
	{"key_log_file", set_string, AGENT(key_log_file), 0, 0, NULL, "a path"},
	{"key_file", set_string, AGENT(key_file), 0, 0, NULL, "a path, or none"},
	{"ticket_keys", set_list, AGENT(ticket_keys), 0, 0, NULL, "files, the first to seal with, or a folder"},
	{"ocsp_folder", set_string, AGENT(ocsp_folder), 0, 0, NULL, "a path, or none"},
	{"keyrings", set_list, AGENT(keyrings), 0, 0, NULL, "names of keyrings, separated by commas"},
	{"token_lifetime", set_number, AGENT(token_lifetime), 1, 2 * KEYS_LIFETIME, NULL, "seconds, from 1 to 86400"},
	{0},
};

static const struct key service_keys[] = {
	{"role", set_word, SERVICE(role), 0, 0, role_words, "server or client"},
	{"certificate", set_certificate, 0, 0, 0, NULL, "a PEM file: the certificate, then its intermediates"},
	{"key", set_key, 0, 0, 0, NULL, "a PEM file, once, behind the certificate it belongs to"},
	{"readable_key", set_either, SERVICE(readable_key_will_do), 0, 0, mercy_words, "refuse or accept"},
	{"ca", set_list, SERVICE(ca), 0, 0, NULL, "PEM files, folders of them, or system, separated by commas"},
	{"client_certificate", set_word, SERVICE(client_certificate), 0, 0, client_certificate_words,
	 "none, request or require"},
	{"max_depth", set_number, SERVICE(max_depth), 0, 100, NULL, "a number of intermediates, from 0 to 100"},
	{"leeway", set_number, SERVICE(leeway), 0, 86400, NULL, "seconds, from 0 to 86400"},
	{"any_purpose", set_boolean, SERVICE(any_purpose), 0, 0, NULL, "yes or no"},
	{"require_purposes", set_list, SERVICE(purposes), 0, 0, NULL, "OIDs or names, separated by commas"},
	{"require_policies", set_list, SERVICE(policies), 0, 0, NULL, "OIDs, separated by commas"},
	{"allow_peer", set_line, SERVICE(allow_peers), 0, 0, NULL, "KIND:VALUE or KIND:VALUE as NAME, once a line"},
	{"allow_peers_file", set_list, SERVICE(allow_peers_files), 0, 0, NULL, "files, separated by commas"},
	{"crl", set_list, SERVICE(crl), 0, 0, NULL, "files or folders, separated by commas"},
	{"crl_scope", set_either, SERVICE(crl_leaf_only), 0, 0, leaf_words, "chain or leaf"},
	{"expired_crl", set_either, SERVICE(crl_expired_will_do), 0, 0, mercy_words, "refuse or accept"},
	{"ocsp", set_word, SERVICE(ocsp), 0, 0, ocsp_words, "off, staple or ask"},
	{"ocsp_responder", set_setting, SERVICE(ocsp_responder), 0, 0, NULL, "http://HOST[:PORT][/PATH]"},
	{"ocsp_timeout", set_seconds, SERVICE(ocsp_timeout_ms), 100, 60000, NULL, "seconds, from 0.1 to 60"},
	{"ocsp_refresh", set_number, SERVICE(ocsp_refresh), 1, 604800, NULL, "seconds, from 1 to 604800"},
	{"ocsp_max_age", set_number, SERVICE(ocsp_max_age), 0, 31536000, NULL, "seconds, up to 31536000; 0: no limit"},
	{"ocsp_nonce", set_boolean, SERVICE(ocsp_nonce), 0, 0, NULL, "yes or no"},
	{"revocation_unknown", set_either, SERVICE(unknown_will_do), 0, 0, mercy_words, "refuse or accept"},
	{"staple", set_boolean, SERVICE(staple), 0, 0, NULL, "yes or no"},
	{"staple_responder", set_setting, SERVICE(staple_responder), 0, 0, NULL, "http://HOST[:PORT][/PATH]"},
	{"ciphers", set_list, SERVICE(ciphers), 0, 0, NULL, "names from the manual, separated by commas"},
	{"groups", set_list, SERVICE(groups), 0, 0, NULL, "names from the manual, separated by commas"},
	{"alpn", set_list, SERVICE(alpn), 0, 0, NULL, "protocol names, separated by commas"},
	{"min_version", set_word, SERVICE(min_version), 0, 0, version_words, "1.2 or 1.3"},
	{"max_version", set_word, SERVICE(max_version), 0, 0, version_words, "1.2 or 1.3"},
	{"rsa_key_transport", set_boolean, SERVICE(rsa_key_transport), 0, 0, NULL, "yes or no"},
	{"tickets", set_number, SERVICE(tickets), 0, 16, NULL, "a number from 0 to 16"},
	{"timeout", set_seconds, SERVICE(timeout_ms), 10, 3600000, NULL, "seconds, from 0.01 to 3600"},
	{"max_handshakes", set_number, SERVICE(max_handshakes), 1, MOST_HANDSHAKES, NULL, "a number from 1 to 1000000"},
	{"allow_everyone", set_boolean, SERVICE(allow_everyone), 0, 0, NULL, "yes or no"},
	{"allow_users", set_list, SERVICE(allow_users), 0, 0, NULL, "user names or numbers, separated by commas"},
	{"allow_groups", set_list, SERVICE(allow_groups), 0, 0, NULL, "group names or numbers, separated by commas"},
	{"allow_challenge", set_list, SERVICE(allow_challenge), 0, 0, NULL,
	 "user names or numbers, separated by commas"},
	{"listen", set_list, SERVICE(listen), 0, 0, NULL, "ADDRESS:PORT or [ADDRESS]:PORT, separated by commas"},
	{"ready_socket", set_setting, SERVICE(ready_socket), 0, 0, NULL, "a path"},
	{"kernel", set_list, SERVICE(kernel), 0, 0, NULL, "anonymous, x509 or psk, separated by commas"},
	{"kernel_peers", set_list, SERVICE(kernel_peers), 0, 0, NULL, "names or *.domain, separated by commas"},
	{"kernel_networks", set_list, SERVICE(kernel_networks), 0, 0, NULL,
	 "addresses or networks, separated by commas"},
	{0},
};

static struct service_settings *new_service(struct reading *reading, const char *name)
{
	struct service_settings *service;

	TAILQ_FOREACH(service, &reading->settings->services, next) {
		if (strcmp(service->name, name) == 0)
			complain(reading->complaints, reading->line,
				 "service \"%s\" stands on line %u already; "
				 "expected every service once",
				 name, service->line);
	}
	service = zeroed(sizeof(*service));
	service->name = duplicate(name);
	service->line = reading->line;
	TAILQ_INIT(&service->certificates);
	TAILQ_INIT(&service->ca);
	TAILQ_INIT(&service->purposes);
	TAILQ_INIT(&service->policies);
	TAILQ_INIT(&service->allow_peers);
	TAILQ_INIT(&service->allow_peers_files);
	TAILQ_INIT(&service->crl);
	TAILQ_INIT(&service->ciphers);
	TAILQ_INIT(&service->groups);
	TAILQ_INIT(&service->alpn);
	TAILQ_INIT(&service->allow_users);
	TAILQ_INIT(&service->allow_groups);
	TAILQ_INIT(&service->allow_challenge);
	TAILQ_INIT(&service->listen);
	TAILQ_INIT(&service->kernel);
	TAILQ_INIT(&service->kernel_peers);
	TAILQ_INIT(&service->kernel_networks);
	service->max_version = 0x0304;
	service->max_depth = 10;
	service->ocsp_timeout_ms = 5000;
	service->ocsp_refresh = 3600;
	service->ocsp_nonce = true;
	service->tickets = UNSET;
	service->timeout_ms = 10000;
	service->max_handshakes = MOST_HANDSHAKES;
	TAILQ_INSERT_TAIL(&reading->settings->services, service, next);
	return service;
}

static void begin_section(struct reading *reading, const char *line)
{
	char name[64];
	int end = 0;

	reading->service = NULL;
	reading->in_agent_section = strncmp(line, "[ktlsd]", 7) == 0;
	if (reading->in_agent_section)
		return;
	if (sscanf(line, "[service %63[A-Za-z0-9_.-]]%n", name, &end) == 1 && end > 0) {
		reading->service = new_service(reading, name);
		return;
	}
	reading->bad_line = true;
	complain(reading->complaints, reading->line,
		 "unknown section %.*s; expected [ktlsd] or [service NAME], "
		 "NAME of at most 63 letters, digits and _ . -",
		 (int)strcspn(line, "\r\n"), line);
}

/*
 * libinih's reader: one call a line, which is how lines are counted. What libinih would take differently from what the
 * eye sees is said here: an indented line continues the value above, a line too long is cut in two.
 */
static char *read_line(char *line, int size, void *user)
{
	struct reading *reading = user;
	const char *first;

	if (!fgets(line, size, reading->stream))
		return NULL;
	reading->line++;
	reading->bad_line = false;
	first = line + strspn(line, " \t");
	if (!strchr(line, '\n') && !feof(reading->stream)) {
		int c;

		complain(reading->complaints, reading->line, "line too long; expected at most %d characters", size - 2);
		while ((c = getc(reading->stream)) != EOF && c != '\n')
			;
		return strcpy(line, "\n");
	}
	if (*first == '[') {
		begin_section(reading, first);
	} else if (first != line && !strchr("#;\r\n", *first)) {
		complain(reading->complaints, reading->line,
			 "indented line; expected keys to begin in the first column");
		return strcpy(line, "\n");
	}
	return line;
}

static int take_value(void *user, const char *section, const char *name, const char *value)
{
	struct reading *reading = user;
	const struct key *key;
	void *base;

	(void)section;
	if (!reading->in_agent_section && !reading->service) {
		if (!reading->bad_line)
			complain(reading->complaints, reading->line,
				 "\"%s\" stands in no known section; expected [ktlsd] or [service NAME] above it",
				 name);
		return 1;
	}
	key = reading->in_agent_section ? agent_keys : service_keys;
	base = reading->in_agent_section ? (void *)reading->settings : (void *)reading->service;
	for (; key->name; key++) {
		if (strcmp(key->name, name) != 0)
			continue;
		if (!key->set(reading, key, (char *)base + key->offset, value))
			complain(reading->complaints, reading->line, "%s = %s; expected %s", name, value,
				 key->expected);
		return 1;
	}
	complain(reading->complaints, reading->line, "unknown key \"%s\" in [%s]; see ktlsd.conf(5) for the keys", name,
		 section);
	return 1;
}

static struct settings *defaults(const char *file)
{
	struct settings *settings = zeroed(sizeof(*settings));

	settings->holders = 1;
	settings->file = duplicate(file);
	settings->handoff_socket = duplicate(KTLSD_HANDOFF_PATH);
	settings->handoff_mode = 0666;
	settings->control_socket = duplicate(KTLSD_CONTROL_PATH);
	settings->max_handshakes = 16384;
	settings->max_handshakes_per_caller = 4096;
	settings->max_handshakes_per_user = 8192;
	settings->max_handshakes_per_peer = 4096;
	settings->drain_timeout_ms = 10000;
	settings->log_level = LOG_INFO;
	settings->token_lifetime = 2 * KEYS_LIFETIME;
	TAILQ_INIT(&settings->ticket_keys);
	TAILQ_INIT(&settings->keyrings);
	TAILQ_INIT(&settings->services);
	return settings;
}

/* The default: beside the handoff socket, which is on a tmpfs. */
static void complete_path(const struct settings *settings, char **path, const char *name)
{
	const char *slash = strrchr(settings->handoff_socket, '/');
	int length = slash ? slash + 1 - settings->handoff_socket : 0;

	if (!*path && asprintf(path, "%.*s%s", length, settings->handoff_socket, name) < 0)
		log_fatal("out of memory");
	if (strcmp(*path, "none") != 0)
		return;
	free(*path);
	*path = NULL;
}

/* The kernel's consumers of TLS know version 1.3 alone, and have no use for tickets. */
static void complete_service(struct service_settings *service)
{
	bool kernel = !TAILQ_EMPTY(&service->kernel);

	if (service->min_version == 0)
		service->min_version = kernel ? 0x0304 : 0x0303;
	if (service->tickets == UNSET)
		service->tickets = kernel ? 0 : 2;
}

bool settings_use_kernel(const struct settings *settings)
{
	const struct service_settings *service;

	TAILQ_FOREACH(service, &settings->services, next) {
		if (!TAILQ_EMPTY(&service->kernel))
			return true;
	}
	return false;
}

struct settings *settings_read(const char *file, struct complaints *complaints)
{
	struct reading reading = {.complaints = complaints};
	struct service_settings *service;
	int bad;

	complaints->file = file;
	reading.stream = fopen(file, "re");
	if (!reading.stream) {
		complain(complaints, 0, "%s; expected a readable file", strerror(errno));
		return NULL;
	}
	reading.settings = defaults(file);
	bad = ini_parse_stream(read_line, &reading, take_value, &reading);
	if (ferror(reading.stream))
		complain(complaints, 0, "can't be read: %s", strerror(errno));
	fclose(reading.stream);
	if (bad > 0)
		complain(complaints, bad,
			 "neither a section nor a value; expected [section], key = value or # comment");
	else if (bad < 0)
		complain(complaints, 0, "out of memory");
	complete_path(reading.settings, &reading.settings->key_file, "keys");
	complete_path(reading.settings, &reading.settings->ocsp_folder, "ocsp");
	if (TAILQ_EMPTY(&reading.settings->keyrings))
		set_list(&reading, NULL, &reading.settings->keyrings, ".nvme, .nfs, .nfsd");
	TAILQ_FOREACH(service, &reading.settings->services, next)
		complete_service(service);
	settings_check(reading.settings, complaints);
	if (complaints->count) {
		settings_put(reading.settings);
		return NULL;
	}
	return reading.settings;
}

static void free_list(struct setting_list *list)
{
	struct setting *setting;

	while ((setting = TAILQ_FIRST(list))) {
		TAILQ_REMOVE(list, setting, next);
		free(setting->text);
		free(setting);
	}
}

static void free_service(struct service_settings *service)
{
	struct certificate_setting *certificate;

	while ((certificate = TAILQ_FIRST(&service->certificates))) {
		TAILQ_REMOVE(&service->certificates, certificate, next);
		free(certificate->certificate.text);
		free(certificate->key.text);
		free(certificate);
	}
	free_list(&service->ca);
	free_list(&service->purposes);
	free_list(&service->policies);
	free_list(&service->allow_peers);
	free_list(&service->allow_peers_files);
	free_list(&service->crl);
	free(service->ocsp_responder.text);
	free(service->staple_responder.text);
	free_list(&service->ciphers);
	free_list(&service->groups);
	free_list(&service->alpn);
	free_list(&service->allow_users);
	free_list(&service->allow_groups);
	free_list(&service->allow_challenge);
	free_list(&service->listen);
	free(service->ready_socket.text);
	free_list(&service->kernel);
	free_list(&service->kernel_peers);
	free_list(&service->kernel_networks);
	free(service->name);
	free(service);
}

struct settings *settings_get(struct settings *settings)
{
	settings->holders++;
	return settings;
}

void settings_put(struct settings *settings)
{
	struct service_settings *service;

	if (!settings || --settings->holders > 0)
		return;
	while ((service = TAILQ_FIRST(&settings->services))) {
		TAILQ_REMOVE(&settings->services, service, next);
		free_service(service);
	}
	free_list(&settings->keyrings);
	free(settings->file);
	free(settings->handoff_socket);
	free(settings->control_socket);
	free(settings->control_group.text);
	free(settings->user.text);
	free(settings->key_log_file);
	free(settings->key_file);
	free_list(&settings->ticket_keys);
	free(settings->ocsp_folder);
	free(settings);
}
