/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <grp.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <ktlsd/protocol.h>

#include "cipher.h"
#include "clock.h"
#include "control.h"
#include "doors.h"
#include "inspect.h"
#include "install.h"
#include "listener/registry.h"
#include "log.h"
#include "unix_socket.h"
#include "worker.h"
#include "x509/staple.h"

#define LINE_MAX_LENGTH 512
#define REQUEST_MAX (1024 * 1024)
#define PATIENCE_MS 2000

static char control_path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];

int control_open(const struct settings *settings)
{
	const struct group *group = NULL;

	snprintf(control_path, sizeof(control_path), "%s", settings->control_socket);
	if (!settings->control_group.text)
		return unix_socket_claim(settings->control_socket, SOCK_STREAM, 0600, -1);
	group = getgrnam(settings->control_group.text);
	if (!group) {
		log_line(LOG_ERR, "%s:%u: there is no group \"%s\"", settings->file, settings->control_group.line,
			 settings->control_group.text);
		return -1;
	}
	return unix_socket_claim(settings->control_socket, SOCK_STREAM, 0660, group->gr_gid);
}

void control_close(int listener)
{
	unlink(control_path);
	close(listener);
}

static void put(json_object *object, const char *name, uint64_t number)
{
	json_object_object_add(object, name, json_object_new_int64(number));
}

static uint64_t sum(size_t offset)
{
	uint64_t total = 0;
	unsigned int i;

	for (i = 0; i < worker_count; i++)
		total += stats_read((_Atomic uint64_t *)((char *)&workers[i]->stats + offset));
	return total;
}

#define SUM(field) sum(offsetof(struct stats, field))

static json_object *describe_workers(void)
{
	json_object *list = json_object_new_array();
	unsigned int i;

	for (i = 0; i < worker_count; i++) {
		json_object *worker = json_object_new_object();

		put(worker, "id", i);
		put(worker, "in_flight", stats_read(&workers[i]->stats.in_flight));
		put(worker, "done", stats_read(&workers[i]->stats.done));
		put(worker, "failed", stats_read(&workers[i]->stats.failed));
		json_object_array_add(list, worker);
	}
	return list;
}

static json_object *describe_failures(void)
{
	json_object *failures = json_object_new_object();
	unsigned int error;

	for (error = 1; error < STATS_ERRORS; error++) {
		uint64_t count = sum(offsetof(struct stats, by_error) + error * sizeof(_Atomic uint64_t));

		if (count)
			put(failures, strerrorname_np(error) ? strerrorname_np(error) : "other", count);
	}
	return failures;
}

static void describe_ciphers(json_object *status)
{
	json_object *ciphers = json_object_new_object(), *versions = json_object_new_object();
	json_object *offered = json_object_new_array();
	uint64_t tls13 = 0, tls12 = 0;
	size_t i;

	for (i = 0; i < cipher_suite_count; i++) {
		uint64_t count = sum(offsetof(struct stats, by_suite) + i * sizeof(_Atomic uint64_t));

		*(cipher_suites[i].version == 0x0304 ? &tls13 : &tls12) += count;
		if (count)
			put(ciphers, cipher_suites[i].name, count);
		if (cipher_suite_offered(&cipher_suites[i]) && !cipher_suite_is_key_transport(&cipher_suites[i]))
			json_object_array_add(offered, json_object_new_string(cipher_suites[i].name));
	}
	put(versions, "TLS 1.3", tls13);
	put(versions, "TLS 1.2", tls12);
	json_object_object_add(status, "ciphers", ciphers);
	json_object_object_add(status, "versions", versions);
	json_object_object_add(status, "offered", offered);
}

static void describe_expiry(json_object *object, const struct service *service)
{
	char date[EXPIRY_DATE];

	if (service->expiry.file) {
		put(object, "expires_in_days", expiry_days(&service->expiry, time(NULL)));
		json_object_object_add(object, "expires", json_object_new_string(expiry_date(&service->expiry, date)));
		json_object_object_add(object, "expires_file", json_object_new_string(service->expiry.file));
	}
	if (service->files.fault)
		json_object_object_add(object, "fault", json_object_new_string(service->files.fault));
}

static void describe_staples(json_object *object, const struct service *service)
{
	const struct certificate_setting *setting = TAILQ_FIRST(&service->settings->certificates);
	json_object *staples = json_object_new_object();
	char text[STAPLE_TEXT_MAX];
	size_t i;

	for (i = 0; i < service->staple_count; i++, setting = TAILQ_NEXT(setting, next)) {
		if (!service->staples[i])
			continue;
		staple_describe(service->staples[i], time(NULL), text);
		json_object_object_add(staples, setting->certificate.text, json_object_new_string(text));
	}
	json_object_object_add(object, "staples", staples);
}

static json_object *describe_services(const struct config *config)
{
	json_object *list = json_object_new_array();
	size_t i;

	for (i = 0; i < config->service_count; i++) {
		const struct service *service = config->services[i];
		json_object *object = json_object_new_object();

		json_object_object_add(object, "name", json_object_new_string(service->name));
		json_object_object_add(object, "role",
				       json_object_new_string(service->role == KTLSD_SERVER ? "server" : "client"));
		put(object, "in_flight", service->usage->in_flight);
		put(object, "done", service->usage->done);
		put(object, "failed", service->usage->failed);
		describe_expiry(object, service);
		if (service->settings->staple)
			describe_staples(object, service);
		json_object_array_add(list, object);
	}
	return list;
}

static json_object *describe_refresh(const struct refresh *refresh, time_t now)
{
	json_object *object = json_object_new_object();

	if (refresh->done) {
		put(object, "done_s", now - refresh->done);
		put(object, "services", refresh->services);
		put(object, "took_ms", refresh->took_ms);
	}
	if (refresh->failed) {
		put(object, "failed_s", now - refresh->failed);
		json_object_object_add(object, "why", json_object_new_string(refresh->why));
	}
	return object;
}

static json_object *describe_ticket_key(const struct ticket_key *key, bool seals, time_t since, time_t now)
{
	json_object *object = json_object_new_object();
	char text[TICKET_KEY_TEXT];

	json_object_object_add(object, "name", json_object_new_string(ticket_key_text(key, text)));
	json_object_object_add(object, "use", json_object_new_string(seals ? "seals" : "opens"));
	put(object, "since_s", now - since);
	return object;
}

static json_object *describe_own_ticket_keys(time_t now)
{
	json_object *list = json_object_new_array();
	unsigned int newest = keys_newest(), age;

	for (age = 0; age < KEYS_TICKETS_OPEN; age++) {
		const struct key_generation *generation = keys_of(newest - age);

		json_object_array_add(list,
				      describe_ticket_key(&generation->ticket, age == 0, generation->created, now));
	}
	return list;
}

/* Never more of a key than the beginning of its name, which is in each ticket's first bytes. */
static void describe_ticket_keys(json_object *status, const struct ticket_keys *shared, time_t now)
{
	json_object *list = shared ? json_object_new_array() : describe_own_ticket_keys(now), *object;
	size_t i;

	for (i = 0; shared && i < shared->count; i++) {
		object = describe_ticket_key(&shared->keys[i].key, i == 0, shared->loaded, now);
		json_object_object_add(object, "file", json_object_new_string(shared->keys[i].file));
		json_object_array_add(list, object);
	}
	json_object_object_add(status, "ticket_keys", list);
	if (shared && shared->files.fault)
		json_object_object_add(status, "ticket_keys_fault", json_object_new_string(shared->files.fault));
}

static void describe_kernel(json_object *status)
{
	json_object *kernel;
	unsigned int open;
	pid_t supervisor = door_netlink_supervisor(&open);

	if (!supervisor)
		return;
	kernel = json_object_new_object();
	put(kernel, "pid", supervisor);
	put(kernel, "in_flight", open);
	json_object_object_add(status, "kernel_requests", kernel);
}

static json_object *describe(const struct agent *agent)
{
	json_object *status = json_object_new_object(), *installs = json_object_new_object();
	time_t now = time(NULL);

	json_object_object_add(status, "version", json_object_new_string(KTLSD_VERSION));
	put(status, "pid", getpid());
	put(status, "uptime_s", now - agent->started);
	json_object_object_add(status, "config", json_object_new_string(agent->config->settings->file));
	put(status, "config_loaded_s", now - agent->config->loaded);
	json_object_object_add(status, "refresh", describe_refresh(&agent->refresh, now));
	describe_ticket_keys(status, agent->config->ticket_keys, now);
	json_object_object_add(status, "workers", describe_workers());
	put(status, "callers", SUM(callers));
	put(status, "in_flight", SUM(in_flight));
	put(status, "done", SUM(done));
	put(status, "resumed", SUM(resumed));
	put(status, "rekeys", SUM(rekeys));
	put(status, "rekeys_refused", SUM(rekeys_refused));
	put(status, "challenges", SUM(challenges));
	put(status, "challenges_refused", SUM(challenges_refused));
	json_object_object_add(status, "failed", describe_failures());
	put(installs, install_way() == INSTALL_IO_URING ? "io_uring" : "setsockopt", SUM(done));
	json_object_object_add(status, "installs", installs);
	describe_ciphers(status);
	describe_kernel(status);
	json_object_object_add(status, "services", describe_services(agent->config));
	json_object_object_add(status, "listeners", registry_describe());
	return status;
}

static json_object *failed(const char *why)
{
	json_object *answer = json_object_new_object();

	json_object_object_add(answer, "error", json_object_new_string(why));
	return answer;
}

static json_object *reload(struct agent *agent, const struct ucred *who)
{
	struct complaints complaints = {0};
	json_object *answer;

	if (who->uid != 0 && who->uid != geteuid())
		return failed("only root and the agent's own user may reload");
	if (!agent->reload(agent, &complaints))
		return failed(complaints.text);
	answer = json_object_new_object();
	json_object_object_add(answer, "ok", json_object_new_boolean(1));
	put(answer, "services", agent->config->service_count);
	return answer;
}

/* Those with certificates behind the line, up to where the client shuts its side down. */
static bool takes_body(const char *line)
{
	return strncmp(line, "verify ", 7) == 0 || strcmp(line, "revoked") == 0;
}

/* What a client has sent: a line, and what stands behind it where the request takes that. */
struct request {
	char *line, *body;
	size_t body_length;
};

/* The next word of a line; "" if there is none. */
static char *next_word(char **line)
{
	char *word = *line ? strsep(line, " ") : NULL;

	return word ? word : (char *)"";
}

static json_object *answer(struct agent *agent, const struct request *request, const struct ucred *who)
{
	char *rest = request->line, *command = next_word(&rest), *first = next_word(&rest);

	if (strcmp(command, "status") == 0)
		return describe(agent);
	if (strcmp(command, "reload") == 0)
		return reload(agent, who);
	if (strcmp(command, "verify") == 0)
		return inspect_chain(agent->config, first, next_word(&rest), request->body, request->body_length);
	if (strcmp(command, "revoked") == 0)
		return inspect_revocation(agent->config, first, request->body, request->body_length);
	return failed("unknown request; expected status, reload, verify or revoked");
}

/* The line in one piece: the main thread does not wait for who types slowly. The rest, too, has only so much time. */
static bool read_request(int fd, char *buffer, size_t size, struct request *request)
{
	int64_t deadline = clock_ms() + PATIENCE_MS;
	ssize_t n = read(fd, buffer, size - 1);
	char *end = n > 0 ? memchr(buffer, '\n', n) : NULL;
	size_t length = n;

	if (!end || end - buffer >= LINE_MAX_LENGTH)
		return false;
	*end = '\0';
	*request = (struct request){.line = buffer, .body = end + 1};
	while (takes_body(buffer) && length < size - 1 && clock_ms() < deadline &&
	       (n = read(fd, buffer + length, size - 1 - length)) > 0)
		length += n;
	request->body_length = length - (request->body - buffer);
	return !takes_body(buffer) || n == 0;
}

/* Nor for who reads slowly. */
static void write_all(int fd, const char *text, size_t length)
{
	int64_t deadline = clock_ms() + PATIENCE_MS, left = PATIENCE_MS;
	struct pollfd room = {.fd = fd, .events = POLLOUT};

	while (length > 0 && left > 0 && poll(&room, 1, (int)left) > 0) {
		ssize_t n = send(fd, text, length, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n <= 0 && errno != EAGAIN)
			return;
		text += n > 0 ? n : 0;
		length -= n > 0 ? n : 0;
		left = deadline - clock_ms();
	}
}

void control_serve(int listener, struct agent *agent)
{
	struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
	struct ucred who = {.uid = -1};
	socklen_t length = sizeof(who);
	static char buffer[REQUEST_MAX]; /* the main thread's alone */
	struct request request;
	json_object *object;
	const char *text;
	size_t size;
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length);
	if (read_request(fd, buffer, sizeof(buffer), &request)) {
		object = answer(agent, &request, &who);
		text = json_object_to_json_string_length(object, JSON_C_TO_STRING_PLAIN, &size);
		write_all(fd, text, size);
		json_object_put(object);
	}
	close(fd);
}
