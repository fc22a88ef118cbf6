/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "log.h"
#include "source.h"

static uint64_t mix(uint64_t digest, const void *data, size_t length)
{
	const uint8_t *byte = data;

	while (length-- > 0)
		digest = (digest ^ *byte++) * UINT64_C(0x100000001b3); /* FNV-1a */
	return digest;
}

static struct look look_of(const struct stat *status)
{
	return (struct look){
		.device = status->st_dev,
		.inode = status->st_ino,
		.size = status->st_size,
		.modified = status->st_mtim,
		.changed = status->st_ctim,
	};
}

/* The order in which a folder's entries come is nobody's promise: each counts by itself. */
static uint64_t look_at_entries(const char *path)
{
	DIR *folder = opendir(path);
	struct dirent *entry;
	uint64_t digest = 0;
	struct stat status;

	while (folder && (entry = readdir(folder))) {
		uint64_t own = mix(UINT64_C(0xcbf29ce484222325), entry->d_name, strlen(entry->d_name));

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (fstatat(dirfd(folder), entry->d_name, &status, 0) == 0) {
			struct look look = look_of(&status);

			own = mix(own, &look, sizeof(look));
		}
		digest += own;
	}
	if (folder)
		closedir(folder);
	return digest;
}

enum source_news source_look(struct source *source)
{
	bool was_there = source->error == 0;
	struct stat status;
	struct look look;

	if (stat(source->path, &status) != 0) {
		source->error = errno;
		return was_there ? SOURCE_GONE : SOURCE_SAME;
	}
	look = look_of(&status);
	source->folder = S_ISDIR(status.st_mode);
	if (source->folder)
		look.entries = look_at_entries(source->path);
	source->error = 0;
	source->error_told = false;
	if (was_there && memcmp(&look, &source->look, sizeof(look)) == 0)
		return SOURCE_SAME;
	source->look = look;
	return SOURCE_CHANGED;
}

uint64_t source_stamp(const char *path)
{
	struct source source = {.path = (char *)path};

	return source_look(&source) == SOURCE_CHANGED
		       ? mix(UINT64_C(0xcbf29ce484222325), &source.look, sizeof(source.look))
		       : 0;
}

void source_add(struct source_list *sources, const char *path)
{
	struct source *source = calloc(1, sizeof(*source));

	if (!source || !(source->path = strdup(path)))
		log_fatal("out of memory");
	source_look(source);
	TAILQ_INSERT_TAIL(sources, source, next);
}

void watched_clear(struct watched *watched)
{
	struct source *source;

	while ((source = TAILQ_FIRST(&watched->sources))) {
		TAILQ_REMOVE(&watched->sources, source, next);
		free(source->path);
		free(source);
	}
	free(watched->fault);
}
