/* SPDX-License-Identifier: MIT */
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "address.h"

bool listen_address(const char *text, struct sockaddr_storage *address, socklen_t *length)
{
	const struct addrinfo numeric = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
	struct addrinfo *found;
	char host[64], port[6];
	int end = 0;

	if (sscanf(text, "[%63[^]]]:%5[0-9]%n", host, port, &end) != 2 &&
	    sscanf(text, "%63[0-9.]:%5[0-9]%n", host, port, &end) != 2)
		return false;
	if (text[end] || getaddrinfo(host, port, &numeric, &found) != 0)
		return false;
	memcpy(address, found->ai_addr, found->ai_addrlen);
	*length = found->ai_addrlen;
	freeaddrinfo(found);
	return address->ss_family == (*text == '[' ? AF_INET6 : AF_INET);
}
