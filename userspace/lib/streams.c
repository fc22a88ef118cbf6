/* SPDX-License-Identifier: MIT */
/*
 * What a struct ktlsd does for its streams, beside handoffs: it carries their requests for keys, again when the agent was away; has
 * their tokens renewed; and looks for what poll() does not show. All of it in its own thread, in ktlsd_peek_result(); a timer
 * in ktlsd_fd() makes the program call that. Only requests may come from other threads.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include "stream.h"

#define LOOK_MS 20 /* after a receive that came short */

/* ---- asking ---- */

/* Has ktlsd_fd() poll readable at that time. agent->lock is held. */
static void wake_at(struct ktlsd *agent, int64_t when)
{
	struct itimerspec timer = {.it_value = {.tv_sec = when / 1000000000, .tv_nsec = when % 1000000000}};
	struct epoll_event event = {.events = EPOLLIN};

	if (agent->timer_due && agent->timer_due <= when)
		return;
	if (agent->timer_fd < 0) {
		agent->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
		epoll_ctl(agent->epoll_fd, EPOLL_CTL_ADD, agent->timer_fd, &event);
	}
	agent->timer_due = when;
	timerfd_settime(agent->timer_fd, TFD_TIMER_ABSTIME, &timer, NULL);
}

/* agent->lock is held. */
static void try_to_send(struct ktlsd *agent, struct ktlsd_stream *stream)
{
	stream->asked_sent = agent->fd >= 0 && rekey_send(agent, stream, stream->asked_for, stream->asked) == 0;
	wake_at(agent, stream->asked_sent ? stream->asked_until_ns : now_ns() + REKEY_RETRY_MS * MS);
}

/* agent->lock is held. */
static void list(struct ktlsd *agent, struct ktlsd_stream *stream, unsigned int directions)
{
	stream->asked = ++agent->rekey_count;
	stream->asked_for = directions;
	stream->asked_sent = false;
	TAILQ_INSERT_TAIL(&agent->asking, stream, asking);
	stream->asking_listed = true;
}

static int ask(struct ktlsd_stream *stream, unsigned int directions)
{
	struct ktlsd *agent = stream->agent;

	rekey_note_asked(stream, directions);
	stream->asked_until_ns = now_ns() + stream->limits.rekey_timeout_ms * MS;
	pthread_mutex_lock(&agent->lock);
	list(agent, stream, directions);
	try_to_send(agent, stream);
	pthread_mutex_unlock(&agent->lock);
	return -EAGAIN;
}

/* The agent is there, and can't just now. */
static void ask_later(struct ktlsd_stream *stream, unsigned int directions)
{
	struct ktlsd *agent = stream->agent;

	pthread_mutex_lock(&agent->lock);
	list(agent, stream, directions);
	wake_at(agent, now_ns() + REKEY_RETRY_MS * MS);
	pthread_mutex_unlock(&agent->lock);
}

/* agent->lock is held. */
static void unlist(struct ktlsd *agent, struct ktlsd_stream *stream)
{
	if (stream->asking_listed)
		TAILQ_REMOVE(&agent->asking, stream, asking);
	stream->asking_listed = false;
}

/* What is under way goes on being it; a direction more is asked for when its answer is there. */
int streams_ask(struct ktlsd_stream *stream, unsigned int directions)
{
	if (!stream->asked)
		return ask(stream, directions);
	stream->wanted |= directions & ~stream->asked_for;
	return -EAGAIN;
}

unsigned int streams_take_back(struct ktlsd_stream *stream)
{
	unsigned int directions = stream->asked_for | stream->wanted;

	if (!stream->asked)
		return 0;
	pthread_mutex_lock(&stream->agent->lock);
	unlist(stream->agent, stream);
	pthread_mutex_unlock(&stream->agent->lock);
	stream->asked = 0;
	stream->wanted = 0;
	return directions;
}

/* ---- the order of renewals ---- */

/* The list is in the order of renewal_ns. near: it is expected at the front rather than at the end. */
static void list_for_renewal(struct ktlsd *agent, struct ktlsd_stream *stream, int64_t when, bool near)
{
	struct ktlsd_stream *other;

	stream->renewal_ns = when;
	if (near) {
		for (other = TAILQ_FIRST(&agent->streams); other && other->renewal_ns <= when;)
			other = TAILQ_NEXT(other, renewal);
		if (other) {
			TAILQ_INSERT_BEFORE(other, stream, renewal);
			return;
		}
		TAILQ_INSERT_TAIL(&agent->streams, stream, renewal);
		return;
	}
	for (other = TAILQ_LAST(&agent->streams, stream_list); other && other->renewal_ns > when;)
		other = TAILQ_PREV(other, stream_list, renewal);
	if (other)
		TAILQ_INSERT_AFTER(&agent->streams, other, stream, renewal);
	else
		TAILQ_INSERT_HEAD(&agent->streams, stream, renewal);
}

/* A token that does not live long has to be renewed again before it would be looked at. */
static void keep_renewal_in_time(struct ktlsd_stream *stream)
{
	struct ktlsd *agent = stream->agent;

	if (stream->token_renewal_ns >= stream->renewal_ns)
		return;
	TAILQ_REMOVE(&agent->streams, stream, renewal);
	list_for_renewal(agent, stream, stream->token_renewal_ns, true);
	pthread_mutex_lock(&agent->lock);
	wake_at(agent, stream->renewal_ns);
	pthread_mutex_unlock(&agent->lock);
}

/* ---- answers ---- */

static void conclude(struct ktlsd_stream *stream, const struct ktlsd_msg_header *message)
{
	unsigned int directions = stream->asked_for, more;
	int err;

	stream->asked = 0;
	err = rekey_take_answer(stream, directions, message);
	if (err == -EAGAIN) {
		ask_later(stream, directions);
		return;
	}
	if (err == 0)
		keep_renewal_in_time(stream);
	more = rekey_needed(stream, stream->wanted);
	stream->wanted = 0;
	if (more && !atomic_load(&stream->error))
		ask(stream, more);
}

static struct ktlsd_stream *find(struct ktlsd *agent, uint64_t number)
{
	struct ktlsd_stream *stream;

	pthread_mutex_lock(&agent->lock);
	TAILQ_FOREACH(stream, &agent->asking, asking) {
		if (stream->asked == number) {
			unlist(agent, stream);
			break;
		}
	}
	pthread_mutex_unlock(&agent->lock);
	return stream;
}

void streams_answered(struct ktlsd *agent, const struct ktlsd_msg_header *message)
{
	uint64_t number = message->cookie;
	struct ktlsd_stream *stream = find(agent, number);

	if (!stream) {
		explicit_bzero((void *)message, message->length);
		return;
	}
	pthread_mutex_lock(&stream->rekeying);
	if (stream->asked == number)
		conclude(stream, message);
	else /* somebody could not wait and took it back */
		explicit_bzero((void *)message, message->length);
	pthread_mutex_unlock(&stream->rekeying);
}

/* ---- its streams ---- */

void streams_join(struct ktlsd_stream *stream)
{
	struct ktlsd *agent = stream->agent;

	if (stream->token_length == 0) {
		list_for_renewal(agent, stream, INT64_MAX, false);
		return;
	}
	list_for_renewal(agent, stream, stream->token_renewal_ns, false);
	pthread_mutex_lock(&agent->lock);
	wake_at(agent, stream->token_renewal_ns);
	pthread_mutex_unlock(&agent->lock);
}

void streams_leave(struct ktlsd_stream *stream)
{
	struct ktlsd *agent = stream->agent;

	pthread_mutex_lock(&agent->lock);
	unlist(agent, stream);
	pthread_mutex_unlock(&agent->lock);
	if (stream->suspected)
		TAILQ_REMOVE(&agent->suspects, stream, suspect);
	TAILQ_REMOVE(&agent->streams, stream, renewal);
}

void streams_interrupted(struct ktlsd *agent)
{
	struct ktlsd_stream *stream;

	pthread_mutex_lock(&agent->lock);
	TAILQ_FOREACH(stream, &agent->asking, asking)
		stream->asked_sent = false;
	if (!TAILQ_EMPTY(&agent->asking))
		wake_at(agent, now_ns() + REKEY_RETRY_MS * MS);
	pthread_mutex_unlock(&agent->lock);
}

void streams_abandon(struct ktlsd *agent)
{
	struct ktlsd_stream *stream;

	TAILQ_FOREACH(stream, &agent->streams, renewal) {
		pthread_mutex_lock(&stream->rekeying);
		stream->agent = NULL;
		stream->nonblocking = stream_is_nonblocking(stream);
		stream->path = strdup(agent->path);
		stream->asking_listed = stream->suspected = false;
		rekey_stop(stream);
		pthread_mutex_unlock(&stream->rekeying);
	}
	if (agent->timer_fd >= 0)
		close(agent->timer_fd);
}

static struct ktlsd_stream *take_overdue(struct ktlsd *agent, int64_t now, uint64_t *number)
{
	struct ktlsd_stream *stream;

	pthread_mutex_lock(&agent->lock);
	TAILQ_FOREACH(stream, &agent->asking, asking) {
		if (stream->asked_until_ns <= now) {
			*number = stream->asked;
			unlist(agent, stream);
			break;
		}
	}
	pthread_mutex_unlock(&agent->lock);
	return stream;
}

/* What was wanted in addition, later, has its own time. */
static void give_up(struct ktlsd_stream *stream)
{
	unsigned int more = stream->wanted;

	stream->wanted = 0;
	rekey_give_up(stream, stream->asked_for, REKEY_NO_ANSWER);
	more = rekey_needed(stream, more);
	if (more && !atomic_load(&stream->error))
		ask(stream, more);
}

static void give_up_overdue(struct ktlsd *agent, int64_t now)
{
	struct ktlsd_stream *stream;
	uint64_t number = 0;

	while ((stream = take_overdue(agent, now, &number))) {
		pthread_mutex_lock(&stream->rekeying);
		if (stream->asked == number)
			give_up(stream);
		pthread_mutex_unlock(&stream->rekeying);
	}
}

/* Tokens whose time is half over are exchanged. One that a rekey has exchanged meanwhile has more time. */
static void renew(struct ktlsd *agent, int64_t now)
{
	struct ktlsd_stream *stream;
	int64_t next;

	while ((stream = TAILQ_FIRST(&agent->streams)) && stream->renewal_ns <= now) {
		TAILQ_REMOVE(&agent->streams, stream, renewal);
		pthread_mutex_lock(&stream->rekeying);
		next = stream->token_renewal_ns;
		if (next <= now && !stream->asked && atomic_load(&stream->tx_update) != TX_READY)
			ask(stream, 0);
		pthread_mutex_unlock(&stream->rekeying);
		list_for_renewal(agent, stream, next > now ? next : now + RENEWAL_RETRY_MS * MS, next <= now);
	}
}

void streams_look_later(struct ktlsd_stream *stream)
{
	struct ktlsd *agent = stream->agent;

	if (stream->suspected)
		return;
	stream->suspected = true;
	if (TAILQ_EMPTY(&agent->suspects)) {
		agent->suspects_due = now_ns() + LOOK_MS * MS;
		pthread_mutex_lock(&agent->lock);
		wake_at(agent, agent->suspects_due);
		pthread_mutex_unlock(&agent->lock);
	}
	TAILQ_INSERT_TAIL(&agent->suspects, stream, suspect);
}

static void look_at_suspects(struct ktlsd *agent, int64_t now)
{
	struct ktlsd_stream *stream;

	if (now < agent->suspects_due)
		return;
	while ((stream = TAILQ_FIRST(&agent->suspects))) {
		TAILQ_REMOVE(&agent->suspects, stream, suspect);
		stream->suspected = false;
		stream_look_behind(stream);
	}
}

static void send_unsent(struct ktlsd *agent)
{
	struct ktlsd_stream *stream;

	if (agent->fd < 0 && !TAILQ_EMPTY(&agent->asking))
		connection_establish(agent, SOCK_NONBLOCK);
	pthread_mutex_lock(&agent->lock);
	TAILQ_FOREACH(stream, &agent->asking, asking) {
		if (!stream->asked_sent)
			try_to_send(agent, stream);
		else
			wake_at(agent, stream->asked_until_ns);
	}
	stream = TAILQ_FIRST(&agent->streams);
	if (stream && stream->renewal_ns != INT64_MAX)
		wake_at(agent, stream->renewal_ns);
	if (!TAILQ_EMPTY(&agent->suspects))
		wake_at(agent, agent->suspects_due);
	pthread_mutex_unlock(&agent->lock);
}

void streams_turn(struct ktlsd *agent)
{
	int64_t due = atomic_load_explicit(&agent->timer_due, memory_order_relaxed), now;
	uint64_t expirations;

	if (due == 0)
		return;
	now = now_ns();
	if (now < due)
		return;
	pthread_mutex_lock(&agent->lock);
	agent->timer_due = 0; /* whatever is still to come sets it again */
	if (read(agent->timer_fd, &expirations, sizeof(expirations)) < 0)
		expirations = 0; /* somebody has set it anew just now */
	pthread_mutex_unlock(&agent->lock);
	give_up_overdue(agent, now);
	renew(agent, now);
	look_at_suspects(agent, now);
	send_unsent(agent);
}
