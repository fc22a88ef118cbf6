// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/ktlsd: what may happen to a request while it is under way. It is canceled, its time is up, its program or its agent dies,
 * its socket is used otherwise; there are more than the kernel lets wait. Nothing may be left behind.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "module/fixture.h"

#define MANY 64 /* more than any machine's kernel lets wait: 3 to 50 */

/* Where a request is when something happens to it. */
enum stage {
	WAITS,	  /* for an agent to take it */
	IS_TAKEN, /* the agent has it */
	STAGES,
};

static bool gets_to(int agent, enum stage stage, struct puppet_request *seen)
{
	seen->fd = -1;
	if (!counter_becomes("in_flight", 1))
		return false;
	return stage == WAITS || puppet_accept(agent, seen, PATIENCE_MS) == 0;
}

/* Whatever the agent does with it now is nobody's concern. */
static void comes_late(int agent, enum stage stage, struct puppet_request *seen)
{
	if (stage == WAITS)
		return;
	puppet_keys(seen->fd, false, PUPPET_BOTH);
	puppet_done(agent, seen->fd, 0, 7);
	puppet_done(agent, seen->fd, EIO, 0);
	close(seen->fd);
}

/* ---- cancellation ---- */

TEST_F(module, cancel)
{
	struct puppet_request seen;

	for (enum stage stage = 0; stage < STAGES; stage++) {
		struct connection connection;
		struct request *request;

		ASSERT_EQ(0, connection_make(&connection));
		request = device_request(connection.ours);
		request->handshake.cookie = 0x8000000000000001 + stage;
		device_start(&self->device, request);
		ASSERT_TRUE(gets_to(self->agent, stage, &seen));
		EXPECT_EQ(-ENOENT, device_cancel(&self->device, 1));
		EXPECT_EQ(1, device_cancel(&self->device, request->handshake.cookie));
		EXPECT_EQ(-ECANCELED, device_wait(&self->device, request, PATIENCE_MS));
		EXPECT_EQ(-ENOENT, device_cancel(&self->device, request->handshake.cookie));
		EXPECT_TRUE(connection_is_dead(&connection));
		comes_late(self->agent, stage, &seen);
		EXPECT_EQ(-EAGAIN, puppet_accept(self->agent, &seen, 20));
		connection_close(&connection);
	}
}

/* As many as have the cookie, and none of another open file's. */
TEST_F(module, cancel_by_cookie)
{
	struct request *ours[3], *others;
	struct connection connections[4];
	struct device other;

	ASSERT_EQ(0, device_open(&other, self->device.way));
	for (size_t i = 0; i < 4; i++)
		ASSERT_EQ(0, connection_make(&connections[i]));
	for (size_t i = 0; i < 3; i++) {
		ours[i] = device_request(connections[i].ours);
		ours[i]->handshake.cookie = i == 2 ? 6 : 5;
		device_start(&self->device, ours[i]);
	}
	others = device_request(connections[3].ours);
	others->handshake.cookie = 5;
	device_start(&other, others);
	ASSERT_TRUE(counter_becomes("in_flight", 4));
	EXPECT_EQ(2, device_cancel(&self->device, 5));
	EXPECT_EQ(-ECANCELED, device_wait(&self->device, ours[0], PATIENCE_MS));
	EXPECT_EQ(-ECANCELED, device_wait(&self->device, ours[1], PATIENCE_MS));
	EXPECT_EQ(NOT_YET, device_wait(&self->device, ours[2], 50));
	EXPECT_EQ(NOT_YET, device_wait(&other, others, 50));
	EXPECT_EQ(-ENOENT, device_cancel(&self->device, 5));
	EXPECT_EQ(1, device_cancel(&other, 5));
	EXPECT_EQ(-ECANCELED, device_wait(&other, others, PATIENCE_MS));
	EXPECT_EQ(1, device_cancel(&self->device, 6));
	EXPECT_EQ(-ECANCELED, device_wait(&self->device, ours[2], PATIENCE_MS));
	device_close(&other);
}

/* Who cancels what is through hears that there is none, and nothing happens to the connection. */
TEST_F(module, cancel_too_late)
{
	struct request *request = device_request(self->connection.ours);

	request->handshake.cookie = 9;
	device_start(&self->device, request);
	ASSERT_EQ(0, answer_well(self->agent));
	ASSERT_TRUE(counter_becomes("in_flight", 0) || device_wait(&self->device, request, PATIENCE_MS) == 0);
	EXPECT_EQ(0, device_wait(&self->device, request, PATIENCE_MS));
	EXPECT_EQ(-ENOENT, device_cancel(&self->device, 9));
	ASSERT_EQ(0, puppet_keys(self->connection.peers, true, PUPPET_BOTH));
	EXPECT_TRUE(connection_carries(&self->connection));
}

/* The ring's own cancellation does not reach it, but the ring's end does. */
TEST_F(module, async_cancel)
{
	struct request *request = device_request(self->connection.ours), *cancel = device_request(-1);
	struct io_uring_sqe *sqe;

	if (!device_has_ring(&self->device))
		return;
	device_start(&self->device, request);
	ASSERT_TRUE(counter_becomes("in_flight", 1));
	sqe = io_uring_get_sqe(&self->device.ring);
	io_uring_prep_cancel(sqe, request, 0);
	cancel->result = NOT_YET;
	io_uring_sqe_set_data(sqe, cancel);
	device_submit(&self->device);
	EXPECT_GT(0, device_wait(&self->device, cancel, PATIENCE_MS));
	EXPECT_EQ(NOT_YET, device_wait(&self->device, request, 20));
	ASSERT_EQ(0, answer_well(self->agent));
	EXPECT_EQ(0, device_wait(&self->device, request, PATIENCE_MS));
}

/* ---- time ---- */

TEST_F(module, deadline)
{
	struct puppet_request seen;

	for (enum stage stage = 0; stage < STAGES; stage++) {
		int64_t began = now_ms();
		struct connection connection;
		struct request *request;

		ASSERT_EQ(0, connection_make(&connection));
		request = device_request(connection.ours);
		request->handshake.timeout_ms = 300;
		device_start(&self->device, request);
		ASSERT_TRUE(gets_to(self->agent, stage, &seen));
		EXPECT_EQ(-ETIMEDOUT, device_wait(&self->device, request, PATIENCE_MS));
		EXPECT_LE(200, now_ms() - began); /* an emulated processor's ticks come late, and then all at once */
		EXPECT_GT(2000, now_ms() - began);
		EXPECT_TRUE(connection_is_dead(&connection));
		comes_late(self->agent, stage, &seen);
		connection_close(&connection);
	}
}

/* ---- the agent dies ---- */

TEST_F(module, agent_dies)
{
	struct request *request = device_request(self->connection.ours);
	struct puppet_request seen;

	request->handshake.timeout_ms = 500;
	device_start(&self->device, request);
	ASSERT_EQ(0, puppet_accept(self->agent, &seen, PATIENCE_MS));
	close(seen.fd);
	close(self->agent);
	EXPECT_EQ(-ETIMEDOUT, device_wait(&self->device, request, PATIENCE_MS));
	EXPECT_TRUE(connection_is_dead(&self->connection));
	self->agent = puppet_open();
}

/* What the kernel keeps for the agent outlives it: its successor takes it. */
TEST_F(module, another_agent)
{
	struct request *request = device_request(self->connection.ours);

	device_start(&self->device, request);
	ASSERT_TRUE(counter_becomes("in_flight", 1));
	sleep_ms(100); /* it is in flight a moment before net/handshake has it */
	close(self->agent);
	self->agent = puppet_open();
	ASSERT_EQ(0, answer_well(self->agent));
	EXPECT_EQ(0, device_wait(&self->device, request, PATIENCE_MS));
}

/* ---- the program dies, or lets go ---- */

TEST_F(module, ring_exit)
{
	struct puppet_request seen;

	if (!device_has_ring(&self->device))
		return;
	for (enum stage stage = 0; stage < STAGES; stage++) {
		struct connection connection;
		struct device device;

		ASSERT_EQ(0, connection_make(&connection));
		ASSERT_EQ(0, device_open(&device, self->device.way));
		device_start(&device, device_request(connection.ours));
		ASSERT_TRUE(gets_to(self->agent, stage, &seen));
		device_close(&device);
		EXPECT_TRUE(counter_becomes("in_flight", 0));
		EXPECT_TRUE(connection_is_dead(&connection));
		comes_late(self->agent, stage, &seen);
		connection_close(&connection);
	}
}

/* The descriptor of the device is closed, and the ring goes on. */
TEST_F(module, device_closed)
{
	struct request *request = device_request(self->connection.ours);

	device_start(&self->device, request);
	ASSERT_TRUE(counter_becomes("in_flight", 1));
	close(self->device.fd);
	ASSERT_EQ(0, answer_well(self->agent));
	EXPECT_EQ(0, device_wait(&self->device, request, PATIENCE_MS));
	self->device.fd = -1;
}

/* A program of several handshakes, to be killed: it makes its own device, so nothing of it is in this process. */
static pid_t start_program(enum way way, const struct connection *connections, int count)
{
	pid_t child = fork();
	struct device device;

	if (child != 0)
		return child;
	if (device_open(&device, way) < 0)
		_exit(1);
	for (int i = 0; i < count; i++)
		device_start(&device, device_request(connections[i].ours));
	for (;;)
		pause();
}

TEST_F(module, killed)
{
	struct connection connections[3];
	struct puppet_request seen;
	int end;

	for (enum stage stage = 0; stage < STAGES; stage++) {
		pid_t child;

		for (int i = 0; i < 3; i++)
			ASSERT_EQ(0, connection_make(&connections[i]));
		child = start_program(self->device.way, connections, 3);
		ASSERT_TRUE(counter_becomes("in_flight", 3));
		seen.fd = -1;
		if (stage == IS_TAKEN)
			ASSERT_EQ(0, puppet_accept(self->agent, &seen, PATIENCE_MS));
		kill(child, SIGKILL);
		ASSERT_EQ(child, waitpid(child, &end, 0));
		EXPECT_TRUE(counter_becomes("in_flight", 0));
		comes_late(self->agent, stage, &seen);
		EXPECT_EQ(-EAGAIN, puppet_accept(self->agent, &seen, 20));
		for (int i = 0; i < 3; i++) {
			EXPECT_TRUE(connection_is_dead(&connections[i]));
			connection_close(&connections[i]);
		}
	}
}

/* The completion comes into a program that is being killed: its memory goes away meanwhile. */
TEST_F(module, killed_at_the_end)
{
	struct connection connection;
	struct puppet_request seen;
	int end;

	for (int i = 0; i < 20; i++) {
		pid_t child;

		ASSERT_EQ(0, connection_make(&connection));
		child = start_program(self->device.way, &connection, 1);
		ASSERT_EQ(0, puppet_accept(self->agent, &seen, PATIENCE_MS));
		ASSERT_EQ(0, puppet_keys(seen.fd, false, PUPPET_BOTH));
		if (i % 2)
			kill(child, SIGKILL);
		puppet_done(self->agent, seen.fd, 0, 0);
		kill(child, SIGKILL);
		ASSERT_EQ(child, waitpid(child, &end, 0));
		close(seen.fd);
		connection_close(&connection);
	}
	EXPECT_TRUE(counter_becomes("in_flight", 0));
}

/* ---- more than the kernel lets wait ---- */

struct crowd {
	struct connection connections[MANY];
	struct request *requests[MANY];
	char names[MANY][16];
};

static bool make_crowd(struct crowd *crowd, struct device *device, int count)
{
	for (int i = 0; i < count; i++) {
		struct request *request;

		if (connection_make(&crowd->connections[i]) < 0)
			return false;
		request = crowd->requests[i] = device_request(crowd->connections[i].ours);
		snprintf(crowd->names[i], sizeof(crowd->names[i]), "n%d.example", i);
		request->handshake.role = KTLSD_HANDSHAKE_CLIENT;
		request->handshake.peer_name = (uintptr_t)crowd->names[i];
		request->handshake.peer_name_length = strlen(crowd->names[i]);
		request->handshake.cookie = i;
		device_start(device, request);
	}
	return counter_becomes("in_flight", count);
}

TEST_F(module, many)
{
	static struct crowd crowd;
	struct puppet_request seen;

	ASSERT_TRUE(make_crowd(&crowd, &self->device, MANY));
	for (int i = 0; i < MANY; i++) {
		ASSERT_EQ(0, answer(self->agent, &seen, 0, PUPPET_BOTH, 0));
		if (self->device.way == BY_RING ||
		    self->device.way == BY_DEFERRED_RING) /* else threads have begun them */
			EXPECT_STREQ(crowd.names[i], seen.name);
	}
	for (int i = 0; i < MANY; i++)
		EXPECT_EQ(0, device_wait(&self->device, crowd.requests[i], PATIENCE_MS));
	EXPECT_EQ(-EAGAIN, puppet_accept(self->agent, &seen, 20));
}

/* Deadline and cancellation reach those that wait behind the kernel's limit, and the others move up. */
TEST_F(module, many_give_up)
{
	static struct crowd crowd;
	struct puppet_request seen;
	int done = 0;

	ASSERT_TRUE(make_crowd(&crowd, &self->device, MANY - 1));
	ASSERT_EQ(0, connection_make(&crowd.connections[MANY - 1]));
	crowd.requests[MANY - 1] = device_request(crowd.connections[MANY - 1].ours);
	crowd.requests[MANY - 1]->handshake.timeout_ms = 200;
	device_start(&self->device, crowd.requests[MANY - 1]);
	EXPECT_EQ(-ETIMEDOUT, device_wait(&self->device, crowd.requests[MANY - 1], PATIENCE_MS));
	EXPECT_TRUE(connection_is_dead(&crowd.connections[MANY - 1]));
	for (int i = 1; i < MANY - 1; i += 2) {
		EXPECT_EQ(1, device_cancel(&self->device, i));
		EXPECT_EQ(-ECANCELED, device_wait(&self->device, crowd.requests[i], PATIENCE_MS));
		EXPECT_TRUE(connection_is_dead(&crowd.connections[i]));
	}
	while (answer(self->agent, &seen, 0, PUPPET_BOTH, 0) == 0)
		if (++done == MANY / 2)
			break;
	EXPECT_EQ(MANY / 2, done);
	for (int i = 0; i < MANY - 1; i += 2)
		EXPECT_EQ(0, device_wait(&self->device, crowd.requests[i], PATIENCE_MS));
}

/* The ring of a crowd that waits ends. */
TEST_F(module, many_ring_exit)
{
	static struct crowd crowd;
	struct puppet_request seen;
	struct device device;

	if (!device_has_ring(&self->device))
		return;
	ASSERT_EQ(0, device_open(&device, self->device.way));
	ASSERT_TRUE(make_crowd(&crowd, &device, MANY));
	device_close(&device);
	EXPECT_TRUE(counter_becomes("in_flight", 0));
	EXPECT_EQ(-EAGAIN, puppet_accept(self->agent, &seen, 20));
}

/* ---- network namespaces ---- */

/* The socket's namespace counts, not the program's; and an agent that does nothing holds up nobody elsewhere. */
TEST_F(module, another_network)
{
	static struct crowd crowd;
	struct request *here, *there;
	struct connection connection;
	struct puppet_request seen;
	int agent;

	ASSERT_TRUE(make_crowd(&crowd, &self->device, MANY - 2)); /* wait for the first network's */
	there = device_request(self->connection.ours);
	ASSERT_EQ(0, network_make());
	agent = puppet_open();
	ASSERT_LE(0, agent);
	ASSERT_EQ(0, connection_make(&connection));
	here = device_request(connection.ours);
	device_start(&self->device, here);
	ASSERT_EQ(0, answer_well(agent));
	EXPECT_EQ(0, device_wait(&self->device, here, PATIENCE_MS));

	device_start(&self->device, there);
	EXPECT_EQ(-EAGAIN, puppet_accept(agent, &seen, 100));
	for (int i = 0; i < MANY - 1; i++)
		ASSERT_EQ(0, answer_well(self->agent));
	EXPECT_EQ(0, device_wait(&self->device, there, PATIENCE_MS));
	for (int i = 0; i < MANY - 2; i++)
		EXPECT_EQ(0, device_wait(&self->device, crowd.requests[i], PATIENCE_MS));
	close(agent);
	connection_close(&connection);
}

/* Its program is gone before the agent is asked, and so is everybody else of it. */
TEST_F(module, network_ends)
{
	struct connection connection;
	struct puppet_request seen;
	pid_t child = fork();
	int end;

	if (child == 0) {
		struct device device;

		if (network_make() < 0 || puppet_open() < 0 || connection_make(&connection) < 0 ||
		    device_open(&device, self->device.way) < 0)
			_exit(1);
		for (int i = 0; i < 2; i++)
			device_start(&device, device_request(i ? connection.ours : connection.peers));
		_exit(counter_becomes("in_flight", 2) ? 0 : 2);
	}
	ASSERT_EQ(child, waitpid(child, &end, 0));
	EXPECT_EQ(0, end);
	EXPECT_TRUE(counter_becomes("in_flight", 0));
	EXPECT_EQ(-EAGAIN, puppet_accept(self->agent, &seen, 0));
}

/* ---- its socket ---- */

TEST_F(module, socket_closed)
{
	struct request *request = device_request(self->connection.ours);
	struct puppet_request seen;
	char byte;

	device_start(&self->device, request);
	ASSERT_TRUE(counter_becomes("in_flight", 1));
	close(self->connection.ours);
	ASSERT_EQ(0, puppet_accept(self->agent, &seen, PATIENCE_MS));
	ASSERT_EQ(0, puppet_keys(seen.fd, false, PUPPET_BOTH));
	ASSERT_EQ(0, puppet_done(self->agent, seen.fd, 0, 0));
	EXPECT_EQ(0, device_wait(&self->device, request, PATIENCE_MS));
	close(seen.fd);
	/* nobody holds it any more */
	EXPECT_EQ(0, recv(self->connection.peers, &byte, 1, 0));
	self->connection.ours = -1;
}

TEST_F(module, peer_gone)
{
	struct request *request = device_request(self->connection.ours);
	struct puppet_request seen;

	device_start(&self->device, request);
	ASSERT_TRUE(counter_becomes("in_flight", 1));
	close(self->connection.peers);
	sleep_ms(20);
	ASSERT_EQ(0, puppet_accept(self->agent, &seen, PATIENCE_MS));
	EXPECT_EQ(-ENOTCONN, puppet_keys(seen.fd, false, PUPPET_BOTH));
	ASSERT_EQ(0, puppet_done(self->agent, seen.fd, ECONNABORTED, 0));
	EXPECT_EQ(-ECONNABORTED, device_wait(&self->device, request, PATIENCE_MS));
	close(seen.fd);
	self->connection.peers = -1;
}

static void shut_down(struct connection *connection)
{
	shutdown(connection->ours, SHUT_RDWR);
}

static void disconnect(struct connection *connection)
{
	struct sockaddr address = {.sa_family = AF_UNSPEC};

	connect(connection->ours, &address, sizeof(address));
}

static void reset(struct connection *connection)
{
	struct linger linger = {.l_onoff = 1};

	setsockopt(connection->peers, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(connection->peers);
	connection->peers = -1;
	sleep_ms(20);
}

static void make_listener(struct connection *connection)
{
	disconnect(connection);
	listen(connection->ours, 1);
}

static void set_keys(struct connection *connection)
{
	puppet_keys(connection->ours, false, PUPPET_BOTH);
}

/* Another thread of the program does that to its socket meanwhile. What the handshake makes of it is one thing; that it ends is ours. */
TEST_F(module, socket_used)
{
	static void (*const uses[])(struct connection * connection) = {shut_down, disconnect, reset, make_listener,
								       set_keys};
	struct puppet_request seen;

	for (size_t i = 0; i < ARRAY_SIZE(uses) * 3; i++) {
		struct connection connection;
		struct request *request;
		int end = i / ARRAY_SIZE(uses), result;

		ASSERT_EQ(0, connection_make(&connection));
		request = device_request(connection.ours);
		request->handshake.cookie = 1;
		device_start(&self->device, request);
		ASSERT_EQ(0, puppet_accept(self->agent, &seen, PATIENCE_MS));
		uses[i % ARRAY_SIZE(uses)](&connection);
		if (end == 1)
			EXPECT_EQ(1, device_cancel(&self->device, 1));
		puppet_done(self->agent, seen.fd, end == 2 ? EPROTO : 0, 0);
		result = device_wait(&self->device, request, PATIENCE_MS);
		EXPECT_NE(NOT_YET, result);
		if (end != 0 || uses[i % ARRAY_SIZE(uses)] != set_keys) /* who sets keys has set keys */
			EXPECT_GT(0, result);
		close(seen.fd);
		connection_close(&connection);
	}
}

static void *receive(void *argument)
{
	char byte = 0;

	recv(*(int *)argument, &byte, 1, 0);
	return NULL;
}

TEST_F(module, received_from_meanwhile)
{
	struct request *request = device_request(self->connection.ours);
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, receive, &self->connection.ours));
	sleep_ms(20);
	device_start(&self->device, request);
	ASSERT_EQ(0, answer_well(self->agent));
	EXPECT_EQ(0, device_wait(&self->device, request, PATIENCE_MS));
	close(self->connection.peers);
	self->connection.peers = -1;
	ASSERT_EQ(0, pthread_join(thread, NULL));
}

/* ---- the module itself ---- */

TEST_F(module, unload)
{
	struct request *request = device_request(self->connection.ours);

	EXPECT_GT(0, syscall(SYS_delete_module, "ktlsd", O_NONBLOCK)); /* the device is open */
	device_start(&self->device, request);
	ASSERT_TRUE(counter_becomes("in_flight", 1));
	EXPECT_GT(0, syscall(SYS_delete_module, "ktlsd", O_NONBLOCK));
	ASSERT_EQ(0, answer_well(self->agent));
	EXPECT_EQ(0, device_wait(&self->device, request, PATIENCE_MS));
}

TEST_HARNESS_MAIN
