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

static int is_wanted(const struct dirent *entry)
{
	const char *ending = strrchr(entry->d_name, '.'), *known = wanted_endings;

	if (!wanted_endings)
		return entry->d_name[0] != '.';
	while (ending && entry->d_name[0] != '.' && (known = strstr(known, ending))) {
		known += strlen(ending);
		if (*known == '.' || *known == '\0')
			return 1;
	}
	return 0;
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
	wanted_endings = endings;
	count = scandir(setting->text, &entries, is_wanted, alphasort);
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
