/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>

#include <ktlsd/protocol.h>

#include "admission.h"
#include "log.h"

#define USERS 1024
#define MAX_CALLERS 256	   /* unless the file says more */
#define PEERS 16384	   /* a power of two */
#define OWN_DESCRIPTORS 64 /* log, sockets, rings of 16 workers and then some */

static struct user users[USERS];
static _Atomic unsigned int peers[PEERS]; /* by keyed hash: addresses that collide share a limit, which only errs low */
static uint64_t peer_key;
static _Atomic unsigned int in_flight, callers, listeners;

unsigned int admission_in_flight(void)
{
	return in_flight;
}

bool admission_init(void)
{
	struct rlimit limit;

	if (getrandom(&peer_key, sizeof(peer_key), 0) == sizeof(peer_key) && getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
			return true;
	}
	log_line(LOG_ERR, "getrandom or setrlimit(RLIMIT_NOFILE): %s", strerror(errno));
	return false;
}

/* Every caller may bring a full datagram of descriptors at once: their slots are never given to handshakes. */
static unsigned long slots_for(unsigned int max_callers)
{
	return OWN_DESCRIPTORS + (unsigned long)max_callers * (KTLSD_DATAGRAM_DESCRIPTORS + 1);
}

/* Where the file leaves it open: no more than half of all slots. */
static unsigned int callers_that_fit(unsigned long slots)
{
	unsigned int callers_max = MAX_CALLERS;

	while (callers_max > 0 && slots_for(callers_max) > slots / 2)
		callers_max--;
	return callers_max;
}

bool admission_fit(struct settings *settings, struct complaints *complaints)
{
	struct rlimit limit = {0};
	unsigned long slots;

	getrlimit(RLIMIT_NOFILE, &limit);
	slots = limit.rlim_cur;
	if (settings->max_callers == 0)
		settings->max_callers = callers_that_fit(slots);
	if (settings->max_callers == 0 || slots_for(settings->max_callers) >= slots) {
		complain(
			complaints, 0,
			"RLIMIT_NOFILE is %lu; max_callers = %u needs more than %lu: raise the limit or lower max_callers",
			slots, settings->max_callers ? settings->max_callers : 1,
			slots_for(settings->max_callers ? settings->max_callers : 1));
		return false;
	}
	if (slots - slots_for(settings->max_callers) < settings->max_handshakes) {
		settings->max_handshakes = slots - slots_for(settings->max_callers);
		log_line(LOG_WARNING, "RLIMIT_NOFILE is %lu: max_handshakes is lowered to %u", slots,
			 settings->max_handshakes);
	}
	return true;
}

struct user *admission_user(uid_t user)
{
	unsigned int at = user * 2654435761u % USERS, tries;

	for (tries = 0; tries < USERS; tries++, at = (at + 1) % USERS) {
		uint64_t free_slot = 0;

		if (users[at].id == (uint64_t)user + 1 ||
		    atomic_compare_exchange_strong(&users[at].id, &free_slot, (uint64_t)user + 1) ||
		    free_slot == (uint64_t)user + 1)
			return &users[at];
	}
	return &users[USERS - 1]; /* more users than slots: the last ones share */
}

static uint64_t mix(uint64_t value)
{
	value = (value ^ peer_key) * UINT64_C(0x9e3779b97f4a7c15);
	value ^= value >> 32;
	value = (value ^ (peer_key << 1 | 1)) * UINT64_C(0xd6e8feb86659fd93);
	return value ^ value >> 29;
}

/* An IPv4 address, or the 64 bits of an IPv6 address that name its network. */
static _Atomic unsigned int *peer_counter(const struct sockaddr_storage *peer)
{
	const struct sockaddr_in *v4 = (const void *)peer;
	const struct sockaddr_in6 *v6 = (const void *)peer;
	uint64_t network = 0;

	if (peer->ss_family == AF_INET)
		network = v4->sin_addr.s_addr;
	else if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
		memcpy(&network, &v6->sin6_addr.s6_addr[12], 4);
	else
		memcpy(&network, v6->sin6_addr.s6_addr, 8);
	return &peers[mix(network) & (PEERS - 1)];
}

bool admission_is_tcp(int fd)
{
	socklen_t length = sizeof(int);
	int protocol;

	return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) == 0 && protocol == IPPROTO_TCP;
}

int admission_inspect(int fd, struct sockaddr_storage *peer, const char **why)
{
	socklen_t length = sizeof(*peer);
	int error = getpeername(fd, (struct sockaddr *)peer, &length) == 0 ? 0 : errno;

	if (error == 0 && (peer->ss_family == AF_INET || peer->ss_family == AF_INET6))
		return 0;
	if (error == ENOTSOCK || error == EBADF) { /* EBADF: opened with O_PATH */
		*why = "the descriptor is not a socket";
		return ENOTSOCK;
	}
	if (error == 0 || !admission_is_tcp(fd)) {
		*why = "the socket is not TCP";
		return EPROTONOSUPPORT;
	}
	*why = "the socket is not connected";
	return ENOTCONN;
}

bool admission_closes_at_once(int fd)
{
	struct linger linger;
	socklen_t length = sizeof(linger);

	return admission_is_tcp(fd) && getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length) == 0 && !linger.l_onoff;
}

const char *admission_address(const struct sockaddr_storage *peer, char text[static INET6_ADDRSTRLEN])
{
	const struct in6_addr *v6 = &((const struct sockaddr_in6 *)peer)->sin6_addr;
	const void *address = v6;
	int family = peer->ss_family;

	if (family == AF_INET)
		address = &((const struct sockaddr_in *)peer)->sin_addr;
	else if (IN6_IS_ADDR_V4MAPPED(v6)) {
		address = &v6->s6_addr[12];
		family = AF_INET;
	}
	return inet_ntop(family, address, text, INET6_ADDRSTRLEN) ? text : "?";
}

static bool take(_Atomic unsigned int *counter, unsigned int limit)
{
	if (atomic_fetch_add_explicit(counter, 1, memory_order_relaxed) < limit)
		return true;
	atomic_fetch_sub_explicit(counter, 1, memory_order_relaxed);
	return false;
}

static void give(_Atomic unsigned int *counter)
{
	if (counter)
		atomic_fetch_sub_explicit(counter, 1, memory_order_relaxed);
}

bool admission_enter_caller(struct user *user, const struct settings *limits)
{
	unsigned int share = user->id == 1 ? limits->max_callers : (limits->max_callers + 1) / 2;

	if (!take(&callers, limits->max_callers))
		return false;
	if (take(&user->callers, share))
		return true;
	give(&callers);
	return false;
}

void admission_leave_caller(struct user *user)
{
	give(&user->callers);
	give(&callers);
}

static unsigned int listeners_max(const struct settings *limits)
{
	return limits->max_handshakes / 2 / LISTENER_DESCRIPTORS;
}

int admission_enter_listener(struct user *user, const struct settings *limits, const char **why)
{
	unsigned int most = listeners_max(limits), share = user->id == 1 ? most : (most + 1) / 2;

	*why = "busy: listeners have taken half of the descriptors of max_handshakes";
	if (!take(&listeners, most))
		return EBUSY;
	*why = "busy: the user's listeners have taken a quarter of the descriptors of max_handshakes";
	if (take(&user->listeners, share))
		return 0;
	give(&listeners);
	return EBUSY;
}

void admission_leave_listener(struct user *user)
{
	give(&user->listeners);
	give(&listeners);
}

/* Those of before a reload may be more than the new limits allow. */
static unsigned int set_aside(const struct settings *limits)
{
	unsigned int count = atomic_load_explicit(&listeners, memory_order_relaxed), most = listeners_max(limits);

	return (count < most ? count : most) * LISTENER_DESCRIPTORS;
}

int admission_enter(struct admission *admission, const struct settings *limits, const struct service *service,
		    struct user *user, const struct sockaddr_storage *peer, const char **why)
{
	_Atomic unsigned int *address = peer_counter(peer);

	memset(admission, 0, sizeof(*admission));
	if (!take(&in_flight, limits->max_handshakes - set_aside(limits))) {
		*why = "busy: max_handshakes are in flight";
		return EBUSY;
	}
	if (take(&user->in_flight, limits->max_handshakes_per_user))
		admission->user = user;
	else
		*why = "busy: max_handshakes_per_user are in flight";
	if (admission->user && take(&service->usage->in_flight, service->max_handshakes))
		admission->service = service->usage;
	else if (admission->user)
		*why = "busy: the service's max_handshakes are in flight";
	if (admission->service && take(address, limits->max_handshakes_per_peer))
		admission->peer = address;
	else if (admission->service)
		*why = "busy: max_handshakes_per_peer are in flight with this peer's address";
	if (admission->peer)
		return 0;
	admission_leave(admission);
	return EBUSY;
}

unsigned int admission_of_peer(const struct sockaddr_storage *peer)
{
	return atomic_load_explicit(peer_counter(peer), memory_order_relaxed);
}

void admission_settle(struct admission *admission)
{
	give(admission->service ? &admission->service->in_flight : NULL);
	give(admission->peer);
	admission->service = NULL;
	admission->peer = NULL;
}

void admission_leave(struct admission *admission)
{
	admission_settle(admission);
	give(admission->user ? &admission->user->in_flight : NULL);
	give(&in_flight);
	memset(admission, 0, sizeof(*admission));
}
