/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "../intake.h"
#include "../log.h"
#include "../manager.h"
#include "kept.h"
#include "listen.h"

#define PREFIX "ktlsd-listener "
#define NAME_MAX_LENGTH 255 /* of systemd's names of descriptors */

/* ---- the name ---- */

static void write_name(const struct outlet *outlet, char name[static NAME_MAX_LENGTH + 1])
{
	const struct owner *owner = &outlet->owner;
	int length = snprintf(name, NAME_MAX_LENGTH + 1, PREFIX "%016" PRIx64 " %" PRIx64 " %x %u %u %u %d %s",
			      outlet->id, outlet->cookie, outlet->want, outlet->backlog, owner->user, owner->group,
			      owner->pid, outlet->service_name);
	size_t i;

	/* As many groups as there is room for: they may be what lets the user have the service. */
	for (i = 0; i < owner->group_count && length < NAME_MAX_LENGTH - 11; i++)
		length += snprintf(name + length, NAME_MAX_LENGTH + 1 - length, " %u", owner->groups[i]);
}

static bool read_groups(struct owner *owner, const char *text)
{
	int used;

	owner->groups = calloc(strlen(text) / 2 + 1, sizeof(*owner->groups));
	if (!owner->groups)
		log_fatal("out of memory");
	while (sscanf(text, " %u%n", &owner->groups[owner->group_count], &used) == 1) {
		owner->group_count++;
		text += used;
	}
	return *text == '\0';
}

static struct outlet *read_name(const char *name)
{
	struct owner owner = {0};
	struct outlet *outlet;
	char service[64];
	uint64_t id, cookie;
	unsigned int want, backlog;
	int used = 0;

	if (sscanf(name, PREFIX "%" SCNx64 " %" SCNx64 " %x %u %u %u %d %63s%n", &id, &cookie, &want, &backlog,
		   &owner.user, &owner.group, &owner.pid, service, &used) != 8 ||
	    backlog == 0 || backlog > KTLSD_BACKLOG_MAX)
		return NULL;
	owner.usage = admission_user(owner.user);
	if (!read_groups(&owner, name + used)) {
		free(owner.groups);
		return NULL;
	}
	outlet = outlet_new(service, &owner);
	outlet->id = id;
	outlet->cookie = cookie;
	outlet->want = want;
	outlet->backlog = backlog;
	outlet->kept = true;
	return outlet;
}

/* ---- to the manager ---- */

static void keep(struct outlet *outlet)
{
	const int fds[] = {TAILQ_FIRST(&outlet->listening)->fd, TAILQ_FIRST(&outlet->receivers)->fd};
	char name[NAME_MAX_LENGTH + 1];
	int err;

	if (outlet->id == 0 && getrandom(&outlet->id, sizeof(outlet->id), 0) != sizeof(outlet->id))
		log_fatal("getrandom: %s", strerror(errno));
	write_name(outlet, name);
	err = manager_keep(name, fds, 2);
	outlet->kept = err == 0;
	outlet->keep_due = err == -EAGAIN;
	if (err < 0 && err != -EAGAIN && err != -ENOTCONN)
		log_limited(LOG_WARNING, "the service manager does not keep a listener: %s", strerror(-err));
}

static void forget(struct outlet *outlet)
{
	char name[NAME_MAX_LENGTH + 1];

	write_name(outlet, name);
	outlet->keep_due = manager_forget(name) == -EAGAIN;
	outlet->kept = outlet->keep_due;
}

void kept_update(struct outlet *outlet)
{
	if (outlet->gone && outlet->kept)
		forget(outlet);
	else if (outlet->gone)
		outlet->keep_due = false;
	else
		keep(outlet);
}

/* ---- from the manager ---- */

static struct outlet **outlets;
static unsigned int outlet_count;

/* The other descriptor of the same name. */
static struct passed *find_partner(struct passed *first, struct passed *end)
{
	struct passed *other;

	for (other = first + 1; other < end; other++) {
		if (other->fd >= 0 && strcmp(other->name, first->name) == 0)
			return other;
	}
	return NULL;
}

static bool fits(const struct passed *listener, const struct passed *end)
{
	const char *why;

	return listen_inspect(listener->fd, end->fd, &why) == 0;
}

/* They come in any order. NULL: they are no listener and its end of a pair, or nobody is at the other end any more. */
static struct outlet *pair_up(struct passed *one, struct passed *other)
{
	struct passed *listener = other && fits(one, other) ? one : other;
	struct passed *end = listener == one ? other : one;
	struct outlet *outlet;

	if (!other || !fits(listener, end))
		return NULL;
	outlet = read_name(one->name);
	if (!outlet)
		return NULL;
	listening_new(outlet, listener->fd);
	receiver_new(outlet, end->fd, &(struct owner){.usage = outlet->owner.usage});
	return outlet;
}

static void let_go(struct passed *one, struct passed *other)
{
	if (other)
		log_line(LOG_INFO, "a listener that an earlier agent left is let go: nobody receives (%s)", one->name);
	else
		log_line(LOG_WARNING,
			 "a listener that an earlier agent left is let go: the service manager has kept one of its two "
			 "descriptors; is FileDescriptorStoreMax in the unit large enough? (%s)",
			 one->name);
	manager_forget(one->name);
	close(one->fd);
	if (other)
		close(other->fd);
}

void kept_open(void)
{
	unsigned int count, i;
	struct passed *passed = manager_passed(&count), *other;
	struct outlet *outlet;

	outlets = calloc(count + 1, sizeof(struct outlet *));
	if (!outlets)
		log_fatal("out of memory");
	for (i = 0; i < count; i++) {
		if (passed[i].fd < 0 || strncmp(passed[i].name, PREFIX, strlen(PREFIX)) != 0)
			continue;
		other = find_partner(&passed[i], passed + count);
		outlet = pair_up(&passed[i], other);
		if (outlet)
			outlets[outlet_count++] = outlet;
		else
			let_go(&passed[i], other);
		passed[i].fd = -1;
		if (other)
			other->fd = -1;
	}
	if (outlet_count > 0)
		log_line(LOG_INFO, "%u listener%s of an earlier agent's %s taken up again", outlet_count,
			 outlet_count == 1 ? "" : "s", outlet_count == 1 ? "is" : "are");
}

struct outlet *kept_next(const struct worker *worker)
{
	unsigned int i;
	struct outlet *outlet;
	const char *why;

	for (i = worker->id; i < outlet_count; i += worker_count) {
		outlet = outlets[i];
		outlets[i] = NULL;
		if (!outlet)
			continue;
		outlet->counted = admission_enter_listener(outlet->owner.usage, worker->config->settings, &why) == 0;
		if (!outlet->counted)
			log_line(LOG_WARNING, "more listeners than the limits allow: %s", why);
		return outlet;
	}
	return NULL;
}
