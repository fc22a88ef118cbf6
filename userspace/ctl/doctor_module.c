/* SPDX-License-Identifier: MIT */
/* The kernel module: whether it is there, who may use it, what it can do. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <linux/ktlsd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "doctor.h"
#include "ktlsd_uring.h"

#define CHECK "kernel module"

/* Whether the running kernel has it on disk, wherever make, DKMS or a distribution has put it. */
static bool is_installed(void)
{
	static const char *const places[] = {"*/ktlsd.ko*", "*/*/ktlsd.ko*", "kernel/net/ktlsd/ktlsd.ko*"};
	struct utsname name;
	char pattern[256];
	glob_t matches;
	bool is = false;

	uname(&name);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && !is; i++) {
		snprintf(pattern, sizeof(pattern), "/lib/modules/%s/%s", name.release, places[i]);
		is = glob(pattern, 0, NULL, &matches) == 0;
		globfree(&matches);
	}
	return is;
}

static void say_not_loaded(void)
{
	found(VERDICT_OK, CHECK,
	      is_installed() ? "if programs here take handshakes as io_uring commands: modprobe ktlsd"
			     : "if programs here take handshakes as io_uring commands: make module, insmod ktlsd.ko",
	      "not loaded");
}

static void say_who(const struct stat *status, const char *features)
{
	const struct passwd *user = getpwuid(status->st_uid);
	const struct group *group = getgrgid(status->st_gid);
	bool everybody = (status->st_mode & 0006) != 0;
	char owner[32], members[32];

	snprintf(owner, sizeof(owner), "%u", status->st_uid);
	snprintf(members, sizeof(members), "%u", status->st_gid);
	found(everybody ? VERDICT_WARN : VERDICT_OK, CHECK,
	      everybody ? "whoever opens it has handshakes made with the agent's identity: chmod o= " KTLSD_DEVICE_PATH
			: NULL,
	      KTLSD_DEVICE_PATH " is for %s:%s, mode %04o%s", user ? user->pw_name : owner,
	      group ? group->gr_name : members, status->st_mode & 07777, features);
}

void check_module(void)
{
	struct ktlsd_info info = {.size = sizeof(info)};
	const char *features = "";
	struct stat status;
	int fd, err;

	if (stat(KTLSD_DEVICE_PATH, &status) < 0) {
		say_not_loaded();
		return;
	}
	fd = open(KTLSD_DEVICE_PATH, O_RDWR | O_CLOEXEC);
	err = fd < 0 || ioctl(fd, KTLSD_INFO, &info) < 0 ? errno : 0;
	if (fd >= 0)
		close(fd);
	if (err && err != EACCES && err != EPERM) {
		found(VERDICT_WARN, CHECK, "something else made it: remove it, then modprobe ktlsd", "%s: %s",
		      KTLSD_DEVICE_PATH, strerror(err));
		return;
	}
	if (!err)
		features = info.features & KTLSD_FEATURE_LINKED ? "; chains as they come" : "; chains with IOSQE_ASYNC";
	say_who(&status, features);
}
