// SPDX-License-Identifier: GPL-2.0
/*
 * module_stress [--puppet] [--seed N] SECONDS IN_FLIGHT: handshakes over loopback, both ends by /dev/ktlsd, in several programs,
 * some of which are killed; cancellations, closes, resets, short times and silent peers in between. The agent is whoever
 * takes the kernel's requests here, or with --puppet one that sets keys, fails, dawdles, and is killed now and then.
 * At the end nothing may be left in flight. Prints how many ended how; 1: something was left, or none succeeded.
 */
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <linux/handshake.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "module/device.h"
#include "module/puppet.h"

#define PROGRAMS 4
#define IN_FLIGHT_MAX 256

/* In memory that all programs share. */
static struct tally {
	unsigned long started, succeeded, canceled, timed_out, failed, killed, crooked;
} * tally;

#define COUNT(what) __atomic_add_fetch(&tally->what, 1, __ATOMIC_RELAXED)

static bool with_puppet;

/* What a handshake gets: some never end by themselves. */
static unsigned int patience_ms(void)
{
	return with_puppet ? 500 : 15000;
}

static unsigned int random_below(unsigned int *state, unsigned int limit)
{
	return rand_r(state) % limit;
}

/* ---- a program ---- */

struct pair {
	struct connection connection;
	struct request *server, *client; /* NULL: that end is silent */
	bool disturbed;
};

static void start_pair(struct device *device, struct pair *pair, unsigned int *state, uint64_t cookie)
{
	bool silent;

	memset(pair, 0, sizeof(*pair));
	if (connection_make(&pair->connection) < 0)
		err(1, "no connection");
	pair->server = device_request(pair->connection.ours);
	pair->server->handshake.cookie = cookie;
	silent = random_below(state, 8) == 0;
	if (silent || random_below(state, 8) == 0)
		pair->server->handshake.timeout_ms = 1 + random_below(state, 100);
	else
		pair->server->handshake.timeout_ms = patience_ms();
	device_start(device, pair->server);
	COUNT(started);
	if (silent)
		return;
	pair->client = device_request(pair->connection.peers);
	pair->client->handshake.role = KTLSD_HANDSHAKE_CLIENT;
	pair->client->handshake.auth = KTLSD_HANDSHAKE_ANONYMOUS;
	pair->client->handshake.peer_name = (uintptr_t) "localhost";
	pair->client->handshake.peer_name_length = strlen("localhost");
	pair->client->handshake.cookie = cookie;
	pair->client->handshake.timeout_ms = patience_ms();
	device_start(device, pair->client);
	COUNT(started);
}

static void disturb(struct device *device, struct pair *pair, unsigned int *state, uint64_t cookie)
{
	struct linger linger = {.l_onoff = 1};
	int *end = random_below(state, 2) ? &pair->connection.ours : &pair->connection.peers;

	pair->disturbed = true;
	switch (random_below(state, 16)) {
	case 0:
	case 1:
		device_cancel(device, cookie);
		break;
	case 2:
		shutdown(*end, SHUT_RDWR);
		break;
	case 3:
		setsockopt(*end, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)); /* fall through */
	case 4:
		close(*end);
		*end = -1;
		break;
	default:
		pair->disturbed = false;
		break;
	}
}

static bool count_result(int result)
{
	if (result == NOT_YET)
		return false;
	if (result == 0)
		COUNT(succeeded);
	else if (result == -ECANCELED)
		COUNT(canceled);
	else if (result == -ETIMEDOUT)
		COUNT(timed_out);
	else
		COUNT(failed);
	return true;
}

static void is_crooked(const char *what, int number)
{
	fprintf(stderr, "# crooked: %s (%d)\n", what, number);
	COUNT(crooked);
}

/* An end that never hears; both ends say that they are ready, and are not for each other. */
static void look_at(struct device *device, struct pair *pair)
{
	ssize_t n;
	char byte;

	if (!count_result(device_wait(device, pair->server, 2 * PATIENCE_MS)))
		is_crooked("the server's end waits for ever", 0);
	if (!pair->client)
		return;
	if (!count_result(device_wait(device, pair->client, 2 * PATIENCE_MS)))
		is_crooked("the client's end waits for ever", 0);
	if (pair->client->result != 0 || pair->server->result != 0 || pair->disturbed)
		return;
	if (send(pair->connection.peers, "x", 1, MSG_NOSIGNAL) != 1) {
		is_crooked("the client can't send", errno);
		return;
	}
	do
		n = recv(pair->connection.ours, &byte, 1, 0);
	while (n < 0 && errno == EINTR); /* a ring had something for us */
	if (n != 1)
		is_crooked("the server does not receive", n < 0 ? errno : 0);
}

/* The pool of requests is never given back: a batch is used again. */
static void run_program(enum way way, unsigned int in_flight, int64_t end, unsigned int seed)
{
	struct pair pairs[IN_FLIGHT_MAX / 2];
	unsigned int count = in_flight / 2 ? in_flight / 2 : 1;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (now_ms() < end) {
		struct device device;

		if (device_open(&device, way) < 0)
			errx(1, "no device");
		for (unsigned int i = 0; i < count; i++)
			start_pair(&device, &pairs[i], &seed, i);
		for (unsigned int i = 0; i < count; i++)
			disturb(&device, &pairs[i], &seed, i);
		for (unsigned int i = 0; i < count; i++) {
			if (random_below(&seed, 64) == 0) /* leaves with the ring or, by ioctl, with the program */
				break;
			look_at(&device, &pairs[i]);
		}
		if (!device_has_ring(&device))
			_exit(0); /* threads may be in there */
		device_close(&device);
		for (unsigned int i = 0; i < count; i++)
			connection_close(&pairs[i].connection);
	}
	_exit(0);
}

/* ---- the puppet ---- */

static void run_puppet(unsigned int seed)
{
	struct puppet_request seen;
	int agent = puppet_open();

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (agent < 0)
		errx(1, "no puppet: %s", strerror(-agent));
	for (;;) {
		int err = puppet_accept(agent, &seen, 1000);

		if (err)
			continue;
		switch (random_below(&seed, 16)) {
		case 0:
			puppet_done(agent, seen.fd, EACCES, 0);
			break;
		case 1:
			break; /* never says a word */
		case 2:
			puppet_done(agent, seen.fd, 0, 0); /* lies */
			break;
		case 3:
			sleep_ms(random_below(&seed, 50)); /* fall through */
		default:
			err = puppet_keys(seen.fd, seen.type == HANDSHAKE_MSG_TYPE_CLIENTHELLO, PUPPET_BOTH);
			puppet_done(agent, seen.fd, err ? -err : 0, 0);
			break;
		}
		close(seen.fd);
	}
}

/* ---- all of it ---- */

static pid_t start(unsigned int number, unsigned int in_flight, int64_t end, unsigned int seed)
{
	static const enum way ways[] = {BY_RING, BY_DEFERRED_RING, BY_IOCTL, BY_ASYNC};
	pid_t child = fork();

	if (child == 0) {
		if (number == PROGRAMS)
			run_puppet(seed);
		run_program(ways[number % 4], in_flight / PROGRAMS, end, seed);
	}
	return child;
}

static void run(unsigned int in_flight, int64_t end, unsigned int seed)
{
	unsigned int programs = PROGRAMS + with_puppet, number;
	pid_t children[PROGRAMS + 1], child;
	unsigned int state = seed;

	for (number = 0; number < programs; number++)
		children[number] = start(number, in_flight, end, ++seed);
	while (now_ms() < end) {
		sleep_ms(20 + random_below(&state, 300));
		number = random_below(&state, programs);
		if (random_below(&state, 2) == 0) {
			kill(children[number], SIGKILL);
			COUNT(killed);
		}
		while ((child = waitpid(-1, NULL, WNOHANG)) > 0)
			for (number = 0; number < programs; number++)
				if (children[number] == child)
					children[number] = start(number, in_flight, end, ++seed);
	}
	for (number = 0; number < PROGRAMS; number++)
		waitpid(children[number], NULL, 0);
	if (with_puppet)
		kill(children[PROGRAMS], SIGKILL);
	while (wait(NULL) > 0)
		;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"puppet", no_argument, NULL, 'p'}, {"seed", required_argument, NULL, 's'}, {NULL, 0, NULL, 0}};
	unsigned int seed = now_ms(), in_flight;
	int option, seconds;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == 'p')
			with_puppet = true;
		else if (option == 's')
			seed = strtoul(optarg, NULL, 0);
		else
			return 2;
	}
	if (argc - optind != 2)
		errx(2, "SECONDS IN_FLIGHT");
	seconds = atoi(argv[optind]);
	in_flight = atoi(argv[optind + 1]);
	if (in_flight < PROGRAMS || in_flight > IN_FLIGHT_MAX)
		errx(2, "in flight: %d to %d", PROGRAMS, IN_FLIGHT_MAX);
	tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (with_puppet && network_make() < 0)
		err(1, "no network");
	run(in_flight, now_ms() + seconds * 1000LL, seed);
	printf("seed %u: started %lu succeeded %lu canceled %lu timed out %lu failed %lu crooked %lu, %lu kills\n",
	       seed, tally->started, tally->succeeded, tally->canceled, tally->timed_out, tally->failed, tally->crooked,
	       tally->killed);
	if (!counter_becomes("in_flight", 0))
		errx(1, "%ld are still in flight", counter("in_flight"));
	return tally->succeeded == 0 || tally->crooked != 0;
}
