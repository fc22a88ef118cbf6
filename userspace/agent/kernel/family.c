/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <linux/handshake.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ktlsd/protocol.h>

#include "../log.h"
#include "family.h"

#ifndef HANDSHAKE_A_ACCEPT_KEYRING /* headers before Linux 6.17 have none */
#define HANDSHAKE_A_ACCEPT_KEYRING 9
#endif

/* From nobody but the kernel: who rules the network namespace might else send us messages. */
static int listen_to_kernel(struct nl_sock *socket)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

	return connect(nl_socket_get_fd(socket), (struct sockaddr *)&kernel, sizeof(kernel)) == 0 ? 0 : -NLE_FAILURE;
}

static struct nl_sock *open_socket(void)
{
	struct nl_sock *socket = nl_socket_alloc();
	int error = socket ? genl_connect(socket) : -NLE_NOMEM;

	if (error == 0)
		error = listen_to_kernel(socket);
	if (error == 0) {
		nl_socket_disable_seq_check(socket);
		nl_socket_disable_auto_ack(socket);
		return socket;
	}
	log_line(LOG_ERR, "netlink: %s", nl_geterror(error));
	nl_socket_free(socket);
	return NULL;
}

bool family_open(struct family *family)
{
	family->notifications = open_socket();
	family->requests = open_socket();
	if (!family->notifications || !family->requests)
		return false;
	family->id = genl_ctrl_resolve(family->requests, HANDSHAKE_FAMILY_NAME);
	family->group = genl_ctrl_resolve_grp(family->requests, HANDSHAKE_FAMILY_NAME, HANDSHAKE_MCGRP_TLSHD);
	if (family->id >= 0 && family->group >= 0)
		return true;
	log_line(LOG_ERR, "this kernel asks for no handshakes: it needs Linux 6.4 or newer with CONFIG_NET_HANDSHAKE");
	return false;
}

void family_close(struct family *family)
{
	nl_socket_free(family->notifications);
	nl_socket_free(family->requests);
}

bool family_join(struct family *family)
{
	int error = nl_socket_add_membership(family->notifications, family->group);

	if (error == 0)
		error = nl_socket_set_nonblocking(family->notifications);
	if (error)
		log_line(LOG_ERR, "the kernel's group of handshake agents: %s", nl_geterror(error));
	return error == 0;
}

uint32_t family_port(const struct family *family)
{
	return nl_socket_get_local_port(family->notifications);
}

int family_descriptor(const struct family *family)
{
	return nl_socket_get_fd(family->notifications);
}

static void drop_messages(int fd)
{
	char bytes[4096];

	while (recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) >= 0 || errno == ENOBUFS || errno == EINTR)
		;
}

/* What a notification says is known: that requests wait. One that did not fit says so, too (ENOBUFS). */
void family_settle(struct family *family)
{
	drop_messages(family_descriptor(family));
}

/* ---- accepting ---- */

struct reply {
	struct kernel_request *request;
	int fd, error;
};

static uint32_t number(const struct nlattr *attribute)
{
	return attribute && nla_len(attribute) >= (int)sizeof(uint32_t) ? nla_get_u32(attribute) : 0;
}

static void take_certificate(struct kernel_request *request, struct nlattr *nested)
{
	struct nlattr *found[HANDSHAKE_A_X509_MAX + 1];

	if (nla_parse_nested(found, HANDSHAKE_A_X509_MAX, nested, NULL) < 0)
		return;
	request->certificate = number(found[HANDSHAKE_A_X509_CERT]);
	request->private_key = number(found[HANDSHAKE_A_X509_PRIVKEY]);
}

/* An attribute may stand several times. What a newer kernel adds is skipped. False: not to be read. */
static bool take_attribute(struct kernel_request *request, int *fd, struct nlattr *attribute)
{
	switch (nla_type(attribute)) {
	case HANDSHAKE_A_ACCEPT_SOCKFD:
		*fd = nla_len(attribute) == sizeof(uint32_t) ? (int)number(attribute) : -1;
		break;
	case HANDSHAKE_A_ACCEPT_MESSAGE_TYPE:
		request->role = number(attribute) == HANDSHAKE_MSG_TYPE_CLIENTHELLO   ? KTLSD_CLIENT
				: number(attribute) == HANDSHAKE_MSG_TYPE_SERVERHELLO ? KTLSD_SERVER
										      : 0;
		break;
	case HANDSHAKE_A_ACCEPT_TIMEOUT:
		request->timeout_ms = number(attribute);
		break;
	case HANDSHAKE_A_ACCEPT_AUTH_MODE:
		request->mode = number(attribute);
		break;
	case HANDSHAKE_A_ACCEPT_PEER_IDENTITY:
		if (request->peer_id_count < KERNEL_PEER_IDS_MAX)
			request->peer_ids[request->peer_id_count++] = (int32_t)number(attribute);
		break;
	case HANDSHAKE_A_ACCEPT_CERTIFICATE:
		if (request->certificate == 0)
			take_certificate(request, attribute);
		break;
	case HANDSHAKE_A_ACCEPT_KEYRING:
		request->keyring = (int32_t)number(attribute);
		break;
	case HANDSHAKE_A_ACCEPT_PEERNAME:
		return nla_strlcpy(request->peer_name, attribute, sizeof(request->peer_name)) <
		       sizeof(request->peer_name);
	}
	return true;
}

int family_read(const struct nlmsghdr *message, struct kernel_request *request, int *fd)
{
	const struct genlmsghdr *head = nlmsg_data(message);
	struct nlattr *attribute;
	int left, error = 0;

	*fd = -1;
	memset(request, 0, sizeof(*request));
	if (!genlmsg_valid_hdr((struct nlmsghdr *)message, 0))
		return -EBADMSG;
	nla_for_each_attr(attribute, genlmsg_attrdata(head, 0), genlmsg_attrlen(head, 0), left)
	{
		if (!take_attribute(request, fd, attribute))
			error = -EBADMSG;
	}
	return *fd >= 0 ? error : -EBADMSG;
}

static int take_reply(struct nl_msg *message, void *argument)
{
	struct reply *reply = argument;

	reply->error = family_read(nlmsg_hdr(message), reply->request, &reply->fd);
	return NL_OK;
}

static struct nl_msg *new_message(struct family *family, int flags, int command)
{
	struct nl_msg *message = nlmsg_alloc();

	if (!message ||
	    !genlmsg_put(message, NL_AUTO_PORT, NL_AUTO_SEQ, family->id, 0, flags, command, HANDSHAKE_FAMILY_VERSION))
		log_fatal("out of memory");
	return message;
}

/* libnl's errors are its own; of the kernel's, these are told apart. */
static int system_error(int error)
{
	switch (-error) {
	case 0:
		return 0;
	case NLE_AGAIN:
		return -EAGAIN;
	case NLE_BUSY:
		return -EBUSY;
	case NLE_PERM:
	case NLE_NOACCESS:
		return -EPERM;
	}
	return -EIO;
}

static int exchange(struct family *family, struct nl_msg *message, struct reply *reply)
{
	int error;

	if (family->unsure)
		drop_messages(nl_socket_get_fd(family->requests));
	nl_socket_modify_cb(family->requests, NL_CB_VALID, NL_CB_CUSTOM, take_reply, reply);
	error = nl_send_auto(family->requests, message);
	nlmsg_free(message);
	if (error >= 0)
		error = nl_recvmsgs_default(family->requests);
	error = system_error(error < 0 ? error : 0);
	family->unsure = error == -EIO;
	return error;
}

static int accept_of_class(struct family *family, uint32_t class, struct reply *reply)
{
	struct nl_msg *message = new_message(family, NLM_F_REQUEST, HANDSHAKE_CMD_ACCEPT);

	nla_put_u32(message, HANDSHAKE_A_ACCEPT_HANDLER_CLASS, class);
	return exchange(family, message, reply);
}

bool family_may_accept(struct family *family)
{
	struct kernel_request unused;
	struct reply reply = {.request = &unused, .fd = -1};

	return accept_of_class(family, HANDSHAKE_HANDLER_CLASS_NONE, &reply) != -EPERM;
}

int family_accept(struct family *family, struct kernel_request *request, int *fd)
{
	struct reply reply = {.request = request, .fd = -1, .error = -EBADMSG};
	int error = accept_of_class(family, HANDSHAKE_HANDLER_CLASS_TLSHD, &reply);

	*fd = reply.fd;
	return error ? error : reply.error;
}

/* These attributes are those of Linux 6.4; a kernel refuses a message with one that it does not know. */
int family_done(struct family *family, int fd, uint32_t error, int32_t peer_id)
{
	struct nl_msg *message = new_message(family, NLM_F_REQUEST | NLM_F_ACK, HANDSHAKE_CMD_DONE);
	struct kernel_request unused;
	struct reply reply = {.request = &unused, .fd = -1};

	nla_put_u32(message, HANDSHAKE_A_DONE_STATUS, error);
	nla_put_u32(message, HANDSHAKE_A_DONE_SOCKFD, (uint32_t)fd);
	if (error == 0 && peer_id)
		nla_put_u32(message, HANDSHAKE_A_DONE_REMOTE_AUTH, (uint32_t)peer_id);
	return exchange(family, message, &reply);
}
