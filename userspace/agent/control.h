/* SPDX-License-Identifier: MIT */
/* The control socket that ktlsctl speaks to: one line in, one JSON object out (docs/protocol.md). */
#ifndef AGENT_CONTROL_H
#define AGENT_CONTROL_H

#include <sys/types.h>

#include "complaint.h"
#include "config.h"
#include "refresh.h"

struct agent { /* what the main thread keeps */
	struct config *config;
	struct config *retired; /* older ones that handshakes still hold, linked by older */
	struct refresh refresh;
	time_t started;
	bool (*reload)(struct agent *agent, struct complaints *complaints);
};

/* -1 with a logged reason. */
int control_open(const struct settings *settings);

void control_close(int listener);

/* Answers one client; bounded in time. */
void control_serve(int listener, struct agent *agent);

#endif
