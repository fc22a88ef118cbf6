/* SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "files.h"

#define SLOTS 256 /* a power of two */

static struct file *slots[SLOTS]; /* by the path's hash; another path with the same one takes the slot */

/* Nothing outside the directory can be reached: not by "..", not by a symbolic link. */
static int open_beneath(int parent, const char *path)
{
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK, .resolve = RESOLVE_BENEATH};

	return syscall(SYS_openat2, parent, path, &how, sizeof(how));
}

static int open_file(int directory, const char *path, struct stat *status)
{
	int fd = open_beneath(directory, *path ? path : "."), index;

	if (fd >= 0 && fstat(fd, status) == 0 && S_ISDIR(status->st_mode)) {
		index = open_beneath(fd, "index.html");
		close(fd);
		fd = index;
		if (fd >= 0 && fstat(fd, status) < 0)
			status->st_mode = 0;
	}
	if (fd >= 0 && !S_ISREG(status->st_mode)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static char *read_small(int fd, off_t size)
{
	char *content = malloc(size + 1);

	if (content && pread(fd, content, size, 0) != size) { /* it changes just now */
		free(content);
		content = NULL;
	}
	return content;
}

static struct file *load(int directory, const char *path, unsigned int now_s)
{
	struct file *file = calloc(1, sizeof(*file));
	struct stat status;

	if (!file)
		return NULL;
	file->holders = 1;
	file->looked_s = now_s;
	file->path = strdup(path);
	file->fd = open_file(directory, path, &status);
	if (file->fd >= 0) {
		file->size = status.st_size;
		file->content = file->size <= SMALL_FILE ? read_small(file->fd, file->size) : NULL;
	}
	if (file->path && file->fd >= 0 && (file->content || file->size > SMALL_FILE))
		return file;
	file_put(file);
	return NULL;
}

static struct file **slot_of(const char *path)
{
	unsigned int hash = 2166136261; /* FNV-1a */

	while (*path)
		hash = (hash ^ (unsigned char)*path++) * 16777619;
	return &slots[hash & (SLOTS - 1)];
}

struct file *file_get(int directory, const char *path, unsigned int now_s)
{
	struct file **slot = slot_of(path);

	if (!*slot || (*slot)->looked_s != now_s || strcmp((*slot)->path, path) != 0) {
		file_put(*slot);
		*slot = load(directory, path, now_s);
	}
	if (*slot)
		(*slot)->holders++;
	return *slot;
}

void file_put(struct file *file)
{
	if (!file || --file->holders > 0)
		return;
	if (file->fd >= 0)
		close(file->fd);
	free(file->content);
	free(file->path);
	free(file);
}
