/* SPDX-License-Identifier: MIT */
/* Who the peer is, in two forms: lines of text, and the header of the PROXY protocol, version 2. */
#ifndef KTLS_RUN_PEER_H
#define KTLS_RUN_PEER_H

#include <stdint.h>

struct ktlsd_result;

/* "NAME=VALUE\n"*; free() it. NULL: no memory. */
char *peer_text(const struct ktlsd_result *result);

/* Of the connection fd; free() it. 0 or -errno. */
int peer_proxy_header(int fd, const struct ktlsd_result *result, uint8_t **header, uint16_t *length);

#endif
