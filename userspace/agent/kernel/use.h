/* SPDX-License-Identifier: MIT */
/* Which of the kernel's requests a service is for. */
#ifndef AGENT_KERNEL_USE_H
#define AGENT_KERNEL_USE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "../complaint.h"
#include "../settings.h"

struct network;

struct kernel_use {
	unsigned int modes; /* bits by enum handshake_auth; 0: none */
	char **names;	    /* "name" or "*.domain", NULL-terminated; NULL: any */
	struct network *networks;
	size_t network_count; /* 0: any */
};

/* False with complaints; kernel_use_clear() is due either way. */
bool kernel_use_build(struct kernel_use *use, const struct service_settings *settings, struct complaints *complaints);
void kernel_use_clear(struct kernel_use *use);

/* name: whom the kernel wants to reach, "" if it does not say. */
bool kernel_use_allows(const struct kernel_use *use, uint32_t mode, const char *name,
		       const struct sockaddr_storage *peer);

#endif
