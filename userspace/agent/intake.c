/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disposal.h"
#include "doors.h"
#include "intake.h"
#include "log.h"

void *intake_zeroed(size_t size)
{
	void *memory = aligned_alloc(16, (size + 15) / 16 * 16);

	if (!memory)
		log_fatal("out of memory");
	return memset(memory, 0, size);
}

void *intake_renewed(void *used, size_t size)
{
	struct handshake *hs = used;
	uint8_t *output;
	size_t output_size;

	if (!hs)
		return intake_zeroed(size);
	output = hs->engine.output;
	output_size = hs->engine.output_size;
	memset(used, 0, size);
	hs->engine.output = output;
	hs->engine.output_size = output_size;
	return used;
}

struct handoff *intake_new(struct caller *caller, uint64_t cookie)
{
	struct door_state *door = caller->door;
	struct handoff *handoff = TAILQ_FIRST(&door->pool);

	if (handoff) {
		TAILQ_REMOVE(&door->pool, handoff, entry);
		door->pooled--;
	}
	handoff = intake_renewed(handoff, sizeof(*handoff));
	handoff->handshake.engine.alert_sent = handoff->handshake.engine.alert_received = KTLSD_NO_ALERT;
	handoff->handshake.door = &door_unix;
	handoff->handshake.home = door->worker;
	handoff->handshake.fd = -1;
	handoff->handshake.connection_id = worker_connection_id(door->worker);
	handoff->caller = caller;
	handoff->cookie = cookie;
	return handoff;
}

void intake_free(struct handoff *handoff)
{
	struct door_state *door = handoff->caller->door;

	outcome_clear(&handoff->handshake.outcome);
	config_put(handoff->handshake.config);
	if (door->pooled < POOL_MAX) {
		door->pooled++;
		TAILQ_INSERT_HEAD(&door->pool, handoff, entry);
		return;
	}
	free(handoff->handshake.engine.output);
	free(handoff);
}

void intake_dispose(struct caller *caller, int fd)
{
	bool at_once = admission_closes_at_once(fd);

	caller->brings_hanging |= !at_once;
	dispose(caller->door->worker, caller->owner.usage, fd, at_once);
}

void intake_answer(struct handoff *handoff)
{
	struct caller *caller = handoff->caller;

	TAILQ_INSERT_TAIL(&caller->answers, handoff, entry);
	caller->answer_count++;
	caller->touched = true;
}

void intake_refuse(struct handoff *handoff, int error, const char *why)
{
	struct caller *caller = handoff->caller;
	struct handshake *hs = &handoff->handshake;

	if (hs->fd >= 0)
		intake_dispose(caller, hs->fd);
	hs->fd = -1;
	hs->error = error;
	hs->refused = true;
	snprintf(hs->engine.why, sizeof(hs->engine.why), "%s", why);
	stats_add(&caller->door->worker->stats.failed, 1);
	stats_add(&caller->door->worker->stats.by_error[error], 1);
	log_limited(LOG_NOTICE, "%016lx: handoff by user %u, process %d, is refused: %s", hs->connection_id,
		    caller->owner.user, caller->owner.pid, why);
	intake_answer(handoff);
}

int intake_authorize(const struct caller *caller, const char *name, unsigned int role, const struct service **service,
		     const char **why)
{
	*why = "the agent is about to stop";
	if (caller->door->draining)
		return ESHUTDOWN;
	*service = config_service(caller->door->worker->config, name);
	*why = "there is no such service in the agent's configuration";
	if (!*service)
		return ENOENT;
	*why = "the caller's user may not use the service (allow_users, allow_groups, allow_everyone)";
	if (!owner_may_use(&caller->owner, *service))
		return EACCES;
	*why = "the service is for the other role";
	return (*service)->role == role ? 0 : EINVAL;
}

static int authorize(struct handoff *handoff, const char **why)
{
	const struct caller *caller = handoff->caller;
	struct handshake *hs = &handoff->handshake;
	int error = intake_authorize(caller, handoff->service, hs->role, &hs->service, why);

	if (error)
		return error;
	*why = "busy: max_handshakes_per_caller are in flight";
	return caller->open_count < caller->door->worker->config->settings->max_handshakes_per_caller ? 0 : EBUSY;
}

void intake_take(struct caller *caller, const struct ktlsd_msg_header *message, int fd)
{
	struct handoff *handoff = intake_new(caller, message->cookie);
	struct handshake *hs = &handoff->handshake;
	struct config *config = caller->door->worker->config;
	const char *why;
	int error;

	hs->fd = fd;
	error = handoff_parse(handoff, message, &why);
	if (!error)
		error = authorize(handoff, &why);
	if (!error)
		error = admission_inspect(fd, &hs->peer, &why);
	if (!error)
		error = admission_enter(&hs->admission, config->settings, hs->service, caller->owner.usage, &hs->peer,
					&why);
	if (error) {
		intake_refuse(handoff, error, why);
		return;
	}
	hs->config = config_get(config);
	if (hs->timeout_ms == 0 || hs->timeout_ms > hs->service->timeout_ms)
		hs->timeout_ms = hs->service->timeout_ms;
	TAILQ_INSERT_TAIL(&caller->open, handoff, entry);
	caller->open_count++;
	handshake_begin(hs);
}

void caller_answer(struct handoff *handoff)
{
	struct caller *caller = handoff->caller;

	TAILQ_REMOVE(&caller->open, handoff, entry);
	caller->open_count--;
	caller->touched = true;
	if (caller->gone) {
		intake_free(handoff);
		return;
	}
	TAILQ_INSERT_TAIL(&caller->answers, handoff, entry);
	caller->answer_count++;
}

void intake_cancel(struct caller *caller, bool all, uint64_t cookie)
{
	struct handoff *handoff;

	TAILQ_FOREACH(handoff, &caller->open, entry) {
		if (all || handoff->cookie == cookie)
			handshake_cancel(&handoff->handshake);
	}
	worker_request_sweep(caller->door->worker);
}
