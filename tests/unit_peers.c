// SPDX-License-Identifier: MIT
/* Allow lists: what an entry may be, which one admits, and names that were made to look like others. */
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include "unit.h"
#include "x509/identity.h"
#include "x509/peers.h"

static EVP_PKEY *key;

/* ---- certificates ---- */

struct san {
	int type;
	const char *value;
	int length; /* -1: up to its NUL */
};

static void add_name(GENERAL_NAMES *names, const struct san *san)
{
	int length = san->length < 0 ? (int)strlen(san->value) : san->length;
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_STRING *text = ASN1_STRING_type_new(san->type == GEN_IPADD ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);

	must(ASN1_STRING_set(text, san->value, length) == 1);
	GENERAL_NAME_set0_value(name, san->type, text);
	must(sk_GENERAL_NAME_push(names, name) > 0);
}

static X509 *certificate_of(const char *subject, int subject_length, const struct san *sans)
{
	GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
	X509 *certificate = X509_new();
	X509_NAME *issuer = X509_get_issuer_name(certificate);

	must(X509_set_version(certificate, X509_VERSION_3) == 1 && X509_set_pubkey(certificate, key) == 1);
	must(X509_gmtime_adj(X509_getm_notBefore(certificate), 0) &&
	     X509_gmtime_adj(X509_getm_notAfter(certificate), 60));
	must(X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
					(const uint8_t *)subject, subject_length, -1, 0) == 1);
	must(X509_NAME_add_entry_by_txt(issuer, "CN", MBSTRING_ASC, (const uint8_t *)"issuer", -1, -1, 0) == 1);
	for (; sans && sans->value; sans++)
		add_name(names, sans);
	must(sk_GENERAL_NAME_num(names) == 0 || X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 0, 0) == 1);
	sk_GENERAL_NAME_pop_free(names, GENERAL_NAME_free);
	must(X509_sign(certificate, key, EVP_sha256()) > 0);
	return certificate;
}

/* ---- lists ---- */

struct list {
	struct service_settings service;
	struct setting settings[8];
	struct complaints complaints;
	struct peers *peers;
};

/* Entries are separated by line breaks. */
static void load(struct list *list, const char *entries)
{
	char *copy = strdup(entries), *rest = copy, *entry;
	size_t count = 0;

	memset(list, 0, sizeof(*list));
	list->service.name = (char *)"s";
	list->service.line = 1;
	list->complaints.file = "f";
	TAILQ_INIT(&list->service.allow_peers);
	TAILQ_INIT(&list->service.allow_peers_files);
	while ((entry = strsep(&rest, "\n"))) {
		must(count < COUNT(list->settings));
		list->settings[count] = (struct setting){.text = entry, .line = 10 + count};
		TAILQ_INSERT_TAIL(&list->service.allow_peers, &list->settings[count], next);
		count++;
	}
	list->peers = peers_load(&list->service, &list->complaints);
	free(copy);
}

static void test_faults(void)
{
	static const char kinds[] = "DNS:, IP:, URI:, email:, subject:, issuer:, sha256: or key-sha256: with a value";
	static const char star[] = "a URI with a \"*\" behind its host's \"/\" only";
	static const char name[] = "a name of 1 to 127 printable characters behind \"as\"";
	static const struct {
		const char *entry, *expected;
	} faults[] = {
		{"", kinds},
		{":", kinds},
		{"DNS", kinds},
		{"DNS:", kinds},
		{"dns:a", kinds},
		{"DNS :a", kinds},
		{"DNS:*", kinds},
		{"DNS:*.", kinds},
		{"DNS:**.a", kinds},
		{"DNS:a.*", kinds},
		{"DNS:a b", kinds},
		{"DNS:a,DNS:b", kinds},
		{"DNS:a\tb", kinds},
		{"DNS:\xc3\xa4.example", kinds},
		{"DNSDNS:a", kinds},
		{"IP:", kinds},
		{"IP:1.2.3", kinds},
		{"IP:1.2.3.4/24", kinds},
		{"IP:fe80::1%lo", kinds},
		{"IP:::g", kinds},
		{"URI:", kinds},
		{"URI:*", star},
		{"URI:spiffe*", star},
		{"URI:spiffe://*", star},
		{"URI:spiffe://host*", star},
		{"URI:urn:x:*", star},
		{"email:a b@c", kinds},
		{"subject:", kinds},
		{"sha256:", kinds},
		{"sha256:00", kinds},
		{"sha256:000000000000000000000000000000000000000000000000000000000000000g", kinds},
		{"sha256:00000000000000000000000000000000000000000000000000000000000000000", kinds},
		{"key-sha256:::::", kinds},
		{"sha1:0000000000000000000000000000000000000000", kinds},
		{"DNS:a as \x01", name},
		{"DNS:a as \xc3\xa4", name},
		{"DNS:a as ", name},
		{"DNS:a as", kinds},
		{"as x", kinds},
		{" as x", kinds},
	};

	for (size_t i = 0; i < COUNT(faults); i++) {
		char wanted[512];
		struct list list;

		load(&list, faults[i].entry);
		snprintf(wanted, sizeof(wanted), "f:10: allow_peer = %s; expected %s\n", faults[i].entry,
			 faults[i].expected);
		if (!check(!list.peers && strcmp(list.complaints.text, wanted) == 0, "fault %zu", i))
			printf("# got:    %s# wanted: %s", list.complaints.text, wanted);
		peers_free(list.peers);
	}
}

static void test_doubles(void)
{
	static const char *const doubles[] = {
		"DNS:a.example\nDNS:A.example as two",	   "IP:::ffff:c000:209\nIP:::ffff:192.0.2.9",
		"IP:2001:db8::1\nIP:2001:0DB8:0::1",	   "URI:s://a/b/*\nDNS:x\nURI:s://a/b/* as two",
		"subject:CN=a\nissuer:CN=a\nsubject:CN=a",
	};
	struct list list;

	for (size_t i = 0; i < COUNT(doubles); i++) {
		load(&list, doubles[i]);
		check(!list.peers && strstr(list.complaints.text, " twice; expected it once\n"), "double %zu: %s", i,
		      list.complaints.text);
		peers_free(list.peers);
	}
	load(&list, "URI:s://a/b\nURI:s://a/b/\nURI:s://a/b/*\nURI:s://a/*\nsubject:CN=a\nissuer:CN=a");
	check(list.peers && list.complaints.count == 0, "those are different ones");
	peers_free(list.peers);
}

/* ---- who is admitted ---- */

#define DNS(text)                                                                                                      \
	{                                                                                                              \
		GEN_DNS, text, -1                                                                                      \
	}
#define URI(text)                                                                                                      \
	{                                                                                                              \
		GEN_URI, text, -1                                                                                      \
	}
#define BYTES(type, text)                                                                                              \
	{                                                                                                              \
		type, text, sizeof(text) - 1                                                                           \
	}

static const struct {
	const char *what, *entries;
	const char *name; /* of the entry that admits; NULL: none does */
	struct san sans[6];
} searches[] = {
	{"a DNS name", "DNS:a.example as A", "A", {DNS("a.example")}},
	{"in other letters", "DNS:a.EXAMPLE as A", "A", {DNS("A.example")}},
	{"of several names the first that is listed", "DNS:b as B\nDNS:c as C", "C", {DNS("a"), DNS("c"), DNS("b")}},
	{"a wildcard", "DNS:*.example as W", "W", {DNS("a.example")}},
	{"it is one label", "DNS:*.example as W", NULL, {DNS("a.b.example")}},
	{"and not none", "DNS:*.example as W", NULL, {DNS("example"), DNS(".example")}},
	{"the name itself comes first", "DNS:*.example as W\nDNS:a.example as A", "A", {DNS("a.example")}},
	{"a certificate's wildcard is no name of a host", "DNS:a.example as A", NULL, {DNS("*.example")}},
	{"a NUL", "DNS:a.example as A", NULL, {BYTES(GEN_DNS, "a.example\0.evil.example")}},
	{"a NUL at the end", "DNS:a.example as A", NULL, {BYTES(GEN_DNS, "a.example\0")}},
	{"a name that holds a list", "DNS:a.example as A", NULL, {DNS("b.example, DNS:a.example")}},
	{"a name that begins with its kind", "DNS:a.example as A", NULL, {DNS("DNS:a.example")}},
	{"a URI that is no DNS name", "DNS:a.example as A", NULL, {URI("a.example"), URI("DNS:a.example")}},
	{"an e-mail address that is no URI", "URI:a@b as A", NULL, {{GEN_EMAIL, "a@b", -1}}},
	{"an e-mail address", "email:a@b as A", "A", {{GEN_EMAIL, "a@b", -1}}},
	{"a blank in front", "DNS:a.example as A", NULL, {DNS(" a.example")}},
	{"a dot behind", "DNS:a.example as A", NULL, {DNS("a.example.")}},
	{"nothing", "DNS:a.example as A", NULL, {BYTES(GEN_DNS, "")}},
	{"an address", "IP:192.0.2.1 as A", "A", {BYTES(GEN_IPADD, "\xc0\x00\x02\x01")}},
	{"an address as a DNS name", "IP:192.0.2.1 as A", NULL, {DNS("192.0.2.1")}},
	{"a DNS name as an address", "DNS:192.0.2.1 as A", NULL, {BYTES(GEN_IPADD, "\xc0\x00\x02\x01")}},
	{"an address of five bytes", "IP:192.0.2.1 as A", NULL, {BYTES(GEN_IPADD, "\xc0\x00\x02\x01\x00")}},
	{"a network", "IP:192.0.2.1 as A", NULL, {BYTES(GEN_IPADD, "\xc0\x00\x02\x01\xff\xff\xff\xff")}},
	{"a mapped address is not the one in it",
	 "IP:192.0.2.1 as A",
	 NULL,
	 {BYTES(GEN_IPADD, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\x00\x02\x01")}},
	{"but itself",
	 "IP:::FFFF:c000:201 as A",
	 "A",
	 {BYTES(GEN_IPADD, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\x00\x02\x01")}},
	{"a URI", "URI:s://a/b as A", "A", {URI("s://a/b")}},
	{"a URI that begins so", "URI:s://a/b as A", NULL, {URI("s://a/bc"), URI("s://a/b/")}},
	{"URIs in other letters", "URI:s://a/b as A", NULL, {URI("S://a/b"), URI("s://A/b"), URI("s://a/B")}},
	{"a prefix", "URI:s://a/b/* as P", "P", {URI("s://a/b/c")}},
	{"a prefix with nothing behind it", "URI:s://a/b/* as P", "P", {URI("s://a/b/")}},
	{"a prefix of another", "URI:s://a/b/* as P", NULL, {URI("s://a/b"), URI("s://a/bc"), URI("s://a.b/b/c")}},
	{"a star of the certificate's", "URI:s://a/b/c as A", NULL, {URI("s://a/b/*")}},
	{"the longest prefix",
	 "URI:s://a/* as 1\nURI:s://a/b/* as 2\nURI:s://a/b/c/* as 3\nURI:s://a/b/d/* as 4",
	 "3",
	 {URI("s://a/b/c/d")}},
	{"the prefix in between",
	 "URI:s://a/b/c/* as 3\nURI:s://a/b/* as 2\nURI:s://a/* as 1",
	 "2",
	 {URI("s://a/b/x")}},
	{"a URI itself comes first", "URI:s://a/b/* as P\nURI:s://a/b/c as A", "A", {URI("s://a/b/c")}},
	{"an issuer", "issuer:CN=issuer as I", "I", {DNS("a")}},
	{"a name before the issuer", "issuer:CN=issuer as I\nDNS:a as A", "A", {DNS("a")}},
	{"a subject before the issuer", "issuer:CN=issuer as I\nsubject:CN=subject as S", "S", {DNS("a")}},
	{"a subject is no issuer", "issuer:CN=subject as I\nsubject:CN=issuer as S", NULL, {DNS("a")}},
};

static void check_search(const char *what, const struct list *list, X509 *certificate, const char *name)
{
	const struct peer_entry *found = peers_find(list->peers, certificate);

	check(name ? found && found->name && strcmp(found->name, name) == 0 : !found, "%s: %s", what,
	      name ? name : "nobody");
	if (found && !name)
		printf("# %s\n", found->identity);
}

static void test_searches(void)
{
	for (size_t i = 0; i < COUNT(searches); i++) {
		X509 *certificate = certificate_of("subject", -1, searches[i].sans);
		struct list list;

		load(&list, searches[i].entries);
		if (!list.peers)
			printf("# %s", list.complaints.text);
		must(list.peers);
		check_search(searches[i].what, &list, certificate, searches[i].name);
		peers_free(list.peers);
		X509_free(certificate);
	}
}

static void test_subjects(void)
{
	static const struct {
		const char *subject;
		int length;
		const char *entry, *name;
	} subjects[] = {
		{"plain", -1, "subject:CN=plain as P", "P"},
		{"Plain", -1, "subject:CN=plain as P", NULL},
		{"works as designed", -1, "subject:CN=works as designed as W", "W"},
		{"a,O=b", -1, "subject:CN=a,O=b as X", NULL},
		{"a,O=b", -1, "subject:CN=a\\,O\\=b as X", NULL}, /* RFC 2253 leaves the = alone */
		{"a,O=b", -1, "subject:CN=a\\,O=b as X", "X"},
		{"a\0b", 3, "subject:CN=a as X", NULL},
		{"a\nb", -1, "subject:CN=a\\0Ab as X", "X"},
		{"\xc3\xa4", -1, "subject:CN=\\C3\\A4 as X", "X"},
		{"#3031", -1, "subject:CN=#3031 as X", NULL},
		{"#3031", -1, "subject:CN=\\#3031 as X", "X"},
		{" a ", -1, "subject:CN=\\ a\\  as X", "X"},
	};

	for (size_t i = 0; i < COUNT(subjects); i++) {
		X509 *certificate = certificate_of(subjects[i].subject, subjects[i].length, NULL);
		struct list list;

		load(&list, subjects[i].entry);
		must(list.peers);
		check_search(subjects[i].entry, &list, certificate, subjects[i].name);
		peers_free(list.peers);
		X509_free(certificate);
	}
}

static void test_fingerprints(void)
{
	X509 *certificate = certificate_of("subject", -1, NULL);
	char print[IDENTITY_SHA256], key_print[IDENTITY_SHA256], entries[512];
	struct list list;

	must(identity_fingerprint(certificate, print) && identity_key_fingerprint(certificate, key_print));
	snprintf(entries, sizeof(entries), "key-sha256:%s as K\nsubject:CN=subject as S\nsha256:%s as C", key_print,
		 print);
	load(&list, entries);
	check_search("the certificate's fingerprint comes first", &list, certificate, "C");
	peers_free(list.peers);
	snprintf(entries, sizeof(entries), "subject:CN=subject as S\nkey-sha256:%s as K", key_print);
	load(&list, entries);
	check_search("then that of its key", &list, certificate, "K");
	peers_free(list.peers);
	snprintf(entries, sizeof(entries), "sha256:%s as K\nkey-sha256:%s as C", key_print, print);
	load(&list, entries);
	check_search("one is not the other", &list, certificate, NULL);
	peers_free(list.peers);
	X509_free(certificate);
}

/* A name as long as names can be, and one byte longer: it is left out, not cut. */
static void test_long_names(void)
{
	char name[IDENTITY_MAX], entry[IDENTITY_MAX + 16];

	for (size_t length = IDENTITY_MAX - 6; length < IDENTITY_MAX - 2; length++) {
		struct san sans[] = {{GEN_DNS, name, length}, {0}};
		bool fits = length + 4 < IDENTITY_MAX;
		X509 *certificate;
		struct list list;

		memset(name, 'a', length);
		snprintf(entry, sizeof(entry), "DNS:%.*s as long", (int)(fits ? length : IDENTITY_MAX - 5), name);
		certificate = certificate_of("subject", -1, sans);
		load(&list, entry);
		must(list.peers);
		check_search("a long name", &list, certificate, fits ? "long" : NULL);
		peers_free(list.peers);
		X509_free(certificate);
	}
}

static void test_empty_file(void)
{
	static struct setting file = {.line = 3};
	char path[] = "/tmp/peers-XXXXXX";
	X509 *certificate = certificate_of("subject", -1, NULL);
	struct list list;
	int fd = mkstemp(path);

	must(fd >= 0 && write(fd, "# nobody\n\n", 10) == 10);
	close(fd);
	memset(&list, 0, sizeof(list));
	TAILQ_INIT(&list.service.allow_peers);
	TAILQ_INIT(&list.service.allow_peers_files);
	check(!peers_load(&list.service, &list.complaints), "no list is no list");
	file.text = path;
	TAILQ_INSERT_TAIL(&list.service.allow_peers_files, &file, next);
	list.peers = peers_load(&list.service, &list.complaints);
	check(list.peers != NULL, "a list without entries is one");
	must(list.peers);
	check_search("and admits nobody", &list, certificate, NULL);
	peers_free(list.peers);
	X509_free(certificate);
	unlink(path);
}

int main(void)
{
	key = EVP_EC_gen("P-256");
	must(key);
	test_faults();
	test_doubles();
	test_searches();
	test_subjects();
	test_fingerprints();
	test_long_names();
	test_empty_file();
	EVP_PKEY_free(key);
	return finish();
}
