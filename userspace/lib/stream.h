/* SPDX-License-Identifier: MIT */
/*
 * The inside of struct ktlsd_stream. Three parts with an owner each: reading belongs to the thread that receives, writing
 * to who holds the semaphore, rekeying to who holds the mutex. Order: writing before rekeying; a reader only tries for
 * writing, because a sender may hold it for as long as the peer does not read.
 */
#ifndef KTLSD_STREAM_H
#define KTLSD_STREAM_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "connection.h"
#include "ktlsd.h"
#include "probe.h"
#include "records.h"
#include "socket.h"

enum tx_update {
	TX_KEEPS,  /* no other key is under way */
	TX_ASKED,  /* the agent is asked for it */
	TX_READY,  /* it is in next_keys: a KeyUpdate goes out before the next record */
	TX_CLOSED, /* nothing more is sent */
};

struct ktlsd_stream {
	int fd;
	struct ktlsd *agent; /* NULL: none, or gone */
	char *path;	     /* of an agent that is gone; NULL: the usual one */
	int owner;	     /* the process's stamp */
	const struct ktls_cipher *cipher;
	struct ktlsd_stream_limits limits;
	uint64_t key_records_soft; /* from here on the key is replaced */

	/* reading */
	struct records records;
	int reading;	  /* 1; 0: close_notify was there; -ECONNABORTED: the TCP stream ended without it */
	bool nonblocking; /* without an agent: as it was when the stream was made, or lost it */
	bool suspected;	  /* a KeyUpdate may be there that poll() does not show: in agent->suspects */
	TAILQ_ENTRY(ktlsd_stream) suspect;
	bool peer_asked;       /* to replace its key */
	_Atomic bool rx_waits; /* for the peer's next key */
	bool tx_requested;     /* the peer wants ours replaced, too */
	unsigned int rx_calls; /* for rekey_renew(), like tx_calls */
	int64_t rx_budget;     /* bytes until the kernel's count is looked at: no record has less than one */
	uint64_t received;     /* bytes of data */
	uint64_t control_records;
	int64_t credit;	     /* control records that are free */
	uint64_t credited;   /* bytes of data that have been turned into credit */
	int64_t credited_ns; /* until when time has been */

	/* writing */
	sem_t writing;
	unsigned int tx_calls;
	int64_t tx_budget; /* records until the kernel's count is looked at */
	_Atomic bool owes_no_renegotiation;
	_Atomic int tx_update; /* enum tx_update */
	union socket_keys next_keys;
	bool next_keys_locked;
	_Atomic bool request_peer; /* the next KeyUpdate asks for the peer's */

	/* rekeying */
	pthread_mutex_t rekeying;
	uint8_t token[KTLSD_TOKEN_MAX];
	size_t token_length;
	int64_t token_renewal_ns;	/* CLOCK_MONOTONIC: when half its life is over */
	uint64_t asked;			/* the request under way; 0: none */
	unsigned int asked_for;		/* enum ktlsd_direction */
	unsigned int wanted;		/* and what else, after it */
	int64_t asked_until_ns;		/* when we give up */
	bool asked_sent, asking_listed; /* under agent->lock, like the next */
	TAILQ_ENTRY(ktlsd_stream) asking;
	int64_t renewal_ns; /* when to look at token_renewal_ns; agent's thread only, like the next */
	TAILQ_ENTRY(ktlsd_stream) renewal;
	_Atomic uint64_t tx_rekeys, rx_rekeys;

	/* how it failed */
	_Atomic int error; /* 0 or a negative errno; the first stays */
	uint8_t alert_sent, alert_received;
	char why[200];
};

int64_t now_ns(void);

/* ktlsd_stream_new() without a struct ktlsd, and without a look whether it is nonblocking. came_ns: when the result did. */
int stream_make(struct ktlsd_stream **stream_out, int fd, const struct ktlsd_result *result, int64_t came_ns);

static inline size_t total_length(const struct iovec *parts, int count)
{
	size_t total = 0;

	for (int i = 0; i < count; i++)
		total += parts[i].iov_len;
	return total;
}

/* The kernel is asked at the most after each such part of a key's life. */
#define KEY_LOOKS 64

/* A number of records as a budget that can be counted down and multiplied. */
static inline int64_t stream_budget(uint64_t records)
{
	return records < (INT64_C(1) << 40) ? records : INT64_C(1) << 40;
}

struct process {
	int stamp; /* 0 in a child that has no streams of its own yet */
	pthread_mutex_t lock;
	struct ktlsd *connection; /* for those who wait for an answer */
};

struct process *stream_process(void);

/* Whether this process made the stream, or has been given it. */
bool stream_is_ours(const struct ktlsd_stream *stream);

/*
 * For who sees to it that only one process replaces keys. after_fork: in the child, before anything else. may_move: nothing of
 * a new key is under way, so that each process that has the stream could be the one.
 */
void stream_after_fork(struct ktlsd_stream *stream);
bool stream_may_move(const struct ktlsd_stream *stream);
void stream_move_here(struct ktlsd_stream *stream);
void stream_move_away(struct ktlsd_stream *stream);

/*
 * The connection is over: the peer gets an alert (KTLSD_NO_ALERT: none), and our sending side is shut. Returns error, or
 * what it failed with before.
 */
int stream_fail(struct ktlsd_stream *stream, int error, uint8_t alert, const char *why);

bool stream_is_nonblocking(const struct ktlsd_stream *stream);

/* ---- receive.c ---- */

/* Looks whether a KeyUpdate is there that poll() does not show, and begins with it. */
void stream_look_behind(struct ktlsd_stream *stream);

/* ---- send.c ---- */

/* Sends what is owed, if nobody is sending and there is room; else who sends next does. */
void stream_settle_soon(struct ktlsd_stream *stream);

/* ---- rekey.c ---- */

/* The token for the next request, as it came at that time (now_ns()). It fits (KTLSD_TOKEN_MAX). */
void rekey_keep_token(struct ktlsd_stream *stream, const uint8_t *token, size_t length, uint32_t lifetime_s,
		      int64_t came_ns);

enum patience {
	REKEY_TRY,  /* don't wait; without a struct ktlsd one try */
	REKEY_WAIT, /* until the keys are there, or rekey_timeout_ms have passed */
};

/*
 * Asks the agent for the next keys of these directions. 0: they are in the socket, or ready for the next send. -EAGAIN: not
 * yet. -EKEYEXPIRED, for our own direction: the agent refuses. Else the stream has failed.
 */
int rekey(struct ktlsd_stream *stream, unsigned int directions, enum patience patience);

/* Without a struct ktlsd: has the token exchanged if half its life is over, looking at the clock now and then. */
void rekey_renew(struct ktlsd_stream *stream, unsigned int *calls);

/* The rest is for streams.c. stream->rekeying is held. */

#define MS INT64_C(1000000)
#define REKEY_RETRY_MS 50      /* an agent that is away is asked again so often */
#define RENEWAL_RETRY_MS 60000 /* a token that could not be renewed */
#define REKEY_NO_ANSWER "the agent gave no new keys in time"

int rekey_send(struct ktlsd *agent, const struct ktlsd_stream *stream, unsigned int directions, uint64_t cookie);

/* Sets what the agent answered, and wipes it. 0; -EAGAIN: ask again; or as rekey(). */
int rekey_take_answer(struct ktlsd_stream *stream, unsigned int directions, const struct ktlsd_msg_header *message);

/* What of this is still to be done. */
unsigned int rekey_needed(const struct ktlsd_stream *stream, unsigned int directions);

/* A request for these is under way. */
void rekey_note_asked(struct ktlsd_stream *stream, unsigned int directions);

/* No request is under way any more. */
void rekey_stop(struct ktlsd_stream *stream);

/* And the keys won't come: the stream fails if it needs them to go on. */
int rekey_give_up(struct ktlsd_stream *stream, unsigned int directions, const char *why);

/* ---- streams.c ---- */

/* Asks over the connection of the stream's struct ktlsd. -EAGAIN. stream->rekeying is held, here and in the next. */
int streams_ask(struct ktlsd_stream *stream, unsigned int directions);

/* What was asked for so and is not answered yet: its answer counts no more. */
unsigned int streams_take_back(struct ktlsd_stream *stream);

/* Has stream_look_behind() called in a moment. */
void streams_look_later(struct ktlsd_stream *stream);

void streams_join(struct ktlsd_stream *stream);	 /* a new stream with its agent */
void streams_leave(struct ktlsd_stream *stream); /* and when it is freed */

/* Where a struct ktlsd gets to: an answer came; the connection broke; every turn; it is closed. */
void streams_answered(struct ktlsd *agent, const struct ktlsd_msg_header *message);
void streams_interrupted(struct ktlsd *agent);
void streams_turn(struct ktlsd *agent);
void streams_abandon(struct ktlsd *agent);

#endif
