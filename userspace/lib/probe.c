/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "probe.h"
#include "socket.h"

#ifndef TLS_TX_MAX_PAYLOAD_LEN
#define TLS_TX_MAX_PAYLOAD_LEN 5
#endif

#define GCM_MODULES "gcm ctr"
#define CCM_MODULES "ccm ctr"
#define CHACHA_MODULES "chacha20poly1305 chacha20"

/* The order is the order of preference. */
const struct ktls_cipher ktls_ciphers[] = {
	{TLS_1_3_VERSION, TLS_CIPHER_AES_GCM_128, "TLS 1.3 AES-128-GCM", GCM_MODULES,
	 sizeof(struct tls12_crypto_info_aes_gcm_128)},
	{TLS_1_3_VERSION, TLS_CIPHER_AES_GCM_256, "TLS 1.3 AES-256-GCM", GCM_MODULES,
	 sizeof(struct tls12_crypto_info_aes_gcm_256)},
	{TLS_1_3_VERSION, TLS_CIPHER_CHACHA20_POLY1305, "TLS 1.3 ChaCha20-Poly1305", CHACHA_MODULES,
	 sizeof(struct tls12_crypto_info_chacha20_poly1305)},
	{TLS_1_3_VERSION, TLS_CIPHER_AES_CCM_128, "TLS 1.3 AES-128-CCM", CCM_MODULES,
	 sizeof(struct tls12_crypto_info_aes_ccm_128)},
	{TLS_1_2_VERSION, TLS_CIPHER_AES_GCM_128, "TLS 1.2 AES-128-GCM", GCM_MODULES,
	 sizeof(struct tls12_crypto_info_aes_gcm_128)},
	{TLS_1_2_VERSION, TLS_CIPHER_AES_GCM_256, "TLS 1.2 AES-256-GCM", GCM_MODULES,
	 sizeof(struct tls12_crypto_info_aes_gcm_256)},
	{TLS_1_2_VERSION, TLS_CIPHER_CHACHA20_POLY1305, "TLS 1.2 ChaCha20-Poly1305", CHACHA_MODULES,
	 sizeof(struct tls12_crypto_info_chacha20_poly1305)},
};
const size_t ktls_cipher_count = sizeof(ktls_ciphers) / sizeof(ktls_ciphers[0]);

/* One socket instead of a listener and a pair: nobody else can connect to it. */
static int connect_to_itself(int fd)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval patience = {.tv_sec = 2};
	socklen_t length = sizeof(address);

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &length) < 0 ||
	    connect(fd, (struct sockaddr *)&address, length) < 0)
		return -errno;
	if (setsockopt(fd, SOL_TCP, TCP_ULP, "tls", sizeof("tls")) < 0)
		return -errno;
	return 0;
}

int ktls_probe_socket(void)
{
	int fd, err;

	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	err = connect_to_itself(fd);
	if (err < 0) {
		close(fd);
		return err;
	}
	return fd;
}

int ktls_probe_install(int fd, const struct ktls_cipher *cipher, int direction, uint8_t generation)
{
	union socket_keys keys;

	memset(&keys, generation, sizeof(keys)); /* any bytes do as keys of a probe */
	keys.info.version = cipher->version;
	keys.info.cipher_type = cipher->kernel_cipher;
	return setsockopt(fd, SOL_TLS, direction, &keys, cipher->crypto_info_size) < 0 ? -errno : 0;
}

int ktls_probe_echo(int fd)
{
	static const char sent[] = "there and back again";
	char received[sizeof(sent)] = "";

	if (send(fd, sent, sizeof(sent), MSG_NOSIGNAL) < 0)
		return -errno;
	if (recv(fd, received, sizeof(received), MSG_WAITALL) < 0)
		return -errno;
	return memcmp(sent, received, sizeof(sent)) == 0 ? 0 : -EBADMSG;
}

int ktls_probe(const struct ktls_cipher *cipher)
{
	int fd, err;

	fd = ktls_probe_socket();
	if (fd < 0)
		return fd;
	err = ktls_probe_install(fd, cipher, TLS_TX, 0);
	if (err == 0)
		err = ktls_probe_install(fd, cipher, TLS_RX, 0);
	if (err == 0)
		err = ktls_probe_echo(fd);
	close(fd);
	return err;
}

static int replace_keys(const struct ktls_cipher *cipher)
{
	int fd = ktls_probe_socket(), err = fd;
	uint8_t generation;

	for (generation = 0; fd >= 0 && generation < 2; generation++) {
		err = ktls_probe_install(fd, cipher, TLS_TX, generation);
		if (err == 0)
			err = ktls_probe_install(fd, cipher, TLS_RX, generation);
		if (err == 0)
			err = ktls_probe_echo(fd);
		if (err < 0)
			break;
	}
	if (fd >= 0)
		close(fd);
	return err;
}

bool ktls_probe_rekey(void)
{
	for (size_t i = 0; i < ktls_cipher_count; i++) {
		if (ktls_ciphers[i].version == TLS_1_3_VERSION && replace_keys(&ktls_ciphers[i]) == 0)
			return true;
	}
	return false;
}

bool ktls_probe_max_payload(void)
{
	uint16_t limit = 512;
	int fd, err;

	fd = ktls_probe_socket();
	if (fd < 0)
		return false;
	err = setsockopt(fd, SOL_TLS, TLS_TX_MAX_PAYLOAD_LEN, &limit, sizeof(limit));
	close(fd);
	return err == 0;
}
