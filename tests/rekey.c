// SPDX-License-Identifier: MIT
/*
 * rekey PKI [OPTION...]: bulk data in both directions at once, while both ends replace their keys at random places, and ask the
 * other to, again and again. What was sent arrives, and everybody counts the same: the stream, the kernel, and the peer,
 * which is OpenSSL.
 *
 *	--kib N		each way (default: 4096)
 *	--every N	KiB between two KeyUpdates of an end, on average (default: 32)
 *	--only NAME	that one of the tests
 *	--progress	a line for each 64 MiB
 *	--seed N	what a run before said
 *	--greeted PORT	instead of all this, a client of a server that greets (example-blocking): a KeyUpdate that asks for
 *			another comes right behind Finished
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "ktlsd.h"
#include "rekey/flow.h"
#include "rekey/peer.h"
#include "unit.h"

#define PROGRESS_BYTES (64 << 20)

static const char *const suites[] = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
				     "TLS_AES_128_CCM_SHA256"};

static struct load load = {.bytes = 4 << 20, .between = 32 << 10};
static const char *only;
static int show_progress, greeted;

struct test {
	const char *suite;
	enum ktlsd_role role; /* ours */
	bool polling;
	struct peer peer;

	struct end ours;
	int fd;
	struct ktlsd *agent; /* if polling */
	struct ktlsd_stream *stream;
};

/* ---- our side ---- */

static bool fail_stream(struct test *test, const char *what, ssize_t error)
{
	return fail(&test->ours, "%s: %s %s", what, strerrorname_np(-error), ktlsd_stream_why(test->stream));
}

/* False: nothing more, or not now, or failed. */
static bool we_send(struct test *test)
{
	struct flow *flow = &test->ours.sending;
	ssize_t n;

	if (rekey_is_due(flow)) {
		n = ktlsd_stream_rekey(test->stream, random_below(&flow->random, 2));
		if (n < 0)
			return fail_stream(test, "can't replace our key", n);
	}
	if (!fill(flow))
		return false;
	n = ktlsd_stream_send(test->stream, flow->chunk + flow->start, flow->end - flow->start, 0);
	if (n < 0)
		return !(n == -EAGAIN && test->polling) && fail_stream(test, "can't send", n);
	sent(flow, n);
	return true;
}

static void take(struct test *test, const void *data, size_t bytes)
{
	struct flow *flow = &test->ours.receiving;
	uint64_t before = flow->left / PROGRESS_BYTES;

	received(flow, data, bytes);
	if (show_progress && flow->left / PROGRESS_BYTES != before)
		printf("# %llu MiB received, %llu MiB to be sent, %llu KeyUpdates of the peer, %llu of ours\n",
		       (unsigned long long)(load.bytes - flow->left) >> 20,
		       (unsigned long long)test->ours.sending.left >> 20, (unsigned long long)test->peer.updates_sent,
		       (unsigned long long)test->peer.updates_received);
}

/* 1: there may be more; 0: that was all; -EAGAIN; else it failed. */
static ssize_t we_receive(struct test *test)
{
	struct flow *flow = &test->ours.receiving;
	ssize_t n = ktlsd_stream_recv(test->stream, flow->chunk, next_size(flow), 0);

	if (n > 0)
		take(test, flow->chunk, n);
	else if (n < 0 && !(n == -EAGAIN && test->polling))
		fail_stream(test, "can't receive", n);
	return n > 0 ? 1 : n;
}

static void *send_all(void *argument)
{
	struct test *test = argument;
	int err;

	while (we_send(test))
		;
	err = *test->ours.why ? 0 : ktlsd_stream_shutdown(test->stream);
	if (err < 0)
		fail_stream(test, "can't end our half", err);
	return NULL;
}

static void transfer_blocking(struct test *test)
{
	pthread_t sender;

	must(pthread_create(&sender, NULL, send_all, test) == 0);
	while (we_receive(test) > 0)
		;
	if (*test->ours.why)
		shutdown(test->fd, SHUT_RDWR);
	pthread_join(sender, NULL);
}

static void take_results(struct test *test)
{
	struct ktlsd_result *result;

	while (ktlsd_peek_result(test->agent, &result) == 0)
		ktlsd_result_seen(test->agent);
}

static bool we_end(struct test *test)
{
	int err = ktlsd_stream_shutdown(test->stream);

	if (err < 0 && err != -EAGAIN)
		fail_stream(test, "can't end our half", err);
	return err == 0;
}

static void transfer_polling(struct test *test)
{
	struct pollfd watched[] = {{.fd = test->fd, .events = POLLIN}, {.fd = ktlsd_fd(test->agent), .events = POLLIN}};
	bool ended = false;

	do {
		if (we_send(test) || ended)
			watched[0].events = ended ? POLLIN : POLLIN | POLLOUT;
		else if (test->ours.sending.left == 0)
			ended = we_end(test);
		if (poll(watched, COUNT(watched), PATIENCE_S * 1000) <= 0)
			fail(&test->ours, "we wait for ever");
		if (watched[1].revents)
			take_results(test);
	} while (!*test->ours.why && we_receive(test) != 0);
	while (!ended && !*test->ours.why && test->ours.sending.left == 0)
		ended = we_end(test);
}

/* ---- a test ---- */

/* Else an end that does not wait has all of it in the buffers before the first key is replaced. */
static void keep_small(int fd)
{
	must(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){CHUNK_MAX}, sizeof(int)) == 0 &&
	     setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){CHUNK_MAX}, sizeof(int)) == 0);
}

static int connect_to(uint16_t port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	keep_small(fd);
	must(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	return fd;
}

static void connect_pair(struct test *test)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval patience = {.tv_sec = PATIENCE_S};
	int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	socklen_t length = sizeof(address);

	keep_small(listener);
	must(bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, 1) == 0 &&
	     getsockname(listener, (struct sockaddr *)&address, &length) == 0);
	test->peer.fd = connect_to(ntohs(address.sin_port));
	test->fd = accept(listener, NULL, NULL);
	must(test->fd >= 0);
	close(listener);
	setsockopt(test->peer.fd, SOL_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(test->fd, SOL_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(test->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(test->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
}

static void prepare(struct test *test, struct ktlsd_handoff *handoff)
{
	if (test->role == KTLSD_SERVER)
		ktlsd_prep_server(handoff, test->fd, "server");
	else
		ktlsd_prep_client(handoff, test->fd, "client", "localhost");
}

static bool shake_hands_polling(struct test *test)
{
	struct ktlsd_result *result;

	must(ktlsd_open(&test->agent, NULL) == 0);
	prepare(test, ktlsd_get_handoff(test->agent));
	if (ktlsd_submit(test->agent) != 1 || ktlsd_wait_result(test->agent, &result, PATIENCE_S * 1000) < 0)
		return fail(&test->ours, "no result");
	if (result->error)
		return fail(&test->ours, "handshake: %s", result->error_text);
	must(ktlsd_stream_new(&test->stream, test->fd, test->agent, result) == 0);
	ktlsd_result_seen(test->agent);
	fcntl(test->fd, F_SETFL, O_NONBLOCK);
	return true;
}

static bool shake_hands_blocking(struct test *test)
{
	struct ktlsd_handoff handoff = {0};
	char why[200];

	prepare(test, &handoff);
	return ktlsd_handshake(&handoff, &test->stream, why, sizeof(why)) == 0 ||
	       fail(&test->ours, "handshake: %s", why);
}

/* The KeyUpdates come faster than a peer of good will would send them. */
static void lift_limits(struct test *test)
{
	struct ktlsd_stream_limits limits = {.control_burst = 1000000};

	if (load.between < 64 << 10)
		ktlsd_stream_set_limits(test->stream, &limits);
}

static void transfer(struct test *test)
{
	pthread_t peer;

	must(pthread_create(&peer, NULL, be_peer, &test->peer) == 0);
	if (test->polling ? shake_hands_polling(test) : shake_hands_blocking(test)) {
		lift_limits(test);
		if (test->polling)
			transfer_polling(test);
		else
			transfer_blocking(test);
	}
	if (*test->ours.why)
		shutdown(test->fd, SHUT_RDWR);
	pthread_join(peer, NULL);
}

static uint64_t kernel_counts(const char *name)
{
	FILE *file = fopen("/proc/net/tls_stat", "re");
	unsigned long long value, found = 0;
	char field[64];

	must(file);
	while (fscanf(file, "%63s %llu", field, &value) == 2)
		if (strcmp(field, name) == 0)
			found = value;
	fclose(file);
	return found;
}

static void check_counts(struct test *test, const char *name, uint64_t tx_before, uint64_t rx_before)
{
	uint64_t tx = kernel_counts("TlsTxRekeyOk") - tx_before, rx = kernel_counts("TlsRxRekeyOk") - rx_before;
	uint64_t least = load.bytes / load.between / 16; /* an end that does not wait joins several into one */
	struct ktlsd_stream_info info;

	must(ktlsd_stream_info(test->stream, &info) == 0);
	check(info.tx_rekeys == test->peer.updates_received && info.tx_rekeys == tx && tx >= least,
	      "%s: our key was replaced %llu times, as the kernel and the peer say, too", name,
	      (unsigned long long)info.tx_rekeys);
	check(info.rx_rekeys == test->peer.updates_sent && info.rx_rekeys == rx && rx >= least,
	      "%s: the peer's key was replaced %llu times, as the kernel and the peer say, too", name,
	      (unsigned long long)info.rx_rekeys);
	if (info.tx_rekeys != test->peer.updates_received || info.tx_rekeys != tx ||
	    info.rx_rekeys != test->peer.updates_sent || info.rx_rekeys != rx)
		printf("# sent: %llu by the kernel, the peer got %llu; received: %llu by the kernel, the peer sent %llu\n",
		       (unsigned long long)tx, (unsigned long long)test->peer.updates_received, (unsigned long long)rx,
		       (unsigned long long)test->peer.updates_sent);
}

static void run(struct test *test, const char *name)
{
	uint64_t tx = kernel_counts("TlsTxRekeyOk"), rx = kernel_counts("TlsRxRekeyOk");
	struct timespec begin, now;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	begin_flow(&test->ours.sending, &load, 0);
	begin_flow(&test->ours.receiving, &load, 1);
	begin_flow(&test->peer.end.sending, &load, 2);
	begin_flow(&test->peer.end.receiving, &load, 3);
	connect_pair(test);
	set_up_peer(&test->peer, test->role == KTLSD_CLIENT, test->suite);
	transfer(test);
	if (*test->ours.why || *test->peer.end.why)
		printf("# we: %s\n# the peer: %s\n", test->ours.why, test->peer.end.why);
	clock_gettime(CLOCK_MONOTONIC, &now);
	check(!*test->ours.why && !*test->peer.end.why &&
		      arrived_as_sent(&test->ours.sending, &test->peer.end.receiving) &&
		      arrived_as_sent(&test->peer.end.sending, &test->ours.receiving),
	      "%s: %llu KiB arrive as they were sent, both ways", name, (unsigned long long)load.bytes >> 10);
	if (show_progress)
		printf("# %lld s\n", (long long)(now.tv_sec - begin.tv_sec));
	if (test->stream)
		check_counts(test, name, tx, rx);
}

static void be_greeted(struct peer *peer, uint16_t port)
{
	char more;

	peer->fd = connect_to(port);
	set_up_peer(peer, false, suites[0]);
	check(peer_gets_back(peer, "hello\n"), "the greeting comes, and the end");
	peer_ends(peer);
	must(recv(peer->fd, &more, 1, 0) == 0); /* it has read to our end */
}

static void clean_up(struct test *test)
{
	struct flow *flows[] = {&test->ours.sending, &test->ours.receiving, &test->peer.end.sending,
				&test->peer.end.receiving};

	for (size_t i = 0; i < COUNT(flows); i++)
		EVP_MD_CTX_free(flows[i]->hash);
	ktlsd_stream_free(test->stream);
	ktlsd_close(test->agent);
	SSL_free(test->peer.ssl);
	close(test->peer.fd);
	close(test->fd);
}

static void parse(int argc, char **argv)
{
	static const struct option options[] = {
		{"greeted", required_argument, NULL, 'g'},
		{"kib", required_argument, NULL, 'k'},
		{"every", required_argument, NULL, 'e'},
		{"only", required_argument, NULL, 'o'},
		{"seed", required_argument, NULL, 's'},
		{"progress", no_argument, &show_progress, 1},
		{NULL, 0, NULL, 0},
	};
	int option;

	load.seed = time(NULL);
	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == 'k')
			load.bytes = strtoull(optarg, NULL, 0) << 10;
		else if (option == 'e')
			load.between = strtoull(optarg, NULL, 0) << 10;
		else if (option == 'o')
			only = optarg;
		else if (option == 'g')
			greeted = atoi(optarg);
		else if (option == 's')
			load.seed = strtoull(optarg, NULL, 0);
		else
			must(option == 0);
	}
	must(optind + 1 == argc && load.between > 0);
}

int main(int argc, char **argv)
{
	static struct test test;
	uint64_t errors = kernel_counts("TlsDecryptError");
	char name[64];

	setvbuf(stdout, NULL, _IOLBF, 0);
	parse(argc, argv);
	read_pki(argv[optind]);
	if (greeted) {
		be_greeted(&test.peer, greeted);
		return finish();
	}
	printf("# seed %llu\n", (unsigned long long)load.seed);
	for (unsigned int i = 0; i < 4 * COUNT(suites); i++) {
		test = (struct test){
			.suite = suites[i / 4], .role = i & 2 ? KTLSD_CLIENT : KTLSD_SERVER, .polling = i & 1};
		snprintf(name, sizeof(name), "%s, %s, %s", test.suite, i & 2 ? "client" : "server",
			 test.polling ? "polling" : "blocking");
		if (only && strcmp(only, name) != 0)
			continue;
		run(&test, name);
		clean_up(&test);
	}
	check(kernel_counts("TlsDecryptError") == errors, "the kernel could decrypt every record");
	forget_pki();
	return finish();
}
