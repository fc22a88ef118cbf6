// SPDX-License-Identifier: MIT
#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>

#include "../unit.h"
#include "peer.h"

#define MSG_KEY_UPDATE 24

static SSL_CTX *client_context, *server_context;

void read_pki(const char *directory)
{
	char file[256];

	client_context = SSL_CTX_new(TLS_client_method());
	server_context = SSL_CTX_new(TLS_server_method());
	must(SSL_CTX_set_min_proto_version(client_context, TLS1_3_VERSION) == 1);
	snprintf(file, sizeof(file), "%s/server-ecdsa.pem", directory);
	must(SSL_CTX_use_certificate_chain_file(server_context, file) == 1);
	snprintf(file, sizeof(file), "%s/server-ecdsa.key", directory);
	must(SSL_CTX_use_PrivateKey_file(server_context, file, SSL_FILETYPE_PEM) == 1);
}

void forget_pki(void)
{
	SSL_CTX_free(client_context);
	SSL_CTX_free(server_context);
}

static void count_updates(int write, int version, int type, const void *data, size_t length, SSL *ssl, void *argument)
{
	struct peer *peer = argument;

	(void)version;
	(void)ssl;
	if (type == SSL3_RT_HANDSHAKE && length > 0 && *(const uint8_t *)data == MSG_KEY_UPDATE)
		write ? peer->updates_sent++ : peer->updates_received++;
}

void set_up_peer(struct peer *peer, bool server, const char *suite)
{
	peer->ssl = SSL_new(server ? server_context : client_context);
	peer->in = BIO_new(BIO_s_mem());
	peer->out = BIO_new(BIO_s_mem());
	SSL_set_bio(peer->ssl, peer->in, peer->out);
	must(SSL_set_ciphersuites(peer->ssl, suite) == 1);
	SSL_set_msg_callback(peer->ssl, count_updates);
	SSL_set_msg_callback_arg(peer->ssl, peer);
	if (server)
		SSL_set_accept_state(peer->ssl);
	else
		SSL_set_connect_state(peer->ssl);
}

/* Sends what OpenSSL has written, as far as there is room. False: there is none. */
static bool flush(struct peer *peer)
{
	uint8_t *data;
	size_t length = BIO_get_mem_data(peer->out, &data);
	ssize_t n;

	if (length == 0)
		return true;
	if (length > CHUNK_MAX)
		length = CHUNK_MAX;
	n = send(peer->fd, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0)
		return errno != EAGAIN && fail(&peer->end, "the peer can't send: %s", strerror(errno));
	must(BIO_read(peer->out, peer->scratch, n) == n);
	return BIO_ctrl_pending(peer->out) == 0;
}

static bool pull(struct peer *peer)
{
	ssize_t n = recv(peer->fd, peer->scratch, sizeof(peer->scratch), MSG_DONTWAIT);

	if (n > 0)
		return BIO_write(peer->in, peer->scratch, n) == n;
	if (n == 0)
		return fail(&peer->end, "the peer reads the end of the stream too early");
	return errno != EAGAIN && fail(&peer->end, "the peer can't receive: %s", strerror(errno));
}

static bool peer_sends(struct peer *peer)
{
	struct flow *flow = &peer->end.sending;
	int kind;

	if (!flush(peer))
		return false;
	if (rekey_is_due(flow)) {
		kind = random_below(&flow->random, 2) ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED;
		if (SSL_key_update(peer->ssl, kind) != 1)
			return fail(&peer->end, "the peer can't replace its key");
	}
	if (!fill(flow))
		return false;
	if (SSL_write(peer->ssl, flow->chunk, flow->end) != (int)flow->end)
		return fail(&peer->end, "the peer can't write: %s", ERR_reason_error_string(ERR_peek_last_error()));
	sent(flow, flow->end);
	return true;
}

static bool peer_receives(struct peer *peer)
{
	struct flow *flow = &peer->end.receiving;
	int n, error;

	while ((n = SSL_read(peer->ssl, flow->chunk, sizeof(flow->chunk))) > 0)
		received(flow, flow->chunk, n);
	error = SSL_get_error(peer->ssl, n);
	if (error == SSL_ERROR_ZERO_RETURN)
		return false;
	if (error == SSL_ERROR_WANT_READ)
		return pull(peer);
	return fail(&peer->end, "the peer can't read: %s", ERR_reason_error_string(ERR_peek_last_error()));
}

static bool peer_is_through(const struct peer *peer)
{
	return peer->end.sending.left == 0 && SSL_get_shutdown(peer->ssl) & SSL_RECEIVED_SHUTDOWN;
}

static bool peer_waits(struct peer *peer)
{
	struct pollfd socket = {.fd = peer->fd};

	if (!(SSL_get_shutdown(peer->ssl) & SSL_RECEIVED_SHUTDOWN))
		socket.events |= POLLIN;
	if (BIO_ctrl_pending(peer->out) > 0)
		socket.events |= POLLOUT;
	return poll(&socket, 1, PATIENCE_S * 1000) > 0 || fail(&peer->end, "the peer waits for ever");
}

static bool peer_shakes_hands(struct peer *peer)
{
	int result;

	while ((result = SSL_do_handshake(peer->ssl)) != 1) {
		if (SSL_get_error(peer->ssl, result) != SSL_ERROR_WANT_READ)
			return fail(&peer->end, "the peer's handshake fails");
		if (!flush(peer) || !peer_waits(peer) || !pull(peer))
			return false;
	}
	return true;
}

void peer_ends(struct peer *peer)
{
	SSL_shutdown(peer->ssl);
	while (!flush(peer) && !*peer->end.why)
		peer_waits(peer);
	shutdown(peer->fd, SHUT_WR);
}

void *be_peer(void *argument)
{
	struct peer *peer = argument;
	bool busy = peer_shakes_hands(peer) && flush(peer);

	while (!peer_is_through(peer) && !*peer->end.why) {
		busy = peer_sends(peer);
		busy |= peer_receives(peer);
		if (!busy && !*peer->end.why && !peer_is_through(peer))
			peer_waits(peer);
	}
	if (*peer->end.why)
		shutdown(peer->fd, SHUT_RDWR); /* the other end need not wait */
	else
		peer_ends(peer);
	return NULL;
}

bool peer_gets_back(struct peer *peer, const char *greeting)
{
	struct flow *flow = &peer->end.receiving;
	int length = strlen(greeting);

	flow->left = length;
	flow->hash = EVP_MD_CTX_new();
	must(peer_shakes_hands(peer) && SSL_key_update(peer->ssl, SSL_KEY_UPDATE_REQUESTED) == 1 &&
	     SSL_write(peer->ssl, greeting, length) == length);
	while (!peer_is_through(peer) && !*peer->end.why) {
		flush(peer);
		if (!peer_receives(peer) && !peer_is_through(peer))
			peer_waits(peer);
	}
	return flow->left == 0 && peer_is_through(peer);
}
