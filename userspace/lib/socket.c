/* SPDX-License-Identifier: MIT */
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "ktlsd.h"
#include "probe.h"
#include "records.h"
#include "socket.h"

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

/* 2^24.5 records, for a margin of 2^-57 (RFC 8446 §5.5) */
#define AES_GCM_RECORDS 23726566
/* RFC 9147 §4.5.3 for AEAD_AES_128_CCM; RFC 8446 says nothing */
#define AES_CCM_RECORDS (1 << 23)

static bool is_tcp(int fd)
{
	int protocol = 0, error = errno;
	socklen_t length = sizeof(protocol);
	bool tcp = getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) == 0 && protocol == IPPROTO_TCP;

	errno = error;
	return tcp;
}

static const struct ktls_cipher *find_cipher(uint16_t version, uint16_t kernel_cipher)
{
	for (size_t i = 0; i < ktls_cipher_count; i++)
		if (ktls_ciphers[i].version == version && ktls_ciphers[i].kernel_cipher == kernel_cipher)
			return &ktls_ciphers[i];
	return NULL;
}

const struct ktls_cipher *socket_cipher(int fd, int direction)
{
	struct tls_crypto_info info;
	socklen_t length = sizeof(info);

	if (getsockopt(fd, SOL_TLS, direction, &info, &length) < 0) {
		if (errno == EOPNOTSUPP && is_tcp(fd)) /* what IPv4 says of any option that it does not know */
			errno = ENOPROTOOPT;
		return NULL;
	}
	errno = EINVAL;
	return find_cipher(info.version, info.cipher_type);
}

const struct ktls_cipher *socket_cipher_of_suite(uint16_t version, uint16_t suite)
{
	switch (suite) { /* as ktlsd_cipher_name() has them */
	case 0x1301:
	case 0x009c:
	case 0xc02b:
	case 0xc02f:
		return find_cipher(version, TLS_CIPHER_AES_GCM_128);
	case 0x1302:
	case 0x009d:
	case 0xc02c:
	case 0xc030:
		return find_cipher(version, TLS_CIPHER_AES_GCM_256);
	case 0x1303:
	case 0xcca8:
	case 0xcca9:
		return find_cipher(version, TLS_CIPHER_CHACHA20_POLY1305);
	case 0x1304:
		return find_cipher(version, TLS_CIPHER_AES_CCM_128);
	}
	return NULL;
}

/* The kernel shows the sequence number together with the keys only: it stands at the end of all the structures. */
int socket_records(int fd, int direction, const struct ktls_cipher *cipher, uint64_t *records)
{
	union socket_keys keys;
	socklen_t length = cipher->crypto_info_size;
	int err = 0;

	if (getsockopt(fd, SOL_TLS, direction, &keys, &length) < 0) {
		err = -errno;
	} else {
		memcpy(records, (char *)&keys + cipher->crypto_info_size - sizeof(*records), sizeof(*records));
		*records = be64toh(*records);
	}
	explicit_bzero(&keys, sizeof(keys));
	return err;
}

int socket_keep_rx_key(int fd, const struct ktls_cipher *cipher)
{
	union socket_keys keys;
	socklen_t length = cipher->crypto_info_size;
	int err = 0;

	if (getsockopt(fd, SOL_TLS, TLS_RX, &keys, &length) < 0 || setsockopt(fd, SOL_TLS, TLS_RX, &keys, length) < 0)
		err = -errno;
	explicit_bzero(&keys, sizeof(keys));
	return err;
}

uint64_t socket_key_records(const struct ktls_cipher *cipher)
{
	switch (cipher->kernel_cipher) {
	case TLS_CIPHER_AES_GCM_128:
	case TLS_CIPHER_AES_GCM_256:
		return AES_GCM_RECORDS;
	case TLS_CIPHER_AES_CCM_128:
		return AES_CCM_RECORDS;
	default: /* ChaCha20-Poly1305: the sequence number would wrap first */
		return UINT64_MAX;
	}
}

void socket_prepare_record(struct msghdr *message, struct iovec *part, union record_control *control, uint8_t type,
			   const void *data, size_t length)
{
	*part = (struct iovec){.iov_base = (void *)data, .iov_len = length};
	*control = (union record_control){.header = {.cmsg_level = SOL_TLS,
						     .cmsg_type = TLS_SET_RECORD_TYPE,
						     .cmsg_len = CMSG_LEN(sizeof(uint8_t))}};
	*CMSG_DATA(&control->header) = type;
	*message = (struct msghdr){
		.msg_iov = part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(*control)};
}

int socket_send_record(int fd, uint8_t type, const void *data, size_t length, int flags)
{
	union record_control control;
	struct msghdr message;
	struct iovec part;

	socket_prepare_record(&message, &part, &control, type, data, length);
	return sendmsg(fd, &message, flags | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int socket_send_alert(int fd, uint8_t level, uint8_t description, int flags)
{
	uint8_t alert[2] = {level, description};

	return socket_send_record(fd, RECORD_ALERT, alert, sizeof(alert), flags);
}

uint8_t socket_record_type(const struct msghdr *message)
{
	const struct cmsghdr *control = CMSG_FIRSTHDR(message);

	for (; control; control = CMSG_NXTHDR((struct msghdr *)message, (struct cmsghdr *)control))
		if (control->cmsg_level == SOL_TLS && control->cmsg_type == TLS_GET_RECORD_TYPE)
			return *CMSG_DATA(control);
	return 0;
}

static void describe_direction(int fd, int direction, struct ktlsd_socket_info *info, unsigned int flag,
			       uint64_t *records)
{
	const struct ktls_cipher *cipher = socket_cipher(fd, direction);

	if (!cipher || socket_records(fd, direction, cipher, records) < 0)
		return;
	info->flags |= flag;
	info->version = cipher->version;
	info->cipher = cipher->name + strlen("TLS 1.3 ");
	info->key_records = socket_key_records(cipher);
}

int ktlsd_socket_info(int fd, struct ktlsd_socket_info *info)
{
	*info = (struct ktlsd_socket_info){.cipher = ""};
	/* The ULP without keys, or with a cipher that is none of ours, is something to be said, too. */
	if (!socket_cipher(fd, TLS_TX) && errno != EBUSY && errno != EINVAL)
		return -errno;
	describe_direction(fd, TLS_TX, info, KTLSD_RESULT_TX, &info->tx_records);
	describe_direction(fd, TLS_RX, info, KTLSD_RESULT_RX, &info->rx_records);
	return 0;
}
