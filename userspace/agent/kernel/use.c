/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <ctype.h>
#include <linux/handshake.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../log.h"
#include "use.h"

#define V4_BITS 96 /* IPv4 is ::ffff:0:0/96 */

struct network {
	struct in6_addr address;
	unsigned int bits;
};

/* ---- addresses ---- */

static void map_v4(struct in6_addr *address, const struct in_addr *v4)
{
	memset(address, 0, sizeof(*address));
	address->s6_addr[10] = address->s6_addr[11] = 0xff;
	memcpy(&address->s6_addr[12], v4, sizeof(*v4));
}

static bool parse_network(const char *text, struct network *network)
{
	char address[INET6_ADDRSTRLEN], *end;
	size_t length = strcspn(text, "/");
	struct in_addr v4;
	unsigned long bits;
	bool is_v4;

	if (length >= sizeof(address))
		return false;
	memcpy(address, text, length);
	address[length] = '\0';
	is_v4 = inet_pton(AF_INET, address, &v4) == 1;
	if (is_v4)
		map_v4(&network->address, &v4);
	else if (inet_pton(AF_INET6, address, &network->address) != 1)
		return false;
	network->bits = 128;
	if (text[length] == '\0')
		return true;
	bits = strtoul(text + length + 1, &end, 10);
	if (!isdigit((unsigned char)text[length + 1]) || *end || bits > (is_v4 ? 32 : 128))
		return false;
	network->bits = bits + (is_v4 ? V4_BITS : 0);
	return true;
}

/* ::/0 is all of IPv6 and nothing of IPv4. */
static bool is_in(const struct network *network, const struct in6_addr *address)
{
	unsigned int bytes = network->bits / 8, rest = network->bits % 8;
	uint8_t mask = 0xff00 >> rest;

	if (IN6_IS_ADDR_V4MAPPED(address) && network->bits < V4_BITS)
		return false;
	return memcmp(&network->address, address, bytes) == 0 &&
	       (rest == 0 || ((network->address.s6_addr[bytes] ^ address->s6_addr[bytes]) & mask) == 0);
}

static bool is_in_any(const struct kernel_use *use, const struct sockaddr_storage *peer)
{
	const struct sockaddr_in *v4 = (const void *)peer;
	const struct sockaddr_in6 *v6 = (const void *)peer;
	struct in6_addr address = v6->sin6_addr;
	size_t i;

	if (peer->ss_family == AF_INET)
		map_v4(&address, &v4->sin_addr);
	for (i = 0; i < use->network_count; i++) {
		if (is_in(&use->networks[i], &address))
			return true;
	}
	return use->network_count == 0;
}

/* ---- names ---- */

/* A star is a whole label, the first. */
static bool is_pattern(const char *text)
{
	return *text && !strchr(strncmp(text, "*.", 2) == 0 ? text + 2 : text, '*') && strcmp(text, "*.") != 0;
}

/* It stands for one label or more. */
static bool matches(const char *pattern, const char *name)
{
	size_t length = strlen(name), rest = strlen(pattern);

	if (strncmp(pattern, "*.", 2) != 0)
		return strcasecmp(pattern, name) == 0;
	return length >= rest && strcasecmp(name + length - (rest - 1), pattern + 1) == 0;
}

static bool is_named(const struct kernel_use *use, const char *name)
{
	char **pattern;

	for (pattern = use->names; pattern && *pattern; pattern++) {
		if (matches(*pattern, name))
			return true;
	}
	return use->names == NULL;
}

/* ---- building ---- */

static unsigned int mode_of(const struct setting *setting, struct complaints *complaints)
{
	if (strcmp(setting->text, "anonymous") == 0)
		return 1u << HANDSHAKE_AUTH_UNAUTH;
	if (strcmp(setting->text, "x509") == 0)
		return 1u << HANDSHAKE_AUTH_X509;
	if (strcmp(setting->text, "psk") == 0)
		return 1u << HANDSHAKE_AUTH_PSK;
	complain(complaints, setting->line, "kernel = %s; expected anonymous, x509 or psk, separated by commas",
		 setting->text);
	return 0;
}

static size_t count(const struct setting_list *list)
{
	const struct setting *setting;
	size_t n = 0;

	TAILQ_FOREACH(setting, list, next)
		n++;
	return n;
}

static void *array(size_t length, size_t size)
{
	void *memory = calloc(length + 1, size);

	if (!memory)
		log_fatal("out of memory");
	return memory;
}

static void take_names(struct kernel_use *use, const struct setting_list *list, struct complaints *complaints)
{
	const struct setting *setting;
	size_t n = 0;

	if (TAILQ_EMPTY(list))
		return;
	use->names = array(count(list), sizeof(*use->names));
	TAILQ_FOREACH(setting, list, next) {
		if (!is_pattern(setting->text))
			complain(complaints, setting->line,
				 "kernel_peers = %s; expected names or *.domain, separated by commas", setting->text);
		use->names[n] = strdup(setting->text);
		if (!use->names[n++])
			log_fatal("out of memory");
	}
}

bool kernel_use_build(struct kernel_use *use, const struct service_settings *settings, struct complaints *complaints)
{
	unsigned int before = complaints->count;
	const struct setting *setting;

	TAILQ_FOREACH(setting, &settings->kernel, next)
		use->modes |= mode_of(setting, complaints);
	take_names(use, &settings->kernel_peers, complaints);
	use->networks = array(count(&settings->kernel_networks), sizeof(*use->networks));
	TAILQ_FOREACH(setting, &settings->kernel_networks, next) {
		if (!parse_network(setting->text, &use->networks[use->network_count++]))
			complain(
				complaints, setting->line,
				"kernel_networks = %s; expected addresses or networks such as 10.0.0.0/8 or fd00::/8, separated by commas",
				setting->text);
	}
	return complaints->count == before;
}

void kernel_use_clear(struct kernel_use *use)
{
	char **name;

	for (name = use->names; name && *name; name++)
		free(*name);
	free(use->names);
	free(use->networks);
}

bool kernel_use_allows(const struct kernel_use *use, uint32_t mode, const char *name,
		       const struct sockaddr_storage *peer)
{
	return mode < 32 && use->modes >> mode & 1 && is_named(use, name) && is_in_any(use, peer);
}
