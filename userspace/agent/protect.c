/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "log.h"
#include "protect.h"

bool protect_drop_privileges(const struct setting *user)
{
	const struct passwd *entry;

	if (!user->text || geteuid() != 0)
		return true;
	entry = getpwnam(user->text);
	if (!entry) {
		log_line(LOG_ERR, "there is no user \"%s\"; useradd --system %s", user->text, user->text);
		return false;
	}
	if (initgroups(entry->pw_name, entry->pw_gid) != 0 ||
	    setresgid(entry->pw_gid, entry->pw_gid, entry->pw_gid) != 0 ||
	    setresuid(entry->pw_uid, entry->pw_uid, entry->pw_uid) != 0) {
		log_line(LOG_ERR, "can't become user \"%s\": %s", user->text, strerror(errno));
		return false;
	}
	return true;
}

void protect_drop_net_admin(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct sets[2];

	if (geteuid() == 0 || syscall(SYS_capget, &head, sets) != 0)
		return;
	sets[0].effective &= ~(1u << CAP_NET_ADMIN);
	sets[0].permitted &= ~(1u << CAP_NET_ADMIN);
	sets[0].inheritable &= ~(1u << CAP_NET_ADMIN);
	if (syscall(SYS_capset, &head, sets) != 0)
		log_line(LOG_WARNING, "capset: %s; the agent keeps CAP_NET_ADMIN", strerror(errno));
}

/* With MCL_FUTURE and a small limit every allocation would fail, so memory is locked only where the limit allows it. */
static bool may_lock(void)
{
	struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

	return setrlimit(RLIMIT_MEMLOCK, &limit) == 0 ||
	       (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY);
}

void protect_memory(void)
{
	struct rlimit no_core = {0, 0};

	setrlimit(RLIMIT_CORE, &no_core);
	if (prctl(PR_SET_DUMPABLE, 0) != 0)
		log_line(LOG_WARNING, "PR_SET_DUMPABLE: %s; a core dump could carry keys", strerror(errno));
	if (!may_lock() || mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0)
		log_line(LOG_WARNING,
			 "memory is not locked, keys could be swapped out; expected RLIMIT_MEMLOCK unlimited "
			 "(LimitMEMLOCK=infinity in the unit file)");
}
