/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "log.h"
#include "manager.h"

#define KEPT_MAX 2 /* descriptors under one name */

static int notify_fd = -1;
static struct sockaddr_un notify_address = {.sun_family = AF_UNIX};
static socklen_t notify_length;
static struct passed *passed;
static unsigned int passed_count;

void manager_notify(const char *state)
{
#ifdef HAVE_SYSTEMD
	sd_notify(0, state);
#else
	(void)state;
#endif
}

/* A path, or "@" and a name in the abstract namespace. */
static void open_notify(void)
{
	const char *path = getenv("NOTIFY_SOCKET");

	if (!path || (*path != '/' && *path != '@') || strlen(path) >= sizeof(notify_address.sun_path))
		return;
	memcpy(notify_address.sun_path, path, strlen(path));
	if (*path == '@')
		notify_address.sun_path[0] = '\0';
	notify_length = offsetof(struct sockaddr_un, sun_path) + strlen(path);
	notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

static void take_passed(void)
{
#ifdef HAVE_SYSTEMD
	char **names = NULL;
	int count = sd_listen_fds_with_names(1, &names), i;

	if (count <= 0)
		return;
	passed = calloc(count, sizeof(*passed));
	if (!passed)
		log_fatal("out of memory");
	for (i = 0; i < count; i++)
		passed[i] = (struct passed){.name = names[i], .fd = SD_LISTEN_FDS_START + i};
	passed_count = count;
	free(names);
#endif
}

void manager_open(void)
{
	open_notify();
	take_passed();
}

struct passed *manager_passed(unsigned int *count)
{
	*count = passed_count;
	return passed;
}

void manager_close_rest(void)
{
	while (passed_count > 0) {
		struct passed *one = &passed[--passed_count];

		if (one->fd >= 0) {
			log_line(LOG_WARNING, "the service manager passed a descriptor that nothing uses, \"%s\"",
				 one->name);
			close(one->fd);
		}
		free(one->name);
	}
	free(passed);
	passed = NULL;
}

/* By hand, because sd_pid_notify_with_fds() waits for a manager that is behind. */
static int tell(const char *text, const int *fds, unsigned int count)
{
	struct iovec part = {(void *)text, strlen(text)};
	struct msghdr message = {
		.msg_name = &notify_address, .msg_namelen = notify_length, .msg_iov = &part, .msg_iovlen = 1};
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(KEPT_MAX * sizeof(int))];
	} control = {0};

	if (notify_fd < 0)
		return -ENOTCONN;
	if (count > 0) {
		control.header = (struct cmsghdr){
			.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(count * sizeof(*fds))};
		memcpy(CMSG_DATA(&control.header), fds, count * sizeof(*fds));
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(count * sizeof(*fds));
	}
	return sendmsg(notify_fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int manager_keep(const char *name, const int *fds, unsigned int count)
{
	char text[320];

	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s", name);
	return tell(text, fds, count);
}

int manager_forget(const char *name)
{
	char text[320];

	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	return tell(text, NULL, 0);
}
