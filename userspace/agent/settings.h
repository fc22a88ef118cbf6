/* SPDX-License-Identifier: MIT */
/*
 * What ktlsd.conf says, as strings and numbers, each with the line it stands on. Reading the file touches nothing else:
 * whether a certificate loads or a user exists is found out when the settings are built into a configuration (config.h).
 */
#ifndef AGENT_SETTINGS_H
#define AGENT_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "complaint.h"

struct setting { /* one value; text is NULL where the file says nothing */
	char *text;
	unsigned int line;
	TAILQ_ENTRY(setting) next;
};

TAILQ_HEAD(setting_list, setting);

enum ocsp_use { OCSP_OFF, OCSP_STAPLE, OCSP_ASK }; /* how it is asked whether a peer's certificate was revoked */

enum client_certificate { CLIENT_CERTIFICATE_NONE, CLIENT_CERTIFICATE_REQUEST, CLIENT_CERTIFICATE_REQUIRE };

struct certificate_setting {
	struct setting certificate; /* PEM: leaf, then intermediates */
	struct setting key;	    /* PEM; the certificate's file if text is NULL */
	TAILQ_ENTRY(certificate_setting) next;
};

struct service_settings {
	char *name;
	unsigned int line; /* of the section's head */
	unsigned int role; /* enum ktlsd_role, 0: not given */
	TAILQ_HEAD(certificate_list, certificate_setting) certificates;
	bool readable_key_will_do;
	struct setting_list ca;			/* PEM bundles, folders, "system" */
	unsigned int client_certificate;	/* enum client_certificate */
	unsigned int max_depth;			/* intermediates in a peer's chain */
	unsigned int leeway;			/* seconds that a peer's clock may differ */
	bool any_purpose;			/* anyExtendedKeyUsage will do */
	struct setting_list purposes, policies; /* that a peer's certificate has to have besides */
	struct setting_list allow_peers;	/* "KIND:VALUE" or "KIND:VALUE as NAME" */
	struct setting_list allow_peers_files;	/* the same, a line each */
	struct setting_list crl;		/* files, folders */
	bool crl_leaf_only, crl_expired_will_do;
	unsigned int ocsp; /* enum ocsp_use */
	struct setting ocsp_responder;
	unsigned int ocsp_timeout_ms, ocsp_refresh, ocsp_max_age; /* the latter two in seconds */
	bool ocsp_nonce;
	bool unknown_will_do; /* a certificate of which nobody knows whether it was revoked */
	bool staple;	      /* our own certificates */
	struct setting staple_responder;
	struct setting_list ciphers, groups, alpn;
	unsigned int min_version, max_version; /* 0x0303, 0x0304 */
	bool rsa_key_transport;
	unsigned int tickets;
	unsigned int timeout_ms;
	unsigned int max_handshakes;
	bool allow_everyone;
	struct setting_list allow_users, allow_groups, allow_challenge;
	struct setting_list listen;				   /* addresses on which the agent itself accepts */
	struct setting ready_socket;				   /* where backends come for what is ready */
	struct setting_list kernel, kernel_peers, kernel_networks; /* which of the kernel's requests it is for */
	TAILQ_ENTRY(service_settings) next;
};

enum install_way { INSTALL_AUTO, INSTALL_IO_URING, INSTALL_SETSOCKOPT };

struct settings {
	unsigned int holders; /* configurations, all of them the main thread's to make and to free */
	char *file;
	char *handoff_socket, *control_socket;
	unsigned int handoff_mode; /* permission bits */
	struct setting control_group;
	struct setting user;
	unsigned int workers;	  /* 0: one per CPU */
	unsigned int max_callers; /* 0: as admission_fit() finds right */
	unsigned int max_handshakes, max_handshakes_per_caller, max_handshakes_per_user, max_handshakes_per_peer;
	unsigned int drain_timeout_ms;
	unsigned int install; /* enum install_way */
	unsigned int log_level;
	char *key_log_file;
	char *key_file;			 /* NULL: none */
	struct setting_list ticket_keys; /* files, or a folder; empty: the agent's own keys */
	char *ocsp_folder;		 /* NULL: none */
	unsigned int token_lifetime;	 /* seconds */
	struct setting_list keyrings;	 /* names, for the kernel's requests */
	TAILQ_HEAD(, service_settings) services;
};

/* Reads a file, for one holder. NULL if anything in it is wrong: every fault is in complaints. */
struct settings *settings_read(const char *file, struct complaints *complaints);
struct settings *settings_get(struct settings *settings);
/* Whether a service is for the kernel's own requests. */
bool settings_use_kernel(const struct settings *settings);

void settings_put(struct settings *settings);

#endif
