/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "caller.h"
#include "disposal.h"
#include "intake.h"
#include "listener/listen.h"
#include "log.h"

enum operation { OP_RECEIVED, OP_SENT };

static void complete(struct completion *completion, unsigned int operation, int result, unsigned int flags);

static void free_caller(struct caller *caller)
{
	dispose(caller->door->worker, caller->owner.usage, caller->fd, false);
	free(caller->owner.groups);
	free(caller);
}

void caller_turn_away(int fd, int error, const char *why)
{
	uint8_t bytes[512] __attribute__((aligned(8)));
	struct datagram_writer datagram = {.data = bytes, .size = sizeof(bytes)};
	struct ktlsd_msg_result *result = message_begin(&datagram, KTLSD_MSG_RESULT, sizeof(*result), 0);

	result->error = error;
	result->flags = KTLSD_RESULT_REFUSED;
	result->alert_sent = result->alert_received = KTLSD_NO_ALERT;
	message_text(&datagram, KTLSD_ATTR_ERROR, why);
	message_end(&datagram);
	if (send(fd, bytes, datagram.length, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_limited(LOG_DEBUG, "a caller left before it was turned away: %s", strerror(errno));
	log_limited(LOG_WARNING, "a caller is turned away: %s", why);
}

/* What speaks against one more caller; NULL if nothing does. */
static const char *too_many(struct caller *caller, const struct settings *limits)
{
	const char *why;

	if (!admission_enter_caller(caller->owner.usage, limits))
		return caller->owner.user == 0 ? "busy: max_callers are connected"
					       : "busy: the user has half of max_callers connected";
	why = disposal_refuses(caller->door->worker, caller->owner.usage);
	if (why)
		admission_leave_caller(caller->owner.usage);
	return why;
}

bool caller_new(struct door_state *door, int fd)
{
	struct caller *caller = intake_zeroed(sizeof(*caller));
	const char *why;

	caller->completion.complete = complete;
	caller->door = door;
	caller->fd = fd;
	TAILQ_INIT(&caller->open);
	TAILQ_INIT(&caller->answers);
	TAILQ_INIT(&caller->rekeys);
	TAILQ_INIT(&caller->proofs);
	why = owner_of(&caller->owner, fd) ? too_many(caller, door->worker->config->settings) : "busy: no memory";
	if (why) {
		caller_turn_away(fd, EBUSY, why);
		free_caller(caller);
		return false;
	}
	TAILQ_INSERT_TAIL(&door->callers, caller, entry);
	caller->touched = true;
	return true;
}

/* ---- datagrams in ---- */

/* Something that no caller of ours does: it is told why, under cookie 0, and thrown out. */
static void break_off(struct caller *caller, int error, const char *why)
{
	if (!caller->leaving)
		intake_refuse(intake_new(caller, 0), error, why);
	caller->leaving = true;
}

static void greet(struct caller *caller, const struct ktlsd_msg_header *message)
{
	const struct ktlsd_msg_hello *hello = (const void *)message;

	caller->hello_due = true;
	caller->greeted = true;
	if (message->length < sizeof(*hello) || hello->version != KTLSD_PROTOCOL_VERSION)
		break_off(caller, EPROTONOSUPPORT, "the caller speaks another version of the handoff protocol");
}

/* The descriptors of a datagram; whatever else came as a control message is skipped. */
static unsigned int take_descriptors(struct msghdr *message, int descriptors[static CALLER_DESCRIPTORS_MAX])
{
	struct cmsghdr *control;
	unsigned int count = 0;

	for (control = CMSG_FIRSTHDR(message); control; control = CMSG_NXTHDR(message, control)) {
		size_t bytes = control->cmsg_len - CMSG_LEN(0), i;

		if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
			continue;
		for (i = 0; i + sizeof(int) <= bytes; i += sizeof(int)) {
			int fd;

			memcpy(&fd, CMSG_DATA(control) + i, sizeof(fd));
			if (count < CALLER_DESCRIPTORS_MAX) /* the control buffer has room for no more */
				descriptors[count++] = fd;
		}
	}
	return count;
}

static unsigned int descriptors_of(const struct ktlsd_msg_header *message)
{
	if (message->type == KTLSD_MSG_LISTEN)
		return LISTEN_DESCRIPTORS;
	return message->type == KTLSD_MSG_HANDOFF || message->type == KTLSD_MSG_REKEY;
}

static unsigned int count_wanted(struct datagram_reader datagram)
{
	const struct ktlsd_msg_header *message;
	unsigned int count = 0;

	while ((message = message_next(&datagram)))
		count += descriptors_of(message);
	return count;
}

static void take_message(struct caller *caller, const struct ktlsd_msg_header *message, const int *descriptors,
			 unsigned int *taken)
{
	if (!caller->greeted && message->type != KTLSD_MSG_HELLO) {
		break_off(caller, EPROTO, "the first message is not HELLO");
		return;
	}
	if (message->reserved && descriptors_of(message) == 0) { /* that of the others is refused with them */
		break_off(caller, EPROTO, "a reserved field is not zero");
		return;
	}
	switch (message->type) {
	case KTLSD_MSG_HELLO:
		greet(caller, message);
		return;
	case KTLSD_MSG_HANDOFF:
		intake_take(caller, message, descriptors[(*taken)++]);
		return;
	case KTLSD_MSG_REKEY:
		rekey_take(caller, message, descriptors[(*taken)++]);
		return;
	case KTLSD_MSG_LISTEN:
		listen_take(caller, message, descriptors + *taken);
		*taken += LISTEN_DESCRIPTORS;
		return;
	case KTLSD_MSG_CHALLENGE:
		challenge_take(caller, message);
		return;
	case KTLSD_MSG_CANCEL:
		intake_cancel(caller, false, message->cookie);
		return;
	}
	break_off(caller, EPROTO, "the message's type is unknown");
}

static void take_datagram(struct caller *caller, size_t length)
{
	struct datagram_reader datagram = {.data = caller->in, .length = length};
	int descriptors[CALLER_DESCRIPTORS_MAX];
	unsigned int count = take_descriptors(&caller->received, descriptors), taken = 0;
	const struct ktlsd_msg_header *message;

	if (caller->gone)
		datagram.length = 0;
	else if (caller->received.msg_flags & MSG_TRUNC)
		break_off(caller, EMSGSIZE, "the datagram is longer than KTLSD_DATAGRAM_MAX");
	else if (count > KTLSD_DATAGRAM_DESCRIPTORS || caller->received.msg_flags & MSG_CTRUNC)
		break_off(caller, EMSGSIZE, "more descriptors in a datagram than KTLSD_DATAGRAM_DESCRIPTORS");
	else if (count_wanted(datagram) != count)
		break_off(caller, EBADMSG,
			  "what the messages take, and descriptors, in the datagram are not equal in number");
	while (!caller->leaving && (message = message_next(&datagram)))
		take_message(caller, message, descriptors, &taken);
	if (datagram.offset < datagram.length)
		break_off(caller, EBADMSG, "a message's length does not fit its datagram");
	while (taken < count)
		intake_dispose(caller, descriptors[taken++]);
}

static void receive(struct caller *caller)
{
	struct io_uring_sqe *sqe;

	caller->received_part = (struct iovec){caller->in, sizeof(caller->in)};
	caller->received = (struct msghdr){
		.msg_iov = &caller->received_part,
		.msg_iovlen = 1,
		.msg_control = &caller->received_control,
		.msg_controllen = sizeof(caller->received_control.bytes),
	};
	ring_reserve(&caller->door->worker->ring);
	sqe = io_uring_get_sqe(&caller->door->worker->ring);
	io_uring_prep_recvmsg(sqe, caller->fd, &caller->received, MSG_CMSG_CLOEXEC);
	ring_last(sqe, ring_tag(&caller->completion, OP_RECEIVED));
	caller->receiving = true;
}

/* ---- datagrams out ---- */

static void write_hello(struct caller *caller, struct datagram_writer *datagram)
{
	struct ktlsd_msg_hello *hello = message_begin(datagram, KTLSD_MSG_HELLO, sizeof(*hello), 0);

	hello->version = KTLSD_PROTOCOL_VERSION;
	hello->max_in_flight = caller->door->worker->config->settings->max_handshakes_per_caller;
	message_end(datagram);
	caller->hello_due = false;
}

/* Before the results: their connections stand still. */
static void write_rekeys(struct caller *caller, struct datagram_writer *datagram)
{
	struct rekey *rekey;

	while ((rekey = TAILQ_FIRST(&caller->rekeys))) {
		caller->keys_in_out = true;
		if (!rekey_write(rekey, datagram))
			return;
		TAILQ_REMOVE(&caller->rekeys, rekey, entry);
		caller->answer_count--;
		rekey_free(rekey);
	}
}

static bool has_descriptor_room(const struct caller *caller)
{
	return caller->sent_descriptor_count < KTLSD_DATAGRAM_DESCRIPTORS;
}

static void send_descriptor(struct caller *caller, int fd)
{
	if (fd >= 0)
		caller->sent_descriptors[caller->sent_descriptor_count++] = fd;
}

static void write_proofs(struct caller *caller, struct datagram_writer *datagram)
{
	struct challenge *challenge;
	int chain_fd;

	while ((challenge = TAILQ_FIRST(&caller->proofs)) && has_descriptor_room(caller)) {
		if (!challenge_write(challenge, datagram, &chain_fd))
			return;
		send_descriptor(caller, chain_fd);
		TAILQ_REMOVE(&caller->proofs, challenge, entry);
		caller->answer_count--;
		challenge_free(challenge);
	}
}

static void write_answers(struct caller *caller, struct datagram_writer *datagram)
{
	struct handoff *handoff;
	int chain_fd;

	while ((handoff = TAILQ_FIRST(&caller->answers)) && has_descriptor_room(caller)) {
		if (!handoff_write_result(&handoff->handshake, KTLSD_MSG_RESULT, handoff->cookie, datagram, &chain_fd))
			return;
		send_descriptor(caller, chain_fd);
		TAILQ_REMOVE(&caller->answers, handoff, entry);
		caller->answer_count--;
		intake_free(handoff);
	}
}

static void attach_descriptors(struct caller *caller)
{
	size_t bytes = sizeof(int) * caller->sent_descriptor_count;
	struct cmsghdr *control = &caller->sent_control.align;

	if (bytes == 0)
		return;
	control->cmsg_level = SOL_SOCKET;
	control->cmsg_type = SCM_RIGHTS;
	control->cmsg_len = CMSG_LEN(bytes);
	memcpy(CMSG_DATA(control), caller->sent_descriptors, bytes);
	caller->sent.msg_control = control;
	caller->sent.msg_controllen = CMSG_SPACE(bytes);
}

static void send_answers(struct caller *caller)
{
	struct datagram_writer datagram = {.data = caller->out, .size = sizeof(caller->out)};
	struct io_uring_sqe *sqe;

	if (caller->hello_due)
		write_hello(caller, &datagram);
	write_rekeys(caller, &datagram);
	write_proofs(caller, &datagram);
	write_answers(caller, &datagram);
	caller->sent_part = (struct iovec){caller->out, datagram.length};
	caller->sent = (struct msghdr){.msg_iov = &caller->sent_part, .msg_iovlen = 1};
	attach_descriptors(caller);
	ring_reserve(&caller->door->worker->ring);
	sqe = io_uring_get_sqe(&caller->door->worker->ring);
	io_uring_prep_sendmsg(sqe, caller->fd, &caller->sent, MSG_NOSIGNAL);
	ring_last(sqe, ring_tag(&caller->completion, OP_SENT));
	caller->sending = true;
}

/* ---- the caller's turns ---- */

static void part(struct caller *caller)
{
	struct challenge *challenge;
	struct handoff *handoff;
	struct rekey *rekey;

	caller->gone = true;
	if (caller->receiving || caller->sending)
		ring_cancel(&caller->door->worker->ring, caller->fd);
	intake_cancel(caller, true, 0);
	challenges_forget(caller);
	while ((handoff = TAILQ_FIRST(&caller->answers))) {
		TAILQ_REMOVE(&caller->answers, handoff, entry);
		caller->answer_count--;
		intake_free(handoff);
	}
	while ((rekey = TAILQ_FIRST(&caller->rekeys))) {
		TAILQ_REMOVE(&caller->rekeys, rekey, entry);
		caller->answer_count--;
		rekey_free(rekey);
	}
	while ((challenge = TAILQ_FIRST(&caller->proofs))) {
		TAILQ_REMOVE(&caller->proofs, challenge, entry);
		caller->answer_count--;
		challenge_free(challenge);
	}
}

static void sent(struct caller *caller)
{
	caller->sending = false;
	while (caller->sent_descriptor_count > 0)
		close(caller->sent_descriptors[--caller->sent_descriptor_count]);
	if (caller->keys_in_out)
		OPENSSL_cleanse(caller->out, sizeof(caller->out));
	caller->keys_in_out = false;
}

static void complete(struct completion *completion, unsigned int operation, int result, unsigned int flags)
{
	struct caller *caller = (struct caller *)completion;

	(void)flags;
	caller->touched = true;
	if (operation == OP_RECEIVED) {
		caller->receiving = false;
		if (result >= 0) /* an empty datagram, too, may carry descriptors */
			take_datagram(caller, result);
	} else {
		sent(caller);
	}
	if (result <= 0 && !caller->gone)
		part(caller);
}

void caller_hang_up(struct caller *caller)
{
	shutdown(caller->fd, SHUT_RDWR);
}

bool caller_idle(const struct caller *caller)
{
	return !caller->touched && caller->open_count == 0 && caller->answer_count == 0 && !caller->sending;
}

/* Who does not read its answers, or brings more challenges than there are turns for, is not read from for a while. */
static bool may_receive(const struct caller *caller)
{
	return !caller->gone && !caller->leaving && !caller->receiving && caller->answer_count < CALLER_ANSWERS_MAX &&
	       caller->challenge_count < CHALLENGES_MAX / 2;
}

bool caller_turn(struct caller *caller)
{
	if (!caller->gone && !caller->sending && (caller->answer_count > 0 || caller->hello_due))
		send_answers(caller);
	if (!caller->gone && caller->brings_hanging && disposal_refuses(caller->door->worker, caller->owner.usage)) {
		log_limited(LOG_WARNING,
			    "process %d is thrown out: user %u handed over %u descriptors whose closing hangs",
			    caller->owner.pid, caller->owner.user, caller->owner.usage->hanging);
		part(caller);
	}
	if (!caller->gone && caller->leaving && !caller->sending && caller->open_count == 0)
		part(caller);
	if (may_receive(caller))
		receive(caller);
	if (!caller->gone || caller->receiving || caller->sending || caller->open_count > 0)
		return true;
	TAILQ_REMOVE(&caller->door->callers, caller, entry);
	admission_leave_caller(caller->owner.usage);
	free_caller(caller);
	return false;
}
