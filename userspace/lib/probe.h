/* SPDX-License-Identifier: MIT */
/*
 * What this kernel's TLS can do, found out by doing it on a socket of our own. For the agent and ktlsctl; not exported.
 *
 * A cipher whose module is missing does not say so when a connection needs it: every attempt spawns modprobe, takes
 * tens of milliseconds and fails. So each cipher is installed once before it is offered to anybody.
 */
#ifndef KTLSD_PROBE_H
#define KTLSD_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ktls_cipher {
	uint16_t version;	/* TLS_1_3_VERSION, TLS_1_2_VERSION */
	uint16_t kernel_cipher; /* TLS_CIPHER_* of <linux/tls.h> */
	const char *name;	/* "TLS 1.3 AES-128-GCM" */
	const char *modules;	/* the kernel modules it lives in, for modprobe -a */
	size_t crypto_info_size;
};

extern const struct ktls_cipher ktls_ciphers[];
extern const size_t ktls_cipher_count;

/*
 * A TCP socket that is connected to itself and has the ULP: what it sends, it receives. -ENOENT: no TLS in this kernel,
 * or its module is not loaded and may not be loaded by us (CAP_NET_ADMIN).
 */
int ktls_probe_socket(void);

/* Sets keys for a direction, TLS_TX or TLS_RX, the same for both. generation: another key for each. 0 or -errno. */
int ktls_probe_install(int fd, const struct ktls_cipher *cipher, int direction, uint8_t generation);

/* Sends through the kernel's encryption and reads back: 0; -EBADMSG if something else arrived; or -errno. */
int ktls_probe_echo(int fd);

/* All of it for one cipher, both directions. 0 or -errno. */
int ktls_probe(const struct ktls_cipher *cipher);

/* Whether keys of a TLS 1.3 socket can be replaced, as a KeyUpdate asks (Linux 6.14). */
bool ktls_probe_rekey(void);

/* Whether the size of records can be limited (TLS_TX_MAX_PAYLOAD_LEN, Linux 6.19). */
bool ktls_probe_max_payload(void);

#endif
