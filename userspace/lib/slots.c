/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "slots.h"

void slots_init(struct slots *slots)
{
	*slots = (struct slots){.free = NO_SLOT, .ended_first = NO_SLOT, .ended_last = NO_SLOT};
}

void slots_destroy(struct slots *slots)
{
	free(slots->slot);
	slots_init(slots);
}

static bool grow(struct slots *slots)
{
	uint32_t count = slots->count ? slots->count * 2 : 64;
	struct slot *slot = reallocarray(slots->slot, count, sizeof(*slot));

	if (!slot)
		return false;
	slots->slot = slot;
	for (uint32_t i = slots->count; i < count; i++) {
		slot[i] = (struct slot){.state = SLOT_FREE, .next = slots->free};
		slots->free = i;
	}
	slots->count = count;
	return true;
}

bool slots_reserve(struct slots *slots, uint32_t wanted)
{
	uint32_t next = slots->free;

	for (uint32_t found = 0; found < wanted; found++) {
		if (next == NO_SLOT)
			return grow(slots);
		next = slots->slot[next].next;
	}
	return true;
}

uint32_t slot_take(struct slots *slots, uint64_t cookie, uint8_t role, int fd)
{
	uint32_t number = slots->free;
	struct slot *slot = &slots->slot[number];

	slots->free = slot->next;
	*slot = (struct slot){.cookie = cookie, .role = role, .fd = fd, .state = SLOT_OPEN, .next = NO_SLOT};
	slots->open++;
	return number;
}

void slot_release(struct slots *slots, uint32_t number)
{
	struct slot *slot = &slots->slot[number];

	if (slot->state == SLOT_OPEN)
		slots->open--;
	slot->state = SLOT_FREE;
	slot->next = slots->free;
	slots->free = number;
}

bool slot_is_open(const struct slots *slots, uint64_t number)
{
	return number < slots->count && slots->slot[number].state == SLOT_OPEN;
}

void slot_end(struct slots *slots, uint32_t number, int error, bool refused)
{
	struct slot *slot = &slots->slot[number];

	slots->open--;
	slot->state = SLOT_ENDED;
	slot->error = error;
	slot->refused = refused;
	slot->next = NO_SLOT;
	if (slots->ended_first == NO_SLOT)
		slots->ended_first = number;
	else
		slots->slot[slots->ended_last].next = number;
	slots->ended_last = number;
}

uint32_t slots_next_ended(struct slots *slots)
{
	uint32_t number = slots->ended_first;

	if (number != NO_SLOT)
		slots->ended_first = slots->slot[number].next;
	return number;
}
