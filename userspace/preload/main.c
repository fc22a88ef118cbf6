/* SPDX-License-Identifier: MIT */
/* The preload library's own beginning and end, and the one function that it offers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "inherit.h"
#include "process.h"
#include "real.h"
#include "say.h"
#include "settings.h"
#include "table.h"

__attribute__((constructor)) static void begin(void)
{
	real_find();
	say_begin();
	settings_read();
	process_begin();
	at_quick_exit(process_end); /* the last one, as it is the first */
	inherit_begin();
}

__attribute__((destructor)) static void finish(void)
{
	process_exit();
}

/* See ktls-run(1). */
__attribute__((visibility("default"))) ssize_t ktls_run_peer(int fd, char *text, size_t size);

ssize_t ktls_run_peer(int fd, char *text, size_t size)
{
	struct held *held = held_of_kind(fd, HELD_ACCEPTED);
	const char *peer = held ? held->accepted.peer : NULL;
	ssize_t length = -1;

	if (peer) {
		length = strlen(peer);
		if (size > 0) {
			strncpy(text, peer, size - 1);
			text[size - 1] = '\0';
		}
	}
	if (held)
		held_put(held);
	if (length < 0)
		errno = ENOTCONN;
	return length;
}
