// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/ktlsd: what a handshake brings, what it is asked with, and what is refused. The agent is a puppet (module/puppet.c), so
 * every moment of a request's life is a test's to choose; module.sh has real agents and real peers. Needs root and the module.
 */
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "module/fixture.h"
#include "module/layout.h"

/* ---- how it ends ---- */

TEST_F(module, server)
{
	struct request *request = device_request(self->connection.ours);
	struct puppet_request seen;

	device_start(&self->device, request);
	ASSERT_EQ(0, answer(self->agent, &seen, 0, PUPPET_BOTH, 77));
	ASSERT_EQ(0, device_wait(&self->device, request, PATIENCE_MS));
	EXPECT_EQ(HANDSHAKE_MSG_TYPE_SERVERHELLO, seen.type);
	EXPECT_EQ(HANDSHAKE_AUTH_X509, seen.auth);
	EXPECT_STREQ("", seen.name);
	EXPECT_EQ(0, seen.certificate);
	EXPECT_EQ(0, seen.private_key);
	EXPECT_LT(0, seen.timeout_ms);
	EXPECT_GE(KTLSD_HANDSHAKE_TIMEOUT_MS + 10, seen.timeout_ms); /* a tick more */
	EXPECT_EQ(77, request->handshake.peer_id);
	EXPECT_EQ(TLS_1_3_VERSION, request->handshake.tls_version);
	EXPECT_EQ(TLS_CIPHER_AES_GCM_128, request->handshake.cipher_type);
	ASSERT_EQ(0, puppet_keys(self->connection.peers, true, PUPPET_BOTH));
	EXPECT_TRUE(connection_carries(&self->connection));
}

TEST_F(module, client)
{
	struct request *request = device_request(self->connection.ours);
	struct puppet_request seen;
	char name[] = "host.example, and what stands behind it";

	request->handshake.role = KTLSD_HANDSHAKE_CLIENT;
	request->handshake.auth = KTLSD_HANDSHAKE_ANONYMOUS;
	request->handshake.timeout_ms = 12345;
	request->handshake.peer_name = (uintptr_t)name;
	request->handshake.peer_name_length = strlen("host.example");
	device_start(&self->device, request);
	ASSERT_EQ(0, answer(self->agent, &seen, 0, PUPPET_BOTH, 0));
	ASSERT_EQ(0, device_wait(&self->device, request, PATIENCE_MS));
	EXPECT_EQ(HANDSHAKE_MSG_TYPE_CLIENTHELLO, seen.type);
	EXPECT_EQ(HANDSHAKE_AUTH_UNAUTH, seen.auth);
	EXPECT_STREQ("host.example", seen.name);
	EXPECT_LT(0, seen.timeout_ms);
	EXPECT_GE(12345 + 10, seen.timeout_ms); /* a tick more */
	EXPECT_EQ(0, request->handshake.peer_id);
	ASSERT_EQ(0, puppet_keys(self->connection.peers, false, PUPPET_BOTH));
	EXPECT_TRUE(connection_carries(&self->connection));
}

/* Only what is written by the kernel changes. */
TEST_F(module, structure_stays)
{
	struct request *request = device_request(self->connection.ours);
	struct ktlsd_handshake before = request->handshake;

	before.cookie = request->handshake.cookie = 0x1122334455667788;
	device_start(&self->device, request);
	ASSERT_EQ(0, answer_well(self->agent));
	ASSERT_EQ(0, device_wait(&self->device, request, PATIENCE_MS));
	before.peer_id = request->handshake.peer_id;
	before.tls_version = request->handshake.tls_version;
	before.cipher_type = request->handshake.cipher_type;
	EXPECT_EQ(0, memcmp(&before, &request->handshake, sizeof(before)));
}

TEST_F(module, agent_fails)
{
	static const struct {
		int status, result;
	} ends[] = {
		{EACCES, -EACCES}, {EKEYREJECTED, -EKEYREJECTED}, {ETIMEDOUT, -ETIMEDOUT}, {PUPPET_NO_STATUS, -EIO}};
	struct puppet_request seen;

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		struct connection connection;
		struct request *request;

		ASSERT_EQ(0, connection_make(&connection));
		request = device_request(connection.ours);
		device_start(&self->device, request);
		ASSERT_EQ(0, answer(self->agent, &seen, ends[i].status, 0, 0));
		EXPECT_EQ(ends[i].result, device_wait(&self->device, request, PATIENCE_MS));
		EXPECT_TRUE(connection_is_dead(&connection));
		EXPECT_EQ(0, request->handshake.tls_version);
		connection_close(&connection);
	}
}

/* An agent that says "done" and has not done it: plaintext must not go out. */
TEST_F(module, agent_lies)
{
	static const enum puppet_directions keys[] = {0, PUPPET_TX, PUPPET_RX};
	struct puppet_request seen;

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		struct connection connection;
		struct request *request;

		ASSERT_EQ(0, connection_make(&connection));
		request = device_request(connection.ours);
		device_start(&self->device, request);
		ASSERT_EQ(0, answer(self->agent, &seen, 0, keys[i], 0));
		EXPECT_EQ(-EPROTO, device_wait(&self->device, request, PATIENCE_MS));
		EXPECT_TRUE(connection_is_dead(&connection));
		connection_close(&connection);
	}
}

TEST_F(module, no_agent)
{
	struct request *request = device_request(self->connection.ours);
	int64_t began = now_ms();

	close(self->agent);
	EXPECT_EQ(-ESRCH, device_handshake(&self->device, request));
	EXPECT_GT(1000, now_ms() - began);
	EXPECT_TRUE(connection_carries(&self->connection));
	/* and when there is one, the socket is good for it */
	self->agent = puppet_open();
	device_start(&self->device, request);
	EXPECT_EQ(0, answer_well(self->agent));
	EXPECT_EQ(0, device_wait(&self->device, request, PATIENCE_MS));
}

TEST_F(module, same_socket_twice)
{
	struct request *first = device_request(self->connection.ours), *second = device_request(self->connection.ours);
	struct puppet_request seen;

	device_start(&self->device, first);
	ASSERT_EQ(0, puppet_accept(self->agent, &seen, PATIENCE_MS));
	EXPECT_EQ(-EBUSY, device_handshake(&self->device, second));
	ASSERT_EQ(0, puppet_keys(seen.fd, false, PUPPET_BOTH));
	ASSERT_EQ(0, puppet_done(self->agent, seen.fd, 0, 0));
	close(seen.fd);
	EXPECT_EQ(0, device_wait(&self->device, first, PATIENCE_MS));
	EXPECT_EQ(-EEXIST, device_handshake(&self->device, second));
	ASSERT_EQ(0, puppet_keys(self->connection.peers, true, PUPPET_BOTH));
	EXPECT_TRUE(connection_carries(&self->connection));
}

TEST_F(module, again_after_failure)
{
	struct request *request = device_request(self->connection.ours);
	struct puppet_request seen;

	device_start(&self->device, request);
	ASSERT_EQ(0, answer(self->agent, &seen, EACCES, 0, 0));
	EXPECT_EQ(-EACCES, device_wait(&self->device, request, PATIENCE_MS));
	EXPECT_GT(0, device_handshake(&self->device, request));
	EXPECT_EQ(-EAGAIN, puppet_accept(self->agent, &seen, 20));
}

TEST_F(module, counters)
{
	long succeeded = counter("succeeded"), failed = counter("failed");
	struct request *request = device_request(self->connection.ours);

	ASSERT_LE(0, succeeded);
	device_start(&self->device, request);
	ASSERT_TRUE(counter_becomes("in_flight", 1));
	ASSERT_EQ(0, answer_well(self->agent));
	ASSERT_EQ(0, device_wait(&self->device, request, PATIENCE_MS));
	EXPECT_TRUE(counter_becomes("in_flight", 0));
	EXPECT_TRUE(counter_becomes("succeeded", succeeded + 1));
	EXPECT_EQ(failed, counter("failed"));
}

/* ---- sockets that are none of its business ---- */

static int made_listening(void)
{
	struct sockaddr_in address;

	return listener_make(&address);
}

static int made_unconnected(void)
{
	return socket(AF_INET, SOCK_STREAM, 0);
}

static int made_udp(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	connect(fd, (struct sockaddr *)&address, sizeof(address));
	return fd;
}

static int made_unix(void)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0)
		close(fds[1]);
	return fds[0];
}

static int made_netlink(void)
{
	return socket(AF_NETLINK, SOCK_RAW, 0);
}

static int made_file(void)
{
	return memfd_create("file", 0);
}

static int made_path(void)
{
	return open("/proc/self", O_PATH);
}

static int made_pidfd(void)
{
	return syscall(SYS_pidfd_open, getpid(), 0);
}

static int made_ring(void)
{
	struct io_uring_params params = {0};

	return syscall(SYS_io_uring_setup, 1, &params);
}

static int made_device(void)
{
	return open(DEVICE, O_RDWR);
}

static int made_closed(void)
{
	return 1000;
}

static int made_negative(void)
{
	return -1;
}

static int made_at_cwd(void)
{
	return AT_FDCWD;
}

static int made_without_peer(void)
{
	struct connection connection;
	char byte;

	if (connection_make(&connection) < 0)
		return -1;
	close(connection.peers);
	recv(connection.ours, &byte, 1, 0); /* its FIN is there */
	return connection.ours;
}

static int made_shut_down(void)
{
	struct connection connection;

	if (connection_make(&connection) < 0)
		return -1;
	shutdown(connection.ours, SHUT_RDWR);
	return connection.ours;
}

TEST_F(module, wrong_descriptors)
{
	static const struct {
		const char *name;
		int (*make)(void);
		int error;
	} kinds[] = {
		{"listening", made_listening, -EINVAL},
		{"not connected", made_unconnected, -ENOTCONN},
		{"its peer is gone", made_without_peer, -ENOTCONN},
		{"shut down", made_shut_down, -ENOTCONN},
		{"UDP", made_udp, -EPROTONOSUPPORT},
		{"UNIX", made_unix, -EPROTONOSUPPORT},
		{"netlink", made_netlink, -EPROTONOSUPPORT},
		{"a file", made_file, -ENOTSOCK},
		{"O_PATH", made_path, -EBADF},
		{"pidfd", made_pidfd, -ENOTSOCK},
		{"a ring", made_ring, -ENOTSOCK},
		{"the device itself", made_device, -ENOTSOCK},
		{"none", made_closed, -EBADF},
		{"-1", made_negative, -EBADF},
		{"AT_FDCWD", made_at_cwd, -EBADF},
	};
	struct puppet_request seen;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		int fd = kinds[i].make();

		EXPECT_EQ(kinds[i].error, device_handshake(&self->device, device_request(fd)))
		{
			TH_LOG("%s", kinds[i].name);
		}
		close(fd);
	}
	EXPECT_EQ(-EAGAIN, puppet_accept(self->agent, &seen, 0));
}

TEST_F(module, ipv6)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int listener = socket(AF_INET6, SOCK_STREAM, 0), client = socket(AF_INET6, SOCK_STREAM, 0), server;
	socklen_t length = sizeof(address);
	struct request *request;

	if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) < 0)
		SKIP(return, "no IPv6 here");
	ASSERT_EQ(0, listen(listener, 1));
	ASSERT_EQ(0, getsockname(listener, (struct sockaddr *)&address, &length));
	ASSERT_EQ(0, connect(client, (struct sockaddr *)&address, length));
	server = accept(listener, NULL, NULL);
	request = device_request(server);
	device_start(&self->device, request);
	ASSERT_EQ(0, answer_well(self->agent));
	EXPECT_EQ(0, device_wait(&self->device, request, PATIENCE_MS));
}

/* ---- what is written in the structure ---- */

/* A connection that is good for a handshake after all. */
#define EXPECT_UNTOUCHED()                                                                                             \
	do {                                                                                                           \
		struct puppet_request nothing;                                                                         \
		EXPECT_EQ(-EAGAIN, puppet_accept(self->agent, &nothing, 0));                                           \
		EXPECT_TRUE(connection_carries(&self->connection));                                                    \
	} while (0)

static void set_flags(struct ktlsd_handshake *handshake)
{
	handshake->flags = 1;
}

static void set_high_flag(struct ktlsd_handshake *handshake)
{
	handshake->flags = 1u << 31;
}

static void set_reserved(struct ktlsd_handshake *handshake)
{
	handshake->reserved = 1;
}

static void set_no_role(struct ktlsd_handshake *handshake)
{
	handshake->role = 0;
}

static void set_third_role(struct ktlsd_handshake *handshake)
{
	handshake->role = 3;
}

static void set_no_auth(struct ktlsd_handshake *handshake)
{
	handshake->auth = 0;
}

static void set_fourth_auth(struct ktlsd_handshake *handshake)
{
	handshake->auth = 4;
}

static void set_anonymous_server(struct ktlsd_handshake *handshake)
{
	handshake->auth = KTLSD_HANDSHAKE_ANONYMOUS;
}

static void set_long_timeout(struct ktlsd_handshake *handshake)
{
	handshake->timeout_ms = KTLSD_HANDSHAKE_TIMEOUT_MAX_MS + 1;
}

static void set_server_name(struct ktlsd_handshake *handshake)
{
	handshake->peer_name = (uintptr_t) "a.example";
	handshake->peer_name_length = strlen("a.example");
}

static void set_client(struct ktlsd_handshake *handshake)
{
	handshake->role = KTLSD_HANDSHAKE_CLIENT;
	set_server_name(handshake);
}

static void set_long_name(struct ktlsd_handshake *handshake)
{
	static char name[1000];

	memset(name, 'a', sizeof(name));
	set_client(handshake);
	handshake->peer_name = (uintptr_t)name;
	handshake->peer_name_length = KTLSD_HANDSHAKE_NAME_MAX + 1;
}

static void set_huge_name(struct ktlsd_handshake *handshake)
{
	set_client(handshake);
	handshake->peer_name_length = UINT32_MAX;
}

static void set_name_without_length(struct ktlsd_handshake *handshake)
{
	set_client(handshake);
	handshake->peer_name_length = 0;
}

static void set_length_without_name(struct ktlsd_handshake *handshake)
{
	set_client(handshake);
	handshake->peer_name = 0;
}

static void set_name_with_nul(struct ktlsd_handshake *handshake)
{
	set_client(handshake);
	handshake->peer_name = (uintptr_t) "good.example\0.bad.example";
	handshake->peer_name_length = sizeof("good.example\0.bad.example") - 1;
}

static void set_name_nowhere(struct ktlsd_handshake *handshake)
{
	set_client(handshake);
	handshake->peer_name = 8;
}

static void set_name_in_kernel(struct ktlsd_handshake *handshake)
{
	set_client(handshake);
	handshake->peer_name = UINT64_MAX - 4096;
}

static void set_certificate_alone(struct ktlsd_handshake *handshake)
{
	handshake->certificate = 1;
}

static void set_key_alone(struct ktlsd_handshake *handshake)
{
	handshake->private_key = 1;
}

static void set_x509_with_ids(struct ktlsd_handshake *handshake)
{
	handshake->peer_id_count = 1;
	handshake->peer_ids[0] = 1;
}

static void set_psk_without_ids(struct ktlsd_handshake *handshake)
{
	handshake->role = KTLSD_HANDSHAKE_CLIENT;
	handshake->auth = KTLSD_HANDSHAKE_PSK;
}

static void set_psk_with_many(struct ktlsd_handshake *handshake)
{
	handshake->role = KTLSD_HANDSHAKE_CLIENT;
	handshake->auth = KTLSD_HANDSHAKE_PSK;
	handshake->peer_id_count = KTLSD_HANDSHAKE_PEER_IDS_MAX + 1;
}

static void set_psk_with_certificate(struct ktlsd_handshake *handshake)
{
	handshake->auth = KTLSD_HANDSHAKE_PSK;
	handshake->peer_id_count = 1;
	handshake->certificate = handshake->private_key = 1;
}

static void set_server_psk_with_two(struct ktlsd_handshake *handshake)
{
	handshake->auth = KTLSD_HANDSHAKE_PSK;
	handshake->peer_id_count = 2;
	handshake->peer_ids[0] = handshake->peer_ids[1] = 1;
}

static void set_ids_beyond_count(struct ktlsd_handshake *handshake)
{
	handshake->role = KTLSD_HANDSHAKE_CLIENT;
	handshake->auth = KTLSD_HANDSHAKE_PSK;
	handshake->peer_id_count = 1;
	handshake->peer_ids[0] = handshake->peer_ids[1] = 1;
}

/* KEY_SPEC_SESSION_KEYRING: whose, is not certain in a ring */
static void set_special_keyring(struct ktlsd_handshake *handshake)
{
	handshake->keyring = -3;
}

static void set_no_key(struct ktlsd_handshake *handshake)
{
	handshake->certificate = handshake->private_key = 0x7ffffff0;
}

static void set_no_keyring(struct ktlsd_handshake *handshake)
{
	handshake->keyring = 0x7ffffff0;
}

static void set_no_size(struct ktlsd_handshake *handshake)
{
	handshake->size = 0;
}

static void set_small_size(struct ktlsd_handshake *handshake)
{
	handshake->size = sizeof(*handshake) - 1;
}

static void set_tiny_size(struct ktlsd_handshake *handshake)
{
	handshake->size = 4;
}

static void set_enormous_size(struct ktlsd_handshake *handshake)
{
	handshake->size = UINT32_MAX;
}

TEST_F(module, bad_fields)
{
	static const struct {
		const char *name;
		void (*set)(struct ktlsd_handshake *handshake);
		int error;
	} fields[] = {
		{"flags", set_flags, -EINVAL},
		{"the highest flag", set_high_flag, -EINVAL},
		{"reserved", set_reserved, -EINVAL},
		{"no role", set_no_role, -EINVAL},
		{"a third role", set_third_role, -EINVAL},
		{"no auth", set_no_auth, -EINVAL},
		{"a fourth auth", set_fourth_auth, -EINVAL},
		{"an anonymous server", set_anonymous_server, -EINVAL},
		{"too long a timeout", set_long_timeout, -EINVAL},
		{"a server's peer name", set_server_name, -EINVAL},
		{"a name of 256 bytes", set_long_name, -EINVAL},
		{"a name of 4 GiB", set_huge_name, -EINVAL},
		{"a name without a length", set_name_without_length, -EINVAL},
		{"a length without a name", set_length_without_name, -EINVAL},
		{"a name with a NUL in it", set_name_with_nul, -EINVAL},
		{"a name that is nowhere", set_name_nowhere, -EFAULT},
		{"a name in the kernel", set_name_in_kernel, -EFAULT},
		{"a certificate alone", set_certificate_alone, -EINVAL},
		{"a private key alone", set_key_alone, -EINVAL},
		{"peer ids with X.509", set_x509_with_ids, -EINVAL},
		{"PSK without", set_psk_without_ids, -EINVAL},
		{"PSK with too many", set_psk_with_many, -EINVAL},
		{"a server's PSKs, two", set_server_psk_with_two, -EINVAL},
		{"PSKs beyond their count", set_ids_beyond_count, -EINVAL},
		{"a special keyring", set_special_keyring, -EINVAL},
		{"PSK with a certificate", set_psk_with_certificate, -EINVAL},
		{"keys that are none", set_no_key, -ENOKEY},
		{"a keyring that is none", set_no_keyring, -ENOKEY},
		{"size 0", set_no_size, -EINVAL},
		{"size 4", set_tiny_size, -EINVAL},
		{"a byte less", set_small_size, -EINVAL},
		{"4 GiB", set_enormous_size, -E2BIG},
	};

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		struct request *request = device_request(self->connection.ours);

		fields[i].set(&request->handshake);
		EXPECT_EQ(fields[i].error, device_handshake(&self->device, request))
		{
			TH_LOG("%s", fields[i].name);
		}
	}
	EXPECT_UNTOUCHED();
}

/* A program that is newer than the module: zeros behind what the module knows are nothing new. */
TEST_F(module, larger_structure)
{
	struct request *request = device_request(self->connection.ours);
	size_t page = sysconf(_SC_PAGESIZE);
	char *larger = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	request->handshake.size = sizeof(request->handshake) + 64;
	memcpy(larger, &request->handshake, sizeof(request->handshake));
	request->argument = larger;
	larger[sizeof(request->handshake) + 63] = 1;
	EXPECT_EQ(-E2BIG, device_handshake(&self->device, request));
	EXPECT_UNTOUCHED();
	larger[sizeof(request->handshake) + 63] = 0;
	device_start(&self->device, request);
	ASSERT_EQ(0, answer_well(self->agent));
	EXPECT_EQ(0, device_wait(&self->device, request, PATIENCE_MS));
}

TEST_F(module, longest_name)
{
	struct request *request = device_request(self->connection.ours);
	struct puppet_request seen;
	char name[KTLSD_HANDSHAKE_NAME_MAX + 1];

	memset(name, 'n', sizeof(name));
	request->handshake.role = KTLSD_HANDSHAKE_CLIENT;
	request->handshake.peer_name = (uintptr_t)name;
	request->handshake.peer_name_length = KTLSD_HANDSHAKE_NAME_MAX;
	device_start(&self->device, request);
	ASSERT_EQ(0, answer(self->agent, &seen, 0, PUPPET_BOTH, 0));
	EXPECT_EQ(0, device_wait(&self->device, request, PATIENCE_MS));
	EXPECT_EQ(KTLSD_HANDSHAKE_NAME_MAX, strlen(seen.name));
	EXPECT_EQ(0, strncmp(name, seen.name, KTLSD_HANDSHAKE_NAME_MAX));
}

/* The module has taken what it needs when it has begun: what the program then writes there changes nothing. */
TEST_F(module, changed_meanwhile)
{
	struct request *request = device_request(self->connection.ours);
	struct puppet_request seen;
	char name[] = "good.example";

	request->handshake.role = KTLSD_HANDSHAKE_CLIENT;
	request->handshake.peer_name = (uintptr_t)name;
	request->handshake.peer_name_length = strlen(name);
	device_start(&self->device, request);
	ASSERT_TRUE(counter_becomes("in_flight", 1));
	memset(name, 'x', sizeof(name));
	memset(&request->handshake, 0xff, sizeof(request->handshake));
	ASSERT_EQ(0, answer(self->agent, &seen, 0, PUPPET_BOTH, 5));
	EXPECT_EQ(0, device_wait(&self->device, request, PATIENCE_MS));
	EXPECT_STREQ("good.example", seen.name);
	EXPECT_EQ(5, request->handshake.peer_id);
}

TEST_F(module, bad_addresses)
{
	size_t page = sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	struct request *request = device_request(self->connection.ours);
	static const uint32_t commands[] = {KTLSD_HANDSHAKE, KTLSD_CANCEL, KTLSD_INFO};

	munmap(pages + page, page);
	*(uint32_t *)(pages + page - 4) = sizeof(struct ktlsd_handshake);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		void *const addresses[] = {NULL, (void *)8, pages + page, pages + page - 4,
					   (void *)(UINTPTR_MAX - 4096)};

		request->command = commands[i];
		for (size_t j = 0; j < ARRAY_SIZE(addresses); j++) {
			request->argument = addresses[j];
			EXPECT_GT(0, device_handshake(&self->device, request));
		}
	}
	EXPECT_UNTOUCHED();
}

/* What can't be written to is met only when all is done: the program gets an error, and its socket no traffic. */
TEST_F(module, read_only_structure)
{
	struct request *request = device_request(self->connection.ours);
	size_t page = sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	memcpy(pages, &request->handshake, sizeof(request->handshake));
	mprotect(pages, page, PROT_READ);
	request->argument = pages;
	device_start(&self->device, request);
	ASSERT_EQ(0, answer_well(self->agent));
	EXPECT_EQ(-EFAULT, device_wait(&self->device, request, PATIENCE_MS));
	EXPECT_TRUE(connection_is_dead(&self->connection));
}

TEST_F(module, unmapped_meanwhile)
{
	struct request *request = device_request(self->connection.ours);
	size_t page = sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	memcpy(pages, &request->handshake, sizeof(request->handshake));
	request->argument = pages;
	device_start(&self->device, request);
	ASSERT_TRUE(counter_becomes("in_flight", 1));
	munmap(pages, page);
	ASSERT_EQ(0, answer_well(self->agent));
	EXPECT_EQ(-EFAULT, device_wait(&self->device, request, PATIENCE_MS));
}

/* ---- other commands ---- */

TEST_F(module, unknown_commands)
{
	struct request *request = device_request(self->connection.ours);
	static const uint32_t commands[] = {0,
					    1,
					    UINT32_MAX,
					    _IOWR('k', 0xcf, struct ktlsd_handshake),
					    _IOWR('k', 0xd3, struct ktlsd_handshake),
					    _IO('k', 0xd0),
					    _IOWR('K', 0xd0, struct ktlsd_handshake)};

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		int result;

		request->command = commands[i];
		result = device_handshake(&self->device, request);
		EXPECT_TRUE(result == -ENOTTY || result == -EINVAL || result == -EOPNOTSUPP)
		{
			TH_LOG("%#x: %d", commands[i], result);
		}
	}
	EXPECT_UNTOUCHED();
}

TEST_F(module, info)
{
	struct request *request = device_request(-1);
	struct ktlsd_info info = {.size = sizeof(info)}, *low = (void *)&request->handshake;

	request->command = KTLSD_INFO;
	memcpy(low, &info, sizeof(info));
	EXPECT_EQ(0, device_handshake(&self->device, request));
	EXPECT_EQ(0, low->features & ~KTLSD_FEATURE_LINKED);
	EXPECT_EQ(device_features(self->device.fd), (int)low->features);
	low->size = 0;
	EXPECT_EQ(-EINVAL, device_handshake(&self->device, request));
	low->size = sizeof(*low) - 1;
	EXPECT_EQ(-EINVAL, device_handshake(&self->device, request));
}

TEST_F(module, cancel_fields)
{
	struct request *request = device_request(-1);

	request->command = KTLSD_CANCEL;
	request->argument = &request->cancel;
	request->cancel = (struct ktlsd_cancel){.size = sizeof(request->cancel), .cookie = 3};
	EXPECT_EQ(-ENOENT, device_handshake(&self->device, request));
	request->cancel.flags = 1;
	EXPECT_EQ(-EINVAL, device_handshake(&self->device, request));
	request->cancel.flags = 0;
	request->cancel.size = 8;
	EXPECT_EQ(-EINVAL, device_handshake(&self->device, request));
}

/* The half of sqe->cmd that is for later. */
TEST_F(module, reserved_in_sqe)
{
	struct ktlsd_command command = {.reserved = 1};
	struct request *request = device_request(self->connection.ours);
	struct io_uring_sqe *sqe;

	if (!device_has_ring(&self->device))
		return;
	request->result = NOT_YET;
	command.argument = (uintptr_t)&request->handshake;
	sqe = io_uring_get_sqe(&self->device.ring);
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = self->device.fd;
	sqe->cmd_op = KTLSD_HANDSHAKE;
	memcpy(sqe->cmd, &command, sizeof(command));
	io_uring_sqe_set_data(sqe, request);
	device_submit(&self->device);
	EXPECT_EQ(-EINVAL, device_wait(&self->device, request, PATIENCE_MS));
	EXPECT_UNTOUCHED();
}

/* ---- who may ---- */

TEST_F(module, mode)
{
	struct stat status;
	int child, end;

	ASSERT_EQ(0, stat(DEVICE, &status));
	EXPECT_EQ(S_IFCHR | 0600, status.st_mode);
	EXPECT_EQ(0, status.st_uid);
	child = fork();
	if (child == 0) {
		if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
			_exit(2);
		_exit(open(DEVICE, O_RDWR) < 0 && errno == EACCES ? 0 : 1);
	}
	ASSERT_EQ(child, waitpid(child, &end, 0));
	EXPECT_EQ(0, end);
}

TEST_HARNESS_MAIN
