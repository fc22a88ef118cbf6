/* SPDX-License-Identifier: MIT */
/* For tests that have a ready socket and are not about streams. */
#ifndef TESTS_RECEIVE_H
#define TESTS_RECEIVE_H

#include "ktlsd.h"

static inline ssize_t receive_once(int fd, void *data, size_t size, int flags)
{
	struct ktlsd_stream *stream;
	ssize_t n = ktlsd_stream_new(&stream, fd, NULL, NULL);

	if (n < 0)
		return n;
	n = ktlsd_stream_recv(stream, data, size, flags);
	ktlsd_stream_free(stream);
	return n;
}

#endif
