/* SPDX-License-Identifier: MIT */
/* A stream's life, its limits, and what can be said of it. receive.c and send.c have what it is for. */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>

#include "stream.h"

#define CONTROL_BURST 64
#define CONTROL_RATE 64
#define REKEY_TIMEOUT_MS 30000

int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* ---- processes ---- */

static struct process *own_process;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_process(void)
{
	void *page = mmap(NULL, sizeof(*own_process), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page != MAP_FAILED && madvise(page, sizeof(*own_process), MADV_WIPEONFORK) == 0)
		own_process = page;
}

/*
 * NULL: there was no memory for it. Each process in a line of forks counts on from where its parent was. A child finds
 * zeroes, of which a mutex, too, may consist.
 */
struct process *stream_process(void)
{
	static int last_stamp;

	pthread_once(&once, make_process);
	if (own_process && own_process->stamp == 0)
		own_process->stamp = ++last_stamp;
	return own_process;
}

bool stream_is_ours(const struct ktlsd_stream *stream)
{
	return stream->owner == own_process->stamp;
}

void stream_after_fork(struct ktlsd_stream *stream)
{
	/* Another thread may have held them, and there is none in here. */
	sem_init(&stream->writing, 0, 1);
	pthread_mutex_init(&stream->rekeying, NULL);
	stream_process();
}

bool stream_may_move(const struct ktlsd_stream *stream)
{
	int update = atomic_load(&stream->tx_update);

	return !stream->rx_waits && !stream->asked && (update == TX_KEEPS || update == TX_CLOSED);
}

void stream_move_here(struct ktlsd_stream *stream)
{
	stream->owner = stream_process()->stamp;
}

void stream_move_away(struct ktlsd_stream *stream)
{
	stream->owner = -1;
}

/* ---- life ---- */

/* Of the descriptor that was handed over, its result says what the socket would. */
static int inspect(struct ktlsd_stream *stream, const struct ktlsd_result *result)
{
	const unsigned int both = KTLSD_RESULT_TX | KTLSD_RESULT_RX;

	if (result && result->error == 0 && result->fd == stream->fd && (result->flags & both) == both)
		stream->cipher = socket_cipher_of_suite(result->version, result->cipher);
	if (stream->cipher)
		return 0;
	stream->cipher = socket_cipher(stream->fd, TLS_TX);
	if (stream->cipher && socket_cipher(stream->fd, TLS_RX))
		return 0;
	return errno == ENOPROTOOPT || errno == EBUSY ? -ENOTCONN : -errno;
}

/* Its keys are new: the kernel is asked how far they have come only when more has gone by than the handshake can have. */
static void take_result(struct ktlsd_stream *stream, const struct ktlsd_result *result, int64_t came_ns)
{
	stream->records.role = result->role;
	stream->tx_budget = stream->rx_budget = stream_budget(stream->key_records_soft / KEY_LOOKS);
	if (result->token && result->token_length <= sizeof(stream->token))
		rekey_keep_token(stream, result->token, result->token_length, result->token_lifetime_s, came_ns);
}

int stream_make(struct ktlsd_stream **stream_out, int fd, const struct ktlsd_result *result, int64_t came_ns)
{
	struct ktlsd_stream *stream = calloc(1, sizeof(*stream));
	int err = -ENOMEM;

	if (!stream)
		return err;
	stream->fd = fd;
	if (stream_process()) {
		stream->owner = stream_process()->stamp;
		err = inspect(stream, result);
	}
	if (err < 0) {
		free(stream);
		return err;
	}
	stream->reading = 1;
	stream->records.version = stream->cipher->version;
	stream->alert_sent = stream->alert_received = KTLSD_NO_ALERT;
	sem_init(&stream->writing, 0, 1);
	pthread_mutex_init(&stream->rekeying, NULL);
	ktlsd_stream_set_limits(stream, &(struct ktlsd_stream_limits){0});
	if (result)
		take_result(stream, result, came_ns);
	*stream_out = stream;
	return 0;
}

int ktlsd_stream_new(struct ktlsd_stream **stream_out, int fd, struct ktlsd *agent, const struct ktlsd_result *result)
{
	int err = stream_make(stream_out, fd, result, agent ? agent->received_ns : now_ns());
	struct ktlsd_stream *stream;

	if (err < 0)
		return err;
	stream = *stream_out;
	if (agent) {
		stream->agent = agent;
		streams_join(stream);
	} else {
		stream->nonblocking = stream_is_nonblocking(stream);
	}
	return 0;
}

void ktlsd_stream_free(struct ktlsd_stream *stream)
{
	if (!stream)
		return;
	if (stream->agent && stream_is_ours(stream))
		streams_leave(stream);
	pthread_mutex_destroy(&stream->rekeying);
	sem_destroy(&stream->writing);
	free(stream->path);
	explicit_bzero(stream, sizeof(*stream));
	free(stream);
}

void ktlsd_stream_set_limits(struct ktlsd_stream *stream, const struct ktlsd_stream_limits *limits)
{
	struct ktlsd_stream_limits *own = &stream->limits;
	uint64_t most = socket_key_records(stream->cipher);

	*own = *limits;
	if (own->key_records == 0 || own->key_records > most)
		own->key_records = most;
	if (own->control_burst == 0)
		own->control_burst = CONTROL_BURST;
	if (own->control_rate == 0)
		own->control_rate = CONTROL_RATE;
	if (own->rekey_timeout_ms == 0)
		own->rekey_timeout_ms = REKEY_TIMEOUT_MS;
	stream->key_records_soft = own->key_records - own->key_records / 8;
	stream->credit = own->control_burst;
	stream->tx_budget = stream->rx_budget = 0;
}

bool stream_is_nonblocking(const struct ktlsd_stream *stream)
{
	return fcntl(stream->fd, F_GETFL) & O_NONBLOCK;
}

/* ---- failure ---- */

/* The semaphore is held. */
static void send_alert(struct ktlsd_stream *stream, uint8_t description)
{
	if (description != KTLSD_NO_ALERT && socket_send_alert(stream->fd, ALERT_FATAL, description, MSG_DONTWAIT) == 0)
		stream->alert_sent = description;
}

int stream_fail(struct ktlsd_stream *stream, int error, uint8_t alert, const char *why)
{
	int none = 0;

	if (!atomic_compare_exchange_strong(&stream->error, &none, error))
		return none;
	snprintf(stream->why, sizeof(stream->why), "%s", why);
	/* Another thread may be sending for as long as the peer does not read: then there is no alert, and its keys stay. */
	atomic_store(&stream->tx_update, TX_CLOSED);
	if (sem_trywait(&stream->writing) == 0) {
		send_alert(stream, alert);
		explicit_bzero(&stream->next_keys, sizeof(stream->next_keys));
		sem_post(&stream->writing);
	}
	shutdown(stream->fd, SHUT_WR);
	return error;
}

const char *ktlsd_stream_why(const struct ktlsd_stream *stream)
{
	return stream->why;
}

/* ---- what can be said ---- */

int ktlsd_stream_info(const struct ktlsd_stream *stream, struct ktlsd_stream_info *info)
{
	int err;

	*info = (struct ktlsd_stream_info){
		.tx_rekeys = stream->tx_rekeys,
		.rx_rekeys = stream->rx_rekeys,
		.control_records = stream->control_records,
		.can_rekey = stream->token_length > 0,
		.alert_sent = stream->alert_sent,
		.alert_received = stream->alert_received,
	};
	err = ktlsd_socket_info(stream->fd, &info->socket);
	if (info->socket.key_records > stream->limits.key_records)
		info->socket.key_records = stream->limits.key_records;
	return err;
}

int ktlsd_multishot_message(const struct msghdr *armed, void *buffer, int result, struct msghdr *message,
			    struct iovec *part)
{
	const struct io_uring_recvmsg_out *out = buffer;
	size_t before = sizeof(*out) + armed->msg_namelen + armed->msg_controllen;

	*part = (struct iovec){0};
	*message = (struct msghdr){.msg_iov = part, .msg_iovlen = 1};
	if (result < 0)
		return result;
	if ((size_t)result < before || out->controllen > armed->msg_controllen)
		return -EINVAL;
	message->msg_control = (char *)buffer + sizeof(*out) + armed->msg_namelen;
	message->msg_controllen = out->controllen;
	message->msg_flags = out->flags;
	part->iov_base = (char *)buffer + before;
	part->iov_len = result - before;
	return result - before;
}
