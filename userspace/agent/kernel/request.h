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

/* Serial numbers of keys (keyrings(7)) are 0 where there is none. */
struct kernel_request {
	uint64_t id;
	uint32_t role;	     /* ours, enum ktlsd_role */
	uint32_t mode;	     /* enum handshake_auth */
	uint32_t timeout_ms; /* 0: the kernel gives none */
	uint32_t peer_id_count;
	int32_t peer_ids[KERNEL_PEER_IDS_MAX]; /* PSK: keys to be used */
	int32_t certificate, private_key;
	char peer_name[KERNEL_NAME_MAX];
};

struct kernel_answer {
	uint64_t id;
	uint32_t error;	   /* a positive errno, or 0 */
	int32_t peer_id;   /* PSK: the key that was used */
	uint32_t verified; /* whether the peer showed a certificate */
	uint32_t reserved;
};

#endif
