/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <limits.h>
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

/* ---- processes ---- */

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

/* ---- control groups ---- */

/* A group's path is that of its directory, or stands below the usual place. */
static void group_path(char path[static PATH_MAX], const char *group, const char *file)
{
	if (snprintf(path, PATH_MAX, "%s%s/%s", *group == '/' ? "" : "/sys/fs/cgroup/", group, file) >= PATH_MAX)
		errx(2, "%s: the path is too long", group);
}

const char *cgroup_check(const char *group)
{
	char path[PATH_MAX];

	group_path(path, group, "cpu.stat");
	if (access(path, R_OK) == 0)
		return NULL;
	return errno == ENOENT ? "expected the directory of a control group of version 2, which has a cpu.stat"
			       : strerror(errno);
}

static double group_cpu_s(const char *group)
{
	char path[PATH_MAX], line[128];
	unsigned long long us = 0;
	FILE *file;

	group_path(path, group, "cpu.stat");
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file) && sscanf(line, "usage_usec %llu", &us) != 1)
		;
	if (file)
		fclose(file);
	return us / 1e6;
}

/* The group's processes, and those of the groups below it. */
static void find_members(const char *group, int server, const struct process_list *list)
{
	char path[PATH_MAX];
	struct process *process;
	struct dirent *entry;
	FILE *file;
	DIR *below;
	int pid;

	group_path(path, group, "cgroup.procs");
	file = fopen(path, "re");
	while (file && fscanf(file, "%d", &pid) == 1) {
		process = find(list, pid);
		if (process && process->server < 0)
			process->server = server;
	}
	if (file)
		fclose(file);
	group_path(path, group, "");
	below = opendir(path);
	while (below && (entry = readdir(below))) {
		if (entry->d_type != DT_DIR || *entry->d_name == '.')
			continue;
		group_path(path, group, entry->d_name);
		find_members(path, server, list);
	}
	if (below)
		closedir(below);
}

/* ---- threads ---- */

static void each_thread(int pid, void (*take)(int tid, void *argument), void *argument)
{
	char path[64];
	struct dirent *entry;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = opendir(path);
	if (!tasks)
		return;
	while ((entry = readdir(tasks))) {
		if (isdigit((unsigned char)*entry->d_name))
			take(atoi(entry->d_name), argument);
	}
	closedir(tasks);
}

/* proc_pid_status(5) */
static void add_task(int tid, void *argument)
{
	struct server_usage *usage = argument;
	struct task task = {.tid = tid};
	unsigned long long count;
	char path[64], line[128];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	file = fopen(path, "re");
	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "voluntary_ctxt_switches: %llu", &count) == 1)
			task.voluntary = count;
		if (sscanf(line, "nonvoluntary_ctxt_switches: %llu", &count) == 1)
			task.involuntary = count;
	}
	fclose(file);
	usage->tasks = reallocarray(usage->tasks, usage->task_count + 1, sizeof(task));
	if (!usage->tasks)
		err(1, NULL);
	usage->tasks[usage->task_count++] = task;
}

static int compare_tasks(const void *a, const void *b)
{
	return ((const struct task *)a)->tid - ((const struct task *)b)->tid;
}

struct task server_switches(const struct server_usage *before, const struct server_usage *after)
{
	struct task sum = {0};
	size_t i;

	for (i = 0; i < after->task_count; i++) {
		const struct task *now = &after->tasks[i], *then;

		then = before->task_count ? bsearch(now, before->tasks, before->task_count, sizeof(*now), compare_tasks)
					  : NULL;
		sum.voluntary += now->voluntary - (then ? then->voluntary : 0);
		sum.involuntary += now->involuntary - (then ? then->involuntary : 0);
	}
	return sum;
}

/* ---- servers ---- */

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

/* Each process with the server that it belongs to. */
static void assign(const struct settings *settings, struct process_list *list)
{
	struct process *process;
	size_t i;

	read_processes(list);
	for (i = 0; i < settings->server_count; i++) {
		const struct server *server = &settings->servers[i];

		if (server->cgroup) {
			find_members(server->cgroup, i, list);
			continue;
		}
		process = find(list, server->pid);
		if (process)
			process->server = i;
	}
	find_descendants(list);
}

void server_each_thread(const struct settings *settings, unsigned int server, void (*take)(int tid, void *argument),
			void *argument)
{
	struct process_list list = {0};
	size_t i;

	assign(settings, &list);
	for (i = 0; i < list.count; i++) {
		if (list.at[i].server == (int)server)
			each_thread(list.at[i].pid, take, argument);
	}
	free(list.at);
}

static void begin_usage(struct server_usage *usage, const struct server *server, const struct process_list *list)
{
	const struct process *root = server->cgroup ? NULL : find(list, server->pid);

	if (server->cgroup) {
		usage->gone = cgroup_check(server->cgroup) != NULL;
		usage->cpu_s = group_cpu_s(server->cgroup);
		snprintf(usage->name, sizeof(usage->name), "%.31s", server->cgroup);
		return;
	}
	usage->gone = !root;
	snprintf(usage->name, sizeof(usage->name), "%s", root ? root->name : "?");
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
	assign(settings, &list);
	for (i = 0; i < settings->server_count; i++) {
		begin_usage(&usage[i], &settings->servers[i], &list);
		usage[i].syscalls = syscalls_read(i);
	}
	for (i = 0; i < list.count; i++) {
		const struct process *process = &list.at[i];

		if (process->server < 0)
			continue;
		if (!settings->servers[process->server].cgroup)
			usage[process->server].cpu_s += process->ticks * tick_s;
		usage[process->server].rss_kb += process->pages * page_kb;
		each_thread(process->pid, add_task, &usage[process->server]);
	}
	for (i = 0; i < settings->server_count; i++) {
		if (usage[i].task_count)
			qsort(usage[i].tasks, usage[i].task_count, sizeof(*usage[i].tasks), compare_tasks);
	}
	free(list.at);
}

void servers_free(struct server_usage usage[static SERVERS_MAX])
{
	size_t i;

	for (i = 0; i < SERVERS_MAX; i++)
		free(usage[i].tasks);
}
