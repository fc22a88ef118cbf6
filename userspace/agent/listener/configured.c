/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "../intake.h"
#include "../log.h"
#include "../manager.h"
#include "../unix_socket.h"
#include "address.h"
#include "configured.h"
#include "listen.h"

#define LISTEN_QUEUE 4096

struct configured {
	TAILQ_ENTRY(configured) next;
	struct outlet *outlet; /* NULL: begun */
	char *path;
};

static TAILQ_HEAD(, configured) all = TAILQ_HEAD_INITIALIZER(all);

static int listen_on(const char *text)
{
	struct sockaddr_storage address;
	socklen_t length;
	int on = 1, fd;

	if (!listen_address(text, &address, &length))
		return -1;
	fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	    (address.ss_family == AF_INET || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0) &&
	    bind(fd, (const struct sockaddr *)&address, length) == 0 && listen(fd, LISTEN_QUEUE) == 0)
		return fd;
	close(fd);
	return -1;
}

static bool listen_on_all(struct outlet *outlet, const struct settings *settings,
			  const struct service_settings *service)
{
	const struct setting *address;
	int fd;

	TAILQ_FOREACH(address, &service->listen, next) {
		fd = listen_on(address->text);
		if (fd < 0) {
			log_line(LOG_ERR, "%s:%u: listen = %s: %s", settings->file, address->line, address->text,
				 strerror(errno));
			return false;
		}
		listening_new(outlet, fd);
	}
	return true;
}

static void take_passed(struct outlet *outlet)
{
	unsigned int count, i;
	struct passed *passed = manager_passed(&count);
	const char *why;

	for (i = 0; i < count; i++) {
		if (passed[i].fd < 0 || strcmp(passed[i].name, outlet->service_name) != 0)
			continue;
		if (listen_inspect_listener(passed[i].fd, &why) != 0) {
			log_line(LOG_WARNING, "a socket for service %s from the service manager is of no use: %s",
				 outlet->service_name, why);
			continue;
		}
		listening_new(outlet, passed[i].fd);
		passed[i].fd = -1;
	}
}

static bool open_one(const struct settings *settings, const struct service_settings *service)
{
	const struct owner nobody = {0};
	struct configured *configured = calloc(1, sizeof(*configured));
	int fd = unix_socket_listen(service->ready_socket.text, SOCK_SEQPACKET, 0666, -1);

	if (!configured || fd < 0)
		return false;
	configured->path = strdup(service->ready_socket.text);
	configured->outlet = outlet_new(service->name, &nobody);
	configured->outlet->backlog = KTLSD_BACKLOG_DEFAULT;
	configured->outlet->want = KTLSD_WANT_TOKEN;
	configured->outlet->gate = gate_new(configured->outlet, fd);
	TAILQ_INSERT_TAIL(&all, configured, next);
	take_passed(configured->outlet);
	if (!listen_on_all(configured->outlet, settings, service))
		return false;
	if (TAILQ_EMPTY(&configured->outlet->listening))
		log_line(
			LOG_WARNING,
			"%s:%u: nothing listens for ready_socket; expected listen = ADDRESS:PORT, or a socket unit with "
			"FileDescriptorName=%s",
			settings->file, service->ready_socket.line, service->name);
	return true;
}

bool configured_open(const struct settings *settings)
{
	const struct service_settings *service;

	TAILQ_FOREACH(service, &settings->services, next) {
		if (service->ready_socket.text && !open_one(settings, service))
			return false;
	}
	return true;
}

struct outlet *configured_next(const struct worker *worker)
{
	struct configured *configured;
	struct outlet *outlet;
	unsigned int i = 0;

	TAILQ_FOREACH(configured, &all, next) {
		outlet = configured->outlet;
		if (i++ % worker_count != worker->id || !outlet)
			continue;
		configured->outlet = NULL;
		/* Who we are is settled by now. */
		outlet->owner.pid = getpid();
		outlet->owner.user = geteuid();
		outlet->owner.group = getegid();
		outlet->owner.usage = admission_user(outlet->owner.user);
		return outlet;
	}
	return NULL;
}

void configured_close(void)
{
	struct configured *configured;

	while ((configured = TAILQ_FIRST(&all))) {
		TAILQ_REMOVE(&all, configured, next);
		unlink(configured->path);
		free(configured->path);
		free(configured);
	}
}
