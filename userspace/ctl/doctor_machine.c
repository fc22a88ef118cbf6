/* SPDX-License-Identifier: MIT */
/* What stands around: io_uring, the kernel's handshake family, agents. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <liburing.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <sys/socket.h>

#include "../agent/kernel/registered.h"
#include "../agent/kernel/supervisor.h"
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

/* The multicast group of the kernel's handshake requests, or a negative error. */
static int find_group(void)
{
	struct nl_sock *netlink = nl_socket_alloc();
	int group = -NLE_NOMEM;

	if (netlink)
		group = genl_connect(netlink);
	if (group == 0)
		group = genl_ctrl_resolve_grp(netlink, "handshake", "tlshd");
	nl_socket_free(netlink);
	return group;
}

static void check_registered(int group)
{
	struct registered agent;

	if (!registered((unsigned int)group, 0, &agent))
		found(VERDICT_OK, "kernel's requests", NULL, "nobody takes them");
	else if (!agent.agent)
		found(VERDICT_WARN, "kernel's requests",
		      "it is no agent that is known, or may not take them: see what it is",
		      "process %d (%s) listens to them", agent.pid, agent.name);
	else if (strcmp(agent.name, SUPERVISOR_NAME) == 0)
		found(VERDICT_OK, "kernel's requests", NULL, "ktlsd takes them (process %d)", agent.pid);
	else
		found(VERDICT_WARN, "kernel's requests",
		      "only one may answer the kernel; for ktlsd to do it: systemctl disable --now tlshd",
		      "%s takes them (process %d)", agent.name, agent.pid);
}

void check_handshake_family(void)
{
	int group = find_group();

	if (group < 0) {
		found(VERDICT_WARN, "handshake family",
		      "only the kernel's own TLS needs it (NFS, NVMe): CONFIG_NET_HANDSHAKE", "%s", nl_geterror(group));
		return;
	}
	found(VERDICT_OK, "handshake family", NULL, "the kernel can ask an agent for handshakes (NFS, NVMe)");
	check_registered(group);
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
