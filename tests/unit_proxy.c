// SPDX-License-Identifier: MIT
/* The PROXY header that ktls-run makes: which common name it tells of a client's certificate. */
#include <arpa/inet.h>
#include <netinet/in.h>

#include "../userspace/preload/proxy.c"
#include "unit.h"

/* The value of a TLV in there, with its length; NULL: it is not there. */
static const uint8_t *find(const uint8_t *at, size_t length, uint8_t type, size_t *value_length)
{
	while (length >= 3) {
		*value_length = at[1] << 8 | at[2];
		must(*value_length + 3 <= length);
		if (at[0] == type)
			return at + 3;
		at += *value_length + 3;
		length -= *value_length + 3;
	}
	return NULL;
}

/* NULL: none. */
static void check_name(const char *subject, const char *wanted, const char *what)
{
	struct sockaddr_storage from = {.ss_family = AF_INET}, to = {.ss_family = AF_INET};
	struct ktlsd_peer peer = {.subject = subject};
	struct ktlsd_result result = {.version = 0x0304,
				      .cipher = 0x1301,
				      .flags = KTLSD_RESULT_VERIFIED,
				      .peer = &peer,
				      .server_name = "",
				      .alpn = ""};
	uint8_t header[PROXY_HEADER_MAX];
	size_t length = proxy_header(header, &from, &to, &result), ssl_length, name_length;
	const uint8_t *ssl = find(header + 16 + 12, length - 16 - 12, TLV_SSL, &ssl_length);
	const uint8_t *name = ssl ? find(ssl + 5, ssl_length - 5, TLV_SSL_CN, &name_length) : NULL;

	must(ssl);
	if (!wanted)
		check(!name, "%s: none", what);
	else
		check(name && name_length == strlen(wanted) && memcmp(name, wanted, name_length) == 0, "%s: %s", what,
		      wanted);
}

int main(void)
{
	char longest[300] = "CN=", over[300] = "CN=";

	check_name("CN=client", "client", "a name");
	check_name("O=Example,CN=client,C=DE", "client", "in the middle");
	check_name("O=Example\\,CN=root,CN=client", "client", "another value looks like it");
	check_name("OU=a+CN=client", "client", "one of several values");
	check_name("CN=a\\,b\\+c\\\\d", "a,b+c\\d", "escaped characters");
	check_name("CN=J\\C3\\B6rg", "J\xc3\xb6rg", "escaped bytes");
	check_name("O=Example", NULL, "no common name");
	check_name("CN=root\\00.example", NULL, "a NUL in it");
	memset(longest + 3, 'a', 255);
	check_name(longest, longest + 3, "255 bytes");
	memset(over + 3, 'a', 256);
	check_name(over, NULL, "256 bytes");
	return finish();
}
