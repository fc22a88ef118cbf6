/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A handshake agent that does what a test wants, and when: takes a request, holds it, says how it ended, sets keys that both ends
 * know. It does no TLS. One for each network namespace; it takes CAP_NET_ADMIN.
 */
#ifndef MODULE_PUPPET_H
#define MODULE_PUPPET_H

#include <stdbool.h>
#include <stdint.h>

#define PUPPET_IDS_MAX 8

/* What ACCEPT says; 0, "" where it says nothing. */
struct puppet_request {
	int fd;
	uint32_t type; /* enum handshake_msg_type */
	uint32_t auth; /* enum handshake_auth */
	uint32_t timeout_ms;
	uint32_t keyring;
	int32_t certificate, private_key;
	uint32_t ids[PUPPET_IDS_MAX];
	unsigned int id_count;
	char name[512];
};

/* Registers in this network namespace. Returns its netlink socket, or a negative errno. */
int puppet_open(void);

/* 0, or -EAGAIN: none came within so many milliseconds; other errors as they are. */
int puppet_accept(int netlink, struct puppet_request *request, int timeout_ms);

#define PUPPET_NO_STATUS (-1)

/* status: a positive errno, 0, or PUPPET_NO_STATUS: the message has none. id: the peer's, 0: none. Leaves fd open. */
int puppet_done(int netlink, int fd, int status, uint32_t id);

enum puppet_directions {
	PUPPET_TX = 1,
	PUPPET_RX = 2,
	PUPPET_BOTH = 3,
};

/* Keys that a client's and a server's end have in common: TLS 1.3, AES-128-GCM. 0 or a negative errno. */
int puppet_keys(int fd, bool client, enum puppet_directions directions);

#endif
