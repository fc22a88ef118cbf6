/* SPDX-License-Identifier: MIT */
#include <linux/netlink_diag.h>
#include <linux/sock_diag.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "registered.h"

struct search {
	unsigned int group;
	pid_t but, found;
};

/* libnl puts the process's number into the low bits of a socket's port number. */
static pid_t process_of(uint32_t port)
{
	return (pid_t)(port & 0x3fffff);
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

	if (groups && is_member(groups, search->group) && process_of(socket->ndiag_portid) != search->but)
		search->found = process_of(socket->ndiag_portid);
	return NL_OK;
}

static void name_process(pid_t pid, char name[static REGISTERED_NAME])
{
	char path[32];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	file = fopen(path, "re");
	strcpy(name, "?");
	if (file && fscanf(file, "%16[^\n]", name) != 1)
		strcpy(name, "?");
	if (file)
		fclose(file);
}

pid_t registered(unsigned int group, pid_t but, char name[static REGISTERED_NAME])
{
	struct netlink_diag_req wanted = {
		.sdiag_family = AF_NETLINK, .sdiag_protocol = NETLINK_GENERIC, .ndiag_show = NDIAG_SHOW_GROUPS};
	struct search search = {.group = group, .but = but};
	struct nl_sock *socket = nl_socket_alloc();

	/* Without netlink_diag in the kernel it can't be known. */
	if (socket && nl_connect(socket, NETLINK_SOCK_DIAG) == 0 &&
	    nl_send_simple(socket, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, &wanted, sizeof(wanted)) >= 0) {
		nl_socket_disable_seq_check(socket);
		nl_socket_modify_cb(socket, NL_CB_VALID, NL_CB_CUSTOM, look_at_socket, &search);
		nl_recvmsgs_default(socket);
	}
	nl_socket_free(socket);
	if (search.found)
		name_process(search.found, name);
	return search.found;
}
