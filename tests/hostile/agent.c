// SPDX-License-Identifier: MIT
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "hostile.h"

static const char *from_environment(const char *name)
{
	const char *value = getenv(name);

	if (!value)
		die(name);
	return value;
}

pid_t agent_pid(void)
{
	return atoi(from_environment("AGENT_PID"));
}

static void nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

unsigned int agent_descriptors(void)
{
	char path[32];
	unsigned int count = 0;
	DIR *directory;

	snprintf(path, sizeof(path), "/proc/%d/fd", agent_pid());
	directory = opendir(path);
	if (!directory)
		die(path);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

bool agent_reaches(unsigned int descriptors)
{
	int64_t deadline = now_ms() + 3000;

	while (agent_descriptors() < descriptors && now_ms() < deadline)
		nap();
	return agent_descriptors() >= descriptors;
}

bool agent_settles(unsigned int descriptors)
{
	int64_t deadline = now_ms() + 3000;

	while (agent_descriptors() > descriptors && now_ms() < deadline)
		nap();
	if (agent_descriptors() <= descriptors)
		return true;
	note("the agent has %u descriptors open, expected %u", agent_descriptors(), descriptors);
	return false;
}

long agent_rss_kib(void)
{
	char path[32], line[128];
	long kib = -1;
	FILE *status;

	snprintf(path, sizeof(path), "/proc/%d/status", agent_pid());
	status = fopen(path, "r");
	while (status && kib < 0 && fgets(line, sizeof(line), status))
		sscanf(line, "VmRSS: %ld", &kib);
	if (!status || kib < 0)
		die(path);
	fclose(status);
	return kib;
}

long agent_cpu_ms(void)
{
	unsigned long user = 0, system = 0;
	char path[32];
	FILE *stat;

	snprintf(path, sizeof(path), "/proc/%d/stat", agent_pid());
	stat = fopen(path, "r");
	if (!stat || fscanf(stat, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
		die(path);
	fclose(stat);
	return (user + system) * 1000 / sysconf(_SC_CLK_TCK);
}

long agent_log_length(void)
{
	struct stat status;

	return stat(from_environment("AGENT_LOG"), &status) == 0 ? status.st_size : 0;
}

static bool has_line(long since, const char *text, const char *other)
{
	FILE *log = fopen(from_environment("AGENT_LOG"), "r");
	char line[2048];
	bool found = false;

	if (!log || fseek(log, since, SEEK_SET) != 0)
		die("the agent's log");
	while (!found && fgets(line, sizeof(line), log))
		found = strstr(line, text) && strstr(line, other);
	fclose(log);
	return found;
}

bool agent_logged(long since, const char *text, const char *other)
{
	int64_t deadline = now_ms() + 1000;

	while (!has_line(since, text, other)) {
		if (now_ms() > deadline)
			return false;
		nap();
	}
	return true;
}
