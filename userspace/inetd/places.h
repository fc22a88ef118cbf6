/* SPDX-License-Identifier: MIT */
/* The connections that are served: each has a process, and a peer, which must not have them all. */
#ifndef INETD_PLACES_H
#define INETD_PLACES_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

/* False: no memory. */
bool places_open(unsigned int most);

unsigned int places_taken(void);

/* By this peer: an IPv4 address, or the network of an IPv6 address (/64). */
unsigned int places_taken_by(const struct sockaddr_storage *peer);

/* There is one. */
void places_take(pid_t process, const struct sockaddr_storage *peer);

void places_leave(pid_t process); /* also one that has none */

#endif
