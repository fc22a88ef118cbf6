/* SPDX-License-Identifier: MIT */
/*
 * The header of the PROXY protocol, version 2, as HAProxy's doc/proxy-protocol.txt has it: addresses, and in its TLVs what
 * is known of TLS. Pure.
 */
#ifndef KTLS_RUN_PROXY_H
#define KTLS_RUN_PROXY_H

#include <stdint.h>
#include <sys/socket.h>

#define PROXY_HEADER_MAX 1536

struct ktlsd_result;

/* Addresses of AF_INET or AF_INET6, both alike. Returns its length. */
uint16_t proxy_header(uint8_t header[static PROXY_HEADER_MAX], const struct sockaddr_storage *from,
		      const struct sockaddr_storage *to, const struct ktlsd_result *result);

#endif
