/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "registrations.h"
#include "say.h"

/* ---- what we know ---- */

static int place_of(const struct registrations *registrations, int epoll, int number)
{
	for (int i = 0; i < registrations->count; i++)
		if (registrations->list[i].epoll == epoll && registrations->list[i].number == number)
			return i;
	return -1;
}

static void drop(struct registrations *registrations, int place)
{
	registrations->list[place] = registrations->list[--registrations->count];
}

static bool make_room(struct registrations *registrations)
{
	int room = registrations->room ? 2 * registrations->room : 4;
	struct registration *list;

	if (registrations->count < registrations->room)
		return true;
	list = realloc(registrations->list, room * sizeof(*list));
	if (!list)
		return false;
	registrations->list = list;
	registrations->room = room;
	return true;
}

void registrations_note(struct registrations *registrations, int epoll, int operation, int number,
			const struct epoll_event *event)
{
	int place = place_of(registrations, epoll, number);

	if (place >= 0 && operation == EPOLL_CTL_DEL) {
		drop(registrations, place);
	} else if (place >= 0) {
		registrations->list[place].event = *event;
	} else if (operation != EPOLL_CTL_DEL && make_room(registrations)) {
		registrations->list[registrations->count++] =
			(struct registration){.epoll = epoll, .number = number, .event = *event};
	}
}

void registrations_free(struct registrations *registrations)
{
	free(registrations->list);
	*registrations = (struct registrations){0};
}

/* ---- what the kernel tells ---- */

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

/* How a number is in an epoll set: Linux, fs/eventpoll.c, ep_show_fdinfo(). */
static void look_up(struct registrations *registrations, int epoll, int number)
{
	char path[64], line[256];
	unsigned long long data;
	unsigned int events;
	FILE *info;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", epoll);
	info = fopen(path, "re");
	while (info && fgets(line, sizeof(line), info)) {
		struct epoll_event event;

		if (sscanf(line, "tfd: %d events: %x data: %llx", &fd, &events, &data) != 3 || fd != number)
			continue;
		event = (struct epoll_event){.events = events, .data.u64 = data};
		registrations_note(registrations, epoll, EPOLL_CTL_ADD, number, &event);
	}
	if (info)
		fclose(info);
}

static void look_everywhere(struct registrations *registrations, int number)
{
	DIR *folder = opendir("/proc/self/fd");
	const struct dirent *entry;

	while (folder && (entry = readdir(folder)))
		if (is_of_kind(entry->d_name, "[eventpoll]"))
			look_up(registrations, atoi(entry->d_name), number);
	if (folder)
		closedir(folder);
}

/* ---- another file ---- */

/* What is not there any more, or in another set that has got the number, is forgotten. */
static void take_out(struct registrations *registrations, int number)
{
	for (int i = registrations->count - 1; i >= 0; i--) {
		const struct registration *one = &registrations->list[i];

		if (one->number == number && epoll_ctl(one->epoll, EPOLL_CTL_DEL, number, NULL) < 0)
			drop(registrations, i);
	}
}

static void put_back(const struct registrations *registrations, int number)
{
	for (int i = 0; i < registrations->count; i++) {
		struct registration one = registrations->list[i];

		if (one.number == number && epoll_ctl(one.epoll, EPOLL_CTL_ADD, number, &one.event) < 0)
			say("descriptor %d is no longer in the epoll set %d: %s", number, one.epoll, strerror(errno));
	}
}

int replace_descriptor(int number, int fd, struct registrations *registrations)
{
	int closes = fcntl(number, F_GETFD), flags = fcntl(number, F_GETFL), result = 0;

	if (closes < 0 || flags < 0 ||
	    fcntl(fd, F_SETFL, (fcntl(fd, F_GETFL) & ~O_NONBLOCK) | (flags & O_NONBLOCK)) < 0) {
		result = -errno;
	} else {
		look_everywhere(registrations, number);
		take_out(registrations, number);
		if (dup3(fd, number, closes & FD_CLOEXEC ? O_CLOEXEC : 0) < 0)
			result = -errno;
		put_back(registrations, number);
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
