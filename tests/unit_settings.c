// SPDX-License-Identifier: MIT
/* Reading ktlsd.conf: every key, and what is said about a fault. */
#include <syslog.h>
#include <unistd.h>

#include <ktlsd/protocol.h>

#include "cipher.h"
#include "config.h"
#include "unit.h"

#define CLIENT "[service c]\nrole = client\n"
#define SERVER "[service s]\nrole = server\ncertificate = c.pem\nkey = k.pem\n"

static const struct {
	const char *text;
	const char *complaints; /* without the file's name */
} faults[] = {
	{"", ": no service; expected at least one [service NAME]\n"},
	{"nonsense\n" CLIENT, ":1: neither a section nor a value; expected [section], key = value or # comment\n"},
	{"workers = 2\n" CLIENT,
	 ":1: \"workers\" stands in no known section; expected [ktlsd] or [service NAME] above it\n"},
	{"[ktls]\nworkers = 2\n" CLIENT,
	 ":1: unknown section [ktls]; expected [ktlsd] or [service NAME], NAME of at most 63 letters, digits and _ . -\n"
	 ":2: \"workers\" stands in no known section; expected [ktlsd] or [service NAME] above it\n"},
	{CLIENT "[service a b]\n",
	 ":3: unknown section [service a b]; expected [ktlsd] or [service NAME], NAME of at most 63 letters, digits and _ . -\n"},
	{CLIENT "[service "
		"1234567890123456789012345678901234567890123456789012345678901234"
		"]\n",
	 ":3: unknown section [service 1234567890123456789012345678901234567890123456789012345678901234]; "
	 "expected [ktlsd] or [service NAME], NAME of at most 63 letters, digits and _ . -\n"},
	{"[ktlsd]\nworker = 2\n" CLIENT, ":2: unknown key \"worker\" in [ktlsd]; see ktlsd.conf(5) for the keys\n"},
	{CLIENT "workers = 2\n", ":3: unknown key \"workers\" in [service c]; see ktlsd.conf(5) for the keys\n"},
	{CLIENT "  alpn = h2\n", ":3: indented line; expected keys to begin in the first column\n"},
	{CLIENT "# twice\n\n" CLIENT, ":5: service \"c\" stands on line 1 already; expected every service once\n"},
	{"[ktlsd]\nworkers = 256\n" CLIENT, ":2: workers = 256; expected a number from 0 (one per CPU) to 255\n"},
	{"[ktlsd]\nworkers = -1\n" CLIENT, ":2: workers = -1; expected a number from 0 (one per CPU) to 255\n"},
	{"[ktlsd]\nworkers = two\n" CLIENT, ":2: workers = two; expected a number from 0 (one per CPU) to 255\n"},
	{"[ktlsd]\nworkers = 2x\n" CLIENT, ":2: workers = 2x; expected a number from 0 (one per CPU) to 255\n"},
	{"[ktlsd]\nworkers =\n" CLIENT, ":2: workers = ; expected a number from 0 (one per CPU) to 255\n"},
	{"[ktlsd]\nmax_callers = 0\n" CLIENT, ":2: max_callers = 0; expected a number from 1 to 65536\n"},
	{"[ktlsd]\nmax_handshakes = 99999999999999999999\n" CLIENT,
	 ":2: max_handshakes = 99999999999999999999; expected a number from 1 to 1000000\n"},
	{"[ktlsd]\nmax_handshakes_per_caller = 0\n" CLIENT,
	 ":2: max_handshakes_per_caller = 0; expected a number from 1 to 1000000\n"},
	{"[ktlsd]\nmax_handshakes_per_user = 0\n" CLIENT,
	 ":2: max_handshakes_per_user = 0; expected a number from 1 to 1000000\n"},
	{"[ktlsd]\nmax_handshakes_per_peer = 0\n" CLIENT,
	 ":2: max_handshakes_per_peer = 0; expected a number from 1 to 1000000\n"},
	{"[ktlsd]\nhandoff_mode = 0888\n" CLIENT,
	 ":2: handoff_mode = 0888; expected permissions in octal, such as 0666\n"},
	{"[ktlsd]\nhandoff_mode = 7777\n" CLIENT,
	 ":2: handoff_mode = 7777; expected permissions in octal, such as 0666\n"},
	{"[ktlsd]\nhandoff_socket =\n" CLIENT, ":2: handoff_socket = ; expected a path\n"},
	{"[ktlsd]\ndrain_timeout = 3601\n" CLIENT, ":2: drain_timeout = 3601; expected seconds, from 0 to 3600\n"},
	{"[ktlsd]\ndrain_timeout = inf\n" CLIENT, ":2: drain_timeout = inf; expected seconds, from 0 to 3600\n"},
	{"[ktlsd]\ninstall = both\n" CLIENT, ":2: install = both; expected auto, io_uring or setsockopt\n"},
	{"[ktlsd]\nkey_file =\n" CLIENT, ":2: key_file = ; expected a path, or none\n"},
	{"[ktlsd]\nticket_keys =\n" CLIENT,
	 ":2: ticket_keys = ; expected files, the first to seal with, or a folder\n"},
	{"[ktlsd]\ntoken_lifetime = 0\n" CLIENT, ":2: token_lifetime = 0; expected seconds, from 1 to 86400\n"},
	{"[ktlsd]\ntoken_lifetime = 86401\n" CLIENT, ":2: token_lifetime = 86401; expected seconds, from 1 to 86400\n"},
	{"[ktlsd]\nlog_level = loud\n" CLIENT,
	 ":2: log_level = loud; expected error, warning, notice, info or debug\n"},
	{"[service c]\n", ":1: service \"c\" has no role; expected role = server or client\n"},
	{"[service c]\nrole = both\n", ":2: role = both; expected server or client\n"
				       ":1: service \"c\" has no role; expected role = server or client\n"},
	{"[service s]\nrole = server\n",
	 ":1: service \"s\" has no certificate; expected certificate = FILE and key = FILE\n"},
	{"[service c]\nrole = client\nkey = k.pem\n",
	 ":3: key = k.pem; expected a PEM file, once, behind the certificate it belongs to\n"},
	{SERVER "key = other.pem\n",
	 ":5: key = other.pem; expected a PEM file, once, behind the certificate it belongs to\n"},
	{SERVER "client_certificate = maybe\n", ":5: client_certificate = maybe; expected none, request or require\n"},
	{SERVER "client_certificate = require\n",
	 ":1: service \"s\" wants client certificates and names no ca to verify them with; expected ca = FILE\n"},
	{CLIENT "client_certificate = require\n",
	 ":1: service \"c\" is for the client role; expected client_certificate in server services only\n"},
	{CLIENT "min_version = 1.1\n", ":3: min_version = 1.1; expected 1.2 or 1.3\n"},
	{CLIENT "min_version = 1.3\nmax_version = 1.2\n", ":1: service \"c\": min_version is above max_version\n"},
	{CLIENT "rsa_key_transport = perhaps\n", ":3: rsa_key_transport = perhaps; expected yes or no\n"},
	{CLIENT "rsa_key_transport = yes\nmin_version = 1.3\n",
	 ":1: service \"c\" has rsa_key_transport, which TLS 1.3 has not; expected min_version = 1.2\n"},
	{CLIENT "ciphers = AES128-GCM-SHA256\n",
	 ":3: cipher \"AES128-GCM-SHA256\" has no forward secrecy; expected rsa_key_transport = yes with it\n"},
	{CLIENT "tickets = 17\n", ":3: tickets = 17; expected a number from 0 to 16\n"},
	{CLIENT "timeout = 0.001\n", ":3: timeout = 0.001; expected seconds, from 0.01 to 3600\n"},
	{CLIENT "timeout = nan\n", ":3: timeout = nan; expected seconds, from 0.01 to 3600\n"},
	{CLIENT "max_handshakes = 0\n", ":3: max_handshakes = 0; expected a number from 1 to 1000000\n"},
	{CLIENT "allow_everyone = maybe\n", ":3: allow_everyone = maybe; expected yes or no\n"},
	{CLIENT "allow_users =\n", ":3: allow_users = ; expected user names or numbers, separated by commas\n"},
	{CLIENT "allow_challenge =\n", ":3: allow_challenge = ; expected user names or numbers, separated by commas\n"},
	{CLIENT "allow_challenge = root\n",
	 ":3: service \"c\" has allow_challenge and no key to prove; expected certificate = FILE and key = FILE\n"},
	{"[ktlsd]\nkeyrings =\n" CLIENT, ":2: keyrings = ; expected names of keyrings, separated by commas\n"},
	{"[ktlsd]\nkeyrings = a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q\n" CLIENT, ":2: keyrings: expected 16 at the most\n"},
	{CLIENT "kernel =\n", ":3: kernel = ; expected anonymous, x509 or psk, separated by commas\n"},
	{CLIENT "kernel_peers = a.example\n",
	 ":3: service \"c\" is not for the kernel's requests; expected kernel = anonymous, x509 or psk with it\n"},
	{CLIENT "kernel_networks = 10.0.0.0/8\n",
	 ":3: service \"c\" is not for the kernel's requests; expected kernel = anonymous, x509 or psk with it\n"},
	{SERVER "kernel = x509\nkernel_peers = a.example\n",
	 ":6: service \"s\": kernel_peers are names that clients connect to; expected kernel_networks in server services\n"},
	{SERVER "kernel = x509, anonymous\n",
	 ":5: service \"s\": the kernel's servers ask for x509 or psk; expected one of these instead of anonymous\n"},
	{CLIENT "kernel = x509\nmin_version = 1.2\n",
	 ":1: service \"c\": the kernel's consumers know TLS 1.3 alone; expected min_version = 1.3\n"},
	{CLIENT "kernel = x509\nallow_everyone = yes\n",
	 ":1: service \"c\" is for the kernel's requests and for programs; expected a service for each\n"},
	{"[service s]\nrole = server\nkernel = psk, x509\n",
	 ":1: service \"s\" has no certificate; expected certificate = FILE and key = FILE\n"},
	{"[ktlsd]\nworkers = x\ninstall = y\n" CLIENT "tickets = z\n",
	 ":2: workers = x; expected a number from 0 (one per CPU) to 255\n"
	 ":3: install = y; expected auto, io_uring or setsockopt\n"
	 ":6: tickets = z; expected a number from 0 to 16\n"},

	/* found when the configuration is built */
	{CLIENT "alpn = h2\nciphers = TLS_AES_128_GCM_SHA256, RC4-MD5\n",
	 ":4: cipher \"RC4-MD5\" is unknown; expected those that ktlsd.conf(5) lists\n"},
	{CLIENT "ca = /nonexistent\n",
	 ":3: /nonexistent can't be read: No such file or directory; expected a PEM file that user 0 may read\n"},
	{CLIENT "ca = /dev/null\n", ":3: /dev/null holds no certificate; expected PEM (-----BEGIN CERTIFICATE-----)\n"},
	{CLIENT "allow_users = root, nobody-of-that-name\n",
	 ":3: there is no user \"nobody-of-that-name\"; expected a name or a number\n"},
	{CLIENT "kernel = x508\n", ":3: kernel = x508; expected anonymous, x509 or psk, separated by commas\n"},
	{CLIENT "kernel = x509\nkernel_peers = a.*\n",
	 ":4: kernel_peers = a.*; expected names or *.domain, separated by commas\n"},
	{CLIENT "kernel = x509\nkernel_networks = 10.0.0.0/33\n",
	 ":4: kernel_networks = 10.0.0.0/33; expected addresses or networks such as 10.0.0.0/8 or fd00::/8, separated by commas\n"},
	{CLIENT "allow_groups = 4294967295\n", ":3: there is no group \"4294967295\"; expected a name or a number\n"},
	{CLIENT "ciphers = TLS_AES_128_GCM_SHA256\nmax_version = 1.2\n",
	 ":3: cipher \"TLS_AES_128_GCM_SHA256\" belongs to a version that the service does not have\n"},
};

static const char *write_file(const char *text)
{
	static char name[] = "/tmp/unit-settings-XXXXXX";
	static bool made;
	FILE *file;

	if (!made)
		close(mkstemp(name));
	made = true;
	file = fopen(name, "w");
	must(file && fputs(text, file) >= 0 && fclose(file) == 0);
	return name;
}

/* The text with its line ends visible, for a line of KTAP. */
static const char *in_one_line(const char *text)
{
	static char line[400];
	size_t used = 0;

	for (; *text && used < sizeof(line) - 4; text++)
		used += sprintf(line + used, *text == '\n' ? " | " : "%c", *text);
	return line;
}

/* The complaints' text with the file's name taken off each line. */
static const char *without_name(const struct complaints *complaints, const char *file)
{
	static char text[sizeof(complaints->text)];
	const char *line = complaints->text;
	char *out = text;

	while (*line) {
		const char *end = strchr(line, '\n') + 1;

		if (strncmp(line, file, strlen(file)) == 0)
			line += strlen(file);
		out = (char *)memcpy(out, line, end - line) + (end - line);
		line = end;
	}
	*out = '\0';
	return text;
}

static void test_faults(void)
{
	for (size_t i = 0; i < COUNT(faults); i++) {
		const char *file = write_file(faults[i].text);
		struct complaints complaints = {0};
		struct config *config = config_load(file, NULL, &complaints);

		check(!config, "refused: %s", in_one_line(faults[i].text));
		check_text(without_name(&complaints, file), faults[i].complaints, "and says why");
		config_put(config);
	}
}

static void test_long_line(void)
{
	static char text[100000];
	struct complaints complaints = {0};
	const char *file;

	snprintf(text, sizeof(text), CLIENT "alpn = %0*d\nworkers = 1\n", 90000, 0);
	file = write_file(text);
	check(!settings_read(file, &complaints) && strstr(complaints.text, ":3: line too long"), "a line too long");
	check(strstr(complaints.text, ":4: unknown key \"workers\"") != NULL, "and its successor keeps its number");
}

static void test_many_faults(void)
{
	static char text[10000] = CLIENT;
	struct complaints complaints = {0};

	for (int i = 0; i < 500; i++)
		strcat(text, "foo = 1\n");
	check(!settings_read(write_file(text), &complaints) && complaints.count == 500 &&
		      complaints.length < sizeof(complaints.text),
	      "five hundred faults");
}

static void test_no_file(void)
{
	struct complaints complaints = {0};

	check(!settings_read("/nonexistent/ktlsd.conf", &complaints), "no file");
	check_text(complaints.text, "/nonexistent/ktlsd.conf: No such file or directory; expected a readable file\n",
		   "and says so");
}

static const char every_key[] = "# a comment\n"
				"\n"
				"[ktlsd]\n"
				"handoff_socket = /tmp/h\n"
				"handoff_mode = 0640\n"
				"control_socket = /tmp/c\n"
				"control_group = root\n"
				"user = nobody\n"
				"workers = 3\n"
				"max_callers = 4\n"
				"max_handshakes = 5\n"
				"max_handshakes_per_caller = 6\n"
				"max_handshakes_per_user = 7\n"
				"max_handshakes_per_peer = 8\n"
				"drain_timeout = 1.5\n"
				"install = setsockopt\n"
				"log_level = debug\n"
				"key_log_file = /tmp/k\n"
				"key_file = /tmp/keep/keys\n"
				"token_lifetime = 61\n"
				"ticket_keys = /tmp/a, /tmp/b\n"
				"[service s.1-_X]\n"
				"role = server\n"
				"certificate = a.pem\n"
				"key = a.key\n"
				"certificate = b.pem\n"
				"ca = x.pem, y.pem\n"
				"ca = z.pem\n"
				"client_certificate = request\n"
				"ciphers = A, B\n"
				"groups = X25519\n"
				"alpn = h2, http/1.1\n"
				"min_version = 1.3\n"
				"max_version = 1.3\n"
				"tickets = 0\n"
				"timeout = 0.25\n"
				"max_handshakes = 9\n"
				"allow_everyone = yes\n"
				"allow_users = root\n"
				"allow_groups = root 5\n"
				"allow_challenge = 6, nobody\n"
				"\n"
				"[service plain]\n"
				"role = client\n";

static void check_list(const struct setting_list *list, const char *wanted, const char *what)
{
	const struct setting *setting;
	char got[256] = "";

	TAILQ_FOREACH(setting, list, next)
		sprintf(got + strlen(got), "%s@%u ", setting->text, setting->line);
	check_text(got, wanted, what);
}

static void check_agent_keys(const struct settings *s)
{
	check_text(s->handoff_socket, "/tmp/h", "handoff_socket");
	check(s->handoff_mode == 0640, "handoff_mode");
	check_text(s->control_socket, "/tmp/c", "control_socket");
	check_text(s->control_group.text, "root", "control_group");
	check_text(s->user.text, "nobody", "user");
	check(s->user.line == 8, "its line");
	check(s->workers == 3, "workers");
	check(s->max_callers == 4, "max_callers");
	check(s->max_handshakes == 5, "max_handshakes");
	check(s->max_handshakes_per_caller == 6, "max_handshakes_per_caller");
	check(s->max_handshakes_per_user == 7, "max_handshakes_per_user");
	check(s->max_handshakes_per_peer == 8, "max_handshakes_per_peer");
	check(s->drain_timeout_ms == 1500, "drain_timeout");
	check(s->install == INSTALL_SETSOCKOPT, "install");
	check(s->log_level == LOG_DEBUG, "log_level");
	check_text(s->key_log_file, "/tmp/k", "key_log_file");
	check_text(s->key_file, "/tmp/keep/keys", "key_file");
	check(s->token_lifetime == 61, "token_lifetime");
	check_list(&s->ticket_keys, "/tmp/a@21 /tmp/b@21 ", "ticket_keys");
}

static void check_service_keys(const struct service_settings *s)
{
	const struct certificate_setting *first = TAILQ_FIRST(&s->certificates), *second;

	must(first && (second = TAILQ_NEXT(first, next)) && !TAILQ_NEXT(second, next));
	check_text(s->name, "s.1-_X", "a service's name");
	check(s->line == 22 && s->role == KTLSD_SERVER, "role");
	check_text(first->certificate.text, "a.pem", "certificate");
	check_text(first->key.text, "a.key", "key");
	check(strcmp(second->certificate.text, "b.pem") == 0 && !second->key.text, "a second certificate, without key");
	check_list(&s->ca, "x.pem@27 y.pem@27 z.pem@28 ", "ca, over two lines");
	check(s->client_certificate == CLIENT_CERTIFICATE_REQUEST, "client_certificate");
	check_list(&s->ciphers, "A@30 B@30 ", "ciphers");
	check_list(&s->groups, "X25519@31 ", "groups");
	check_list(&s->alpn, "h2@32 http/1.1@32 ", "alpn");
	check(s->min_version == 0x0304, "min_version");
	check(s->max_version == 0x0304, "max_version");
	check(s->tickets == 0, "tickets");
	check(s->timeout_ms == 250, "timeout");
	check(s->max_handshakes == 9, "max_handshakes");
	check(s->allow_everyone, "allow_everyone");
	check_list(&s->allow_users, "root@39 ", "allow_users");
	check_list(&s->allow_groups, "root@40 5@40 ", "allow_groups");
	check_list(&s->allow_challenge, "6@41 nobody@41 ", "allow_challenge");
}

static void check_defaults(const struct service_settings *s)
{
	check(s->role == KTLSD_CLIENT && TAILQ_EMPTY(&s->certificates) && TAILQ_EMPTY(&s->ca) &&
		      TAILQ_EMPTY(&s->ciphers) && TAILQ_EMPTY(&s->groups) && TAILQ_EMPTY(&s->alpn) &&
		      s->min_version == 0x0303 && s->max_version == 0x0304 && s->tickets == 2 &&
		      s->timeout_ms == 10000 && !s->allow_everyone && !s->rsa_key_transport &&
		      TAILQ_EMPTY(&s->allow_users) && TAILQ_EMPTY(&s->allow_challenge),
	      "a service's defaults");
}

static void test_every_key(void)
{
	struct complaints complaints = {0};
	struct settings *settings = settings_read(write_file(every_key), &complaints);

	if (!check(settings != NULL, "every key"))
		printf("# %s", complaints.text);
	if (!settings)
		return;
	check_agent_keys(settings);
	check_service_keys(TAILQ_FIRST(&settings->services));
	check_defaults(TAILQ_NEXT(TAILQ_FIRST(&settings->services), next));
	settings_put(settings);
}

static void test_key_file(void)
{
	static const struct {
		const char *text, *path;
	} files[] = {
		{CLIENT, "/run/ktlsd/keys"},
		{"[ktlsd]\nhandoff_socket = /tmp/deep/er/h\n" CLIENT, "/tmp/deep/er/keys"},
		{"[ktlsd]\nhandoff_socket = h\n" CLIENT, "keys"},
		{"[ktlsd]\nkey_file = none\n" CLIENT, NULL},
	};

	for (size_t i = 0; i < COUNT(files); i++) {
		struct complaints complaints = {0};
		struct settings *settings = settings_read(write_file(files[i].text), &complaints);
		const char *path;

		must(settings);
		path = settings->key_file;
		check(files[i].path ? path && strcmp(path, files[i].path) == 0 : !path, "key_file is %s: %s",
		      path ? path : "none", in_one_line(files[i].text));
		check(settings->token_lifetime == 86400, "and a token lives for a day");
		settings_put(settings);
	}
}

int main(void)
{
	cipher_suites_assume();
	test_faults();
	test_long_line();
	test_many_faults();
	test_no_file();
	test_every_key();
	test_key_file();
	unlink(write_file(""));
	return finish();
}
