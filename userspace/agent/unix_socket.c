/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "unix_socket.h"

/* Whether somebody answers there: then it is not ours to remove. */
static int in_use(const struct sockaddr_un *address, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	int answered = fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0;

	if (fd >= 0)
		close(fd);
	return answered;
}

static void make_directory(const char *path)
{
	char directory[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	char *slash;

	snprintf(directory, sizeof(directory), "%s", path);
	slash = strrchr(directory, '/');
	if (slash && slash > directory) {
		*slash = '\0';
		if (mkdir(directory, 0755) != 0 && errno != EEXIST)
			log_line(LOG_WARNING, "mkdir %s: %s", directory, strerror(errno));
	}
}

int unix_socket_listen(const char *path, int type, mode_t mode, gid_t group)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(address.sun_path)) {
		log_line(LOG_ERR, "%s: too long for a socket's path; expected at most %zu bytes", path,
			 sizeof(address.sun_path) - 1);
		return -1;
	}
	strcpy(address.sun_path, path);
	make_directory(path);
	if (in_use(&address, type)) {
		log_line(LOG_ERR, "%s: another agent listens there; stop it first", path);
		return -1;
	}
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	if (fd < 0 || (unlink(path) != 0 && errno != ENOENT))
		goto fail;
	/* Nobody gets in between bind and chmod: the socket does not listen yet. */
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 || chmod(path, mode) != 0 ||
	    (group != (gid_t)-1 && chown(path, -1, group) != 0) || listen(fd, 1024) != 0)
		goto fail;
	return fd;
fail:
	log_line(LOG_ERR, "%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}
