/* SPDX-License-Identifier: MIT */
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "places.h"

struct place {
	pid_t process;
	uint64_t peer;
};

static struct place *places;
static unsigned int count;

bool places_open(unsigned int most)
{
	places = calloc(most, sizeof(*places));
	return places;
}

unsigned int places_taken(void)
{
	return count;
}

static uint64_t network_of(const struct sockaddr_storage *peer)
{
	const struct sockaddr_in *v4 = (const void *)peer;
	const struct sockaddr_in6 *v6 = (const void *)peer;
	uint64_t network = 0;

	if (peer->ss_family == AF_INET)
		network = v4->sin_addr.s_addr;
	else if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
		memcpy(&network, &v6->sin6_addr.s6_addr[12], 4);
	else
		memcpy(&network, v6->sin6_addr.s6_addr, 8);
	return network;
}

unsigned int places_taken_by(const struct sockaddr_storage *peer)
{
	const uint64_t network = network_of(peer);
	unsigned int taken = 0, i;

	for (i = 0; i < count; i++)
		taken += places[i].peer == network;
	return taken;
}

void places_take(pid_t process, const struct sockaddr_storage *peer)
{
	places[count++] = (struct place){process, network_of(peer)};
}

void places_leave(pid_t process)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		if (places[i].process == process) {
			places[i] = places[--count];
			return;
		}
	}
}
