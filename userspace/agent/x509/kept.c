/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../log.h"
#include "identity.h"
#include "kept.h"
#include "ocsp.h"

#define SWEEP_EVERY 4096 /* files written */
#define SUFFIX ".der"
#define UNFINISHED ".new"
#define NAME_LENGTH (64 + 4) /* both suffixes are as long */

static int folder_fd = -1;
static _Atomic unsigned int written_since_sweep;

static void file_name(char name[static NAME_LENGTH + 1], const uint8_t *digest, const char *suffix)
{
	identity_hex(digest, name);
	strcpy(name + 64, suffix);
}

/* Else somebody could put an old response into the place of a new one. */
static const char *fault_of(int fd)
{
	struct stat status;

	if (fstat(fd, &status) != 0)
		return strerror(errno);
	if (status.st_uid != 0 && status.st_uid != geteuid())
		return "belongs to another user";
	if (status.st_mode & 022)
		return "can be written by group or others (expected mode 0700)";
	return NULL;
}

bool kept_in(const char *folder)
{
	const char *fault;

	if (folder_fd >= 0)
		close(folder_fd);
	folder_fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (!folder)
		return true;
	fault = folder_fd < 0 ? strerror(errno) : fault_of(folder_fd);
	if (!fault && faccessat(folder_fd, ".", W_OK | X_OK, AT_EACCESS) != 0)
		fault = strerror(errno);
	if (!fault) {
		written_since_sweep = SWEEP_EVERY;
		return true;
	}
	log_line(LOG_WARNING, "%s: %s; OCSP responses do not survive a restart", folder, fault);
	if (folder_fd >= 0)
		close(folder_fd);
	folder_fd = -1;
	return false;
}

/* ---- one file ---- */

static bool read_file(const char *name, uint8_t **der, size_t *length, time_t *written)
{
	int fd = openat(folder_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat status;
	ssize_t got = -1;

	*der = NULL;
	if (fd < 0)
		return false;
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size <= OCSP_RESPONSE_MAX)
		*der = OPENSSL_malloc(status.st_size + 1);
	if (*der)
		got = read(fd, *der, status.st_size);
	close(fd);
	if (got >= 0) {
		*length = got;
		*written = status.st_mtime;
		return true;
	}
	OPENSSL_free(*der);
	*der = NULL;
	return false;
}

bool kept_read(const uint8_t digest[static 32], uint8_t **der, size_t *length, time_t *written)
{
	char name[NAME_LENGTH + 1];

	*der = NULL;
	file_name(name, digest, SUFFIX);
	return folder_fd >= 0 && read_file(name, der, length, written);
}

static bool write_file(const char *name, const uint8_t *der, size_t length)
{
	int fd = openat(folder_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	bool written;

	if (fd < 0)
		return false;
	written = write(fd, der, length) == (ssize_t)length;
	return close(fd) == 0 && written;
}

void kept_write(const uint8_t digest[static 32], const uint8_t *der, size_t length)
{
	char name[NAME_LENGTH + 1], unfinished[NAME_LENGTH + 1];

	if (folder_fd < 0)
		return;
	file_name(name, digest, SUFFIX);
	file_name(unfinished, digest, UNFINISHED);
	written_since_sweep++;
	if (write_file(unfinished, der, length) && renameat(folder_fd, unfinished, folder_fd, name) == 0)
		return;
	if (errno == EEXIST) /* another thread is at it */
		return;
	log_limited(LOG_WARNING, "an OCSP response can't be kept in %s: %s", name, strerror(errno));
	unlinkat(folder_fd, unfinished, 0);
}

void kept_remove(const uint8_t digest[static 32])
{
	char name[NAME_LENGTH + 1];

	file_name(name, digest, SUFFIX);
	if (folder_fd >= 0)
		unlinkat(folder_fd, name, 0);
}

/* ---- all of them ---- */

bool kept_sweep_due(void)
{
	unsigned int written = written_since_sweep;

	return folder_fd >= 0 && written >= SWEEP_EVERY &&
	       atomic_compare_exchange_strong(&written_since_sweep, &written, 0);
}

static bool is_ours(const char *name)
{
	return strlen(name) == NAME_LENGTH && strspn(name, "0123456789abcdef") == 64 &&
	       (strcmp(name + 64, SUFFIX) == 0 || strcmp(name + 64, UNFINISHED) == 0);
}

static bool is_of_use(const char *name, time_t now)
{
	struct stat status;
	uint8_t *der;
	size_t length;
	time_t written;
	bool use;

	if (strcmp(name + 64, UNFINISHED) == 0) /* perhaps another thread is at it */
		return fstatat(folder_fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && status.st_mtime + 60 > now;
	use = read_file(name, &der, &length, &written) && !ocsp_has_lapsed(der, length, now);
	OPENSSL_free(der);
	return use;
}

void kept_sweep(time_t now)
{
	int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *entry;

	if (!folder) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((entry = readdir(folder))) {
		if (is_ours(entry->d_name) && !is_of_use(entry->d_name, now))
			unlinkat(folder_fd, entry->d_name, 0);
	}
	closedir(folder);
}
