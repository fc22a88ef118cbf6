// SPDX-License-Identifier: GPL-2.0
/* Generic netlink by hand: whoever has a kernel tree has what this takes. */
#include <errno.h>
#include <linux/genetlink.h>
#include <linux/handshake.h>
#include <linux/netlink.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "puppet.h"

#ifndef SOL_TLS
#define SOL_TLS 282
#endif
#ifndef TCP_ULP
#define TCP_ULP 31
#endif

#define ACCEPT_KEYRING 9 /* HANDSHAKE_A_ACCEPT_KEYRING, of newer headers */

static uint16_t family;

struct message {
	struct nlmsghdr header;
	struct genlmsghdr generic;
	char attributes[256];
};

static void begin(struct message *message, uint16_t type, uint8_t command, uint8_t version)
{
	static uint32_t sequence;

	memset(message, 0, sizeof(*message));
	message->header.nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN);
	message->header.nlmsg_type = type;
	message->header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	message->header.nlmsg_seq = ++sequence;
	message->generic.cmd = command;
	message->generic.version = version;
}

static void put(struct message *message, uint16_t type, const void *data, uint16_t length)
{
	struct nlattr *attribute = (void *)((char *)message + NLMSG_ALIGN(message->header.nlmsg_len));

	attribute->nla_type = type;
	attribute->nla_len = NLA_HDRLEN + length;
	memcpy((char *)attribute + NLA_HDRLEN, data, length);
	message->header.nlmsg_len = NLMSG_ALIGN(message->header.nlmsg_len) + NLA_ALIGN(attribute->nla_len);
}

static void put_u32(struct message *message, uint16_t type, uint32_t value)
{
	put(message, type, &value, sizeof(value));
}

typedef void take_attribute(void *into, uint16_t type, const void *data, size_t length);

static void walk(const void *attributes, size_t left, take_attribute *take, void *into)
{
	const struct nlattr *attribute = attributes;

	while (left >= NLA_HDRLEN && attribute->nla_len >= NLA_HDRLEN && attribute->nla_len <= left) {
		size_t whole = NLA_ALIGN(attribute->nla_len);

		take(into, attribute->nla_type & NLA_TYPE_MASK, (const char *)attribute + NLA_HDRLEN,
		     attribute->nla_len - NLA_HDRLEN);
		if (whole >= left)
			break;
		attribute = (const void *)((const char *)attribute + whole);
		left -= whole;
	}
}

/* Sends, and reads up to the acknowledgement; what comes before it for us goes to take. 0 or a negative errno. */
static int transact(int netlink, struct message *message, take_attribute *take, void *into)
{
	char buffer[16384] __attribute__((aligned(NLMSG_ALIGNTO)));

	if (send(netlink, message, message->header.nlmsg_len, 0) < 0)
		return -errno;
	for (;;) {
		const struct nlmsghdr *header = (void *)buffer;
		ssize_t n = recv(netlink, buffer, sizeof(buffer), 0);

		if (n < 0 && errno == ENOBUFS) /* too many READYs */
			continue;
		if (n < 0)
			return -errno;
		for (; NLMSG_OK(header, n); header = NLMSG_NEXT(header, n)) {
			const char *payload = NLMSG_DATA(header);

			if (header->nlmsg_seq != message->header.nlmsg_seq)
				continue;
			if (header->nlmsg_type == NLMSG_ERROR)
				return ((const struct nlmsgerr *)payload)->error;
			walk(payload + GENL_HDRLEN, header->nlmsg_len - NLMSG_LENGTH(GENL_HDRLEN), take, into);
		}
	}
}

/* ---- registering ---- */

static void take_group(void *into, uint16_t type, const void *data, size_t length)
{
	if (type == CTRL_ATTR_MCAST_GRP_ID && length == sizeof(uint32_t))
		memcpy(into, data, length);
}

/* There are two groups, "none" and "tlshd"; the latter comes last. */
static void take_groups(void *into, uint16_t type, const void *data, size_t length)
{
	(void)type;
	walk(data, length, take_group, into);
}

static void take_family(void *into, uint16_t type, const void *data, size_t length)
{
	if (type == CTRL_ATTR_FAMILY_ID)
		memcpy(&family, data, sizeof(family));
	else if (type == CTRL_ATTR_MCAST_GROUPS)
		walk(data, length, take_groups, into);
}

int puppet_open(void)
{
	int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC), err;
	struct message message;
	uint32_t group = 0;

	if (netlink < 0)
		return -errno;
	begin(&message, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);
	put(&message, CTRL_ATTR_FAMILY_NAME, HANDSHAKE_FAMILY_NAME, sizeof(HANDSHAKE_FAMILY_NAME));
	err = transact(netlink, &message, take_family, &group);
	if (err == 0 && setsockopt(netlink, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		err = -errno;
	if (err == 0)
		return netlink;
	close(netlink);
	return err;
}

/* ---- requests ---- */

static void take_certificate(void *into, uint16_t type, const void *data, size_t length)
{
	struct puppet_request *request = into;

	(void)length;
	if (type == HANDSHAKE_A_X509_CERT)
		memcpy(&request->certificate, data, sizeof(request->certificate));
	else if (type == HANDSHAKE_A_X509_PRIVKEY)
		memcpy(&request->private_key, data, sizeof(request->private_key));
}

static void take_request(void *into, uint16_t type, const void *data, size_t length)
{
	struct puppet_request *request = into;
	uint32_t value = 0;

	memcpy(&value, data, length < sizeof(value) ? length : sizeof(value));
	switch (type) {
	case HANDSHAKE_A_ACCEPT_SOCKFD:
		request->fd = (int)value;
		break;
	case HANDSHAKE_A_ACCEPT_MESSAGE_TYPE:
		request->type = value;
		break;
	case HANDSHAKE_A_ACCEPT_TIMEOUT:
		request->timeout_ms = value;
		break;
	case HANDSHAKE_A_ACCEPT_AUTH_MODE:
		request->auth = value;
		break;
	case HANDSHAKE_A_ACCEPT_PEER_IDENTITY:
		if (request->id_count < PUPPET_IDS_MAX)
			request->ids[request->id_count++] = value;
		break;
	case HANDSHAKE_A_ACCEPT_CERTIFICATE:
		walk(data, length, take_certificate, request);
		break;
	case HANDSHAKE_A_ACCEPT_PEERNAME:
		memcpy(request->name, data, length < sizeof(request->name) ? length : sizeof(request->name) - 1);
		break;
	case ACCEPT_KEYRING:
		request->keyring = value;
		break;
	default:
		break;
	}
}

int puppet_accept(int netlink, struct puppet_request *request, int timeout_ms)
{
	struct message message;
	int err;

	for (;; timeout_ms -= 5) {
		memset(request, 0, sizeof(*request));
		request->fd = -1;
		begin(&message, family, HANDSHAKE_CMD_ACCEPT, HANDSHAKE_FAMILY_VERSION);
		put_u32(&message, HANDSHAKE_A_ACCEPT_HANDLER_CLASS, HANDSHAKE_HANDLER_CLASS_TLSHD);
		err = transact(netlink, &message, take_request, request);
		if (err != -EAGAIN || timeout_ms <= 0)
			return err;
		nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
	}
}

static void take_nothing(void *into, uint16_t type, const void *data, size_t length)
{
	(void)into, (void)type, (void)data, (void)length;
}

int puppet_done(int netlink, int fd, int status, uint32_t id)
{
	struct message message;

	begin(&message, family, HANDSHAKE_CMD_DONE, HANDSHAKE_FAMILY_VERSION);
	if (status != PUPPET_NO_STATUS)
		put_u32(&message, HANDSHAKE_A_DONE_STATUS, status);
	put_u32(&message, HANDSHAKE_A_DONE_SOCKFD, fd);
	if (id)
		put_u32(&message, HANDSHAKE_A_DONE_REMOTE_AUTH, id);
	return transact(netlink, &message, take_nothing, NULL);
}

/* ---- keys ---- */

static int set_key(int fd, int direction, char key)
{
	struct tls12_crypto_info_aes_gcm_128 info = {.info.version = TLS_1_3_VERSION,
						     .info.cipher_type = TLS_CIPHER_AES_GCM_128};

	memset(info.key, key, sizeof(info.key));
	memset(info.iv, key, sizeof(info.iv));
	memset(info.salt, key, sizeof(info.salt));
	return setsockopt(fd, SOL_TLS, direction, &info, sizeof(info)) < 0 ? -errno : 0;
}

int puppet_keys(int fd, bool client, enum puppet_directions directions)
{
	int err = 0;

	if (setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) < 0)
		return -errno;
	if (directions & PUPPET_TX)
		err = set_key(fd, TLS_TX, client ? 'c' : 's');
	if (err == 0 && directions & PUPPET_RX)
		err = set_key(fd, TLS_RX, client ? 's' : 'c');
	return err;
}
