/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "refresh.h"
#include "watch.h"

#define LOOK_MS 100	 /* between hearing and looking: what happens together is looked at once */
#define SETTLE_MS 500	 /* a service's files have to rest: certificate and key come one after the other */
#define RESTLESS_MS 5000 /* but not for ever: in a folder something may change all the time */
#define POLL_MS 60000	 /* network file systems tell nothing */
#define WARN_MS (3600 * 1000)

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

void refresh_open(struct refresh *refresh)
{
	refresh->descriptor = watch_open();
	refresh_follow(refresh);
}

void refresh_follow(struct refresh *refresh)
{
	refresh->look_due = refresh->warn_due = clock_ms();
}

int refresh_patience(const struct refresh *refresh)
{
	int64_t left = earlier(refresh->look_due, refresh->warn_due) - clock_ms();

	return left > 0 ? (int)left : 0;
}

static void watch_sources(const struct source_list *sources)
{
	const struct source *source;

	TAILQ_FOREACH(source, sources, next)
		watch_path(source->path, source->folder);
}

static void watch_all(const struct config *config)
{
	size_t i;

	watch_begin();
	for (i = 0; i < config->service_count; i++)
		watch_sources(&config->services[i]->files.sources);
	if (config->ticket_keys)
		watch_sources(&config->ticket_keys->files.sources);
	watch_end();
}

static void look_at(struct watched *watched, int64_t now)
{
	struct source *source;

	TAILQ_FOREACH(source, &watched->sources, next) {
		enum source_news news = source_look(source);

		if (news == SOURCE_SAME)
			continue;
		watched->changed = now;
		if (!watched->restless)
			watched->restless = now;
		watched->outdated = watched->outdated || news == SOURCE_CHANGED;
	}
}

/* A file that is gone is no reason to do anything but say so; its return is a change. */
static void tell_of_missing(const struct watched *watched, const char *whose)
{
	struct source *source;

	TAILQ_FOREACH(source, &watched->sources, next) {
		if (source->error && !source->error_told)
			log_limited(LOG_WARNING, "%s: %s is gone (%s); what was read from it stays in force", whose,
				    source->path, strerror(source->error));
		source->error_told = source->error != 0;
	}
}

/* Whether the files have settled, and were renewed. */
static bool is_due(struct refresh *refresh, struct watched *watched, const char *whose, int64_t now)
{
	int64_t settled = earlier(watched->changed + SETTLE_MS, watched->restless + RESTLESS_MS);
	bool outdated = watched->outdated;

	if (now < settled) {
		refresh->look_due = earlier(refresh->look_due, settled);
		return false;
	}
	watched->changed = watched->restless = 0;
	watched->outdated = false;
	tell_of_missing(watched, whose);
	return outdated;
}

static void set_text(char **text, const char *new, size_t length)
{
	free(*text);
	*text = strndup(new, length);
	if (!*text)
		log_fatal("out of memory");
}

static void tell_of_fault(struct refresh *refresh, struct watched *watched, struct complaints *complaints)
{
	char *rest = complaints->text, *line;

	set_text(&watched->fault, complaints->text, strcspn(complaints->text, "\n"));
	set_text(&refresh->why, complaints->text, complaints->length);
	refresh->failed = time(NULL);
	while ((line = strsep(&rest, "\n"))) {
		if (*line)
			log_line(LOG_ERR, "%s", line);
	}
}

/* NULL: what it was stays in force. */
static struct service *rebuild(struct refresh *refresh, struct service *service, const struct config *config)
{
	struct complaints complaints = {.file = config->settings->file};
	struct service *successor = service_new(service->settings, service, &complaints);
	char date[EXPIRY_DATE];

	if (complaints.count > 0) {
		service_put(successor);
		tell_of_fault(refresh, &service->files, &complaints);
		if (service->expiry.file)
			log_line(
				LOG_ERR,
				"service \"%s\" can't have its changed files; the certificate before stays in force until %s",
				service->name, expiry_date(&service->expiry, date));
		else
			log_line(LOG_ERR, "service \"%s\" can't have its changed files; what it was stays in force",
				 service->name);
		return NULL;
	}
	log_limited(LOG_INFO, "service \"%s\" has its changed files%s%s", successor->name,
		    successor->expiry.file ? "; its certificate is good until " : "",
		    successor->expiry.file ? expiry_date(&successor->expiry, date) : "");
	return successor;
}

/* Services whose files have settled, built anew where that has to be and can be. */
static size_t rebuild_settled(struct refresh *refresh, const struct config *config, struct service **successors,
			      int64_t now)
{
	size_t i, count = 0;

	for (i = 0; i < config->service_count; i++) {
		struct service *service = config->services[i];
		char whose[80];

		if (!service->files.changed)
			continue;
		snprintf(whose, sizeof(whose), "service \"%s\"", service->name);
		if (!is_due(refresh, &service->files, whose, now))
			continue;
		successors[i] = rebuild(refresh, service, config);
		count += successors[i] != NULL;
	}
	return count;
}

/* NULL: those before stay in force. */
static struct ticket_keys *renew_ticket_keys(struct refresh *refresh, const struct config *config, int64_t now)
{
	struct complaints complaints = {.file = config->settings->file};
	struct ticket_keys *before = config->ticket_keys, *renewed;

	if (!before || !before->files.changed || !is_due(refresh, &before->files, "ticket_keys", now))
		return NULL;
	renewed = ticket_keys_load(&config->settings->ticket_keys, &complaints);
	if (renewed)
		return renewed;
	tell_of_fault(refresh, &before->files, &complaints);
	log_line(LOG_ERR, "the changed ticket keys are not taken; those before stay in force");
	return NULL;
}

static struct config *look(struct refresh *refresh, const struct config *config)
{
	struct service **successors = calloc(config->service_count, sizeof(*successors));
	struct ticket_keys *ticket_keys;
	struct config *next = NULL;
	int64_t now = clock_ms();
	size_t i, count;

	if (!successors)
		log_fatal("out of memory");
	refresh->look_due = now + POLL_MS;
	watch_all(config);
	for (i = 0; i < config->service_count; i++)
		look_at(&config->services[i]->files, now);
	if (config->ticket_keys)
		look_at(&config->ticket_keys->files, now);
	count = rebuild_settled(refresh, config, successors, now);
	ticket_keys = renew_ticket_keys(refresh, config, now);
	if (count > 0 || ticket_keys)
		next = config_refresh(config, successors, ticket_keys);
	if (count > 0) {
		refresh->done = time(NULL);
		refresh->services = count;
		refresh->took_ms = clock_ms() - now;
		refresh->warn_due = now;
	}
	free(successors);
	return next;
}

static void warn(struct refresh *refresh, const struct config *config)
{
	time_t now = time(NULL);
	size_t i;

	refresh->warn_due = clock_ms() + WARN_MS;
	for (i = 0; i < config->service_count; i++)
		expiry_warn(&config->services[i]->expiry, config->services[i]->name, now);
}

struct config *refresh_turn(struct refresh *refresh, const struct config *config, bool heard)
{
	struct config *next = NULL;

	if (heard && watch_heard())
		refresh->look_due = earlier(refresh->look_due, clock_ms() + LOOK_MS);
	if (clock_ms() >= refresh->look_due)
		next = look(refresh, config);
	if (clock_ms() >= refresh->warn_due)
		warn(refresh, next ? next : config);
	return next;
}
