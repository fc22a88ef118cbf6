/* SPDX-License-Identifier: MIT */
/*
 * What the kernel asks for, on its way from the supervisor, which talks to the kernel, to the agent, which shakes hands; and what
 * came of it, on the way back. One datagram each; the socket comes with the request (SCM_RIGHTS).
 */
#ifndef AGENT_KERNEL_REQUEST_H
#define AGENT_KERNEL_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#define KERNEL_PEER_IDS_MAX 5 /* net/handshake/tlshd.c */
#define KERNEL_NAME_MAX 256
#define KERNEL_TIMEOUT_MS 20000 /* where the kernel gives none: NFS, which waits for 10 s by itself */

/* In place of a key's serial number: the peer showed a certificate. Consumers look whether it is 0. As tlshd has it. */
#define KERNEL_PEER_SHOWN (-1)

/* Serial numbers of keys (keyrings(7)) are 0 where there is none. */
struct kernel_request {
	uint64_t id;
	uint32_t role; /* ours, enum ktlsd_role */
	uint32_t mode; /* enum handshake_auth */
	uint32_t timeout_ms;
	uint32_t peer_id_count;
	int32_t peer_ids[KERNEL_PEER_IDS_MAX]; /* PSK: keys to be used */
	int32_t certificate, private_key;
	int32_t keyring; /* that has them, in newer kernels */
	char peer_name[KERNEL_NAME_MAX];
};

struct kernel_answer {
	uint64_t id;
	uint32_t error;	 /* a positive errno, or 0 */
	int32_t peer_id; /* PSK: the key that was used; else KERNEL_PEER_SHOWN or 0 */
};

#endif
