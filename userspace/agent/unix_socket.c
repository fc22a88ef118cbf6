/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <ktlsd/protocol.h>

#include "log.h"
#include "unix_socket.h"

#define ANSWER_MS 1000

/*
 * Whether an agent answers there: then the place is not ours. One that is connected to but says nothing is on its way out:
 * a process that can't end because the closing of a descriptor hangs.
 */
static bool in_use(const struct sockaddr_un *address, int type)
{
	const struct ktlsd_msg_hello hello = {{.length = sizeof(hello), .type = KTLSD_MSG_HELLO},
					      .version = KTLSD_PROTOCOL_VERSION};
	static const char status[] = "status\n";
	struct pollfd answer = {.fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), .events = POLLIN};
	bool answers = false;

	if (answer.fd < 0)
		return false;
	if (connect(answer.fd, (const struct sockaddr *)address, sizeof(*address)) == 0) {
		if (type == SOCK_SEQPACKET)
			answers = send(answer.fd, &hello, sizeof(hello), MSG_NOSIGNAL) > 0;
		else
			answers = send(answer.fd, status, sizeof(status) - 1, MSG_NOSIGNAL) > 0;
		answers = answers && poll(&answer, 1, ANSWER_MS) > 0;
	}
	close(answer.fd);
	return answers;
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

int unix_socket_claim(const char *path, int type, mode_t mode, gid_t group)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	if (!in_use(&address, type))
		return unix_socket_listen(path, type, mode, group);
	log_line(LOG_ERR, "%s: another agent listens there; stop it first", path);
	return -1;
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
