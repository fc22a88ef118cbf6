/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/epoll.h>

#include "registrations.h"
#include "say.h"

#define REGISTRATIONS 64

struct registration {
	int epoll;
	struct epoll_event event;
};

struct registrations {
	struct registration list[REGISTRATIONS];
	int count;
};

static bool is_of_kind(const char *name, const char *kind)
{
	char path[64], target[64];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/self/fd/%s", name);
	length = readlink(path, target, sizeof(target) - 1);
	if (length < 0)
		return false;
	target[length] = '\0';
	return (size_t)length >= strlen(kind) && strcmp(target + length - strlen(kind), kind) == 0;
}

/* Takes a number out of an epoll set, and remembers how it was in there: Linux, fs/eventpoll.c, ep_show_fdinfo(). */
static void take_out(struct registrations *registrations, int epoll, int number)
{
	char path[64], line[256];
	struct registration *next = &registrations->list[registrations->count];
	unsigned long long data;
	unsigned int events;
	FILE *info;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", epoll);
	info = fopen(path, "re");
	while (info && registrations->count < REGISTRATIONS && fgets(line, sizeof(line), info)) {
		if (sscanf(line, "tfd: %d events: %x data: %llx", &fd, &events, &data) != 3 || fd != number ||
		    epoll_ctl(epoll, EPOLL_CTL_DEL, number, NULL) < 0)
			continue;
		*next = (struct registration){.epoll = epoll, .event = {.events = events, .data.u64 = data}};
		registrations->count++;
		break;
	}
	if (info)
		fclose(info);
}

static void take_out_everywhere(struct registrations *registrations, int number)
{
	DIR *folder = opendir("/proc/self/fd");
	const struct dirent *entry;

	while (folder && (entry = readdir(folder)))
		if (is_of_kind(entry->d_name, "[eventpoll]"))
			take_out(registrations, atoi(entry->d_name), number);
	if (folder)
		closedir(folder);
}

static void put_back(const struct registrations *registrations, int number)
{
	for (int i = 0; i < registrations->count; i++) {
		struct epoll_event event = registrations->list[i].event;

		if (epoll_ctl(registrations->list[i].epoll, EPOLL_CTL_ADD, number, &event) < 0)
			say("descriptor %d is no longer in the epoll set %d: %s", number, registrations->list[i].epoll,
			    strerror(errno));
	}
}

int replace_descriptor(int number, int fd)
{
	int closes = fcntl(number, F_GETFD), flags = fcntl(number, F_GETFL), result = 0;
	struct registrations registrations = {.count = 0};

	if (closes < 0 || flags < 0 ||
	    fcntl(fd, F_SETFL, (fcntl(fd, F_GETFL) & ~O_NONBLOCK) | (flags & O_NONBLOCK)) < 0) {
		result = -errno;
	} else {
		take_out_everywhere(&registrations, number);
		if (dup3(fd, number, closes & FD_CLOEXEC ? O_CLOEXEC : 0) < 0)
			result = -errno;
		put_back(&registrations, number);
	}
	close(fd);
	return result;
}

int count_descriptors(const char *kind)
{
	DIR *folder = opendir("/proc/self/fd");
	const struct dirent *entry;
	int count = 0;

	while (folder && (entry = readdir(folder)))
		count += is_of_kind(entry->d_name, kind);
	if (folder)
		closedir(folder);
	return count;
}
