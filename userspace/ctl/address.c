/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "ktlsctl.h"

bool address_parse(struct address *address, const char *text)
{
	const char *host = text[0] == '[' ? text + 1 : text;
	size_t length = strcspn(host, text[0] == '[' ? "]" : ":");
	const char *port = host + length;

	if (length == 0 || length >= sizeof(address->host))
		return false;
	memcpy(address->host, host, length);
	address->host[length] = '\0';
	if (text[0] == '[' && *port++ != ']')
		return false;
	if (*port == '\0')
		port = ":443";
	if (*port++ != ':' || *port == '\0' || strlen(port) >= sizeof(address->port) || strchr(port, ':'))
		return false;
	strcpy(address->port, port);
	return true;
}
