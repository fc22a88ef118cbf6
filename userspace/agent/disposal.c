/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "disposal.h"
#include "intake.h"

struct disposal {
	struct completion completion;
	struct user *user;
};

static void closed(struct completion *completion, unsigned int operation, int result, unsigned int flags)
{
	struct disposal *disposal = (struct disposal *)completion;

	(void)operation, (void)result, (void)flags;
	atomic_fetch_sub(&disposal->user->hanging, 1);
	free(disposal);
}

void dispose(struct worker *worker, struct user *user, int fd, bool at_once)
{
	struct disposal *disposal;

	if (at_once) {
		ring_close(&worker->ring, fd, true, 0);
		return;
	}
	disposal = intake_zeroed(sizeof(*disposal));
	disposal->completion.complete = closed;
	disposal->user = user;
	if (atomic_fetch_add(&user->hanging, 1) == USER_HANGING_MAX)
		user->hanging_since = worker->now;
	ring_close(&worker->ring, fd, false, ring_tag(&disposal->completion, 0));
}

void dispose_accepted(struct worker *worker, int fd)
{
	static const struct linger none;

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	ring_close(&worker->ring, fd, true, 0);
}

const char *disposal_refuses(const struct worker *worker, const struct user *user)
{
	if (user->hanging <= USER_HANGING_MAX || worker->now - user->hanging_since < USER_HANGING_MS)
		return NULL;
	return "busy: the user has handed over too many descriptors whose closing hangs";
}
