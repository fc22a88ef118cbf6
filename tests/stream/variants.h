/* SPDX-License-Identifier: GPL-2.0 */
/* The fixture of the stream tests: how a connection is to be made. stream.sh has a service for each suite. */
#ifndef STREAM_VARIANTS_H
#define STREAM_VARIANTS_H

#include "connection.h"
#include "kselftest_harness.h"

FIXTURE(stream)
{
	struct setup setup;
	struct connection connection;
	bool open;
};

FIXTURE_VARIANT(stream)
{
	struct setup setup;
	uint16_t version;
	const char *cipher;
	uint64_t key_records;
};

/* RFC 8446 §5.5; RFC 9147 §4.5.3 */
#define AES_GCM_RECORDS 23726566
#define AES_CCM_RECORDS 8388608

#define STREAM(suite, number, words, limit, role_name, way_name)                                                       \
	FIXTURE_VARIANT_ADD(stream, suite##_##role_name##_##way_name)                                                  \
	{                                                                                                              \
		.setup = {.service = #suite, .role = KTLSD_##role_name, .way = way_name}, .version = number,           \
		.cipher = words, .key_records = limit,                                                                 \
	}
#define IN_FOUR_WAYS(...)                                                                                              \
	STREAM(__VA_ARGS__, BLOCKING);                                                                                 \
	STREAM(__VA_ARGS__, POLLING);                                                                                  \
	STREAM(__VA_ARGS__, RING);                                                                                     \
	STREAM(__VA_ARGS__, MULTISHOT_SMALL)
#define IN_ALL_WAYS(...)                                                                                               \
	IN_FOUR_WAYS(__VA_ARGS__);                                                                                     \
	STREAM(__VA_ARGS__, BLOCKING_WITH_AGENT);                                                                      \
	STREAM(__VA_ARGS__, POLLING_ALONE);                                                                            \
	STREAM(__VA_ARGS__, EDGES);                                                                                    \
	STREAM(__VA_ARGS__, RING_NONBLOCKING);                                                                         \
	STREAM(__VA_ARGS__, MULTISHOT)
#define IN_TWO_WAYS(...)                                                                                               \
	STREAM(__VA_ARGS__, POLLING);                                                                                  \
	STREAM(__VA_ARGS__, MULTISHOT_SMALL)
#define AS_BOTH(ways, ...)                                                                                             \
	ways(__VA_ARGS__, SERVER);                                                                                     \
	ways(__VA_ARGS__, CLIENT)

FIXTURE_SETUP(stream)
{
	memset(self, 0, sizeof(*self));
	self->setup = variant->setup;
}

FIXTURE_TEARDOWN(stream)
{
	if (self->open)
		connection_close(&self->connection);
}

static inline bool open_connection(FIXTURE_DATA(stream) * self)
{
	if (self->open)
		connection_close(&self->connection);
	self->open = true;
	return connection_open(&self->connection, &self->setup);
}

#endif
