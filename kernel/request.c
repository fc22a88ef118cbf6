// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A request's life: ktlsd_request_new(), ktlsd_request_start(), then to net/handshake, at once or by way of its
 * namespace's line; done() when the agent has reported, or end() before that; tell(), and ktlsd_request_settle() in the
 * caller's context.
 *
 * What net/handshake leaves to its callers, and what follows from it here:
 *
 * - It saves sk_destruct, and restores it if it fails. Others do that, too, a second submission or kernel TLS on a
 *   network card, but these with the socket locked: so it is here.
 * - It lets 3 to 50 requests wait for the agent (by memory), and says -EAGAIN to the rest: they wait here, in order,
 *   each namespace for itself.
 * - It has no deadlines, and if an agent dies nothing ever calls done(): patrol() finds requests whose time is over.
 * - tls_handshake_cancel() says whether done() will be called, but not whether the agent is reading the request at that
 *   moment: see struct ktlsd_request for the name. Up to 6.12 the agent's descriptor is made from a file that nobody
 *   holds for it, so a canceled request keeps its socket, and its keys, a while longer (rest). What an agent does in
 *   there is short, unless it has to link a large keyring: one may be named only by who could keep it busy anyway.
 */
#include <linux/capability.h>
#include <linux/io_uring/cmd.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/moduleparam.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <net/net_namespace.h>
#include <net/netns/generic.h>
#include <net/sock.h>

#include "request.h"
#define CREATE_TRACE_POINTS
#include "trace.h"

#define RETRY msecs_to_jiffies(4)
#define REST (4 * HZ)

static unsigned int limit = 4096;
module_param(limit, uint, 0644);
MODULE_PARM_DESC(limit, "how many handshakes may be under way at a time (default 4096)");

/**
 * struct line - in front of net/handshake, one for each network namespace
 * @waiting:	requests that it had no room for, the oldest first
 * @node:	in @lines, while some wait
 */
struct line {
	struct list_head waiting;
	struct list_head node;
};

struct ktlsd_counters ktlsd_counters;

static unsigned int line_id;
static struct workqueue_struct *workqueue;
static void patrol(struct work_struct *work);
static DECLARE_DELAYED_WORK(patrol_work, patrol);

/* Of all that follows, and of each request's state. */
static DEFINE_SPINLOCK(lock);
static LIST_HEAD(in_flight);
static LIST_HEAD(lines);
static LIST_HEAD(resting);
static LIST_HEAD(free_requests);
static unsigned int in_use; /* but for those that rest: there may be as many of them again */
static unsigned int at_rest;
static unsigned long next_look;

static struct line *line_of(const struct ktlsd_request *request)
{
	return net_generic(sock_net(request->sock->sk), line_id);
}

/* look_by - patrol() comes at @when at the latest */
static void look_by(unsigned long when)
{
	lockdep_assert_held(&lock);
	if (delayed_work_pending(&patrol_work) && !time_before(when, next_look))
		return;
	next_look = when;
	mod_delayed_work(workqueue, &patrol_work, time_after(when, jiffies) ? when - jiffies : 0);
}

/* ---- memory ---- */

static struct ktlsd_request *take_free(void)
{
	struct ktlsd_request *request;
	unsigned int most = READ_ONCE(limit);

	spin_lock(&lock);
	if (in_use >= most || at_rest >= most) {
		spin_unlock(&lock);
		return ERR_PTR(-EOVERFLOW);
	}
	in_use++;
	request = list_first_entry_or_null(&free_requests, struct ktlsd_request, node);
	if (request)
		list_del_init(&request->node);
	spin_unlock(&lock);
	return request;
}

static void give_back(struct ktlsd_request *request)
{
	spin_lock(&lock);
	in_use--;
	list_add(&request->node, &free_requests);
	spin_unlock(&lock);
}

/* All but the name is new: a late reader must find its end at any time. */
static void reset(struct ktlsd_request *request)
{
	memset(request, 0, offsetof(struct ktlsd_request, name));
	INIT_LIST_HEAD(&request->node);
	INIT_LIST_HEAD(&request->waiting);
	refcount_set(&request->references, 1);
	init_completion(&request->done);
	request->began = ktime_get();
}

/**
 * ktlsd_request_new - takes in what a caller asks for
 * @file:	the open /dev/ktlsd
 * @argument:	address of the caller's struct ktlsd_handshake
 *
 * Context: the caller's.
 * Return: a request to be started, or why not; then the socket is as it was.
 */
struct ktlsd_request *ktlsd_request_new(struct file *file, void __user *argument)
{
	struct ktlsd_request *request = take_free();
	int error;

	if (IS_ERR(request))
		return request;
	if (!request) {
		request = kzalloc(sizeof(*request), GFP_KERNEL);
		if (!request) {
			spin_lock(&lock);
			in_use--;
			spin_unlock(&lock);
			return ERR_PTR(-ENOMEM);
		}
	}
	reset(request);
	request->file = file;
	request->argument = argument;
	error = ktlsd_take_in(request);
	if (error) {
		ktlsd_request_put(request);
		return ERR_PTR(error);
	}
	return request;
}

static void release(struct ktlsd_request *request)
{
	while (request->key_count)
		key_put(request->keys[--request->key_count]);
	if (request->sock)
		sockfd_put(request->sock);
}

/**
 * ktlsd_request_put - gives up a reference
 * @request:	it
 */
void ktlsd_request_put(struct ktlsd_request *request)
{
	if (!refcount_dec_and_test(&request->references))
		return;
	if (request->rest) {
		spin_lock(&lock);
		request->deadline = jiffies + REST;
		list_add_tail(&request->node, &resting);
		in_use--;
		at_rest++;
		look_by(request->deadline);
		spin_unlock(&lock);
		return;
	}
	release(request);
	give_back(request);
}

static void wake_rested(bool all)
{
	struct ktlsd_request *request, *next;
	LIST_HEAD(rested);

	spin_lock(&lock);
	list_for_each_entry_safe(request, next, &resting, node) {
		if (!all && time_before(jiffies, request->deadline))
			break;
		list_move_tail(&request->node, &rested);
	}
	spin_unlock(&lock);
	list_for_each_entry_safe(request, next, &rested, node) {
		release(request);
		spin_lock(&lock);
		at_rest--;
		list_add(&request->node, &free_requests);
		spin_unlock(&lock);
	}
}

/* ---- the end ---- */

/* conclude - it has ended with @status; @ended is for tell(), without the lock */
static void conclude(struct ktlsd_request *request, int status, struct list_head *ended)
{
	lockdep_assert_held(&lock);
	request->state = KTLSD_ENDED;
	request->status = status;
	request->latency_us = ktime_us_delta(ktime_get(), request->began);
	list_move_tail(&request->node, ended);
	if (!list_empty(&lines))
		look_by(jiffies);
}

/* From here on each of them is its caller's, who may be quick to give it up. */
static void tell(struct list_head *ended)
{
	struct ktlsd_request *request, *next;

	list_for_each_entry_safe(request, next, ended, node) {
		list_del_init(&request->node);
		if (request->cmd)
			ktlsd_ring_is_due(request);
		else
			complete(&request->done);
	}
}

/*
 * end - ends it if that is still possible here; if not, somebody else is about to. Only what we submitted is canceled:
 * any other request on that socket is not ours.
 */
static bool end(struct ktlsd_request *request, int status, struct list_head *ended)
{
	lockdep_assert_held(&lock);
	switch (request->state) {
	case KTLSD_STARTING:
		if (request->verdict)
			return false;
		request->verdict = status;
		return true;
	case KTLSD_WAITING:
		list_del_init(&request->waiting);
		atomic64_dec(&ktlsd_counters.waiting);
		break;
	case KTLSD_SUBMITTED:
		if (!tls_handshake_cancel(request->sock->sk))
			return false;
		request->rest = true;
		break;
	case KTLSD_ENDED:
		return false;
	}
	trace_ktlsd_cancel(request, status);
	conclude(request, status, ended);
	return true;
}

/**
 * ktlsd_request_end - ends it now, for a reason of the caller's; without effect on one that has ended
 * @request:	it; the caller has a reference, or knows that it was not settled
 * @status:	why
 *
 * Context: any that may not sleep, with a ring's lock held, too.
 */
void ktlsd_request_end(struct ktlsd_request *request, int status)
{
	LIST_HEAD(ended);

	spin_lock(&lock);
	end(request, status, &ended);
	spin_unlock(&lock);
	tell(&ended);
}

/**
 * ktlsd_requests_cancel - ends those of an open file that have a cookie
 * @file:	the open /dev/ktlsd
 * @cookie:	the caller's
 *
 * Return: how many, or -ENOENT.
 */
int ktlsd_requests_cancel(struct file *file, u64 cookie)
{
	struct ktlsd_request *request, *next;
	LIST_HEAD(ended);
	int count = 0;

	spin_lock(&lock);
	list_for_each_entry_safe(request, next, &in_flight, node)
		if (request->file == file && request->cookie == cookie)
			count += end(request, -ECANCELED, &ended);
	spin_unlock(&lock);
	tell(&ended);
	return count ?: -ENOENT;
}

/*
 * done - net/handshake: the agent has reported. In the agent's context.
 *
 * Before net/handshake kept DONE for administrators, whoever held the socket could say it, even of a request that no
 * agent had taken yet. That one would stay in net/handshake's list beyond its socket's end. Too late for everything
 * else, the cancel takes it off that list.
 */
static void done(void *data, int status, key_serial_t peer_id)
{
	struct ktlsd_request *request = data;
	LIST_HEAD(ended);

	if (!ns_capable_noaudit(&init_user_ns, CAP_NET_ADMIN)) {
		tls_handshake_cancel(request->sock->sk);
		request->rest = true;
	}
	if (status > 0 || status < -EHWPOISON)
		status = -EIO;
	spin_lock(&lock);
	if (!WARN_ON_ONCE(request->state == KTLSD_ENDED || request->state == KTLSD_WAITING)) {
		request->published = true;
		request->peer_id = peer_id;
		conclude(request, status, &ended);
	}
	spin_unlock(&lock);
	tell(&ended);
}

/* ---- the beginning ---- */

/* wait_in_line - as the first, since those behind it came later; but nobody waits for a socket that is not his */
static void wait_in_line(struct ktlsd_request *request, bool first)
{
	struct line *line = line_of(request);

	lockdep_assert_held(&lock);
	request->state = KTLSD_WAITING;
	if (first)
		list_add(&request->waiting, &line->waiting);
	else
		list_add_tail(&request->waiting, &line->waiting);
	if (list_empty(&line->node))
		list_add_tail(&line->node, &lines);
	atomic64_inc(&ktlsd_counters.waiting);
	look_by(jiffies + RETRY);
}

/*
 * hello - to net/handshake, which may call done() before this returns. Even with an error, if somebody says DONE before
 * its notification of the agents fails: then its destructor stays in the socket, and done() was called or will be soon.
 *
 * 6.12 takes its reference to the socket only after an agent may have reported, which gives it back: unless we hold it
 * meanwhile, an open socket would be freed. With an error it takes none, but what was reported gives one back: ours.
 *
 * Return: as net/handshake; or -EINPROGRESS: somebody has locked the socket, for as long as he likes.
 */
static int hello(struct ktlsd_request *request, bool *published)
{
	struct sock *sk = request->sock->sk;
	const void *destruct;
	int error;

	request->args.ta_timeout_ms = jiffies_to_msecs(max_t(long, request->deadline - jiffies, 1));
	sock_hold(sk);
	spin_lock_bh(&sk->sk_lock.slock);
	error = sock_owned_by_user(sk) ? -EINPROGRESS : ktlsd_check_socket(sk);
	if (!error) {
		destruct = READ_ONCE(sk->sk_destruct);
		error = request->hello(&request->args, GFP_ATOMIC);
		*published = !error || READ_ONCE(sk->sk_destruct) != destruct;
	}
	spin_unlock_bh(&sk->sk_lock.slock);
	if (!error || !*published)
		sock_put(sk);
	trace_ktlsd_submit(request, error);
	return error;
}

/* submit - a starting one, with a reference that this gives up. Return: whether it has to wait. */
static bool submit(struct ktlsd_request *request)
{
	bool published = false, waits = false;
	int error = READ_ONCE(request->verdict);
	LIST_HEAD(ended);

	if (!error)
		error = hello(request, &published);
	spin_lock(&lock);
	if (request->state == KTLSD_STARTING) {
		if (published) {
			request->published = true;
			request->state = KTLSD_SUBMITTED;
			if (request->verdict)
				end(request, request->verdict, &ended);
		} else if (!request->verdict && (error == -EAGAIN || error == -EINPROGRESS)) {
			wait_in_line(request, error == -EAGAIN);
			waits = true;
		} else {
			conclude(request, request->verdict ?: error, &ended);
		}
	}
	spin_unlock(&lock);
	tell(&ended);
	ktlsd_request_put(request);
	return waits;
}

static void get_ready(struct ktlsd_request *request)
{
	lockdep_assert_held(&lock);
	request->state = KTLSD_STARTING;
	refcount_inc(&request->references);
}

/**
 * ktlsd_request_start - on its way
 * @request:	a new one, with who is to be told
 *
 * Whoever is told may be told before this returns.
 */
void ktlsd_request_start(struct ktlsd_request *request)
{
	struct line *line = line_of(request);
	bool others_wait;

	request->args.ta_done = done;
	request->args.ta_data = request;
	atomic64_inc(&ktlsd_counters.requests);
	atomic64_inc(&ktlsd_counters.in_flight);
	spin_lock(&lock);
	list_add_tail(&request->node, &in_flight);
	look_by(request->deadline);
	others_wait = !list_empty(&line->waiting) && !request->verdict;
	if (others_wait) {
		request->state = KTLSD_WAITING;
		list_add_tail(&request->waiting, &line->waiting);
		atomic64_inc(&ktlsd_counters.waiting);
	} else {
		get_ready(request);
	}
	spin_unlock(&lock);
	if (!others_wait)
		submit(request);
}

/**
 * ktlsd_request_wait - until it has ended
 * @request:	a started one, of this thread
 *
 * A fatal signal ends it.
 * Return: as ktlsd_request_settle(), which is called.
 */
int ktlsd_request_wait(struct ktlsd_request *request)
{
	if (wait_for_completion_state(&request->done, TASK_KILLABLE | TASK_FREEZABLE)) {
		ktlsd_request_end(request, -ECANCELED);
		wait_for_completion(&request->done);
	}
	return ktlsd_request_settle(request);
}

static void count(const struct ktlsd_request *request, int status)
{
	atomic64_t *how = &ktlsd_counters.failed;

	if (!status)
		how = &ktlsd_counters.succeeded;
	else if (status == -ECANCELED)
		how = &ktlsd_counters.canceled;
	else if (status == -ETIMEDOUT)
		how = &ktlsd_counters.timed_out;
	atomic64_inc(how);
	atomic64_add(request->latency_us, &ktlsd_counters.latency_us);
	atomic64_dec(&ktlsd_counters.in_flight);
}

/**
 * ktlsd_request_settle - the last thing: result and socket are put in order
 * @request:	an ended one; the command's reference is given up
 *
 * The socket is shut down unless it encrypts, or was refused before an agent could see it. That is done here and not
 * where the end comes from, since it waits for whoever has locked the socket.
 *
 * Context: the caller's, or a kernel thread's where the caller is gone. May sleep.
 * Return: what the caller is told.
 */
int ktlsd_request_settle(struct ktlsd_request *request)
{
	int status = request->status;

	if (!status)
		status = ktlsd_report(request);
	if (status && (request->published || status == -ECANCELED || status == -ETIMEDOUT))
		kernel_sock_shutdown(request->sock, SHUT_RDWR);
	trace_ktlsd_done(request, status);
	count(request, status);
	ktlsd_request_put(request);
	return status;
}

/* ---- what happens by time ---- */

/* Until net/handshake is full again. */
static void submit_those_in(struct line *line)
{
	struct ktlsd_request *request;
	struct net *net = NULL;

	lockdep_assert_held(&lock);
	while ((request = list_first_entry_or_null(&line->waiting, struct ktlsd_request, waiting))) {
		bool waits;

		list_del_init(&request->waiting);
		atomic64_dec(&ktlsd_counters.waiting);
		get_ready(request);
		if (!net)
			net = get_net(sock_net(request->sock->sk));
		spin_unlock(&lock);
		waits = submit(request);
		spin_lock(&lock);
		if (waits)
			break;
	}
	if (net)
		put_net(net);
}

/* A line in which nobody stands any more is forgotten here. */
static void submit_waiting(void)
{
	struct line *line;
	LIST_HEAD(turn);

	spin_lock(&lock);
	list_splice_init(&lines, &turn);
	while ((line = list_first_entry_or_null(&turn, struct line, node))) {
		list_del_init(&line->node);
		submit_those_in(line);
	}
	spin_unlock(&lock);
}

static void end_late_ones(void)
{
	unsigned long next = jiffies + msecs_to_jiffies(KTLSD_HANDSHAKE_TIMEOUT_MAX_MS);
	struct ktlsd_request *request, *other;
	LIST_HEAD(ended);

	spin_lock(&lock);
	list_for_each_entry_safe(request, other, &in_flight, node) {
		if (!time_before(jiffies, request->deadline))
			end(request, -ETIMEDOUT, &ended);
		else if (time_before(request->deadline, next))
			next = request->deadline;
	}
	if (!list_empty(&in_flight))
		look_by(max_t(long, next - jiffies, RETRY) + jiffies);
	spin_unlock(&lock);
	tell(&ended);
}

static void patrol(struct work_struct *work)
{
	end_late_ones();
	submit_waiting();
	wake_rested(false);
	spin_lock(&lock);
	if (!list_empty(&lines))
		look_by(jiffies + RETRY);
	if (!list_empty(&resting))
		look_by(list_first_entry(&resting, struct ktlsd_request, node)->deadline);
	spin_unlock(&lock);
}

/* ---- module ---- */

static int __net_init line_init(struct net *net)
{
	struct line *line = net_generic(net, line_id);

	INIT_LIST_HEAD(&line->waiting);
	INIT_LIST_HEAD(&line->node);
	return 0;
}

/* Each request holds its namespace by the socket, so there are none. */
static void __net_exit line_exit(struct net *net)
{
	struct line *line = net_generic(net, line_id);

	spin_lock(&lock);
	list_del_init(&line->node);
	spin_unlock(&lock);
}

static struct pernet_operations line_operations = {
	.init = line_init,
	.exit = line_exit,
	.id = &line_id,
	.size = sizeof(struct line),
};

/**
 * ktlsd_requests_init - before the first request
 *
 * Return: 0 or a negative errno.
 */
int ktlsd_requests_init(void)
{
	int error;

	workqueue = alloc_workqueue("ktlsd", WQ_UNBOUND, 0);
	if (!workqueue)
		return -ENOMEM;
	error = register_pernet_subsys(&line_operations);
	if (error)
		destroy_workqueue(workqueue);
	return error;
}

/**
 * ktlsd_requests_exit - after the last one: the module is held by the open files, and these by the requests
 *
 * What may be going on still are the last instructions of done() and of the rings' callbacks, and agents that read a
 * request canceled a moment ago.
 */
void ktlsd_requests_exit(void)
{
	struct ktlsd_request *request, *next;

	cancel_delayed_work_sync(&patrol_work);
	if (!list_empty(&resting))
		schedule_timeout_uninterruptible(REST);
	wake_rested(true);
	destroy_workqueue(workqueue);
	unregister_pernet_subsys(&line_operations);
	synchronize_rcu_tasks();
	list_for_each_entry_safe(request, next, &free_requests, node)
		kfree(request);
}
