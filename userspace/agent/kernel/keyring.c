/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <keyutils.h>
#include <stdlib.h>
#include <string.h>

#include "../log.h"
#include "keyring.h"

bool keyring_join(void)
{
	if (keyctl_join_session_keyring(NULL) != -1)
		return true;
	log_line(LOG_ERR, "no session keyring: %s", strerror(errno));
	return false;
}

void keyring_link_named(const char *name)
{
	key_serial_t keyring = find_key_by_type_and_desc("keyring", name, 0);

	if (keyring != -1 && keyctl_link(keyring, KEY_SPEC_SESSION_KEYRING) == -1)
		log_limited(LOG_WARNING, "keyring \"%s\" can't be linked: %s", name, strerror(errno));
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
