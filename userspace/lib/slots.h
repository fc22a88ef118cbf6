/* SPDX-License-Identifier: MIT */
/*
 * Handoffs that the agent has, one slot each. A slot's number is the cookie on the wire, so an answer finds its slot at
 * once and callers may use the same cookie twice. Nothing here fails once a slot is taken: a handoff that ends without
 * an answer moves to the list of the ended, which runs through the slots themselves.
 */
#ifndef KTLSD_SLOTS_H
#define KTLSD_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum slot_state {
	SLOT_FREE,
	SLOT_OPEN,  /* with the agent */
	SLOT_ENDED, /* the library reports its end, not the agent */
};

struct slot {
	uint64_t cookie; /* the caller's */
	uint32_t next;	 /* free or ended one */
	uint8_t state;	 /* enum slot_state */
	uint8_t role;	 /* enum ktlsd_role */
	int fd;		 /* that was handed over */
	bool refused;	 /* ended: the agent never had the socket */
	int error;	 /* ended: a positive errno */
};

#define NO_SLOT UINT32_MAX

struct slots {
	struct slot *slot;
	uint32_t count;
	uint32_t free; /* first of its list */
	uint32_t ended_first, ended_last;
	uint32_t open; /* how many */
};

void slots_init(struct slots *slots);
void slots_destroy(struct slots *slots);

/* Makes room so that the next wanted calls of slot_take() succeed. False: no memory. */
bool slots_reserve(struct slots *slots, uint32_t wanted);

uint32_t slot_take(struct slots *slots, uint64_t cookie, uint8_t role, int fd);
void slot_release(struct slots *slots, uint32_t number);
bool slot_is_open(const struct slots *slots, uint64_t number);

/* Ends an open one without an answer of the agent. */
void slot_end(struct slots *slots, uint32_t number, int error, bool refused);

/* The first of the ended, for slot_release(); NO_SLOT if there is none. */
uint32_t slots_next_ended(struct slots *slots);

#endif
