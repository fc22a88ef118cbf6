/* SPDX-License-Identifier: MIT */
/*
 * The service manager: it is told how we are, it passes sockets to us, and it keeps descriptors for the next agent
 * (sd_notify(3), sd_listen_fds(3), FileDescriptorStoreMax= in systemd.service(5)). Without one, nothing of it happens.
 */
#ifndef AGENT_MANAGER_H
#define AGENT_MANAGER_H

#include <stdbool.h>

/* Once, before anything is started that would inherit descriptors. */
void manager_open(void);

void manager_notify(const char *state);

/* A descriptor that was passed to us. Who takes it sets fd to -1. */
struct passed {
	char *name;
	int fd;
};

struct passed *manager_passed(unsigned int *count);

/* Closes those that nobody took, and says so. */
void manager_close_rest(void);

/*
 * Has descriptors kept under a name, or gives up those of a name. Never waits. 0; -EAGAIN: the manager is behind, try again later;
 * or another negative errno, -ENOTCONN if there is no manager.
 */
int manager_keep(const char *name, const int *fds, unsigned int count);
int manager_forget(const char *name);

#endif
