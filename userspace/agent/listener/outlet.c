/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../disposal.h"
#include "../doors.h"
#include "../handoff.h"
#include "../intake.h"
#include "../log.h"
#include "../../lib/socket.h"
#include "kept.h"
#include "outlet.h"

/* ---- connections ---- */

static struct accepted *new_accepted(struct outlet *outlet, int fd)
{
	struct outlets *door = outlet->door;
	struct accepted *accepted = TAILQ_FIRST(&door->pool);
	struct handshake *hs;

	if (accepted) {
		TAILQ_REMOVE(&door->pool, accepted, entry);
		door->pooled--;
	}
	accepted = intake_renewed(accepted, sizeof(*accepted));
	hs = &accepted->handshake;
	hs->door = &door_listener;
	hs->home = outlet->home;
	hs->fd = fd;
	hs->keep_fd = true;
	hs->role = KTLSD_SERVER;
	hs->want = outlet->want;
	hs->connection_id = worker_connection_id(outlet->home);
	accepted->outlet = outlet;
	return accepted;
}

static void free_accepted(struct accepted *accepted)
{
	struct outlets *door = accepted->outlet->door;

	outcome_clear(&accepted->handshake.outcome);
	OPENSSL_cleanse(accepted->handshake.token, sizeof(accepted->handshake.token));
	config_put(accepted->handshake.config);
	if (door->pooled < POOL_MAX) {
		door->pooled++;
		TAILQ_INSERT_HEAD(&door->pool, accepted, entry);
		return;
	}
	free(accepted->handshake.engine.output);
	free(accepted);
}

/* A connection that nobody receives: its client shall not take that for an orderly end. */
static void drop(struct accepted *accepted, bool encrypted)
{
	struct handshake *hs = &accepted->handshake;

	if (encrypted)
		socket_send_alert(hs->fd, SSL3_AL_FATAL, SSL_AD_INTERNAL_ERROR, MSG_DONTWAIT);
	else
		handshake_send_plain_alert(hs->fd);
	shutdown(hs->fd, SHUT_RDWR);
	dispose_accepted(hs->home, hs->fd);
	if (hs->admission.user)
		admission_leave(&hs->admission);
	free_accepted(accepted);
}

/* ---- in ---- */

const struct service *outlet_service(const struct outlet *outlet)
{
	const struct service *service = config_service(outlet->home->config, outlet->service_name);

	return service && service->role == KTLSD_SERVER && owner_may_use(&outlet->owner, service) ? service : NULL;
}

/* One peer must not keep all others waiting: the last quarter of the places is for those who have less than a quarter. */
static bool peer_has_enough(const struct outlet *outlet, const struct sockaddr_storage *peer)
{
	unsigned int has = admission_of_peer(peer);

	return has >= outlet->home->config->settings->max_handshakes_per_peer ||
	       (outlet->running_count >= OUTLET_RUNNING_MAX / 4 * 3 && has >= OUTLET_RUNNING_MAX / 4);
}

/* True: it is under way, or was dropped. False: a limit is reached that others' ends will move. */
static bool admit(struct accepted *accepted, const struct service *service)
{
	struct outlet *outlet = accepted->outlet;
	struct handshake *hs = &accepted->handshake;
	struct config *config = outlet->home->config;
	const char *why = "busy: its peer has too many handshakes under way";

	if (!peer_has_enough(outlet, &hs->peer) &&
	    admission_enter(&hs->admission, config->settings, service, outlet->owner.usage, &hs->peer, &why) == 0) {
		TAILQ_REMOVE(&outlet->waiting, accepted, entry);
		outlet->waiting_count--;
		TAILQ_INSERT_TAIL(&outlet->running, accepted, entry);
		outlet->running_count++;
		hs->service = service;
		hs->config = config_get(config);
		hs->timeout_ms = service->timeout_ms;
		handshake_begin(hs);
		return true;
	}
	if (!peer_has_enough(outlet, &hs->peer))
		return false;
	TAILQ_REMOVE(&outlet->waiting, accepted, entry);
	outlet->waiting_count--;
	log_limited(LOG_NOTICE, "%016lx: a connection to service %s is dropped: %s", hs->connection_id,
		    outlet->service_name, why);
	stats_add(&outlet->home->stats.failed, 1);
	stats_add(&outlet->home->stats.by_error[EBUSY], 1);
	drop(accepted, false);
	return true;
}

void outlet_take(struct outlet *outlet, int fd)
{
	struct accepted *accepted = new_accepted(outlet, fd);
	const char *why;

	outlet->figures.accepted++;
	if (outlet->gone || admission_inspect(fd, &accepted->handshake.peer, &why) != 0) {
		drop(accepted, false); /* or it was reset before it was accepted */
		return;
	}
	TAILQ_INSERT_TAIL(&outlet->waiting, accepted, entry);
	outlet->waiting_count++;
}

static void admit_waiting(struct outlet *outlet, const struct service *service)
{
	struct accepted *accepted;

	while ((accepted = TAILQ_FIRST(&outlet->waiting)) && admit(accepted, service))
		;
}

/* ---- out ---- */

void outlet_answer(struct accepted *accepted)
{
	struct outlet *outlet = accepted->outlet;
	bool failed = accepted->handshake.error != 0;

	TAILQ_REMOVE(&outlet->running, accepted, entry);
	outlet->running_count--;
	outlet->touched = true;
	if (failed) {
		free_accepted(accepted);
	} else if (outlet->gone) {
		drop(accepted, true);
	} else {
		TAILQ_INSERT_TAIL(&outlet->ready, accepted, entry);
		outlet->ready_count++;
	}
}

/* Into the memory that the handshake's output had. False: no memory. */
static bool pack(struct accepted *accepted)
{
	struct engine *engine = &accepted->handshake.engine;
	struct parcel *parcel = &accepted->parcel;
	struct datagram_writer datagram = {.data = engine->output, .size = engine->output_size};
	int chain_fd = -1;

	if (!handoff_write_result(&accepted->handshake, KTLSD_MSG_READY, accepted->outlet->cookie, &datagram,
				  &chain_fd)) {
		free(engine->output);
		engine->output = datagram.data = malloc(KTLSD_DATAGRAM_MAX);
		engine->output_size = datagram.size = engine->output ? KTLSD_DATAGRAM_MAX : 0;
		if (!engine->output || !handoff_write_result(&accepted->handshake, KTLSD_MSG_READY,
							     accepted->outlet->cookie, &datagram, &chain_fd))
			return false;
	}
	parcel->part = (struct iovec){engine->output, datagram.length};
	parcel->descriptors[0] = accepted->handshake.fd;
	parcel->descriptors[1] = chain_fd;
	parcel->descriptor_count = chain_fd >= 0 ? 2 : 1;
	parcel->closes_at_once = handshake_closes_at_once(&accepted->handshake);
	return true;
}

static bool has_several_receivers(const struct outlet *outlet)
{
	const struct receiver *first = TAILQ_FIRST(&outlet->receivers);

	return first && TAILQ_NEXT(first, entry);
}

/* Of several, none shall have a client waiting while another is idle: one at most waits at each, the others here, for any. */
static bool may_have(struct receiver *receiver, bool several)
{
	if (!receiver_takes(receiver))
		return false;
	return !several || (receiver->sending == 0 && (receiver->count == 0 || receiver_unread(receiver) == 0));
}

static struct receiver *choose_receiver(struct outlet *outlet)
{
	bool several = has_several_receivers(outlet);
	struct receiver *receiver, *best = NULL;

	TAILQ_FOREACH(receiver, &outlet->receivers, entry) {
		if (may_have(receiver, several) && (!best || receiver->turn < best->turn))
			best = receiver;
	}
	if (best)
		best->turn = ++outlet->turns;
	return best;
}

static void deliver(struct outlet *outlet)
{
	struct accepted *accepted;
	struct receiver *receiver;

	while ((accepted = TAILQ_FIRST(&outlet->ready)) && (receiver = choose_receiver(outlet))) {
		TAILQ_REMOVE(&outlet->ready, accepted, entry);
		outlet->ready_count--;
		if (accepted->parcel.descriptor_count == 0 && !pack(accepted)) {
			log_limited(LOG_ERR, "%016lx: no memory for its result", accepted->handshake.connection_id);
			drop(accepted, true);
			continue;
		}
		outlet->sending_count++;
		receiver_send(receiver, &accepted->parcel);
	}
}

void outlet_sent(struct parcel *parcel, int error)
{
	struct accepted *accepted = (void *)((char *)parcel - offsetof(struct accepted, parcel));
	struct outlet *outlet = accepted->outlet;
	struct handshake *hs = &accepted->handshake;

	outlet->sending_count--;
	if (error && !outlet->gone) {
		TAILQ_INSERT_HEAD(&outlet->ready, accepted, entry);
		outlet->ready_count++;
		return;
	}
	if (parcel->descriptor_count == 2)
		close(parcel->descriptors[1]);
	if (error) {
		drop(accepted, true);
		return;
	}
	outlet->figures.delivered++;
	admission_leave(&hs->admission);
	free_accepted(accepted);
}

/* ---- appetite ---- */

/* How many more ready sockets the receivers may have waiting. */
static unsigned int room(struct outlet *outlet)
{
	struct receiver *receiver;
	unsigned int total = 0, waiting;

	TAILQ_FOREACH(receiver, &outlet->receivers, entry) {
		waiting = receiver->count + receiver->sending;
		if (waiting >= outlet->backlog || outlet->paused)
			waiting = receiver_unread(receiver) + receiver->sending;
		if (!receiver->lost && !receiver->full && waiting < outlet->backlog)
			total += outlet->backlog - waiting;
	}
	return total > outlet->ready_count ? total - outlet->ready_count : 0;
}

static void stop_accepting(struct outlet *outlet)
{
	struct listening *listening;

	TAILQ_FOREACH(listening, &outlet->listening, entry)
		listening_stop(listening);
}

/* Once they have enough, they shall have read a quarter before more is taken in. */
static void pause_or_resume(struct outlet *outlet)
{
	unsigned int left = room(outlet);

	if (left == 0 && !outlet->paused) {
		outlet->paused = true;
		stop_accepting(outlet);
	} else if (left > outlet->backlog / 4) {
		outlet->paused = false;
	}
}

static void accept_more(struct outlet *outlet)
{
	const unsigned int most = OUTLET_RUNNING_MAX + outlet->backlog;
	unsigned int taken = outlet->waiting_count + outlet->running_count + outlet->ready_count;
	struct listening *listening;

	/* Who waits to be admitted shows that a limit is reached. */
	if (outlet->paused || outlet->draining || outlet->waiting_count > 0)
		return;
	TAILQ_FOREACH(listening, &outlet->listening, entry)
		taken += listening->accepts;
	TAILQ_FOREACH(listening, &outlet->listening, entry) {
		if (taken < most)
			listening_arm(listening, most - taken);
	}
}

static void watch_receivers(struct outlet *outlet)
{
	bool several = has_several_receivers(outlet);
	struct receiver *receiver;

	TAILQ_FOREACH(receiver, &outlet->receivers, entry)
		receiver_watch(receiver, outlet->paused || receiver->full || (several && outlet->ready_count > 0));
}

void outlet_lost_receiver(struct receiver *receiver)
{
	if (receiver->outlet->gate)
		receiver_close(receiver);
	else
		outlet_end(receiver->outlet, NULL);
}

/* Of those who left, once nothing of them is in the ring. */
static void forget_receivers(struct outlet *outlet)
{
	struct receiver *receiver, *next;

	for (receiver = TAILQ_FIRST(&outlet->receivers); receiver; receiver = next) {
		next = TAILQ_NEXT(receiver, entry);
		if (receiver->lost && receiver_idle(receiver))
			receiver_free(receiver);
	}
}

/* ---- life ---- */

struct outlet *outlet_new(const char *service_name, const struct owner *owner)
{
	struct outlet *outlet = intake_zeroed(sizeof(*outlet));

	outlet->owner = *owner;
	snprintf(outlet->service_name, sizeof(outlet->service_name), "%s", service_name);
	TAILQ_INIT(&outlet->listening);
	TAILQ_INIT(&outlet->receivers);
	TAILQ_INIT(&outlet->waiting);
	TAILQ_INIT(&outlet->running);
	TAILQ_INIT(&outlet->ready);
	return outlet;
}

void outlet_begin(struct outlet *outlet, struct outlets *door)
{
	outlet->door = door;
	outlet->home = door->worker;
	outlet->touched = true;
	outlet->draining = door->draining;
	TAILQ_INSERT_TAIL(&door->all, outlet, entry);
	registry_add(outlet);
}

static void free_outlet(struct outlet *outlet)
{
	struct listening *listening;
	struct receiver *receiver;

	registry_remove(outlet);
	TAILQ_REMOVE(&outlet->door->all, outlet, entry);
	while ((listening = TAILQ_FIRST(&outlet->listening))) {
		TAILQ_REMOVE(&outlet->listening, listening, entry);
		free(listening);
	}
	while ((receiver = TAILQ_FIRST(&outlet->receivers)))
		receiver_free(receiver);
	free(outlet->gate);
	if (outlet->counted)
		admission_leave_listener(outlet->owner.usage);
	free(outlet->owner.groups);
	free(outlet);
}

static bool nothing_in_ring(const struct outlet *outlet)
{
	const struct listening *listening;
	const struct receiver *receiver;

	TAILQ_FOREACH(listening, &outlet->listening, entry) {
		if (listening->accepts > 0)
			return false;
	}
	TAILQ_FOREACH(receiver, &outlet->receivers, entry) {
		if (!receiver_idle(receiver))
			return false;
	}
	return outlet->running_count == 0 && (!outlet->gate || !outlet->gate->accepting);
}

static void publish(struct outlet *outlet)
{
	struct figures *figures = &outlet->figures;
	struct receiver *receiver;
	unsigned int unread = 0, receivers = 0;

	TAILQ_FOREACH(receiver, &outlet->receivers, entry) {
		receivers++;
		unread += receiver->count;
	}
	figures->in_flight = outlet->running_count;
	figures->unsent = outlet->ready_count + outlet->sending_count;
	figures->unread = unread;
	figures->receivers = receivers;
	figures->paused = outlet->paused;
}

static void serve(struct outlet *outlet, const struct service *service)
{
	admit_waiting(outlet, service);
	deliver(outlet);
	pause_or_resume(outlet);
	accept_more(outlet);
	forget_receivers(outlet);
	watch_receivers(outlet);
	if (outlet->gate)
		gate_arm(outlet->gate);
}

bool outlet_turn(struct outlet *outlet)
{
	const struct service *service = outlet_service(outlet);

	if (!service)
		outlet_end(outlet, "its service is no longer there, or no longer for its user");
	if (!outlet->gone)
		serve(outlet, service);
	if (outlet->keep_due)
		kept_update(outlet);
	publish(outlet);
	if (!outlet->gone || !nothing_in_ring(outlet) || outlet->keep_due)
		return true;
	free_outlet(outlet);
	return false;
}

void outlet_drain(struct outlet *outlet)
{
	if (outlet->draining || outlet->gone) /* what is closed already may be another's descriptor */
		return;
	outlet->draining = true;
	stop_accepting(outlet);
	if (outlet->gate)
		gate_stop(outlet->gate);
}

bool outlet_idle(const struct outlet *outlet)
{
	const struct listening *listening;

	if (outlet->touched || outlet->gone || outlet->keep_due || outlet->waiting_count + outlet->running_count > 0 ||
	    outlet->ready_count + outlet->sending_count > 0)
		return false;
	TAILQ_FOREACH(listening, &outlet->listening, entry) {
		if (listening->resting || (outlet->draining && listening->accepts > 0))
			return false;
	}
	return !outlet->gate || !outlet->draining || !outlet->gate->accepting;
}

void outlet_sweep(struct outlet *outlet)
{
	struct listening *listening;
	struct receiver *receiver;

	TAILQ_FOREACH(listening, &outlet->listening, entry) {
		outlet->touched |= listening->resting;
		listening->resting = false;
	}
	TAILQ_FOREACH(receiver, &outlet->receivers, entry) {
		outlet->touched |= receiver->resting;
		receiver->resting = false;
	}
	outlet->touched |= outlet->waiting_count > 0 || outlet->keep_due;
}

void outlet_leave(struct outlet *outlet)
{
	struct accepted *accepted;
	struct receiver *receiver;

	while ((accepted = TAILQ_FIRST(&outlet->ready))) {
		TAILQ_REMOVE(&outlet->ready, accepted, entry);
		socket_send_alert(accepted->handshake.fd, SSL3_AL_FATAL, SSL_AD_INTERNAL_ERROR, MSG_DONTWAIT);
	}
	TAILQ_FOREACH(receiver, &outlet->receivers, entry) {
		if (!outlet->kept)
			shutdown(receiver->fd, SHUT_RDWR);
	}
}

static void drop_all(struct accepted_list *list, bool encrypted)
{
	struct accepted *accepted;

	while ((accepted = TAILQ_FIRST(list))) {
		TAILQ_REMOVE(list, accepted, entry);
		drop(accepted, encrypted);
	}
}

void outlet_end(struct outlet *outlet, const char *why)
{
	struct listening *listening;
	struct receiver *receiver;
	struct accepted *accepted;

	if (outlet->gone)
		return;
	outlet->gone = outlet->touched = true;
	if (why)
		log_line(LOG_WARNING, "a listener for service %s of user %u, process %d, is let go: %s",
			 outlet->service_name, outlet->owner.user, outlet->owner.pid, why);
	else
		log_line(LOG_INFO, "a listener for service %s of user %u, process %d, is let go: nobody receives",
			 outlet->service_name, outlet->owner.user, outlet->owner.pid);
	if (outlet->kept || outlet->keep_due)
		kept_update(outlet);
	TAILQ_FOREACH(listening, &outlet->listening, entry)
		listening_close(listening);
	TAILQ_FOREACH(accepted, &outlet->running, entry)
		handshake_cancel(&accepted->handshake);
	worker_request_sweep(outlet->home);
	drop_all(&outlet->waiting, false);
	drop_all(&outlet->ready, true);
	outlet->waiting_count = outlet->ready_count = 0;
	TAILQ_FOREACH(receiver, &outlet->receivers, entry)
		receiver_close(receiver);
	if (outlet->gate)
		gate_close(outlet->gate);
}
