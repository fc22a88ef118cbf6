/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "log.h"

static int compare_services(const void *a, const void *b)
{
	return strcmp((*(struct service *const *)a)->name, (*(struct service *const *)b)->name);
}

const struct service *config_service(const struct config *config, const char *name)
{
	struct service named = {.name = (char *)name}, *wanted = &named, **found;

	found = bsearch(&wanted, config->services, config->service_count, sizeof(*config->services), compare_services);
	return found ? *found : NULL;
}

/* Takes over the reference of settings. */
static struct config *new_config(struct settings *settings, time_t loaded, size_t room)
{
	struct config *config = calloc(1, sizeof(*config));

	if (!config || !(config->services = calloc(room, sizeof(*config->services))))
		log_fatal("out of memory");
	config->references = 1;
	config->settings = settings;
	config->loaded = loaded;
	return config;
}

struct config *config_load(const char *file, const struct config *predecessor, struct complaints *complaints)
{
	struct settings *settings = settings_read(file, complaints);
	const struct service_settings *service;
	struct config *config;
	size_t count = 0;

	if (!settings)
		return NULL;
	TAILQ_FOREACH(service, &settings->services, next)
		count++;
	config = new_config(settings, time(NULL), count);
	TAILQ_FOREACH(service, &settings->services, next) {
		const struct service *before = predecessor ? config_service(predecessor, service->name) : NULL;

		config->services[config->service_count++] = service_new(service, before, complaints);
	}
	config->ticket_keys = ticket_keys_load(&settings->ticket_keys, complaints);
	qsort(config->services, count, sizeof(*config->services), compare_services);
	if (complaints->count == 0)
		return config;
	config_put(config);
	return NULL;
}

struct config *config_refresh(const struct config *before, struct service **successors, struct ticket_keys *ticket_keys)
{
	struct config *config = new_config(settings_get(before->settings), before->loaded, before->service_count);
	size_t i;

	for (i = 0; i < before->service_count; i++)
		config->services[i] = successors[i] ? successors[i] : service_get(before->services[i]);
	config->service_count = before->service_count;
	config->ticket_keys = ticket_keys ? ticket_keys : ticket_keys_get(before->ticket_keys);
	return config;
}

struct config *config_get(struct config *config)
{
	atomic_fetch_add_explicit(&config->references, 1, memory_order_relaxed);
	return config;
}

void config_put(struct config *config)
{
	if (!config || atomic_fetch_sub(&config->references, 1) != 1)
		return;
	while (config->service_count > 0)
		service_put(config->services[--config->service_count]);
	free(config->services);
	ticket_keys_put(config->ticket_keys);
	settings_put(config->settings);
	free(config);
}
