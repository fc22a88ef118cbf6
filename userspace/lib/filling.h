/* SPDX-License-Identifier: MIT */
/* From a message's attributes to a struct ktlsd_result: of a handoff, or of a ready socket. Pure. */
#ifndef KTLSD_FILLING_H
#define KTLSD_FILLING_H

#include "ktlsd.h"
#include "message.h"

/* What is filled, and the room for what it points to: KTLSD_DATAGRAM_MAX bytes hold everything that a message may say. */
struct filling {
	struct ktlsd_result *result;
	struct ktlsd_peer *peer;
	char *room;
	size_t size, used;
};

/* Blank: nothing is said yet. */
void filling_begin(struct filling *filling);

/* Takes a KTLSD_MSG_RESULT or KTLSD_MSG_READY. False: it is too short. */
bool filling_take(struct filling *filling, const struct ktlsd_msg_header *header);

#endif
