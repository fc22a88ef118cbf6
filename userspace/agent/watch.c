/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/queue.h>
#include <unistd.h>

#include "log.h"
#include "watch.h"

#define LINKS_MAX 40 /* as the kernel */
#define EVENTS (IN_ONLYDIR | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_CLOSE_WRITE | IN_ATTRIB)

/* A name that is looked up on the way to a file, by its path without links in it ("": the root). */
struct step {
	char *path;
	char *target; /* of a symbolic link; NULL: it is none */
	bool missing;
	bool folder; /* something was looked up in it */
	bool whole;  /* whatever is in it matters */
	int wd;	     /* of a folder; -1: it is not watched */
	TAILQ_ENTRY(step) next;
};

TAILQ_HEAD(steps, step);

struct way { /* all steps to all files: once to be found by path, once the folders among them */
	void *tree;
	struct steps folders;
};

static int inotify = -1;
static int error_told; /* why a folder could not be watched, once */
static struct way current = {.folders = TAILQ_HEAD_INITIALIZER(current.folders)}, before;

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct step *)a)->path, ((const struct step *)b)->path);
}

static struct step *find(const char *path)
{
	struct step wanted = {.path = (char *)path}, **found = tfind(&wanted, &current.tree, compare);

	return found ? *found : NULL;
}

static void free_step(void *argument)
{
	struct step *step = argument;

	free(step->path);
	free(step->target);
	free(step);
}

/* The step, found out about once in each walk however many ways lead over it. */
static struct step *step_at(const char *path)
{
	struct step *step = find(path);
	char target[PATH_MAX];
	ssize_t length;

	if (step)
		return step;
	step = calloc(1, sizeof(*step));
	if (!step || !(step->path = strdup(path)) || !tsearch(step, &current.tree, compare))
		log_fatal("out of memory");
	step->wd = -1;
	length = *path ? readlink(path, target, sizeof(target) - 1) : -1;
	if (length >= 0 && !(step->target = strndup(target, length)))
		log_fatal("out of memory");
	step->missing = *path && length < 0 && errno != EINVAL;
	return step;
}

static void tell(const char *path, int error)
{
	if (error == ENOENT || error == ENOTDIR || error == error_told)
		return;
	error_told = error;
	log_line(LOG_WARNING, "%s can't be watched: %s%s; changes in such folders are noticed within a minute", path,
		 strerror(error), error == ENOSPC ? " (the limit is fs.inotify.max_user_watches)" : "");
}

/* Watched before what is in it is looked at, so that nothing changes unnoticed in between. */
static struct step *watch_folder(const char *path)
{
	struct step *step = step_at(path);
	const char *name = *path ? path : "/";

	if (step->folder)
		return step;
	step->folder = true;
	TAILQ_INSERT_TAIL(&current.folders, step, next);
	if (inotify >= 0)
		step->wd = inotify_add_watch(inotify, name, EVENTS);
	if (inotify >= 0 && step->wd < 0)
		tell(name, errno);
	return step;
}

static void cut_last(char *path)
{
	char *slash = strrchr(path, '/');

	if (slash)
		*slash = '\0';
}

/* The rest of a way, from a link on: where it leads, and then what was left. */
static bool turn_off(char *rest, const char *target)
{
	char left[PATH_MAX];

	strcpy(left, rest);
	return snprintf(rest, PATH_MAX, "%s/%s", target, left) < PATH_MAX;
}

/* Goes the way that the kernel would; here: as far as it came. */
static bool walk(char here[PATH_MAX], char rest[PATH_MAX])
{
	unsigned int links = 0;

	for (;;) {
		size_t skipped = strspn(rest, "/"), length = strcspn(rest + skipped, "/"), end = strlen(here);
		char name[NAME_MAX + 1];
		struct step *step;

		if (length == 0)
			return true;
		if (length > NAME_MAX || end + 1 + length >= PATH_MAX)
			return false;
		memcpy(name, rest + skipped, length);
		name[length] = '\0';
		memmove(rest, rest + skipped + length, strlen(rest + skipped + length) + 1);
		if (strcmp(name, ".") == 0)
			continue;
		if (strcmp(name, "..") == 0) {
			cut_last(here);
			continue;
		}
		watch_folder(here);
		here[end] = '/';
		memcpy(here + end + 1, name, length + 1);
		step = step_at(here);
		if (step->missing)
			return false;
		if (!step->target)
			continue;
		if (++links > LINKS_MAX || !turn_off(rest, step->target))
			return false;
		here[*step->target == '/' ? 0 : end] = '\0';
	}
}

void watch_path(const char *path, bool in_it)
{
	char here[PATH_MAX] = "", rest[PATH_MAX];

	if (*path != '/' && (!getcwd(here, sizeof(here)) || strcmp(here, "/") == 0))
		*here = '\0';
	if (strlen(path) >= sizeof(rest))
		return;
	strcpy(rest, path);
	if (walk(here, rest) && in_it)
		watch_folder(here)->whole = true;
}

void watch_begin(void)
{
	before.tree = current.tree;
	TAILQ_INIT(&before.folders);
	TAILQ_CONCAT(&before.folders, &current.folders, next);
	current.tree = NULL;
}

/* Mostly under the same path. */
static bool is_still_watched(const struct step *earlier)
{
	const struct step *folder = find(earlier->path);

	if (folder && folder->wd == earlier->wd)
		return true;
	TAILQ_FOREACH(folder, &current.folders, next) {
		if (folder->wd == earlier->wd)
			return true;
	}
	return false;
}

void watch_end(void)
{
	const struct step *folder;

	TAILQ_FOREACH(folder, &before.folders, next) {
		if (folder->wd >= 0 && !is_still_watched(folder))
			inotify_rm_watch(inotify, folder->wd);
	}
	tdestroy(before.tree, free_step);
	before.tree = NULL;
}

/* Several folders may be one (mount --bind). */
static bool matters(const struct inotify_event *event)
{
	const struct step *folder;
	char path[PATH_MAX];

	if (event->mask & IN_Q_OVERFLOW)
		return true;
	TAILQ_FOREACH(folder, &current.folders, next) {
		if (folder->wd != event->wd)
			continue;
		if (folder->whole || event->mask & IN_IGNORED)
			return true;
		if (event->len && snprintf(path, sizeof(path), "%s/%s", folder->path, event->name) < PATH_MAX &&
		    find(path))
			return true;
	}
	return false;
}

bool watch_heard(void)
{
	_Alignas(struct inotify_event) char events[16384];
	const struct inotify_event *event;
	ssize_t length = read(inotify, events, sizeof(events));
	bool heard = false;
	char *at;

	for (at = events; at < events + length; at += sizeof(*event) + event->len) {
		event = (const struct inotify_event *)at;
		heard = heard || matters(event);
	}
	return heard;
}

int watch_open(void)
{
	inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (inotify < 0)
		log_line(LOG_WARNING, "inotify: %s%s; changed certificates are noticed within a minute, not at once",
			 strerror(errno),
			 errno == EMFILE ? " (the limits are fs.inotify.max_user_instances and RLIMIT_NOFILE)" : "");
	return inotify;
}
