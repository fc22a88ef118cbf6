/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "files.h"
#include "log.h"

static const char *wanted_endings; /* scandir() passes nothing on; only the main thread reads files */

static int has_ending(const struct dirent *entry)
{
	const char *ending = strrchr(entry->d_name, '.'), *known = wanted_endings;

	while (ending && entry->d_name[0] != '.' && (known = strstr(known, ending))) {
		known += strlen(ending);
		if (*known == '.' || *known == '\0')
			return 1;
	}
	return 0;
}

static int list_folder(const char *folder, const char *endings, struct dirent ***entries)
{
	wanted_endings = endings;
	return scandir(folder, entries, has_ending, alphasort);
}

static char *path_in(const char *folder, const char *name)
{
	char *path;

	if (asprintf(&path, "%s/%s", folder, name) < 0)
		log_fatal("out of memory");
	return path;
}

void files_each(const struct setting *setting, const char *endings, bool (*take)(void *argument, const char *file),
		void *argument, struct complaints *complaints)
{
	struct dirent **entries;
	struct stat status;
	bool go_on = true;
	int count, i;

	if (stat(setting->text, &status) != 0 || !S_ISDIR(status.st_mode)) {
		take(argument, setting->text); /* which says what is wrong with it */
		return;
	}
	count = list_folder(setting->text, endings, &entries);
	if (count < 0) {
		complain(complaints, setting->line, "%s can't be read: %s; expected a folder", setting->text,
			 strerror(errno));
		return;
	}
	for (i = 0; i < count; i++) {
		char *path = path_in(setting->text, entries[i]->d_name);

		go_on = go_on && take(argument, path);
		free(path);
		free(entries[i]);
	}
	free(entries);
}

static uint64_t mix(uint64_t sum, uint64_t value)
{
	return (sum ^ value) * UINT64_C(0x100000001b3); /* FNV-1a */
}

static uint64_t mix_status(uint64_t sum, const struct stat *status)
{
	sum = mix(mix(sum, status->st_dev), status->st_ino);
	sum = mix(mix(sum, status->st_size), status->st_mode);
	sum = mix(mix(sum, status->st_mtim.tv_sec), status->st_mtim.tv_nsec);
	return mix(mix(sum, status->st_ctim.tv_sec), status->st_ctim.tv_nsec);
}

static uint64_t mix_folder(uint64_t sum, const char *folder)
{
	struct dirent **entries;
	struct stat status;
	int count = list_folder(folder, FILES_CERTIFICATES FILES_CRLS, &entries), i;

	for (i = 0; i < count; i++) {
		char *path = path_in(folder, entries[i]->d_name);

		if (stat(path, &status) == 0)
			sum = mix_status(sum, &status);
		free(path);
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
	return sum;
}

uint64_t files_stamp(const char *path)
{
	uint64_t sum = UINT64_C(0xcbf29ce484222325);
	struct stat status;

	if (stat(path, &status) != 0)
		return 0;
	sum = mix_status(sum, &status);
	return S_ISDIR(status.st_mode) ? mix_folder(sum, path) : sum;
}
