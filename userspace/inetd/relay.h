/* SPDX-License-Identifier: MIT */
#ifndef INETD_RELAY_H
#define INETD_RELAY_H

#include "ktlsd.h"

/* Between a connection and a command's socket, both ways, until both have ended. 0, or a negative errno of the connection's. */
int relay(struct ktlsd_stream *stream, int connection, int command);

#endif
