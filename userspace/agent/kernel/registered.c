/* SPDX-License-Identifier: MIT */
#include <linux/capability.h>
#include <linux/netlink_diag.h>
#include <linux/sock_diag.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registered.h"
#include "supervisor.h"

struct search {
	unsigned int group;
	uint32_t own;
	struct registered *found;
	bool any;
};

/* libnl puts the process's number into the low bits of a socket's port number. Others may have put there what they like. */
static pid_t process_of(uint32_t port)
{
	return (pid_t)(port & 0x3fffff);
}

static void name_process(struct registered *process)
{
	char path[32];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/comm", process->pid);
	file = fopen(path, "re");
	if (!file || fscanf(file, "%16[^\n]", process->name) != 1)
		strcpy(process->name, "?");
	if (file)
		fclose(file);
}

static bool has_net_admin(pid_t pid)
{
	unsigned long long capabilities = 0;
	char path[32], *line = NULL;
	size_t size = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	while (file && !capabilities && getline(&line, &size, file) > 0)
		sscanf(line, "CapEff: %llx", &capabilities);
	free(line);
	if (file)
		fclose(file);
	return capabilities >> CAP_NET_ADMIN & 1;
}

static void look_at_process(struct search *search, pid_t pid)
{
	struct registered process = {.pid = pid};

	name_process(&process);
	process.agent = (strcmp(process.name, "tlshd") == 0 || strcmp(process.name, SUPERVISOR_NAME) == 0) &&
			has_net_admin(pid);
	if (!search->any || process.agent)
		*search->found = process;
	search->any = true;
}

static bool is_member(const struct nlattr *groups, unsigned int group)
{
	const uint8_t *bits = nla_data(groups);

	return (group - 1) / 8 < (unsigned int)nla_len(groups) && bits[(group - 1) / 8] >> (group - 1) % 8 & 1;
}

static int look_at_socket(struct nl_msg *message, void *argument)
{
	struct netlink_diag_msg *socket = nlmsg_data(nlmsg_hdr(message));
	struct nlattr *groups = nlmsg_find_attr(nlmsg_hdr(message), sizeof(*socket), NETLINK_DIAG_GROUPS);
	struct search *search = argument;

	if (groups && is_member(groups, search->group) && socket->ndiag_portid != search->own)
		look_at_process(search, process_of(socket->ndiag_portid));
	return NL_OK;
}

bool registered(unsigned int group, uint32_t own, struct registered *found)
{
	struct netlink_diag_req wanted = {
		.sdiag_family = AF_NETLINK, .sdiag_protocol = NETLINK_GENERIC, .ndiag_show = NDIAG_SHOW_GROUPS};
	struct search search = {.group = group, .own = own, .found = found};
	struct nl_sock *socket = nl_socket_alloc();

	/* Without netlink_diag in the kernel it can't be known. */
	if (socket && nl_connect(socket, NETLINK_SOCK_DIAG) == 0 &&
	    nl_send_simple(socket, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, &wanted, sizeof(wanted)) >= 0) {
		nl_socket_disable_seq_check(socket);
		nl_socket_modify_cb(socket, NL_CB_VALID, NL_CB_CUSTOM, look_at_socket, &search);
		nl_recvmsgs_default(socket);
	}
	nl_socket_free(socket);
	return search.any;
}
