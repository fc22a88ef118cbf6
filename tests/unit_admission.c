// SPDX-License-Identifier: MIT
/* Who gets in: the look at a descriptor, and the limits. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <ktlsd/protocol.h>

#include "admission.h"
#include "unit.h"

/* ---- the look at a descriptor ---- */

static int tcp(int family, bool listening)
{
	int fd = socket(family, SOCK_STREAM, 0);

	must(fd >= 0 && (!listening || listen(fd, 1) == 0));
	return fd;
}

static int connected(int family)
{
	int listener = tcp(family, true), fd = tcp(family, false);
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);

	must(getsockname(listener, (struct sockaddr *)&address, &length) == 0 &&
	     connect(fd, (struct sockaddr *)&address, length) == 0);
	return fd; /* the listener stays: closing it would reset the connection */
}

static int connected_udp(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = 9, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	must(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	return fd;
}

static int unix_pair(void)
{
	int fds[2];

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
	return fds[0];
}

static void check_inspection(int fd, int wanted, const char *what)
{
	struct sockaddr_storage peer;
	const char *why = "";
	int error = admission_inspect(fd, &peer, &why);

	check(error == wanted, "%s: %s", what, error ? strerrorname_np(error) : "taken");
	check(error ? *why != '\0' : peer.ss_family != AF_UNSPEC, "with a reason, or with its peer");
	close(fd);
}

static void test_inspection(void)
{
	check_inspection(connected(AF_INET), 0, "connected TCP");
	check_inspection(connected(AF_INET6), 0, "connected TCP over IPv6");
	check_inspection(tcp(AF_INET, false), ENOTCONN, "TCP that is not connected");
	check_inspection(tcp(AF_INET, true), ENOTCONN, "TCP that listens");
	check_inspection(connected_udp(), 0, "UDP: attaching the ULP finds it out");
	check_inspection(unix_pair(), EPROTONOSUPPORT, "UNIX");
	check_inspection(open("/dev/null", O_RDWR), ENOTSOCK, "a device");
	check_inspection(open("/", O_PATH), ENOTSOCK, "a directory");
	check_inspection(eventfd(0, 0), ENOTSOCK, "eventfd");
}

static void test_closing(void)
{
	struct linger on = {.l_onoff = 1, .l_linger = 60};
	int fd = connected(AF_INET);

	check(admission_closes_at_once(fd), "a socket closes at once");
	must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &on, sizeof(on)) == 0);
	check(!admission_closes_at_once(fd), "not if it lingers");
	close(fd);
	fd = open("/dev/null", O_RDWR);
	check(!admission_closes_at_once(fd), "who knows what a file does");
	close(fd);
}

/* ---- limits ---- */

struct bench {
	struct settings settings;
	struct service service;
	struct service_usage usage;
};

static struct bench roomy(void)
{
	return (struct bench){
		.settings = {.max_handshakes = 1000, .max_handshakes_per_user = 1000, .max_handshakes_per_peer = 1000},
		.service = {.max_handshakes = 1000}};
}

static struct sockaddr_storage ipv4(uint32_t address)
{
	struct sockaddr_storage peer = {0};

	*(struct sockaddr_in *)&peer = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
	return peer;
}

static struct sockaddr_storage ipv6(uint8_t network, uint8_t host)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6,
				       .sin6_addr.s6_addr = {0x20, 1, [7] = network, [15] = host}};
	struct sockaddr_storage peer = {0};

	*(struct sockaddr_in6 *)&peer = address;
	return peer;
}

static struct sockaddr_storage mapped(uint32_t address)
{
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr.s6_addr = {[10] = 0xff, [11] = 0xff}};
	struct sockaddr_storage peer = {0};

	address = htonl(address);
	memcpy(&v6.sin6_addr.s6_addr[12], &address, 4);
	*(struct sockaddr_in6 *)&peer = v6;
	return peer;
}

static int enter(struct bench *bench, struct admission *admission, uid_t user, struct sockaddr_storage peer,
		 const char **why)
{
	bench->service.usage = &bench->usage;
	return admission_enter(admission, &bench->settings, &bench->service, admission_user(user), &peer, why);
}

/* Three get in, the fourth does not until one leaves. */
static void check_limit(struct bench *bench, const char *wanted)
{
	struct admission admissions[4];
	const char *why = "";
	bool good = true;

	for (int i = 0; i < 3; i++)
		good &= enter(bench, &admissions[i], 1000, ipv4(0x7f000001), &why) == 0;
	check(good, "three get in");
	check(enter(bench, &admissions[3], 1000, ipv4(0x7f000001), &why) == EBUSY, "the fourth does not");
	check_text(why, wanted, "and hears why");
	check(admission_in_flight() == 3 && bench->usage.in_flight == 3, "a refusal leaves nothing behind");
	admission_leave(&admissions[1]);
	check(enter(bench, &admissions[3], 1000, ipv4(0x7f000001), &why) == 0, "when one has left, another gets in");
	admission_leave(&admissions[0]);
	admission_leave(&admissions[2]);
	admission_leave(&admissions[3]);
	check(admission_in_flight() == 0 && bench->usage.in_flight == 0, "all have left");
}

static void test_limits(void)
{
	struct bench bench = roomy();

	bench.settings.max_handshakes = 3;
	check_limit(&bench, "busy: max_handshakes are in flight");
	bench = roomy();
	bench.settings.max_handshakes_per_user = 3;
	check_limit(&bench, "busy: max_handshakes_per_user are in flight");
	bench = roomy();
	bench.service.max_handshakes = 3;
	check_limit(&bench, "busy: the service's max_handshakes are in flight");
	bench = roomy();
	bench.settings.max_handshakes_per_peer = 3;
	check_limit(&bench, "busy: max_handshakes_per_peer are in flight with this peer's address");
}

/* Two peers: does the second count against the first one's limit? */
static void check_peers(struct sockaddr_storage first, struct sockaddr_storage second, bool same, const char *what)
{
	struct bench bench = roomy();
	struct admission admissions[2];
	const char *why;
	int error;

	bench.settings.max_handshakes_per_peer = 1;
	must(enter(&bench, &admissions[0], 1, first, &why) == 0);
	error = enter(&bench, &admissions[1], 2, second, &why);
	check((error == EBUSY) == same, "%s", what);
	if (!error)
		admission_leave(&admissions[1]);
	admission_leave(&admissions[0]);
}

static void test_peers(void)
{
	check_peers(ipv4(0x0a000001), ipv4(0x0a000001), true, "one IPv4 address is one peer");
	check_peers(ipv4(0x0a000001), ipv4(0x0a000002), false, "another is another");
	check_peers(ipv4(0x0a000001), mapped(0x0a000001), true,
		    "the same address through an IPv6 socket is the same peer");
	check_peers(ipv6(1, 1), ipv6(1, 2), true, "an IPv6 network is one peer");
	check_peers(ipv6(1, 1), ipv6(2, 1), false, "another is another");
}

static void test_users(void)
{
	bool distinct = true;

	for (uid_t user = 0; user < 500; user++)
		distinct &= admission_user(user * 65536) != admission_user(user * 65536 + 1);
	check(distinct, "a thousand users have counters of their own");
	check(admission_user(7) == admission_user(7), "a user keeps the same one");
	for (uid_t user = 1; user < 5000; user++)
		must(admission_user(user * 7919) != NULL);
	check(true, "more users than there are counters");
}

/* How many callers of this user get in, of six places. */
static unsigned int callers_of(uid_t user)
{
	struct settings settings = {.max_callers = 6};
	unsigned int let_in = 0;

	while (let_in < 10 && admission_enter_caller(admission_user(user), &settings))
		let_in++;
	for (unsigned int i = 0; i < let_in; i++)
		admission_leave_caller(admission_user(user));
	return let_in;
}

static void test_callers(void)
{
	check(callers_of(1000) == 3, "a user gets half of the callers' places");
	check(callers_of(1000) == 3, "and again when they are free");
	check(callers_of(0) == 6, "root may have all of them");
}

/* How many listeners a user gets, where their descriptors are half of these handshakes'. */
static unsigned int listeners_of(uid_t user, struct bench *bench)
{
	unsigned int let_in = 0;
	const char *why;

	while (let_in < 100 && admission_enter_listener(admission_user(user), &bench->settings, &why) == 0)
		let_in++;
	return let_in;
}

static void test_listeners(void)
{
	struct bench bench = roomy();
	struct admission admissions[60];
	unsigned int let_in = 0;
	const char *why;

	bench.settings.max_handshakes = 60;
	check(listeners_of(1000, &bench) == 3, "a user's listeners take a quarter of the descriptors");
	check(listeners_of(0, &bench) == 2, "all listeners half of them");
	while (let_in < COUNT(admissions) && enter(&bench, &admissions[let_in], 1, ipv4(1), &why) == 0)
		let_in++;
	check(let_in == 30, "the other half is for handshakes: %u", let_in);
	for (int i = 0; i < 3; i++)
		admission_leave_listener(admission_user(1000));
	for (int i = 0; i < 2; i++)
		admission_leave_listener(admission_user(0));
	while (let_in < COUNT(admissions) && enter(&bench, &admissions[let_in], 1, ipv4(1), &why) == 0)
		let_in++;
	check(let_in == 60, "when they have gone it has all: %u", let_in);
	admission_settle(&admissions[0]);
	check(bench.usage.in_flight == 59 && admission_in_flight() == 60, "a settled one counts for the agent alone");
	for (unsigned int i = 0; i < let_in; i++)
		admission_leave(&admissions[i]);
	check(bench.usage.in_flight == 0 && admission_in_flight() == 0, "all have left");
}

static void test_descriptors(void)
{
	struct settings settings = {.max_callers = 4, .max_handshakes = 100000};
	struct rlimit limit = {.rlim_cur = 1024, .rlim_max = 1024};
	struct complaints complaints = {.file = "ktlsd.conf"};
	unsigned int fixed = 64 + 4 * 33;

	must(admission_init() && setrlimit(RLIMIT_NOFILE, &limit) == 0);
	check(admission_fit(&settings, &complaints) && settings.max_handshakes == 1024 - fixed,
	      "max_handshakes is lowered to what RLIMIT_NOFILE leaves: %u", settings.max_handshakes);
	check(admission_fit(&settings, &complaints) && settings.max_handshakes == 1024 - fixed, "what fits stays");
	limit.rlim_cur = fixed;
	must(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	check(!admission_fit(&settings, &complaints), "no room for even one handshake");
}

int main(void)
{
	must(admission_init());
	test_inspection();
	test_closing();
	test_limits();
	test_peers();
	test_users();
	test_callers();
	test_listeners();
	test_descriptors();
	return finish();
}
