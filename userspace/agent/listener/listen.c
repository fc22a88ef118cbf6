/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../caller.h"
#include "../doors.h"
#include "../intake.h"
#include "../log.h"
#include "kept.h"
#include "listen.h"
#include "outlet.h"

/* ---- the message ---- */

struct listen {
	char service[64];
	uint32_t want, backlog;
};

static int parse(struct listen *listen, const struct ktlsd_msg_header *message, const char **why)
{
	const struct ktlsd_msg_listen *body = (const void *)message;
	struct attribute_reader reader;
	struct attribute attribute;

	*why = "the message for a listener is too short";
	if (!attributes_begin(&reader, message, sizeof(*body)))
		return EINVAL;
	*listen = (struct listen){.service = "default", .want = body->want, .backlog = body->backlog};
	if (listen->backlog == 0)
		listen->backlog = KTLSD_BACKLOG_DEFAULT;
	while (attributes_next(&reader, &attribute)) {
		*why = "a message for a listener has one attribute, a service's name of up to 63 bytes without a NUL";
		if (attribute.type != KTLSD_ATTR_SERVICE ||
		    !attribute_text(&attribute, listen->service, sizeof(listen->service)))
			return EINVAL;
	}
	*why = "an attribute's length does not fit its message";
	if (reader.malformed)
		return EINVAL;
	*why = "a reserved field is not zero, or something unknown is wanted";
	if (message->reserved || body->want & ~KNOWN_WANTS)
		return EINVAL;
	*why = "more ready sockets shall wait than KTLSD_BACKLOG_MAX";
	return listen->backlog <= KTLSD_BACKLOG_MAX ? 0 : EINVAL;
}

/* ---- the descriptors ---- */

/* None of these options takes a socket's lock. -1 with errno. */
static int option(int fd, int name)
{
	int value = -1;
	socklen_t length = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
}

int listen_inspect_listener(int fd, const char **why)
{
	int family = option(fd, SO_DOMAIN);

	*why = "the listener is not a socket";
	if (family < 0)
		return ENOTSOCK;
	*why = "the listener is not a TCP socket";
	if ((family != AF_INET && family != AF_INET6) || option(fd, SO_PROTOCOL) != IPPROTO_TCP)
		return EPROTONOSUPPORT;
	*why = "the socket does not listen";
	return option(fd, SO_ACCEPTCONN) == 1 ? 0 : EINVAL;
}

static int inspect_end(int fd, const char **why)
{
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer);
	int family = option(fd, SO_DOMAIN);

	*why = "what ready sockets shall go to is not a socket";
	if (family < 0)
		return ENOTSOCK;
	*why = "what ready sockets shall go to is not a UNIX socket of type SEQPACKET";
	if (family != AF_UNIX || option(fd, SO_TYPE) != SOCK_SEQPACKET)
		return EPROTONOSUPPORT;
	*why = "what ready sockets shall go to is not connected";
	return getpeername(fd, (struct sockaddr *)&peer, &length) == 0 ? 0 : ENOTCONN;
}

int listen_inspect(int listener, int end, const char **why)
{
	int error = listen_inspect_listener(listener, why);

	return error ? error : inspect_end(end, why);
}

/* ---- the outlet ---- */

static int admit(struct caller *caller, const struct listen *listen, const int *descriptors, const char **why)
{
	const struct service *service;
	int error = intake_authorize(caller, listen->service, KTLSD_SERVER, &service, why);

	if (!error)
		error = listen_inspect(descriptors[0], descriptors[1], why);
	if (!error)
		error = admission_enter_listener(caller->owner.usage, caller->door->worker->config->settings, why);
	return error;
}

static void begin(struct caller *caller, const struct listen *listen, const struct ktlsd_msg_header *message,
		  const int *descriptors)
{
	struct owner owner;
	struct outlet *outlet;

	if (!owner_copy(&owner, &caller->owner))
		log_fatal("out of memory");
	outlet = outlet_new(listen->service, &owner);
	outlet->cookie = message->cookie;
	outlet->want = listen->want;
	outlet->backlog = listen->backlog;
	listening_new(outlet, descriptors[0]);
	receiver_new(outlet, descriptors[1], &(struct owner){.usage = owner.usage});
	log_limited(LOG_INFO, "a listener for service %s of user %u, process %d", outlet->service_name, owner.user,
		    owner.pid);
	outlet->counted = true;
	kept_update(outlet);
	door_listener_add(outlet, caller->door->worker);
}

void listen_take(struct caller *caller, const struct ktlsd_msg_header *message, const int *descriptors)
{
	struct handoff *answer = intake_new(caller, message->cookie);
	struct listen listen;
	const char *why;
	int error = parse(&listen, message, &why), i;

	if (!error)
		error = admit(caller, &listen, descriptors, &why);
	if (error) {
		for (i = 0; i < LISTEN_DESCRIPTORS; i++)
			intake_dispose(caller, descriptors[i]);
		intake_refuse(answer, error, why);
		return;
	}
	begin(caller, &listen, message, descriptors);
	intake_answer(answer);
}
