/* SPDX-License-Identifier: MIT */
/* All outlets, for who asks how they are. Under a lock, which workers take only when an outlet begins or ends. */
#ifndef AGENT_LISTENER_REGISTRY_H
#define AGENT_LISTENER_REGISTRY_H

#include <json-c/json.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/queue.h>

struct outlet;
struct receiver;

/* What others may read at any time: as of the outlet's last turn. */
struct figures {
	TAILQ_ENTRY(outlet) entry;
	_Atomic uint64_t accepted, delivered;
	_Atomic unsigned int in_flight, unsent, unread, receivers;
	_Atomic bool paused;
};

void registry_add(struct outlet *outlet);
void registry_remove(struct outlet *outlet);

/* An outlet's receivers, which others look at, come and go. */
void registry_insert_receiver(struct outlet *outlet, struct receiver *receiver);
void registry_remove_receiver(struct receiver *receiver);

/* Takes a descriptor away from where others look at it. */
int registry_take_descriptor(int *fd);

/* An array with an object for each. Any thread. */
json_object *registry_describe(void);

#endif
