/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "caller.h"
#include "install.h"
#include "intake.h"
#include "log.h"
#include "rekey.h"

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

#define REC_SEQ_LENGTH 8 /* the last bytes of every structure: it counts on, the keys before it stay */

static const struct direction {
	unsigned int bit; /* enum ktlsd_direction */
	int option;
} directions[] = {{KTLSD_TX, TLS_TX}, {KTLSD_RX, TLS_RX}};
#define DIRECTIONS (sizeof(directions) / sizeof(*directions))

int rekey_parse(struct rekey_request *request, const struct ktlsd_msg_header *message, const char **why)
{
	const struct ktlsd_msg_rekey *body = (const void *)message;
	struct attribute_reader reader;
	struct attribute attribute;

	memset(request, 0, sizeof(*request));
	*why = "the rekey message is too short";
	if (!attributes_begin(&reader, message, sizeof(*body)))
		return EINVAL;
	*why = "a reserved field is not zero, or a direction is unknown";
	if (message->reserved || body->error || body->directions & ~(unsigned int)(KTLSD_TX | KTLSD_RX))
		return EINVAL;
	request->directions = body->directions;
	*why = "the rekey message does not carry one token and nothing else";
	while (attributes_next(&reader, &attribute)) {
		if (attribute.type != KTLSD_ATTR_REKEY_TOKEN || request->token || attribute.length > KTLSD_TOKEN_MAX)
			return EINVAL;
		request->token = attribute.value;
		request->token_length = attribute.length;
	}
	if (!request->token || reader.malformed)
		return EINVAL;
	*why = NULL;
	return 0;
}

/* ---- what follows from the token ---- */

/* The secret that protects what goes this way, seen from our end. */
static struct traffic *traffic_of(struct token *token, const struct direction *direction)
{
	return (token->role == KTLSD_SERVER) == (direction->bit == KTLSD_TX) ? &token->server : &token->client;
}

static bool in_force(int fd, const struct direction *direction, const struct crypto_info *expected)
{
	struct crypto_info now;
	socklen_t length = expected->length;
	bool same = getsockopt(fd, SOL_TLS, direction->option, &now, &length) == 0 && length == expected->length &&
		    CRYPTO_memcmp(&now, expected, length - REC_SEQ_LENGTH) == 0;

	OPENSSL_cleanse(&now, sizeof(now));
	return same;
}

/* This is what makes a token good for one connection and one step, without anything being kept here. */
static int match(struct token *token, int fd, unsigned int asked, const char **why)
{
	struct crypto_info expected;
	bool same = true;
	size_t i;

	for (i = 0; same && i < DIRECTIONS; i++) {
		const struct direction *direction = &directions[i];

		if (asked && !(asked & direction->bit))
			continue;
		same = secrets_tls13(&expected, token->suite, traffic_of(token, direction)->secret, 0) &&
		       in_force(fd, direction, &expected);
	}
	OPENSSL_cleanse(&expected, sizeof(expected));
	*why = "the token does not belong to the keys that the socket has now: it was used already, or is another connection's";
	return same ? 0 : ESTALE;
}

static int derive(struct rekey *rekey, struct token *token, const char **why)
{
	size_t i;

	*why = "key derivation failed";
	for (i = 0; i < DIRECTIONS; i++) {
		struct traffic *traffic = traffic_of(token, &directions[i]);
		struct crypto_info *keys = directions[i].bit == KTLSD_TX ? &rekey->tx : &rekey->rx;

		if (!(rekey->directions & directions[i].bit))
			continue;
		if (!secrets_update(token->suite, traffic->secret) ||
		    !secrets_tls13(keys, token->suite, traffic->secret, 0))
			return EIO;
		traffic->generation++;
	}
	return token_seal(token, rekey->token) ? 0 : EIO;
}

/* A connection that could not be begun any more can't go on with new keys either. */
static int authorize(const struct caller *caller, const char *name, const char **why)
{
	const struct service *service = config_service(caller->door->worker->config, name);

	*why = "the connection's service is no longer in the agent's configuration";
	if (!service)
		return ENOENT;
	*why = "the caller's user may not use the service (allow_users, allow_groups, allow_everyone)";
	if (!owner_may_use(&caller->owner, service))
		return EACCES;
	*why = "this kernel can't replace keys (Linux 6.14 or newer does)";
	return install_can_replace() ? 0 : EOPNOTSUPP;
}

/* Both ends may have closed already: what the peer sent before, behind its KeyUpdate, is still to be read. */
static bool was_connected(int fd)
{
	struct tls_crypto_info info;
	socklen_t length = sizeof(info);

	return getsockopt(fd, SOL_TLS, TLS_RX, &info, &length) == 0;
}

static int inspect(int fd, const char **why)
{
	struct sockaddr_storage peer;
	int error = admission_inspect(fd, &peer, why);

	if (error == ENOTCONN && was_connected(fd))
		error = 0;
	if (error || admission_is_tcp(fd))
		return error;
	*why = "the socket is not TCP";
	return EPROTONOSUPPORT;
}

static int renew(struct rekey *rekey, const struct caller *caller, const struct rekey_request *request, int fd,
		 struct token *token, const char **why)
{
	time_t now = time(NULL);
	int error = token_open(token, request->token, request->token_length, now, why);

	if (!error)
		error = authorize(caller, token->service, why);
	if (!error)
		error = inspect(fd, why);
	if (!error)
		error = match(token, fd, request->directions, why);
	if (error)
		return error;
	rekey->lifetime = caller->door->worker->config->settings->token_lifetime;
	token->expires = token_expiry(now, rekey->lifetime);
	return derive(rekey, token, why);
}

/* ---- the two messages ---- */

static void account(const struct rekey *rekey, const struct caller *caller, const struct token *token)
{
	struct stats *stats = &caller->door->worker->stats;

	if (rekey->error) {
		stats_add(&stats->rekeys_refused, 1);
		log_limited(LOG_NOTICE, "rekey by user %u, process %d, is refused: %s", caller->owner.user,
			    caller->owner.pid, rekey->why);
		return;
	}
	if (rekey->directions)
		stats_add(&stats->rekeys, 1);
	log_line(LOG_DEBUG, "%016lx: service %s, %s (client's keys %lu, server's %lu)", token->connection_id,
		 token->service, rekey->directions ? "next keys" : "next token", token->client.generation,
		 token->server.generation);
}

void rekey_take(struct caller *caller, const struct ktlsd_msg_header *message, int fd)
{
	struct rekey *rekey = intake_zeroed(sizeof(*rekey));
	struct rekey_request request;
	struct token token;

	rekey->cookie = message->cookie;
	rekey->error = rekey_parse(&request, message, &rekey->why);
	rekey->directions = request.directions;
	if (!rekey->error)
		rekey->error = renew(rekey, caller, &request, fd, &token, &rekey->why);
	account(rekey, caller, &token);
	OPENSSL_cleanse(&token, sizeof(token));
	intake_dispose(caller, fd);
	TAILQ_INSERT_TAIL(&caller->rekeys, rekey, entry);
	caller->answer_count++;
	caller->touched = true;
}

bool rekey_write(const struct rekey *rekey, struct datagram_writer *datagram)
{
	struct ktlsd_msg_rekey *message = message_begin(datagram, KTLSD_MSG_REKEY, sizeof(*message), rekey->cookie);

	if (message) {
		message->directions = rekey->directions;
		message->error = rekey->error;
	}
	if (rekey->error) {
		message_text(datagram, KTLSD_ATTR_ERROR, rekey->why);
		return message_end(datagram);
	}
	if (rekey->directions & KTLSD_TX)
		message_attribute(datagram, KTLSD_ATTR_TX_KEYS, &rekey->tx, rekey->tx.length);
	if (rekey->directions & KTLSD_RX)
		message_attribute(datagram, KTLSD_ATTR_RX_KEYS, &rekey->rx, rekey->rx.length);
	message_attribute(datagram, KTLSD_ATTR_REKEY_TOKEN, rekey->token, sizeof(rekey->token));
	message_attribute(datagram, KTLSD_ATTR_TOKEN_LIFETIME, &rekey->lifetime, sizeof(rekey->lifetime));
	return message_end(datagram);
}

void rekey_free(struct rekey *rekey)
{
	OPENSSL_cleanse(rekey, sizeof(*rekey));
	free(rekey);
}
