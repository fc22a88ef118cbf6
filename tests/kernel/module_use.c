// SPDX-License-Identifier: GPL-2.0
/* /dev/ktlsd: chains of linked operations, and keys that a program may use, or may not. */
#include <arpa/inet.h>
#include <linux/keyctl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "module/fixture.h"

/* ---- chains ---- */

/* What a handshake behind something else in its chain needs on this kernel. */
static unsigned int behind(const struct device *device)
{
	return device_features(device->fd) & KTLSD_FEATURE_LINKED ? 0 : IOSQE_ASYNC;
}

static struct io_uring_sqe *next(struct device *device, struct request *request)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&device->ring);

	request->result = NOT_YET;
	io_uring_sqe_set_data(sqe, request);
	return sqe;
}

TEST_F(module, connect_handshake_send)
{
	struct request *connected = device_request(-1), *request, *sent = device_request(-1);
	struct device *device = &self->device;
	struct sockaddr_in address;
	struct puppet_request seen;
	struct io_uring_sqe *sqe;
	int listener = listener_make(&address), client = socket(AF_INET, SOCK_STREAM, 0), server;
	char byte = 0;

	if (!device_has_ring(device))
		return;
	request = device_request(client);
	request->handshake.role = KTLSD_HANDSHAKE_CLIENT;
	sqe = next(device, connected);
	io_uring_prep_connect(sqe, client, (struct sockaddr *)&address, sizeof(address));
	io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK);
	device_prepare(device, request, IOSQE_IO_LINK | behind(device));
	sqe = next(device, sent);
	io_uring_prep_send(sqe, client, "x", 1, MSG_NOSIGNAL);
	device_submit(device);
	server = accept(listener, NULL, NULL);
	EXPECT_EQ(NOT_YET, device_wait(device, request, 50)); /* some rings go on only while they are waited for */
	ASSERT_EQ(0, answer(self->agent, &seen, 0, PUPPET_BOTH, 0));
	EXPECT_EQ(0, device_wait(device, connected, PATIENCE_MS));
	EXPECT_EQ(0, device_wait(device, request, PATIENCE_MS));
	EXPECT_EQ(1, device_wait(device, sent, PATIENCE_MS));
	ASSERT_EQ(0, puppet_keys(server, false, PUPPET_BOTH));
	EXPECT_EQ(1, recv(server, &byte, 1, 0)); /* it was encrypted */
	EXPECT_EQ('x', byte);
	close(listener);
	close(client);
	close(server);
}

TEST_F(module, connect_fails)
{
	struct request *connected = device_request(-1), *request;
	struct device *device = &self->device;
	struct sockaddr_in address;
	struct puppet_request seen;
	struct io_uring_sqe *sqe;
	int client = socket(AF_INET, SOCK_STREAM, 0);

	if (!device_has_ring(device))
		return;
	close(listener_make(&address)); /* nobody listens there now */
	request = device_request(client);
	sqe = next(device, connected);
	io_uring_prep_connect(sqe, client, (struct sockaddr *)&address, sizeof(address));
	io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK);
	device_prepare(device, request, behind(device));
	device_submit(device);
	EXPECT_EQ(-ECONNREFUSED, device_wait(device, connected, PATIENCE_MS));
	EXPECT_EQ(-ECANCELED, device_wait(device, request, PATIENCE_MS));
	EXPECT_EQ(-EAGAIN, puppet_accept(self->agent, &seen, 0));
	close(client);
}

TEST_F(module, handshake_recv)
{
	struct request *request = device_request(self->connection.ours), *received = device_request(-1);
	struct device *device = &self->device;
	char byte = 0;

	if (!device_has_ring(device))
		return;
	device_prepare(device, request, IOSQE_IO_LINK);
	io_uring_prep_recv(next(device, received), self->connection.ours, &byte, 1, 0);
	device_submit(device);
	ASSERT_EQ(0, answer_well(self->agent));
	EXPECT_EQ(0, device_wait(device, request, PATIENCE_MS));
	EXPECT_EQ(NOT_YET, device_wait(device, received, 20));
	ASSERT_EQ(0, puppet_keys(self->connection.peers, true, PUPPET_BOTH));
	ASSERT_EQ(1, send(self->connection.peers, "y", 1, 0));
	EXPECT_EQ(1, device_wait(device, received, PATIENCE_MS));
	EXPECT_EQ('y', byte);
}

/* Not a byte of what stands behind a handshake that failed. */
TEST_F(module, handshake_fails)
{
	struct request *request = device_request(self->connection.ours), *sent = device_request(-1);
	struct device *device = &self->device;
	struct puppet_request seen;

	if (!device_has_ring(device))
		return;
	device_prepare(device, request, IOSQE_IO_LINK);
	io_uring_prep_send(next(device, sent), self->connection.ours, "plain", 5, MSG_NOSIGNAL);
	device_submit(device);
	ASSERT_EQ(0, answer(self->agent, &seen, EACCES, 0, 0));
	EXPECT_EQ(-EACCES, device_wait(device, request, PATIENCE_MS));
	EXPECT_EQ(-ECANCELED, device_wait(device, sent, PATIENCE_MS));
	EXPECT_TRUE(connection_is_dead(&self->connection));
}

/*
 * A chain waits at its first member while every slot of the submission queue is used for something else. What was
 * asked for is then done, or, where the kernel has kept no copy, refused: never what the slot says by then.
 */
TEST_F(module, slot_overwritten)
{
	struct request *waited = device_request(-1), *request = device_request(self->connection.ours), *other;
	bool kept = behind(&self->device) == 0 || self->device.way == BY_ASYNC;
	struct device *device = &self->device;
	struct connection connection;
	struct puppet_request seen;
	struct io_uring_sqe *sqe;
	int fds[2], result;
	char byte;

	if (!device_has_ring(device))
		return;
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, connection_make(&connection));
	other = device_request(connection.ours);
	sqe = next(device, waited);
	io_uring_prep_read(sqe, fds[0], &byte, 1, 0);
	io_uring_sqe_set_flags(sqe, IOSQE_IO_LINK);
	device_prepare(device, request, 0);
	device_submit(device);
	/* the same command in every slot, for another socket; the agent is not there for it */
	close(self->agent);
	for (unsigned int i = 0; i < *device->ring.sq.kring_entries; i++)
		device_prepare(device, other, 0);
	device_submit(device);
	ASSERT_EQ(-ESRCH, device_wait(device, other, PATIENCE_MS));
	sleep_ms(20);
	self->agent = puppet_open();
	ASSERT_EQ(1, write(fds[1], "", 1));
	if (kept) {
		EXPECT_EQ(NOT_YET, device_wait(device, request, 50));
		ASSERT_EQ(0, answer_well(self->agent));
	}
	result = device_wait(device, request, PATIENCE_MS);
	EXPECT_EQ(kept ? 0 : -ESTALE, result);
	EXPECT_EQ(-EAGAIN, puppet_accept(self->agent, &seen, 20));
	if (!kept)
		EXPECT_TRUE(connection_carries(&self->connection));
	EXPECT_TRUE(connection_carries(&connection));
	close(fds[0]);
	close(fds[1]);
	connection_close(&connection);
}

/* A socket that is only in the ring's table is none for the kernel's handshakes. */
TEST_F(module, direct_descriptor)
{
	struct request *request = device_request(0);
	struct device *device = &self->device;

	if (!device_has_ring(device))
		return;
	if (device->way == BY_FIXED_FILE) /* has its table already, with the device in it */
		return;
	ASSERT_EQ(0, io_uring_register_files(&device->ring, &self->connection.ours, 1));
	request->handshake.fd = 1000;
	EXPECT_EQ(-EBADF, device_handshake(device, request));
}

/* ---- keys ---- */

static int32_t add_key(const char *description, int32_t keyring)
{
	return syscall(SYS_add_key, "user", description, "secret", 6, keyring);
}

static long keyctl(int operation, unsigned long a, unsigned long b, unsigned long c)
{
	return syscall(SYS_keyctl, operation, a, b, c, 0);
}

static void use_psk(struct request *request, int32_t key)
{
	request->handshake.auth = KTLSD_HANDSHAKE_PSK;
	request->handshake.peer_id_count = 1;
	request->handshake.peer_ids[0] = key;
}

TEST_F(module, pre_shared_keys)
{
	struct request *request = device_request(self->connection.ours);
	struct puppet_request seen;
	int32_t keys[KTLSD_HANDSHAKE_PEER_IDS_MAX];
	static const char *const names[] = {"a", "b", "c", "d", "e"};

	ASSERT_LT(0, keyctl(KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0));
	request->handshake.role = KTLSD_HANDSHAKE_CLIENT;
	request->handshake.auth = KTLSD_HANDSHAKE_PSK;
	request->handshake.peer_id_count = KTLSD_HANDSHAKE_PEER_IDS_MAX;
	for (int i = 0; i < KTLSD_HANDSHAKE_PEER_IDS_MAX; i++) {
		keys[i] = add_key(names[i], KEY_SPEC_SESSION_KEYRING);
		ASSERT_LT(0, keys[i]);
		request->handshake.peer_ids[i] = keys[i];
	}
	device_start(&self->device, request);
	ASSERT_EQ(0, answer(self->agent, &seen, 0, PUPPET_BOTH, keys[1]));
	EXPECT_EQ(0, device_wait(&self->device, request, PATIENCE_MS));
	EXPECT_EQ(HANDSHAKE_AUTH_PSK, seen.auth);
	EXPECT_EQ(keys[1], request->handshake.peer_id);
	ASSERT_EQ(KTLSD_HANDSHAKE_PEER_IDS_MAX, seen.id_count);
	for (int i = 0; i < KTLSD_HANDSHAKE_PEER_IDS_MAX; i++)
		EXPECT_EQ(keys[i], (int32_t)seen.ids[i]);
}

TEST_F(module, certificate)
{
	struct request *request = device_request(self->connection.ours);
	struct puppet_request seen;

	ASSERT_LT(0, keyctl(KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0));
	request->handshake.certificate = add_key("certificate", KEY_SPEC_SESSION_KEYRING);
	request->handshake.private_key = add_key("key", KEY_SPEC_SESSION_KEYRING);
	device_start(&self->device, request);
	ASSERT_EQ(0, answer(self->agent, &seen, 0, PUPPET_BOTH, 0));
	EXPECT_EQ(0, device_wait(&self->device, request, PATIENCE_MS));
	EXPECT_EQ(request->handshake.certificate, seen.certificate);
	EXPECT_EQ(request->handshake.private_key, seen.private_key);
}

TEST_F(module, keyring)
{
	struct request *request = device_request(self->connection.ours);
	struct puppet_request seen;
	int32_t keyring;

	ASSERT_LT(0, keyctl(KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0));
	keyring = syscall(SYS_add_key, "keyring", "ours", NULL, 0, KEY_SPEC_SESSION_KEYRING);
	ASSERT_LT(0, keyring);
	request->handshake.keyring = keyring;
	device_start(&self->device, request);
	ASSERT_EQ(0, answer(self->agent, &seen, 0, PUPPET_BOTH, 0));
	EXPECT_EQ(0, device_wait(&self->device, request, PATIENCE_MS));
	if (seen.keyring) /* newer kernels say so */
		EXPECT_EQ(keyring, (int32_t)seen.keyring);
	EXPECT_EQ(0, keyctl(KEYCTL_UNLINK, keyring, KEY_SPEC_PROCESS_KEYRING, 0)); /* where ACCEPT has put it */
}

static void use_certificate(struct request *request, int32_t key)
{
	request->handshake.certificate = key;
	request->handshake.private_key = key;
}

static void use_keyring(struct request *request, int32_t key)
{
	request->handshake.keyring = key;
}

static void (*const uses[])(struct request *request, int32_t key) = {use_psk, use_certificate, use_keyring};

/* A key that is good for that, with a name of its own. */
static int32_t add_one(void (*use)(struct request *request, int32_t key))
{
	static int count;
	char name[16];

	snprintf(name, sizeof(name), "key %d", ++count);
	return use == use_keyring ? syscall(SYS_add_key, "keyring", name, NULL, 0, KEY_SPEC_SESSION_KEYRING)
				  : add_key(name, KEY_SPEC_SESSION_KEYRING);
}

/* Keys that are there and may not be used: revoked, closed to everybody, another user's. */
TEST_F(module, keys_of_others)
{
	int32_t key = 0;

	ASSERT_LT(0, keyctl(KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0));
	for (size_t i = 0; i < ARRAY_SIZE(uses); i++) {
		struct request *request = device_request(self->connection.ours);

		key = add_one(uses[i]);
		ASSERT_LT(0, key);
		uses[i](request, key);
		ASSERT_EQ(0, keyctl(KEYCTL_SETPERM, key, 0x01010101, 0)); /* may be looked at */
		EXPECT_EQ(-EACCES, device_handshake(&self->device, request));

		key = add_one(uses[i]);
		ASSERT_LT(0, key);
		uses[i](request, key);
		ASSERT_EQ(0, keyctl(KEYCTL_REVOKE, key, 0, 0));
		EXPECT_EQ(-EKEYREVOKED, device_handshake(&self->device, request));
	}
	EXPECT_TRUE(connection_carries(&self->connection));
}

/* In a program of another user, who was given the device open. */
static int as_another_user(struct device *parents, struct connection *connection, int32_t key,
			   void (*use)(struct request *request, int32_t key))
{
	struct request *request = device_request(connection->ours);
	struct device device = {.way = BY_IOCTL, .fd = parents->fd};
	int child = fork(), end = -1;

	if (child == 0) {
		if (keyctl(KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0) < 0 || setresgid(65534, 65534, 65534) < 0 ||
		    setresuid(65534, 65534, 65534) < 0)
			_exit(1);
		if (use)
			use(request, key);
		_exit(-device_handshake(&device, request));
	}
	waitpid(child, &end, 0);
	return WIFEXITED(end) ? WEXITSTATUS(end) : -1;
}

TEST_F(module, another_user)
{
	if (self->device.way != BY_IOCTL)
		return;
	ASSERT_LT(0, keyctl(KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0));
	for (size_t i = 0; i < ARRAY_SIZE(uses); i++)
		EXPECT_EQ(uses[i] == use_keyring ? EPERM : EACCES,
			  as_another_user(&self->device, &self->connection, add_one(uses[i]), uses[i]));
	EXPECT_TRUE(connection_carries(&self->connection));
	close(self->agent);
	EXPECT_EQ(ESRCH, as_another_user(&self->device, &self->connection, 0, NULL)); /* all but an agent was there */
	self->agent = puppet_open();
}

TEST_HARNESS_MAIN
