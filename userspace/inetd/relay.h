/* SPDX-License-Identifier: MIT */
#ifndef INETD_RELAY_H
#define INETD_RELAY_H

#include "ktlsd.h"

/*
 * Between a connection and a command's socket, both ways, until both have ended. 0, or a negative errno of the connection's; -ETIME:
 * for idle_ms (0: for ever) nothing went either way, and it was cut off.
 */
int relay(struct ktlsd_stream *stream, int connection, int command, int idle_ms);

/* For a connection that is not served to its end: its peer shall not take that for an orderly one. */
void relay_refuse(int connection);

#endif
