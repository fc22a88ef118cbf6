/* SPDX-License-Identifier: MIT */
/* What stands around: io_uring, the kernel's handshake family, agents. */
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <liburing.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <sys/socket.h>

#include "../agent/trial.h"
#include "doctor.h"
#include "ktlsd.h"

/* kernel.io_uring_disabled: 0 for everybody, 1 for the members of a group, 2 for nobody; -1 unknown. */
static int io_uring_disabled(void)
{
	FILE *file = fopen("/proc/sys/kernel/io_uring_disabled", "r");
	int value = -1;

	if (!file)
		return -1;
	if (fscanf(file, "%d", &value) != 1)
		value = -1;
	fclose(file);
	return value;
}

static const char *ring_remedy(int err)
{
	switch (err) {
	case -ENOSYS:
		return "this kernel is built without CONFIG_IO_URING: use another kernel";
	case -ENOMEM:
		return "raise the limit on locked memory: ulimit -l, LimitMEMLOCK= in the unit";
	case -EPERM:
		if (io_uring_disabled() == 2)
			return "sysctl kernel.io_uring_disabled=0 (or 1, and run in the group kernel.io_uring_group)";
		if (io_uring_disabled() == 1)
			return "be in the group kernel.io_uring_group, or sysctl kernel.io_uring_disabled=0";
		return "a seccomp filter forbids it, as container runtimes do: allow io_uring_setup, io_uring_enter, "
		       "io_uring_register";
	default:
		return NULL;
	}
}

void check_io_uring(void)
{
	struct io_uring ring;
	int err;

	err = io_uring_queue_init(8, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	if (err == -EINVAL) {
		found(VERDICT_FAIL, "io_uring", "Linux 6.1 or newer has what ktlsd uses", "too old");
		return;
	}
	if (err < 0) {
		found(VERDICT_FAIL, "io_uring", ring_remedy(err), "no ring: %s", strerror(-err));
		return;
	}
	found(VERDICT_OK, "io_uring", NULL, "rings can be made");
	if (trial_linked_commands())
		found(VERDICT_OK, "io_uring socket commands", NULL, "keys are installed by the ring");
	else
		found(VERDICT_WARN, "io_uring socket commands",
		      "nothing needs to be done: the agent uses setsockopt; Linux 6.14 or newer has them",
		      "not there, or not to be linked");
	io_uring_queue_exit(&ring);
}

/* Whether the family and its group "tlshd" exist: two names that the kernel can only know together. */
void check_handshake_family(void)
{
	struct nl_sock *netlink = nl_socket_alloc();
	int err = -NLE_NOMEM;

	if (netlink)
		err = genl_connect(netlink);
	if (err == 0)
		err = genl_ctrl_resolve(netlink, "handshake");
	if (err >= 0)
		err = genl_ctrl_resolve_grp(netlink, "handshake", "tlshd");
	nl_socket_free(netlink);
	if (err >= 0)
		found(VERDICT_OK, "handshake family", NULL, "the kernel can ask an agent for handshakes (NFS, NVMe)");
	else
		found(VERDICT_WARN, "handshake family",
		      "only the kernel's own TLS needs it (NFS, NVMe): CONFIG_NET_HANDSHAKE", "%s", nl_geterror(err));
}

/* Counts processes by the name that /proc/PID/comm has. */
static unsigned int count_processes(const char *wanted)
{
	unsigned int count = 0;
	glob_t processes;

	if (glob("/proc/[0-9]*/comm", GLOB_NOSORT, NULL, &processes) != 0)
		return 0;
	for (size_t i = 0; i < processes.gl_pathc; i++) {
		FILE *file = fopen(processes.gl_pathv[i], "r");
		char name[32] = "";

		if (!file)
			continue;
		if (fscanf(file, "%31[^\n]", name) == 1 && strcmp(name, wanted) == 0)
			count++;
		fclose(file);
	}
	globfree(&processes);
	return count;
}

void check_other_agents(void)
{
	if (count_processes("tlshd") == 0)
		found(VERDICT_OK, "other agents", NULL, "none runs");
	else
		found(VERDICT_WARN, "other agents", "only one may answer the kernel: systemctl disable --now tlshd",
		      "tlshd runs");
}

void check_agent(void)
{
	const char *path = getenv("KTLSD_HANDOFF");
	struct ktlsd *agent;
	int err;

	if (!path || !*path)
		path = KTLSD_HANDOFF_PATH;
	err = ktlsd_open(&agent, path);
	if (err == 0) {
		ktlsd_close(agent);
		found(VERDICT_OK, "agent", NULL, "ktlsd answers on %s", path);
		return;
	}
	found(VERDICT_WARN, "agent",
	      err == -EACCES ? "the socket's permissions: see handoff_mode in ktlsd.conf"
			     : "start it: systemctl start ktlsd",
	      "%s: %s", path, strerror(-err));
}
