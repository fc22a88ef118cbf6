/* SPDX-License-Identifier: MIT */
#ifndef AGENT_LISTENER_ADDRESS_H
#define AGENT_LISTENER_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

/* Reads "192.0.2.1:443" or "[2001:db8::1]:443". False: it is neither. */
bool listen_address(const char *text, struct sockaddr_storage *address, socklen_t *length);

#endif
