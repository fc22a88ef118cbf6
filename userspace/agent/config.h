/* SPDX-License-Identifier: MIT */
/*
 * A configuration: settings and the services built from them, immutable and reference-counted. A reload builds a new one
 * and swaps it; a refresh does, too, but shares with the one before what has not changed. Handshakes under way hold on to
 * the one they started with.
 */
#ifndef AGENT_CONFIG_H
#define AGENT_CONFIG_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#include "service.h"
#include "settings.h"
#include "ticket_keys.h"

struct config {
	_Atomic unsigned int references;
	struct settings *settings;
	struct service **services; /* sorted by name */
	size_t service_count;
	struct ticket_keys *ticket_keys; /* NULL: the agent's own */
	time_t loaded;			 /* settings were read, seconds since 1970 */
	struct config *older;		 /* retired before this one */
};

/* Reads and builds; NULL with complaints. predecessor: services of the same name go on counting; may be NULL. */
struct config *config_load(const char *file, const struct config *predecessor, struct complaints *complaints);

/*
 * A configuration with the same settings and services as before, but for those that have a successor: successors is an array of
 * as many, NULL where the one before stays; so is ticket_keys. Their references are taken over.
 */
struct config *config_refresh(const struct config *before, struct service **successors,
			      struct ticket_keys *ticket_keys);

struct config *config_get(struct config *config);
void config_put(struct config *config);

const struct service *config_service(const struct config *config, const char *name);

#endif
