/* SPDX-License-Identifier: MIT */
#include <stddef.h>
#include <string.h>

#include <ktlsd/protocol.h>

#include "kernel/supervisor.h"
#include "listener/address.h"
#include "settings_check.h"

/* Responses are signed; to verify a responder's own certificate would take another responder. */
static void check_responder(const struct setting *setting, const char *key, struct complaints *complaints)
{
	if (setting->text && strncmp(setting->text, "http://", 7) != 0)
		complain(complaints, setting->line, "%s = %s; expected http://HOST[:PORT][/PATH]", key, setting->text);
}

/* What only makes sense where somebody is verified would otherwise look like protection that is not there. */
static void check_peer_keys(const struct service_settings *service, struct complaints *complaints)
{
	const struct setting *lists[] = {TAILQ_FIRST(&service->purposes), TAILQ_FIRST(&service->policies),
					 TAILQ_FIRST(&service->allow_peers), TAILQ_FIRST(&service->allow_peers_files),
					 TAILQ_FIRST(&service->crl)};
	unsigned int line = service->ocsp ? service->line : 0;
	size_t i;

	for (i = 0; i < sizeof(lists) / sizeof(*lists); i++)
		line = lists[i] ? lists[i]->line : line;
	if (service->role == KTLSD_SERVER && !service->client_certificate && line)
		complain(
			complaints, line,
			"service \"%s\" asks clients for no certificate, so what it demands of one has no effect; expected "
			"client_certificate = require or request",
			service->name);
	if (service->role == KTLSD_SERVER && service->ocsp == OCSP_STAPLE)
		complain(
			complaints, service->line,
			"service \"%s\": ocsp = staple is for the client role, clients staple nothing; expected ocsp = ask",
			service->name);
	if (service->staple && service->role == KTLSD_CLIENT)
		complain(complaints, service->line,
			 "service \"%s\": staple = yes is for server services; for the peer's staple: ocsp = staple",
			 service->name);
	check_responder(&service->ocsp_responder, "ocsp_responder", complaints);
	check_responder(&service->staple_responder, "staple_responder", complaints);
}

static bool is_for_psk_alone(const struct service_settings *service)
{
	const struct setting *first = TAILQ_FIRST(&service->kernel);

	return first && !TAILQ_NEXT(first, next) && strcmp(first->text, "psk") == 0;
}

/* What the kernel asks for comes without a caller: a policy for programs would be everybody's. */
static bool is_for_programs(const struct service_settings *service)
{
	return service->allow_everyone || !TAILQ_EMPTY(&service->allow_users) || !TAILQ_EMPTY(&service->allow_groups);
}

static bool is_for_anonymous(const struct service_settings *service)
{
	const struct setting *kind;

	TAILQ_FOREACH(kind, &service->kernel, next) {
		if (strcmp(kind->text, "anonymous") == 0)
			return true;
	}
	return false;
}

static void check_kernel(const struct service_settings *service, struct complaints *complaints)
{
	const struct setting *peers = TAILQ_FIRST(&service->kernel_peers),
			     *networks = TAILQ_FIRST(&service->kernel_networks);

	if (TAILQ_EMPTY(&service->kernel) && (peers || networks))
		complain(
			complaints, peers ? peers->line : networks->line,
			"service \"%s\" is not for the kernel's requests; expected kernel = anonymous, x509 or psk with it",
			service->name);
	if (peers && service->role == KTLSD_SERVER)
		complain(
			complaints, peers->line,
			"service \"%s\": kernel_peers are names that clients connect to; expected kernel_networks in server services",
			service->name);
	if (service->role == KTLSD_SERVER && is_for_anonymous(service))
		complain(
			complaints, TAILQ_FIRST(&service->kernel)->line,
			"service \"%s\": the kernel's servers ask for x509 or psk; expected one of these instead of anonymous",
			service->name);
	if (!TAILQ_EMPTY(&service->kernel) && is_for_programs(service))
		complain(complaints, service->line,
			 "service \"%s\" is for the kernel's requests and for programs; expected a service for each",
			 service->name);
	if (!TAILQ_EMPTY(&service->kernel) && service->min_version < 0x0304)
		complain(complaints, service->line,
			 "service \"%s\": the kernel's consumers know TLS 1.3 alone; expected min_version = 1.3",
			 service->name);
}

static void check_listen(const struct service_settings *service, struct complaints *complaints)
{
	const struct setting *first = TAILQ_FIRST(&service->listen), *address;
	struct sockaddr_storage parsed;
	socklen_t length;

	TAILQ_FOREACH(address, &service->listen, next) {
		if (!listen_address(address->text, &parsed, &length))
			complain(complaints, address->line, "listen = %s; expected ADDRESS:PORT or [ADDRESS]:PORT",
				 address->text);
	}
	if (first && !service->ready_socket.text)
		complain(complaints, first->line,
			 "service \"%s\" listens, and nobody can receive what is ready; expected ready_socket = PATH",
			 service->name);
	if (service->role == KTLSD_CLIENT && (first || service->ready_socket.text))
		complain(
			complaints, first ? first->line : service->ready_socket.line,
			"service \"%s\" is for the client role; expected listen and ready_socket in server services only",
			service->name);
}

static void check_service(const struct service_settings *service, struct complaints *complaints)
{
	if (!service->role)
		complain(complaints, service->line, "service \"%s\" has no role; expected role = server or client",
			 service->name);
	if (service->role == KTLSD_SERVER && TAILQ_EMPTY(&service->certificates) && !is_for_psk_alone(service))
		complain(complaints, service->line,
			 "service \"%s\" has no certificate; expected certificate = FILE and key = FILE",
			 service->name);
	if (service->role == KTLSD_SERVER && service->client_certificate && TAILQ_EMPTY(&service->ca))
		complain(
			complaints, service->line,
			"service \"%s\" wants client certificates and names no ca to verify them with; expected ca = FILE",
			service->name);
	if (service->role == KTLSD_CLIENT && service->client_certificate)
		complain(complaints, service->line,
			 "service \"%s\" is for the client role; expected client_certificate in server services only",
			 service->name);
	check_peer_keys(service, complaints);
	check_kernel(service, complaints);
	check_listen(service, complaints);
	if (TAILQ_EMPTY(&service->certificates) && !TAILQ_EMPTY(&service->allow_challenge))
		complain(
			complaints, TAILQ_FIRST(&service->allow_challenge)->line,
			"service \"%s\" has allow_challenge and no key to prove; expected certificate = FILE and key = FILE",
			service->name);
	if (service->min_version > service->max_version)
		complain(complaints, service->line, "service \"%s\": min_version is above max_version", service->name);
	if (service->rsa_key_transport && service->min_version > 0x0303)
		complain(complaints, service->line,
			 "service \"%s\" has rsa_key_transport, which TLS 1.3 has not; expected min_version = 1.2",
			 service->name);
}

static void check_keyrings(const struct settings *settings, struct complaints *complaints)
{
	const struct setting *keyring;
	unsigned int count = 0;

	TAILQ_FOREACH(keyring, &settings->keyrings, next) {
		if (++count > SUPERVISOR_KEYRINGS_MAX) {
			complain(complaints, keyring->line, "keyrings: expected %u at the most",
				 SUPERVISOR_KEYRINGS_MAX);
			return;
		}
	}
}

void settings_check(const struct settings *settings, struct complaints *complaints)
{
	const struct service_settings *service;

	check_keyrings(settings, complaints);

	if (TAILQ_EMPTY(&settings->services))
		complain(complaints, 0, "no service; expected at least one [service NAME]");
	TAILQ_FOREACH(service, &settings->services, next)
		check_service(service, complaints);
}
