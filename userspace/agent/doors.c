/* SPDX-License-Identifier: MIT */
#include <stddef.h>

#include "doors.h"

const struct door *const doors[] = {
	&door_unix,
	&door_netlink,
	&door_listener,
	NULL,
};
