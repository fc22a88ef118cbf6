/* SPDX-License-Identifier: MIT */
/* ktlsd: reads its configuration, opens the doors, starts the workers, and then only listens for orders. */
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../lib/probe.h"
#include "admission.h"
#include "control.h"
#include "doors.h"
#include "kernel/supervisor.h"
#include "keys.h"
#include "log.h"
#include "manager.h"
#include "protect.h"
#include "random.h"
#include "token.h"
#include "worker.h"
#include "x509/kept.h"
#include "x509/responder.h"
#include "x509/staple.h"

#define DEFAULT_CONFIG "/etc/ktlsd/ktlsd.conf"

static struct io_uring main_ring; /* for posts to the workers */

static int usage(FILE *stream)
{
	fprintf(stream,
		"Usage: ktlsd [--config FILE]\n"
		"       ktlsd --check FILE\n"
		"\n"
		"The TLS handshake agent: servers hand it connected TCP sockets and get them back\n"
		"encrypting in the kernel.\n"
		"\n"
		"  --config FILE   configuration (default " DEFAULT_CONFIG ")\n"
		"  --check FILE    says what is wrong with a configuration, and stops\n"
		"  --version       prints the version\n"
		"  --help          prints this\n"
		"\n"
		"SIGHUP or \"ktlsctl reload\" loads the configuration anew, SIGTERM finishes what runs\n"
		"and stops. See ktlsd(8), ktlsd.conf(5), and \"ktlsctl doctor\" for what this machine can do.\n");
	return stream == stdout ? EXIT_SUCCESS : 2;
}

/* Every line of the complaints as a log line of its own. */
static void log_complaints(struct complaints *complaints)
{
	char *rest = complaints->text, *line;

	while ((line = strsep(&rest, "\n"))) {
		if (*line)
			log_line(LOG_ERR, "%s", line);
	}
}

static int check(const char *file)
{
	static struct complaints complaints;
	struct config *config = config_load(file, NULL, &complaints);

	if (!config) {
		fputs(complaints.text, stderr);
		return EXIT_FAILURE;
	}
	printf("%s: good, %zu service%s\n", file, config->service_count, config->service_count == 1 ? "" : "s");
	config_put(config);
	return EXIT_SUCCESS;
}

/* ---- orders while it runs ---- */

static void post_to_all(enum worker_post post)
{
	unsigned int i;

	for (i = 0; i < worker_count; i++)
		worker_post(&main_ring, workers[i], post);
	io_uring_submit(&main_ring);
}

static bool differ(const char *old, const char *new)
{
	return old && new ? strcmp(old, new) != 0 : old != new;
}

static bool same_list(const struct setting_list *old, const struct setting_list *new)
{
	const struct setting *one = TAILQ_FIRST(old), *other = TAILQ_FIRST(new);

	while (one && other && strcmp(one->text, other->text) == 0) {
		one = TAILQ_NEXT(one, next);
		other = TAILQ_NEXT(other, next);
	}
	return !one && !other;
}

static bool listen_differently(const struct settings *old, const struct settings *new)
{
	const struct service_settings *before, *after;
	bool same;

	TAILQ_FOREACH(after, &new->services, next) {
		same = !after->ready_socket.text;
		TAILQ_FOREACH(before, &old->services, next) {
			if (strcmp(before->name, after->name) == 0)
				same = !differ(before->ready_socket.text, after->ready_socket.text) &&
				       same_list(&before->listen, &after->listen);
		}
		if (!same)
			return true;
	}
	return false;
}

static void warn_of_fixed_settings(const struct settings *old, const struct settings *new)
{
	if (differ(old->handoff_socket, new->handoff_socket) || differ(old->control_socket, new->control_socket) ||
	    differ(old->control_group.text, new->control_group.text) || differ(old->user.text, new->user.text) ||
	    differ(old->key_log_file, new->key_log_file) || differ(old->key_file, new->key_file) ||
	    differ(old->ocsp_folder, new->ocsp_folder) || old->handoff_mode != new->handoff_mode ||
	    old->workers != new->workers || old->install != new->install)
		log_line(
			LOG_WARNING,
			"%s: the sockets, control_group, user, workers, install, key_file, ocsp_folder and key_log_file change with a restart only",
			new->file);
	if (listen_differently(old, new))
		log_line(LOG_WARNING, "%s: listen and ready_socket change with a restart only", new->file);
	if ((settings_use_kernel(new) && !settings_use_kernel(old)) || !same_list(&old->keyrings, &new->keyrings))
		log_line(LOG_WARNING,
			 "%s: the first service with \"kernel\", and keyrings, come into force with a restart only",
			 new->file);
}

/* Such a worker may look at ticket keys of a configuration that it skips, and so holds no reference to. */
static bool some_worker_is_behind(void)
{
	unsigned int i;

	for (i = 0; i < worker_count; i++) {
		if (atomic_load(&workers[i]->next_config))
			return true;
	}
	return false;
}

/*
 * The last reference to an old configuration is the main thread's: to free a thousand services takes longer than a
 * worker may stand still.
 */
static void free_retired(struct agent *agent)
{
	struct config **link = &agent->retired, *config;

	if (some_worker_is_behind())
		return;
	while ((config = *link)) {
		if (atomic_load(&config->references) > 1) {
			link = &config->older;
			continue;
		}
		*link = config->older;
		config_put(config);
	}
}

/* The workers go over to it, each when it gets to it. */
static void take(struct agent *agent, struct config *next)
{
	struct config *unused;
	unsigned int i;

	/* First: who has taken the new configuration looks at no ticket keys before it (free_retired). */
	ticket_keys_use(next->ticket_keys);
	for (i = 0; i < worker_count; i++) {
		unused = atomic_exchange(&workers[i]->next_config, config_get(next));
		config_put(unused); /* one that this worker had not got to yet */
	}
	post_to_all(WORKER_RECONFIGURE);
	agent->config->older = agent->retired;
	agent->retired = agent->config;
	agent->config = next;
}

static bool uses_ocsp(const struct settings *settings)
{
	const struct service_settings *service;

	TAILQ_FOREACH(service, &settings->services, next) {
		if (service->staple || service->ocsp != OCSP_OFF)
			return true;
	}
	return false;
}

/* Once there is a use for it, and as the user that we stay. */
static void keep_responses(const struct settings *settings)
{
	static bool done;

	if (done || !uses_ocsp(settings))
		return;
	done = true;
	if (settings->ocsp_folder)
		mkdir(settings->ocsp_folder, 0700); /* if it is there already, or can't be made: kept_in() says so */
	kept_in(settings->ocsp_folder);
}

/* A new configuration is taken whole or not at all. */
static bool reload(struct agent *agent, struct complaints *complaints)
{
	struct config *next;

	manager_notify("RELOADING=1");
	next = config_load(agent->config->settings->file, agent->config, complaints);
	if (!next || !admission_fit(next->settings, complaints)) {
		log_complaints(complaints);
		log_line(LOG_ERR, "the configuration is not taken; the one before stays in force");
		config_put(next);
		manager_notify("READY=1");
		return false;
	}
	warn_of_fixed_settings(agent->config->settings, next->settings);
	keep_responses(next->settings);
	take(agent, next);
	log_set_level(next->settings->log_level);
	refresh_follow(&agent->refresh);
	log_line(LOG_INFO, "configuration loaded: %zu service%s", next->service_count,
		 next->service_count == 1 ? "" : "s");
	manager_notify("READY=1");
	return true;
}

static bool all_ended(void)
{
	unsigned int i;

	for (i = 0; i < worker_count; i++) {
		if (!atomic_load(&workers[i]->ended))
			return false;
	}
	return true;
}

/* A thread that a hanging close() keeps in the kernel can't be joined. */
static bool join_workers(void)
{
	unsigned int i;
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 1;
	for (i = 0; i < worker_count; i++) {
		if (pthread_timedjoin_np(workers[i]->thread, NULL, &until) != 0)
			return false;
	}
	return true;
}

/* Lets what runs finish within the deadline; a second signal ends it at once. */
static void drain(const struct agent *agent, int signals)
{
	unsigned int waited = 0, limit = agent->config->settings->drain_timeout_ms;
	struct pollfd order = {.fd = signals, .events = POLLIN};

	manager_notify("STOPPING=1");
	log_line(LOG_INFO, "draining: %lu handshakes in flight get %u ms", (unsigned long)admission_in_flight(), limit);
	post_to_all(WORKER_DRAIN);
	while (!all_ended()) {
		if (waited >= limit || poll(&order, 1, 10) > 0)
			break;
		waited += 10;
	}
	post_to_all(WORKER_STOP);
	while (!all_ended())
		poll(NULL, 0, 10);
}

static int patience(const struct agent *agent)
{
	int least = agent->retired ? 1000 : KEYS_LIFETIME * 1000 / 16, refresh = refresh_patience(&agent->refresh);

	return refresh < least ? refresh : least;
}

static void obey(struct agent *agent, int signals, int control)
{
	struct pollfd orders[] = {{.fd = signals, .events = POLLIN},
				  {.fd = control, .events = POLLIN},
				  {.fd = agent->refresh.descriptor, .events = POLLIN}};

	for (;;) {
		struct signalfd_siginfo signal;
		struct complaints complaints = {0};
		struct config *refreshed;

		if (poll(orders, 3, patience(agent)) < 0 && errno != EINTR)
			log_fatal("poll: %s", strerror(errno));
		free_retired(agent);
		if (keys_due(time(NULL)) && !keys_rotate(time(NULL)))
			log_line(LOG_ERR, "no random numbers for new keys; the old ones stay");
		refreshed = refresh_turn(&agent->refresh, agent->config, orders[2].revents);
		if (refreshed)
			take(agent, refreshed);
		if (orders[1].revents)
			control_serve(control, agent);
		if (!orders[0].revents || read(signals, &signal, sizeof(signal)) != sizeof(signal))
			continue;
		if (signal.ssi_signo != SIGHUP)
			return;
		reload(agent, &complaints);
	}
}

/* ---- start ---- */

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static bool open_doors(const struct settings *settings)
{
	const struct door *const *door;

	for (door = doors; *door; door++) {
		if (!(*door)->open(settings))
			return false;
	}
	return true;
}

/* Explicitly: while a descriptor's closing hangs, this process can't end, and the next agent shall find the place free. */
static void close_sockets(int control)
{
	const struct door *const *door;

	for (door = doors; *door; door++)
		(*door)->close();
	control_close(control);
}

static bool start_workers(struct config *config)
{
	unsigned int wanted = config->settings->workers, i;

	if (wanted == 0)
		wanted = sysconf(_SC_NPROCESSORS_ONLN);
	if (wanted > WORKERS_MAX)
		wanted = WORKERS_MAX;
	workers = calloc(wanted, sizeof(*workers));
	if (!workers || io_uring_queue_init(8, &main_ring, 0) != 0)
		return false;
	for (i = 0; i < wanted; i++) {
		workers[i] = worker_new(i, config_get(config));
		if (!workers[i])
			return false;
	}
	worker_count = wanted;
	for (i = 0; i < wanted; i++) {
		if (!worker_start(workers[i]))
			return false;
	}
	return true;
}

/* What a burst took stays for the next, up to this; each worker's arena would else grow and shrink with every few handshakes. */
static void keep_memory(void)
{
	mallopt(M_TOP_PAD, 1024 * 1024);
	mallopt(M_TRIM_THRESHOLD, 8 * 1024 * 1024);
}

static bool prepare_tls(void)
{
	if (!random_init() || !secrets_init() || !token_init() || !keys_init()) {
		log_line(LOG_ERR, "OpenSSL lacks a key derivation, AES-256-GCM or random numbers (%s)",
			 OpenSSL_version(OPENSSL_VERSION));
		return false;
	}
	return true;
}

static int serve(const char *file)
{
	static struct complaints complaints;
	struct agent agent = {.started = time(NULL), .reload = reload};
	int signals = open_signals(), control;
	const struct settings *settings;

	keep_memory();
	manager_open();
	if (!prepare_tls())
		return EXIT_FAILURE;
	if (!cipher_suites_probe()) {
		log_line(LOG_ERR, "this kernel takes no TLS keys; \"ktlsctl doctor\" says what is missing");
		return EXIT_FAILURE;
	}
	context_set_max_payload(ktls_probe_max_payload());
	agent.config = config_load(file, NULL, &complaints);
	if (!agent.config || !admission_init() || !admission_fit(agent.config->settings, &complaints)) {
		log_complaints(&complaints);
		return EXIT_FAILURE;
	}
	settings = agent.config->settings;
	log_set_level(settings->log_level);
	if (!install_init(settings->install) || !engine_init(settings->key_log_file) || !open_doors(settings))
		return EXIT_FAILURE;
	manager_close_rest();
	if (settings->key_file)
		keys_keep_in(settings->key_file, time(NULL));
	control = control_open(settings);
	if (control < 0 || !protect_drop_privileges(&settings->user))
		return EXIT_FAILURE;
	protect_drop_net_admin();
	protect_memory();
	keep_responses(settings);
	ticket_keys_use(agent.config->ticket_keys);
	staple_start();
	if (!start_workers(agent.config))
		return EXIT_FAILURE;
	log_line(LOG_INFO, "ktlsd " KTLSD_VERSION " serves %zu service%s with %u worker%s, %s, keys by %s",
		 agent.config->service_count, agent.config->service_count == 1 ? "" : "s", worker_count,
		 worker_count == 1 ? "" : "s", OpenSSL_version(OPENSSL_VERSION),
		 install_way() == INSTALL_IO_URING ? "io_uring" : "setsockopt");
	refresh_open(&agent.refresh);
	manager_notify("READY=1");
	obey(&agent, signals, control);
	drain(&agent, signals);
	close_sockets(control);
	if (!join_workers()) {
		log_line(LOG_WARNING, "stopped, but for descriptors of callers whose closing hangs");
		_exit(door_lost ? EXIT_FAILURE : EXIT_SUCCESS);
	}
	staple_stop();
	responder_stop();
	while (worker_count > 0)
		worker_free(workers[--worker_count]);
	free(workers);
	free_retired(&agent);
	config_put(agent.config);
	log_line(LOG_INFO, "stopped");
	return door_lost ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"check", required_argument, NULL, 'k'},
		{"version", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *file = DEFAULT_CONFIG, *to_check = NULL;
	int option;

	if (argc > 1 && strcmp(argv[1], SUPERVISOR_OPTION) == 0)
		return supervisor_run(argc, argv);
	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			file = optarg;
			break;
		case 'k':
			to_check = optarg;
			break;
		case 'v':
			puts("ktlsd " KTLSD_VERSION);
			return EXIT_SUCCESS;
		case 'h':
			return usage(stdout);
		default:
			return usage(stderr);
		}
	}
	if (optind < argc) {
		fprintf(stderr, "ktlsd: unexpected argument \"%s\"\n", argv[optind]);
		return usage(stderr);
	}
	log_open();
	if (!to_check)
		return serve(file);
	cipher_suites_assume();
	return check(to_check);
}
