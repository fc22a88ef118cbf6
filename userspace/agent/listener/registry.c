/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>

#include "outlet.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static TAILQ_HEAD(, outlet) outlets = TAILQ_HEAD_INITIALIZER(outlets);

void registry_add(struct outlet *outlet)
{
	pthread_mutex_lock(&lock);
	TAILQ_INSERT_TAIL(&outlets, outlet, figures.entry);
	pthread_mutex_unlock(&lock);
}

void registry_remove(struct outlet *outlet)
{
	pthread_mutex_lock(&lock);
	TAILQ_REMOVE(&outlets, outlet, figures.entry);
	pthread_mutex_unlock(&lock);
}

void registry_insert_receiver(struct outlet *outlet, struct receiver *receiver)
{
	pthread_mutex_lock(&lock);
	TAILQ_INSERT_TAIL(&outlet->receivers, receiver, entry);
	pthread_mutex_unlock(&lock);
}

void registry_remove_receiver(struct receiver *receiver)
{
	pthread_mutex_lock(&lock);
	TAILQ_REMOVE(&receiver->outlet->receivers, receiver, entry);
	pthread_mutex_unlock(&lock);
}

int registry_take_descriptor(int *fd)
{
	int taken;

	pthread_mutex_lock(&lock);
	taken = *fd;
	*fd = -1;
	pthread_mutex_unlock(&lock);
	return taken;
}

/* At its last turn the outlet may not have seen yet that all was received. */
static unsigned int waiting(const struct outlet *outlet)
{
	const struct receiver *receiver;
	bool some = false;

	TAILQ_FOREACH(receiver, &outlet->receivers, entry)
		some |= receiver_queued_bytes(receiver->fd) > 0;
	return outlet->figures.unsent + (some ? outlet->figures.unread : 0);
}

static json_object *describe_address(const struct listening *listening)
{
	const struct sockaddr_in *v4 = (const void *)&listening->address;
	const struct sockaddr_in6 *v6 = (const void *)&listening->address;
	bool six = listening->address.ss_family == AF_INET6;
	char host[INET6_ADDRSTRLEN] = "?", text[INET6_ADDRSTRLEN + 16];

	inet_ntop(listening->address.ss_family, six ? (const void *)&v6->sin6_addr : (const void *)&v4->sin_addr, host,
		  sizeof(host));
	snprintf(text, sizeof(text), "%s%s%s:%u", six ? "[" : "", host, six ? "]" : "",
		 ntohs(six ? v6->sin6_port : v4->sin_port));
	return json_object_new_string(text);
}

static json_object *describe(const struct outlet *outlet)
{
	const struct figures *figures = &outlet->figures;
	json_object *object = json_object_new_object(), *addresses = json_object_new_array();
	const struct listening *listening;

	TAILQ_FOREACH(listening, &outlet->listening, entry)
		json_object_array_add(addresses, describe_address(listening));
	json_object_object_add(object, "service", json_object_new_string(outlet->service_name));
	json_object_object_add(object, "addresses", addresses);
	json_object_object_add(object, "user", json_object_new_int64(outlet->owner.user));
	json_object_object_add(object, "pid", json_object_new_int64(outlet->owner.pid));
	json_object_object_add(object, "backlog", json_object_new_int64(outlet->backlog));
	json_object_object_add(object, "receivers", json_object_new_int64(figures->receivers));
	json_object_object_add(object, "in_flight", json_object_new_int64(figures->in_flight));
	json_object_object_add(object, "waiting", json_object_new_int64(waiting(outlet)));
	json_object_object_add(object, "accepted", json_object_new_int64(figures->accepted));
	json_object_object_add(object, "delivered", json_object_new_int64(figures->delivered));
	json_object_object_add(object, "paused", json_object_new_boolean(figures->paused));
	return object;
}

json_object *registry_describe(void)
{
	json_object *list = json_object_new_array();
	const struct outlet *outlet;

	pthread_mutex_lock(&lock);
	TAILQ_FOREACH(outlet, &outlets, figures.entry)
		json_object_array_add(list, describe(outlet));
	pthread_mutex_unlock(&lock);
	return list;
}
