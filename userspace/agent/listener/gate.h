/* SPDX-License-Identifier: MIT */
/* Where an outlet's receivers come in: a UNIX socket that they connect to, if they may have the service. */
#ifndef AGENT_LISTENER_GATE_H
#define AGENT_LISTENER_GATE_H

#include "../ring.h"

struct outlet;

struct gate {
	struct completion completion;
	struct outlet *outlet;
	int fd;
	bool accepting, stopped;
};

struct gate *gate_new(struct outlet *outlet, int fd);

/* Receivers that may not have the service any more are told, and let go. */
void gate_recheck(struct gate *gate);

void gate_arm(struct gate *gate);
void gate_stop(struct gate *gate);
void gate_close(struct gate *gate);

#endif
