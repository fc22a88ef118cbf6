/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <dirent.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server.h"

struct process {
	int pid, parent;
	int server; /* it belongs to this one; -1: to none */
	char name[16];
	unsigned long long ticks;
	long pages;
};

struct process_list {
	struct process *at;
	size_t count, room;
};

/* proc_pid_stat(5). The name may hold anything but ends with the last parenthesis. Children that were waited for count. */
static bool read_process(const char *pid, struct process *process)
{
	char path[64], text[1024], *end;
	unsigned long long user, system, dead_user, dead_system;
	FILE *file;
	size_t n;

	snprintf(path, sizeof(path), "/proc/%.16s/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	n = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[n] = '\0';
	end = strrchr(text, ')');
	if (!end || sscanf(text, "%d (%15[^)]", &process->pid, process->name) != 2)
		return false;
	if (sscanf(end + 1,
		   " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu %*d %*d %*d %*d %*u %*u %ld",
		   &process->parent, &user, &system, &dead_user, &dead_system, &process->pages) != 6)
		return false;
	process->ticks = user + system + dead_user + dead_system;
	process->server = -1;
	return true;
}

static void read_processes(struct process_list *list)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;

	if (!proc)
		err(1, "/proc");
	while ((entry = readdir(proc))) {
		if (!isdigit((unsigned char)*entry->d_name))
			continue;
		if (list->count == list->room) {
			list->room = list->room ? 2 * list->room : 256;
			list->at = reallocarray(list->at, list->room, sizeof(*list->at));
			if (!list->at)
				err(1, NULL);
		}
		list->count += read_process(entry->d_name, &list->at[list->count]);
	}
	closedir(proc);
}

static struct process *find(const struct process_list *list, int pid)
{
	size_t i;

	for (i = 0; i < list->count; i++) {
		if (list->at[i].pid == pid)
			return &list->at[i];
	}
	return NULL;
}

/* Parents pass their server on to their children, until no one is left who has none and whose parent has one. */
static void find_descendants(struct process_list *list)
{
	bool changed = true;
	size_t i;

	while (changed) {
		changed = false;
		for (i = 0; i < list->count; i++) {
			struct process *process = &list->at[i], *parent = find(list, process->parent);

			if (process->server >= 0 || !parent || parent->server < 0)
				continue;
			process->server = parent->server;
			changed = true;
		}
	}
}

/* proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal */
void machine_measure(struct machine_usage *usage)
{
	unsigned long long ticks[8] = {0};
	FILE *file = fopen("/proc/stat", "re");

	if (!file || fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &ticks[0], &ticks[1], &ticks[2],
			    &ticks[3], &ticks[4], &ticks[5], &ticks[6], &ticks[7]) != 8)
		err(1, "/proc/stat");
	fclose(file);
	usage->idle = ticks[3] + ticks[4];
	usage->busy = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6] + ticks[7];
}

void servers_measure(const struct settings *settings, struct server_usage usage[static SERVERS_MAX])
{
	double tick_s = 1.0 / sysconf(_SC_CLK_TCK);
	long page_kb = sysconf(_SC_PAGESIZE) / 1024;
	struct process_list list = {0};
	size_t i;

	memset(usage, 0, sizeof(*usage) * SERVERS_MAX);
	if (settings->server_count == 0)
		return;
	read_processes(&list);
	for (i = 0; i < settings->server_count; i++) {
		struct process *root = find(&list, settings->servers[i]);

		usage[i].gone = !root;
		if (!root)
			continue;
		root->server = i;
		memcpy(usage[i].name, root->name, sizeof(usage[i].name));
	}
	find_descendants(&list);
	for (i = 0; i < list.count; i++) {
		const struct process *process = &list.at[i];

		if (process->server < 0)
			continue;
		usage[process->server].cpu_s += process->ticks * tick_s;
		usage[process->server].rss_kb += process->pages * page_kb;
	}
	free(list.at);
}
