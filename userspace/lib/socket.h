/* SPDX-License-Identifier: MIT */
/* What the kernel knows of a kTLS socket, and the two things that are set in it: keys, and records that are not data. */
#ifndef KTLSD_SOCKET_H
#define KTLSD_SOCKET_H

#include <linux/tls.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Room for the keys of any cipher of probe.h's table; all begin with the same header. */
union socket_keys {
	struct tls_crypto_info info;
	struct tls12_crypto_info_aes_gcm_128 aes_gcm_128;
	struct tls12_crypto_info_aes_gcm_256 aes_gcm_256;
	struct tls12_crypto_info_aes_ccm_128 aes_ccm_128;
	struct tls12_crypto_info_chacha20_poly1305 chacha20_poly1305;
};

struct ktls_cipher;

/* The cipher of a direction, TLS_TX or TLS_RX. NULL with errno: ENOPROTOOPT without the ULP, EBUSY without keys. */
const struct ktls_cipher *socket_cipher(int fd, int direction);

/* How many records the direction's key has protected so far. 0 or -errno. */
int socket_records(int fd, int direction, const struct ktls_cipher *cipher, uint64_t *records);

/* Sets the peer's key anew as it is: the kernel then waits for no other. 0 or -errno. */
int socket_keep_rx_key(int fd, const struct ktls_cipher *cipher);

/* The kernel's cipher of a cipher suite. NULL: it has none. */
const struct ktls_cipher *socket_cipher_of_suite(uint16_t version, uint16_t suite);

/* How many it may (RFC 8446 §5.5). */
uint64_t socket_key_records(const struct ktls_cipher *cipher);

/* Sends one record of a type that is not data. 0 or -errno; -EAGAIN: nothing was sent. */
int socket_send_record(int fd, uint8_t type, const void *data, size_t length, int flags);

/* Sends an alert, a record of two bytes. As socket_send_record(). */
int socket_send_alert(int fd, uint8_t level, uint8_t description, int flags);

/* Room for the control message that says a record's type. */
union record_control {
	struct cmsghdr header;
	char room[CMSG_SPACE(sizeof(uint8_t))];
};

/* Makes a message of one record of a type that is not data; all that is given stays in place while it is sent. */
void socket_prepare_record(struct msghdr *message, struct iovec *part, union record_control *control, uint8_t type,
			   const void *data, size_t length);

/* The type of what a recvmsg() brought; 0 if none is said: the end of the TCP stream, or no kTLS. */
uint8_t socket_record_type(const struct msghdr *message);

#endif
