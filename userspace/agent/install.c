/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include "../lib/probe.h"
#include "../lib/socket.h"
#include "install.h"
#include "log.h"
#include "ring.h"
#include "trial.h"

#ifndef TLS_TX_MAX_PAYLOAD_LEN
#define TLS_TX_MAX_PAYLOAD_LEN 5
#endif
#ifndef SOL_TLS
#define SOL_TLS 282
#endif

static enum install_way chosen;
static bool can_replace;
static char ulp_name[] = "tls";

bool install_init(enum install_way way)
{
	bool ring = way != INSTALL_SETSOCKOPT && trial_linked_commands();

	chosen = ring ? INSTALL_IO_URING : INSTALL_SETSOCKOPT;
	can_replace = ktls_probe_rekey();
	if (way == INSTALL_IO_URING && !ring) {
		log_line(
			LOG_ERR,
			"install = io_uring, but this kernel has no io_uring socket commands that can be linked (Linux "
			"6.14); expected install = auto or setsockopt");
		return false;
	}
	return true;
}

enum install_way install_way(void)
{
	return chosen;
}

bool install_can_replace(void)
{
	return can_replace;
}

static void add(struct io_uring *ring, int fd, int level, int option, void *value, int length, uint64_t user_data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_cmd_sock(sqe, SOCKET_URING_OP_SETSOCKOPT, fd, level, option, value, length);
	ring_link(sqe, user_data);
}

void install_prepare_ulp(struct io_uring *ring, int fd, uint64_t user_data)
{
	if (chosen == INSTALL_IO_URING)
		add(ring, fd, SOL_TCP, TCP_ULP, ulp_name, sizeof(ulp_name), user_data);
}

int install_complete_ulp(int fd)
{
	if (chosen == INSTALL_IO_URING)
		return 0;
	return setsockopt(fd, SOL_TCP, TCP_ULP, ulp_name, sizeof(ulp_name)) == 0 ? 0 : -errno;
}

bool install_prepare_linger(struct io_uring *ring, int fd, struct linger *linger, uint64_t user_data)
{
	struct io_uring_sqe *sqe;

	if (chosen != INSTALL_IO_URING)
		return false;
	sqe = io_uring_get_sqe(ring);
	io_uring_prep_cmd_sock(sqe, SOCKET_URING_OP_GETSOCKOPT, fd, SOL_SOCKET, SO_LINGER, linger, sizeof(*linger));
	ring_last(sqe, user_data);
	return true;
}

void install_prepare(struct io_uring *ring, int fd, struct session_keys *keys, uint64_t user_data)
{
	if (chosen != INSTALL_IO_URING)
		return;
	add(ring, fd, SOL_TLS, TLS_TX, &keys->tx, keys->tx.length, user_data);
	if (keys->max_payload)
		add(ring, fd, SOL_TLS, TLS_TX_MAX_PAYLOAD_LEN, &keys->max_payload, sizeof(keys->max_payload),
		    user_data);
	add(ring, fd, SOL_TLS, TLS_RX, &keys->rx, keys->rx.length, user_data);
}

int install_complete(int fd, struct session_keys *keys)
{
	if (chosen == INSTALL_IO_URING)
		return 0;
	if (setsockopt(fd, SOL_TLS, TLS_TX, &keys->tx, keys->tx.length) != 0)
		return -errno;
	if (keys->max_payload &&
	    setsockopt(fd, SOL_TLS, TLS_TX_MAX_PAYLOAD_LEN, &keys->max_payload, sizeof(keys->max_payload)))
		return -errno;
	return setsockopt(fd, SOL_TLS, TLS_RX, &keys->rx, keys->rx.length) == 0 ? 0 : -errno;
}

void install_last_words(int fd, const struct session_keys *keys, uint8_t alert)
{
	if (setsockopt(fd, SOL_TLS, TLS_TX, &keys->tx, keys->tx.length) == 0)
		socket_send_alert(fd, SSL3_AL_FATAL, alert, MSG_DONTWAIT);
}
