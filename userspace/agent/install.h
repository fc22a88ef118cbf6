/* SPDX-License-Identifier: MIT */
/*
 * Puts keys into a socket: as members of a linked io_uring submission where the kernel has socket commands that can be
 * linked (Linux 6.14), with plain setsockopt where it has not. The caller does both halves and can't tell which of them worked: prepare adds
 * to a chain that is being built, complete does what is left when the chain went through.
 */
#ifndef AGENT_INSTALL_H
#define AGENT_INSTALL_H

#include <liburing.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "secrets.h"
#include "settings.h"

struct session_keys {
	struct crypto_info tx, rx;
	uint16_t max_payload; /* bytes of plaintext in a record we send; 0: the protocol's own limit */
};

#define INSTALL_CHAIN 3 /* members that install_prepare() adds at the most */

/* Decides once. False if the configuration wants io_uring and the kernel can't. */
bool install_init(enum install_way way);
enum install_way install_way(void);

/* Whether the kernel takes other keys for a TLS 1.3 socket that has some (Linux 6.14). */
bool install_can_replace(void);

/* The "tls" ULP, which only a fully open connection takes: as early as possible (net/tls/tls_main.c, tls_init). */
void install_prepare_ulp(struct io_uring *ring, int fd, uint64_t user_data);
int install_complete_ulp(int fd); /* 0 or -errno */

/*
 * The last member of a chain: a look at the socket's SO_LINGER, which the caller of a closing has to know. False, and nothing
 * added, where the ring can't.
 */
bool install_prepare_linger(struct io_uring *ring, int fd, struct linger *linger, uint64_t user_data);

/* Keys for both directions. They stay in place until the chain has completed, then the caller wipes them. */
void install_prepare(struct io_uring *ring, int fd, struct session_keys *keys, uint64_t user_data);
int install_complete(int fd, struct session_keys *keys); /* 0 or -errno */

/*
 * For a socket that is about to die: the sending direction only, and a fatal alert under it. Does not wait; what goes wrong is
 * nobody's concern any more.
 */
void install_last_words(int fd, const struct session_keys *keys, uint8_t alert);

#endif
