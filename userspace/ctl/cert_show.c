/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <json-c/json.h>

#include "cert.h"

static const char usage[] =
	"usage: ktlsctl cert show [OPTION...] FILE|HOST:PORT\n"
	"\n"
	"Prints what certificates say, one by one, and who issued whom, as a tree with the roots on top. Nothing is\n"
	"verified. FILE has PEM, DER or PKCS#7; - is standard input; a private key in it is passed over. HOST:PORT,\n"
	"[IPv6]:PORT or https://HOST[:PORT]/ is a server, which is asked by TLS (five seconds at the most).\n"
	"\n"
	"  --servername NAME  the name to ask the server for (SNI; default: HOST, if it is a name)\n"
	"  --all              cut nothing: long lists and names are shown whole\n"
	"  --json             one JSON object, which is never cut\n"
	"\n"
	"Fingerprints are SHA-256 in hex, sha256: of the certificate, key-sha256: of its SubjectPublicKeyInfo. In text\n"
	"from certificates, bytes that are not printable ASCII are shown as \\XX, and a backslash as \\\\.\n";

struct wish {
	const char *what;
	const char *server_name;
	bool all;
	bool json;
};

/* Of a URL, what stands between https:// and the path. */
static bool parse_url(struct address *address, const char *url)
{
	char host[300];
	size_t length = strcspn(url, "/?#");

	snprintf(host, sizeof(host), "%.*s", length < sizeof(host) ? (int)length : 0, url);
	return address_parse(address, host);
}

/* HOST:PORT with a port that can be one; whatever has a slash is a path. */
static bool parse_server(struct address *address, const char *what)
{
	const char *colon = strrchr(what, ':');

	return colon && !strchr(what, '/') && (colon[1] || what[0] == '[') && address_parse(address, what);
}

static int gather(struct given *given, const struct wish *wish)
{
	struct address address;
	bool url = strncmp(wish->what, "https://", 8) == 0;

	if (url && !parse_url(&address, wish->what + 8))
		return misused(usage);
	if (!url && (access(wish->what, F_OK) == 0 || !parse_server(&address, wish->what)))
		return wish->server_name ? misused(usage) : given_by_file(given, wish->what) ? EXIT_OK : EXIT_PROBLEM;
	return given_by_server(given, &address, wish->server_name) ? EXIT_OK : EXIT_PROBLEM;
}

static struct json_object *describe(struct given *given, const char *what)
{
	struct json_object *report = json_object_new_object(), *certificates = json_object_new_array();

	json_object_object_add(report, "source",
			       json_object_new_string(strcmp(what, "-") == 0 ? "standard input" : what));
	if (given->connection)
		json_object_object_add(report, "connection", json_object_get(given->connection));
	for (int i = 0; i < sk_X509_num(given->certificates); i++)
		json_object_array_add(certificates, describe_certificate(sk_X509_value(given->certificates, i)));
	json_object_object_add(report, "certificates", certificates);
	json_object_object_add(report, "tree", describe_tree(given));
	json_object_object_add(report, "remarks", json_object_get(given->remarks));
	return report;
}

static int show(const struct wish *wish)
{
	struct given given = {0};
	struct json_object *report;
	int status = gather(&given, wish);

	if (status == EXIT_OK) {
		report = describe(&given, wish->what);
		if (wish->json)
			print_json(report);
		else
			print_report(report, wish->all);
		json_object_put(report);
	}
	given_clear(&given);
	return status;
}

int cert_show_main(int argc, char **argv)
{
	static const struct option options[] = {
		{"servername", required_argument, NULL, 's'},
		{"all", no_argument, NULL, 'a'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct wish wish = {0};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (option) {
		case 's':
			wish.server_name = optarg;
			break;
		case 'a':
			wish.all = true;
			break;
		case 'j':
			wish.json = true;
			break;
		case 'h':
			return help(usage);
		default:
			return misused(usage);
		}
	}
	if (optind != argc - 1)
		return misused(usage);
	wish.what = argv[optind];
	return show(&wish);
}
