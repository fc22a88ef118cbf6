/* SPDX-License-Identifier: MIT */
/* ktlsctl cert: what its files share. */
#ifndef KTLSD_CERT_H
#define KTLSD_CERT_H

#include <stdbool.h>
#include <openssl/x509v3.h>

#include "ktlsctl.h"

#define CERTIFICATES_MAX 2000

/* Certificates as somebody gave them, in that order. */
struct given {
	STACK_OF(X509) *certificates;
	struct json_object *connection; /* to the server that gave them; NULL: they come from a file */
	struct json_object *remarks;	/* texts: what else there was to see */
};

int cert_show_main(int argc, char **argv);
int cert_verify_main(int argc, char **argv);

/* Both: false after a complaint; clear in any case. path "-": standard input. server_name NULL: the host, if it is a name. */
bool given_by_file(struct given *given, const char *path);
bool given_by_server(struct given *given, const struct address *address, const char *server_name);
void given_clear(struct given *given);

/*
 * Sends the agent a command with the certificates of some files (paths ends with NULL; NULL: none), and shows what it says. The
 * status to end with.
 */
int ask_about(const struct options *options, const char *command, char *const *paths,
	      int (*show)(struct json_object *answer, bool json));

/* Adds a text to the remarks; what it quotes has to be harmless already. */
void given_remark(struct given *given, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* All that a certificate says, for print_certificate() and --json. */
struct json_object *describe_certificate(X509 *certificate);

/* What a server said with its certificate about whether that is revoked. */
struct json_object *describe_staple(const unsigned char *der, size_t length, const STACK_OF(X509) *certificates);

/* Who issued whom, as an array in the order of a tree's lines; what is wrong with it becomes remarks. */
struct json_object *describe_tree(struct given *given);

/* The report for people; all: without leaving anything out. */
void print_report(struct json_object *report, bool all);

/*
 * Text from a certificate. Its maker chose it, and it goes to a terminal: all of it is printable ASCII when it leaves here, with
 * other bytes as \XX, which is RFC 4514's way, and the agent's in the names of peers.
 */
struct json_object *text_of_bytes(const void *bytes, size_t length);
struct json_object *text_of_name(const X509_NAME *name);
struct json_object *text_of_general_name(const GENERAL_NAME *name);
struct json_object *text_of_oid(const ASN1_OBJECT *oid);
struct json_object *text_of_hex(const char *prefix, const unsigned char *bytes, size_t length);
struct json_object *text_of_serial(const ASN1_INTEGER *serial);

/* 2026-11-21T10:00:00Z; NULL if it is no time. */
struct json_object *text_of_time(const ASN1_TIME *time);
bool seconds_of_time(const ASN1_TIME *time, int64_t *seconds);

/* A member, unless value is NULL. */
void add(struct json_object *object, const char *member, struct json_object *value);

#endif
