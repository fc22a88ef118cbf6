/* SPDX-License-Identifier: MIT */
/*
 * OpenSSL's random numbers, from the kernel. Its own generator asks the clock and the process number each time it is asked
 * (against forks, and for when to take new entropy): about twenty system calls a handshake where the C library can't answer
 * those by itself. The kernel's generator needs neither, and is asked for many handshakes' worth at a time.
 */
#ifndef AGENT_RANDOM_H
#define AGENT_RANDOM_H

#include <stdbool.h>

/* Once per process, before OpenSSL is used. What a thread has in store is wiped as it is used; the process must not fork. */
bool random_init(void);

#endif
