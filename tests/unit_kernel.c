// SPDX-License-Identifier: MIT
/* The kernel's requests: what its messages say, and which services they are for. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/handshake.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>

#include <ktlsd/protocol.h>

#include "kernel/family.h"
#include "kernel/use.h"
#include "unit.h"

#define KEYRING 9 /* HANDSHAKE_A_ACCEPT_KEYRING, from Linux 6.17 on */

/* ---- messages ---- */

static struct nl_msg *new_message(void)
{
	struct nl_msg *message = nlmsg_alloc();

	must(message && genlmsg_put(message, 1, 1, 20, 0, 0, HANDSHAKE_CMD_ACCEPT, 1));
	return message;
}

static int read_and_free(struct nl_msg *message, struct kernel_request *request, int *fd)
{
	int error = family_read(nlmsg_hdr(message), request, fd);

	nlmsg_free(message);
	return error;
}

static struct nl_msg *whole_message(void)
{
	struct nl_msg *message = new_message();
	struct nlattr *certificate;

	nla_put_u32(message, HANDSHAKE_A_ACCEPT_SOCKFD, 7);
	nla_put_u32(message, HANDSHAKE_A_ACCEPT_MESSAGE_TYPE, HANDSHAKE_MSG_TYPE_CLIENTHELLO);
	nla_put_u32(message, HANDSHAKE_A_ACCEPT_TIMEOUT, 5000);
	nla_put_u32(message, HANDSHAKE_A_ACCEPT_AUTH_MODE, HANDSHAKE_AUTH_X509);
	certificate = nla_nest_start(message, HANDSHAKE_A_ACCEPT_CERTIFICATE);
	nla_put_u32(message, HANDSHAKE_A_X509_CERT, 11);
	nla_put_u32(message, HANDSHAKE_A_X509_PRIVKEY, 12);
	nla_nest_end(message, certificate);
	nla_put_string(message, HANDSHAKE_A_ACCEPT_PEERNAME, "server.example");
	nla_put_u32(message, KEYRING, 13);
	return message;
}

static void test_whole(void)
{
	struct kernel_request request;
	int fd;

	check(read_and_free(whole_message(), &request, &fd) == 0 && fd == 7, "a request, and its socket");
	check(request.role == KTLSD_CLIENT && request.mode == HANDSHAKE_AUTH_X509 && request.timeout_ms == 5000,
	      "its role, mode and timeout");
	check(request.certificate == 11 && request.private_key == 12 && request.keyring == 13, "its keys");
	check_text(request.peer_name, "server.example", "its peer");
}

static void test_repeated(void)
{
	struct nl_msg *message = whole_message();
	struct kernel_request request;
	struct nlattr *certificate;
	int fd, i;

	for (i = 1; i <= KERNEL_PEER_IDS_MAX + 3; i++)
		nla_put_u32(message, HANDSHAKE_A_ACCEPT_PEER_IDENTITY, 100 + i);
	certificate = nla_nest_start(message, HANDSHAKE_A_ACCEPT_CERTIFICATE);
	nla_put_u32(message, HANDSHAKE_A_X509_CERT, 21);
	nla_nest_end(message, certificate);
	check(read_and_free(message, &request, &fd) == 0, "repeated attributes");
	check(request.peer_id_count == KERNEL_PEER_IDS_MAX && request.peer_ids[0] == 101 &&
		      request.peer_ids[KERNEL_PEER_IDS_MAX - 1] == 100 + KERNEL_PEER_IDS_MAX,
	      "... as many identities as a kernel has");
	check(request.certificate == 11, "... the first certificate");
}

static void test_odd(void)
{
	char long_name[KERNEL_NAME_MAX + 10];
	struct kernel_request request;
	struct nl_msg *message;
	int fd;

	message = new_message();
	check(read_and_free(message, &request, &fd) == -EBADMSG && fd == -1, "nothing in it");
	message = whole_message();
	nla_put_u32(message, 77, 1);
	nla_put(message, 78, 3, "abc");
	check(read_and_free(message, &request, &fd) == 0 && fd == 7, "attributes that a newer kernel may add");
	message = new_message();
	nla_put(message, HANDSHAKE_A_ACCEPT_SOCKFD, 2, "ab");
	check(read_and_free(message, &request, &fd) == -EBADMSG && fd == -1, "a socket of two bytes");
	message = whole_message();
	memset(long_name, 'n', sizeof(long_name));
	long_name[sizeof(long_name) - 1] = '\0';
	nla_put_string(message, HANDSHAKE_A_ACCEPT_PEERNAME, long_name);
	check(read_and_free(message, &request, &fd) == -EBADMSG && fd == 7,
	      "a name that is too long: no request, but a socket to answer with");
	message = new_message();
	nla_put_u32(message, HANDSHAKE_A_ACCEPT_SOCKFD, 7);
	nla_put_u32(message, HANDSHAKE_A_ACCEPT_MESSAGE_TYPE, 99);
	nla_put_u32(message, HANDSHAKE_A_ACCEPT_AUTH_MODE, 99);
	check(read_and_free(message, &request, &fd) == 0 && request.role == 0 && request.mode == 99,
	      "a message type that nobody knows is no role");
	message = whole_message();
	nla_put(message, HANDSHAKE_A_ACCEPT_CERTIFICATE, 3, "abc");
	check(read_and_free(message, &request, &fd) == 0, "a certificate that is no nest");
}

/* Cut off anywhere, with a length that is true, and with attributes that lie about theirs. */
static void test_cut(void)
{
	struct nl_msg *whole = whole_message();
	struct nlmsghdr *head = nlmsg_hdr(whole);
	size_t length = head->nlmsg_len, cut, at;
	struct kernel_request request;
	int fd, read = 0;

	for (cut = 0; cut <= length; cut++) {
		struct nlmsghdr *copy = malloc(cut + sizeof(*copy));

		must(copy);
		memcpy(copy, head, cut < sizeof(*copy) ? sizeof(*copy) : cut);
		copy->nlmsg_len = cut;
		if (cut >= sizeof(*copy))
			read += family_read(copy, &request, &fd) == 0;
		free(copy);
	}
	for (at = NLMSG_HDRLEN + GENL_HDRLEN; at < length; at++) {
		struct nlmsghdr *copy = malloc(length);

		must(copy);
		memcpy(copy, head, length);
		((uint8_t *)copy)[at] ^= 0xff;
		family_read(copy, &request, &fd);
		free(copy);
	}
	nlmsg_free(whole);
	check(read > 0, "cut off and bent anywhere");
}

/* ---- services ---- */

/* What a service says in its three keys, words separated by blanks. */
static void list(struct setting_list *list, const char *words)
{
	char *copy = strdup(words), *rest = copy, *word;

	TAILQ_INIT(list);
	while (*words && (word = strsep(&rest, " "))) {
		struct setting *setting = calloc(1, sizeof(*setting));

		must(setting);
		setting->text = strdup(word);
		setting->line = 1;
		TAILQ_INSERT_TAIL(list, setting, next);
	}
	free(copy);
}

static void free_list(struct setting_list *list)
{
	struct setting *setting;

	while ((setting = TAILQ_FIRST(list))) {
		TAILQ_REMOVE(list, setting, next);
		free(setting->text);
		free(setting);
	}
}

static bool build(struct kernel_use *use, const char *modes, const char *names, const char *networks)
{
	static struct complaints complaints;
	static struct service_settings settings;
	bool good;

	memset(&complaints, 0, sizeof(complaints));
	memset(use, 0, sizeof(*use));
	complaints.file = "unit";
	list(&settings.kernel, modes);
	list(&settings.kernel_peers, names);
	list(&settings.kernel_networks, networks);
	good = kernel_use_build(use, &settings, &complaints);
	free_list(&settings.kernel);
	free_list(&settings.kernel_peers);
	free_list(&settings.kernel_networks);
	return good;
}

static struct sockaddr_storage address_of(const char *text)
{
	struct sockaddr_storage address = {.ss_family = strchr(text, ':') ? AF_INET6 : AF_INET};

	must(inet_pton(address.ss_family, text,
		       address.ss_family == AF_INET ? (void *)&((struct sockaddr_in *)&address)->sin_addr
						    : (void *)&((struct sockaddr_in6 *)&address)->sin6_addr) == 1);
	return address;
}

static const struct {
	const char *modes, *names, *networks; /* of the service */
	uint32_t mode;
	const char *name, *address; /* of the request */
	bool is_for;
} requests[] = {
	{"x509", "", "", HANDSHAKE_AUTH_X509, "a.example", "192.0.2.1", true},
	{"x509", "", "", HANDSHAKE_AUTH_UNAUTH, "a.example", "192.0.2.1", false},
	{"x509", "", "", HANDSHAKE_AUTH_PSK, "", "192.0.2.1", false},
	{"anonymous psk", "", "", HANDSHAKE_AUTH_PSK, "", "2001:db8::1", true},
	{"anonymous", "", "", HANDSHAKE_AUTH_UNAUTH, "", "192.0.2.1", true},
	{"x509", "", "", HANDSHAKE_AUTH_UNSPEC, "", "192.0.2.1", false},
	{"x509", "", "", 99, "", "192.0.2.1", false},
	{"", "", "", HANDSHAKE_AUTH_X509, "a.example", "192.0.2.1", false},

	{"x509", "a.example b.example", "", HANDSHAKE_AUTH_X509, "b.example", "192.0.2.1", true},
	{"x509", "a.example", "", HANDSHAKE_AUTH_X509, "A.Example", "192.0.2.1", true},
	{"x509", "a.example", "", HANDSHAKE_AUTH_X509, "a.example.org", "192.0.2.1", false},
	{"x509", "a.example", "", HANDSHAKE_AUTH_X509, "", "192.0.2.1", false},
	{"x509", "*.example", "", HANDSHAKE_AUTH_X509, "a.example", "192.0.2.1", true},
	{"x509", "*.example", "", HANDSHAKE_AUTH_X509, "b.a.EXAMPLE", "192.0.2.1", true},
	{"x509", "*.example", "", HANDSHAKE_AUTH_X509, "example", "192.0.2.1", false},
	{"x509", "*.example", "", HANDSHAKE_AUTH_X509, ".example", "192.0.2.1", false},
	{"x509", "*.example", "", HANDSHAKE_AUTH_X509, "anexample", "192.0.2.1", false},

	{"x509", "", "192.0.2.1", HANDSHAKE_AUTH_X509, "", "192.0.2.1", true},
	{"x509", "", "192.0.2.1", HANDSHAKE_AUTH_X509, "", "192.0.2.2", false},
	{"x509", "", "10.0.0.0/8 192.0.2.0/25", HANDSHAKE_AUTH_X509, "", "192.0.2.127", true},
	{"x509", "", "10.0.0.0/8 192.0.2.0/25", HANDSHAKE_AUTH_X509, "", "192.0.2.128", false},
	{"x509", "", "0.0.0.0/0", HANDSHAKE_AUTH_X509, "", "198.51.100.1", true},
	{"x509", "", "0.0.0.0/0", HANDSHAKE_AUTH_X509, "", "2001:db8::1", false},
	{"x509", "", "192.0.2.0/24", HANDSHAKE_AUTH_X509, "", "::ffff:192.0.2.9", true},
	{"x509", "", "::ffff:192.0.2.0/120", HANDSHAKE_AUTH_X509, "", "192.0.2.9", true},
	{"x509", "", "2001:db8::/33", HANDSHAKE_AUTH_X509, "", "2001:db8:7fff::1", true},
	{"x509", "", "2001:db8::/33", HANDSHAKE_AUTH_X509, "", "2001:db8:8000::1", false},
	{"x509", "", "::/0", HANDSHAKE_AUTH_X509, "", "2001:db8::1", true},
	{"x509", "", "::/0", HANDSHAKE_AUTH_X509, "", "192.0.2.1", false},
	{"x509", "*.example", "192.0.2.0/24", HANDSHAKE_AUTH_X509, "a.example", "198.51.100.1", false},
};

static void test_uses(void)
{
	for (size_t i = 0; i < COUNT(requests); i++) {
		struct sockaddr_storage address = address_of(requests[i].address);
		struct kernel_use use;

		must(build(&use, requests[i].modes, requests[i].names, requests[i].networks));
		check(kernel_use_allows(&use, requests[i].mode, requests[i].name, &address) == requests[i].is_for,
		      "\"%s\" \"%s\" \"%s\" is %sfor %u \"%s\" %s", requests[i].modes, requests[i].names,
		      requests[i].networks, requests[i].is_for ? "" : "not ", requests[i].mode, requests[i].name,
		      requests[i].address);
		kernel_use_clear(&use);
	}
}

static void test_faults(void)
{
	static const char *const faults[][3] = {
		{"x508", "", ""},
		{"x509", "a.*.example", ""},
		{"x509", "*", ""},
		{"x509", "*.", ""},
		{"x509", "", "10.0.0.0/33"},
		{"x509", "", "10.0.0.0/"},
		{"x509", "", "10.0.0.0/-1"},
		{"x509", "", "10.0.0.0/8x"},
		{"x509", "", "example"},
		{"x509", "", "fd00::/129"},
		{"x509", "", "10.0.0/8"},
		{"x509", "", "/8"},
		{"x509", "", "10.0.0.0/+8"},
	};

	for (size_t i = 0; i < COUNT(faults); i++) {
		struct kernel_use use;

		check(!build(&use, faults[i][0], faults[i][1], faults[i][2]), "complained about: \"%s\" \"%s\" \"%s\"",
		      faults[i][0], faults[i][1], faults[i][2]);
		kernel_use_clear(&use);
	}
}

int main(void)
{
	test_whole();
	test_repeated();
	test_odd();
	test_cut();
	test_uses();
	test_faults();
	return finish();
}
