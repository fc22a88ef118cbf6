/* SPDX-License-Identifier: GPL-2.0 */
/* What tests of the device begin with: a network of their own with a puppet for an agent, the device, a connection. */
#ifndef MODULE_FIXTURE_H
#define MODULE_FIXTURE_H

#include <errno.h>
#include <linux/handshake.h>
#include <linux/tls.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kselftest_harness.h"

#include "device.h"
#include "puppet.h"

FIXTURE(module)
{
	struct device device;
	int agent;
	struct connection connection;
};

FIXTURE_VARIANT(module)
{
	enum way way;
};

/* clang-format off */
FIXTURE_VARIANT_ADD(module, ioctl) { .way = BY_IOCTL };
FIXTURE_VARIANT_ADD(module, compat_ioctl) { .way = BY_COMPAT_IOCTL };
FIXTURE_VARIANT_ADD(module, ring) { .way = BY_RING };
FIXTURE_VARIANT_ADD(module, deferred_ring) { .way = BY_DEFERRED_RING };
FIXTURE_VARIANT_ADD(module, async) { .way = BY_ASYNC };
FIXTURE_VARIANT_ADD(module, fixed_file) { .way = BY_FIXED_FILE };
/* clang-format on */

FIXTURE_SETUP(module)
{
	int err;

	if (access(DEVICE, F_OK) < 0)
		SKIP(return, "no " DEVICE ": load the module");
	ASSERT_EQ(0, network_make());
	self->agent = puppet_open();
	ASSERT_LE(0, self->agent);
	err = device_open(&self->device, variant->way);
	if (err == -EOPNOTSUPP)
		SKIP(return, "not on this machine");
	ASSERT_EQ(0, err);
	ASSERT_EQ(0, connection_make(&self->connection));
}

FIXTURE_TEARDOWN(module)
{
	device_close(&self->device);
	connection_close(&self->connection);
	close(self->agent);
	EXPECT_TRUE(counter_becomes("in_flight", 0));
}

/* The agent takes the next request, sets keys, and says how it ended. */
static inline int answer(int agent, struct puppet_request *seen, int status, enum puppet_directions keys, uint32_t id)
{
	int err = puppet_accept(agent, seen, PATIENCE_MS);

	if (err == 0 && keys)
		err = puppet_keys(seen->fd, seen->type == HANDSHAKE_MSG_TYPE_CLIENTHELLO, keys);
	if (err == 0)
		err = puppet_done(agent, seen->fd, status, id);
	close(seen->fd);
	return err;
}

static inline int answer_well(int agent)
{
	struct puppet_request seen;

	return answer(agent, &seen, 0, PUPPET_BOTH, 0);
}

#endif
