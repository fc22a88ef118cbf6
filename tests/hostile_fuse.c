// SPDX-License-Identifier: MIT
/* hostile_fuse DIR SECONDS: a file system with one file, DIR/file, whose closing takes that long. */
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fuse.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static unsigned int seconds;

static int get_attributes(const char *path, struct stat *status, struct fuse_file_info *file)
{
	(void)file;
	memset(status, 0, sizeof(*status));
	status->st_mode = strcmp(path, "/") == 0 ? S_IFDIR | 0755 : S_IFREG | 0444;
	status->st_nlink = 1;
	return strcmp(path, "/") == 0 || strcmp(path, "/file") == 0 ? 0 : -ENOENT;
}

static int flush(const char *path, struct fuse_file_info *file)
{
	(void)path, (void)file;
	sleep(seconds);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct fuse_operations operations = {.getattr = get_attributes, .flush = flush};
	char *arguments[] = {argv[0], argc == 3 ? argv[1] : NULL, "-f", "-o", "allow_other,max_threads=64", NULL};

	if (argc != 3)
		return 2;
	seconds = atoi(argv[2]);
	return fuse_main(5, arguments, &operations, NULL);
}
