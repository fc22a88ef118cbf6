/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "log.h"

static int compare_services(const void *a, const void *b)
{
	return strcmp(((const struct service *)a)->name, ((const struct service *)b)->name);
}

const struct service *config_service(const struct config *config, const char *name)
{
	struct service wanted = {.name = (char *)name};

	return bsearch(&wanted, config->services, config->service_count, sizeof(*config->services), compare_services);
}

/* Settings point to their services by address once built (callbacks hold it), so they are sorted before. */
static const struct service_settings **sorted(const struct settings *settings, size_t *count)
{
	const struct service_settings *service, **list;
	size_t n = 0, i;

	TAILQ_FOREACH(service, &settings->services, next)
		n++;
	list = calloc(n + 1, sizeof(*list));
	if (!list)
		log_fatal("out of memory");
	*count = 0;
	TAILQ_FOREACH(service, &settings->services, next) {
		for (i = (*count)++; i > 0 && strcmp(list[i - 1]->name, service->name) > 0; i--)
			list[i] = list[i - 1];
		list[i] = service;
	}
	return list;
}

struct config *config_load(const char *file, const struct config *predecessor, struct complaints *complaints)
{
	struct settings *settings = settings_read(file, complaints);
	const struct service_settings **list;
	struct config *config;
	size_t i, count;

	if (!settings)
		return NULL;
	list = sorted(settings, &count);
	config = calloc(1, sizeof(*config));
	if (!config || !(config->services = calloc(count, sizeof(*config->services))))
		log_fatal("out of memory");
	config->references = 1;
	config->settings = settings;
	config->loaded = time(NULL);
	for (i = 0; i < count; i++) {
		const struct service *before = predecessor ? config_service(predecessor, list[i]->name) : NULL;

		service_build(&config->services[config->service_count++], list[i], before, complaints);
	}
	free(list);
	if (complaints->count == 0)
		return config;
	config_put(config);
	return NULL;
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
		service_clear(&config->services[--config->service_count]);
	free(config->services);
	settings_free(config->settings);
	free(config);
}
