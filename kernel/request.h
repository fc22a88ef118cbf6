/* SPDX-License-Identifier: GPL-2.0 OR MIT */
#ifndef _KTLSD_REQUEST_H
#define _KTLSD_REQUEST_H

#include <linux/completion.h>
#include <linux/key.h>
#include <linux/net.h>
#include <linux/refcount.h>
#include <net/handshake.h>

#include <linux/ktlsd.h>

struct io_uring_cmd;

/**
 * enum ktlsd_state - how far a request is
 * @KTLSD_STARTING:	not submitted yet, or being submitted; who does that looks at @verdict afterwards
 * @KTLSD_WAITING:	net/handshake had no room: in its namespace's line
 * @KTLSD_SUBMITTED:	net/handshake has it and calls done, unless tls_handshake_cancel() comes first
 * @KTLSD_ENDED:	its caller is told, or knows
 */
enum ktlsd_state { KTLSD_STARTING, KTLSD_WAITING, KTLSD_SUBMITTED, KTLSD_ENDED };

/**
 * struct ktlsd_request - a handshake, from the command to its completion
 * @node:	among those in flight, told, resting or free
 * @waiting:	in its namespace's line
 * @references:	the command's, and that of who submits it
 * @state:	how far it is
 * @verdict:	why it has to end, for who is submitting it
 * @status:	how it ended: 0 or a negative errno
 * @published:	an agent may have seen it, so the socket is not what it was
 * @rest:	an agent may be reading it even now: neither it nor the socket's file may go yet
 * @deadline:	in jiffies; of a resting one: until when
 * @began:	for the latency
 * @latency_us:	until it ended
 * @sock:	the socket, with a reference to its file
 * @keys:	what the caller has named, referenced
 * @key_count:	how many
 * @hello:	one of net/handshake's functions
 * @args:	for it; points to @name and to the request
 * @peer_id:	what the agent says of the peer
 * @argument:	struct ktlsd_handshake of the caller
 * @cookie:	from there
 * @file:	the open /dev/ktlsd; only compared
 * @cmd:	who is told: a ring
 * @done:	or a thread in ioctl
 * @name:	whom the certificate has to name; the last byte is never anything but NUL
 *
 * net/handshake has a pointer to the name, and one of its agents may look at it after the request was canceled. So
 * requests are never given back while the module is there: one that is done with lies among the free ones and becomes
 * another. Who is late reads a string, of a request whose socket is dead.
 */
struct ktlsd_request {
	struct list_head node;
	struct list_head waiting;
	refcount_t references;
	enum ktlsd_state state;
	int verdict;
	int status;
	bool published;
	bool rest;
	unsigned long deadline;
	ktime_t began;
	s64 latency_us;

	struct socket *sock;
	struct key *keys[3 + KTLSD_HANDSHAKE_PEER_IDS_MAX];
	unsigned int key_count;
	int (*hello)(const struct tls_handshake_args *args, gfp_t flags);
	struct tls_handshake_args args;
	key_serial_t peer_id;

	void __user *argument;
	u64 cookie;
	struct file *file;
	struct io_uring_cmd *cmd;
	struct completion done;

	char name[KTLSD_HANDSHAKE_NAME_MAX + 1];
};

/**
 * struct ktlsd_counters - what sysfs shows
 * @requests:	handshakes that were begun
 * @succeeded:	how they ended: the socket encrypts
 * @failed:	otherwise than the other three
 * @canceled:	with -ECANCELED
 * @timed_out:	with -ETIMEDOUT
 * @latency_us:	of all that have ended, summed up
 * @in_flight:	how many are under way now
 * @waiting:	how many of these net/handshake had no room for
 */
struct ktlsd_counters {
	atomic64_t requests;
	atomic64_t succeeded;
	atomic64_t failed;
	atomic64_t canceled;
	atomic64_t timed_out;
	atomic64_t latency_us;
	atomic64_t in_flight;
	atomic64_t waiting;
};

extern struct ktlsd_counters ktlsd_counters;

int ktlsd_read_argument(void *known, size_t known_size, size_t least, const void __user *argument);

struct ktlsd_request *ktlsd_request_new(struct file *file, void __user *argument);
void ktlsd_request_put(struct ktlsd_request *request);
void ktlsd_request_start(struct ktlsd_request *request);
void ktlsd_request_end(struct ktlsd_request *request, int status);
int ktlsd_request_wait(struct ktlsd_request *request);
int ktlsd_request_settle(struct ktlsd_request *request);
int ktlsd_requests_cancel(struct file *file, u64 cookie);
void ktlsd_ring_is_due(struct ktlsd_request *request);

int ktlsd_check_socket(const struct sock *sk);
int ktlsd_take_in(struct ktlsd_request *request);
int ktlsd_report(struct ktlsd_request *request);

int ktlsd_requests_init(void);
void ktlsd_requests_exit(void);

#endif
