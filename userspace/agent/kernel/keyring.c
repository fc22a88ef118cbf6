/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <keyutils.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../log.h"
#include "keyring.h"

bool keyring_join(void)
{
	if (keyctl_join_session_keyring(NULL) != -1)
		return true;
	log_line(LOG_ERR, "no session keyring: %s", strerror(errno));
	return false;
}

static bool contains(const int32_t *serials, size_t count, int32_t serial)
{
	while (count > 0) {
		if (serials[--count] == serial)
			return true;
	}
	return false;
}

size_t keyring_take(int32_t links[static KEYRING_LINKS_MAX], int32_t named)
{
	key_serial_t found[KEYRING_LINKS_MAX];
	long bytes = keyctl_read(KEY_SPEC_PROCESS_KEYRING, (char *)found, sizeof(found));
	size_t count = bytes > 0 ? (size_t)bytes / sizeof(*found) : 0, i;

	if (count > KEYRING_LINKS_MAX)
		count = KEYRING_LINKS_MAX;
	memcpy(links, found, count * sizeof(*found));
	if (named && count < KEYRING_LINKS_MAX && !contains(links, count, named))
		links[count++] = named;
	for (i = 0; i < count; i++) {
		if (keyctl_link(links[i], KEY_SPEC_SESSION_KEYRING) == -1)
			log_limited(LOG_WARNING, "keyring %d can't be linked: %s", links[i], strerror(errno));
		keyctl_unlink(links[i], KEY_SPEC_PROCESS_KEYRING);
	}
	return count;
}

void keyring_unlink(int32_t serial)
{
	keyctl_unlink(serial, KEY_SPEC_SESSION_KEYRING);
}

/* keyctl_describe(3): "type;user;group;permissions;description", and a description may have semicolons of its own. */
int keyring_describe(int32_t serial, char *text, size_t size)
{
	char *description, *last;
	int length = keyctl_describe_alloc(serial, &description), field;

	if (length < 0)
		return -errno;
	for (last = description, field = 0; last && field < 4; field++)
		last = strchr(last, ';') ? strchr(last, ';') + 1 : NULL;
	length = last ? (int)strlen(last) : -EINVAL;
	if (length >= 0 && (size_t)length < size)
		strcpy(text, last);
	else if (length >= 0)
		length = -EMSGSIZE;
	free(description);
	return length;
}

/*
 * Of a line of /proc/keys, such as "3f3bd4c1 I--Q---  1 perm 1f3f0000  0  65534 keyring   .nvme: 2": the serial number of a keyring of
 * root's or ours, 0 for other keys. Everybody may make keyrings, name them as he likes and show them to us.
 */
static key_serial_t trusted_keyring(const char *line)
{
	unsigned int serial, user;
	char type[16];

	if (sscanf(line, "%x %*s %*s %*s %*x %u %*d %15s", &serial, &user, type) != 3 || strcmp(type, "keyring") != 0)
		return 0;
	return user == 0 || user == geteuid() ? (key_serial_t)serial : 0;
}

/* libkeyutils' own search by name trips over long lines, which are everybody's to make. */
static key_serial_t find_keyring(const char *name)
{
	FILE *keys = fopen("/proc/keys", "re");
	char *line = NULL, description[256];
	key_serial_t found = 0, serial;
	size_t size = 0;

	while (keys && !found && getline(&line, &size, keys) > 0) {
		serial = trusted_keyring(line);
		if (serial && keyring_describe(serial, description, sizeof(description)) > 0 &&
		    strcmp(description, name) == 0)
			found = serial;
	}
	free(line);
	if (keys)
		fclose(keys);
	return found;
}

void keyring_link_named(const char *name)
{
	key_serial_t keyring = find_keyring(name);

	if (keyring && keyctl_link(keyring, KEY_SPEC_SESSION_KEYRING) == -1)
		log_limited(LOG_WARNING, "keyring \"%s\" can't be linked: %s", name, strerror(errno));
}

/* keyctl_read() says how long a key is, and copies only one that fits. */
int keyring_read(int32_t serial, void *bytes, size_t size)
{
	long length = keyctl_read(serial, bytes, size);

	if (length < 0)
		return -errno;
	return (size_t)length <= size ? (int)length : -EMSGSIZE;
}

int32_t keyring_find_psk(const char *identity)
{
	long serial = keyctl_search(KEY_SPEC_SESSION_KEYRING, "psk", identity, 0);

	return serial > 0 ? (int32_t)serial : 0;
}
