// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Between a caller's struct ktlsd_handshake and a request: what is asked for, on which socket, with which keys; and how
 * it ended.
 *
 * What is checked is that the caller could do the same to the socket without the module, and has the right to the keys:
 *
 * - The socket is one of the caller's descriptors: who holds it may set TCP_ULP, TLS_TX and TLS_RX on it.
 * - Keys by lookup_user_key() with the caller's credentials, as keyctl(2) does.
 * - Which agent gets to see it depends on the socket's network namespace alone, not on the caller's.
 *
 * What can't be checked: security modules see the agent set the socket's options, not the caller, and the agent acts
 * with its own identity. Who may open /dev/ktlsd may have handshakes done with the certificates that the agent has for
 * the kernel's requests; for that the device is root's, mode 0600.
 */
#include <linux/capability.h>
#include <linux/err.h>
#include <linux/key-type.h>
#include <linux/string.h>
#include <linux/tcp.h>
#include <linux/uaccess.h>
#include <net/inet_connection_sock.h>
#include <net/tcp_states.h>
#include <net/tls.h>

#include "request.h"

/* The structure's first version, which all others begin with. */
#define HANDSHAKE_SIZE_FIRST 88
static_assert(sizeof(struct ktlsd_handshake) == HANDSHAKE_SIZE_FIRST);

/* What is possible, and which fields go with it. */
static const struct way {
	u16 role;
	u16 auth;
	int (*hello)(const struct tls_handshake_args *args, gfp_t flags);
	u8 least_ids;
	u8 most_ids;
	bool name;
	bool certificate;
	bool keyring;
} ways[] = {
	{KTLSD_HANDSHAKE_CLIENT, KTLSD_HANDSHAKE_ANONYMOUS, tls_client_hello_anon, .name = true},
	{KTLSD_HANDSHAKE_CLIENT, KTLSD_HANDSHAKE_PSK, tls_client_hello_psk, 1, KTLSD_HANDSHAKE_PEER_IDS_MAX,
	 .name = true, .keyring = true},
	{KTLSD_HANDSHAKE_CLIENT, KTLSD_HANDSHAKE_X509, tls_client_hello_x509, .name = true, .certificate = true,
	 .keyring = true},
	{KTLSD_HANDSHAKE_SERVER, KTLSD_HANDSHAKE_PSK, tls_server_hello_psk, 0, 1, .keyring = true},
	{KTLSD_HANDSHAKE_SERVER, KTLSD_HANDSHAKE_X509, tls_server_hello_x509, .certificate = true, .keyring = true},
};

/**
 * ktlsd_read_argument - a caller's structure, which begins with its size
 * @known:	what this module knows of it
 * @known_size:	of @known
 * @least:	the size that it had in its first version
 * @argument:	the caller's
 *
 * Return: 0, -EFAULT, -EINVAL if it is too small, -E2BIG if it asks for more than this module knows.
 */
int ktlsd_read_argument(void *known, size_t known_size, size_t least, const void __user *argument)
{
	u32 size;

	if (get_user(size, (const u32 __user *)argument))
		return -EFAULT;
	if (size < least)
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	return copy_struct_from_user(known, known_size, argument, size);
}

static const struct way *find_way(const struct ktlsd_handshake *asked)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ways); i++)
		if (ways[i].role == asked->role && ways[i].auth == asked->auth)
			return &ways[i];
	return NULL;
}

static bool makes_sense(const struct ktlsd_handshake *asked, const struct way *way)
{
	unsigned int i;

	if (asked->flags || asked->reserved || asked->timeout_ms > KTLSD_HANDSHAKE_TIMEOUT_MAX_MS)
		return false;
	if (!asked->peer_name != !asked->peer_name_length || asked->peer_name_length > KTLSD_HANDSHAKE_NAME_MAX)
		return false;
	if (!asked->certificate != !asked->private_key)
		return false;
	if ((asked->peer_name && !way->name) || (asked->certificate && !way->certificate) ||
	    (asked->keyring && !way->keyring))
		return false;
	if (asked->peer_id_count < way->least_ids || asked->peer_id_count > way->most_ids)
		return false;
	for (i = 0; i < KTLSD_HANDSHAKE_PEER_IDS_MAX; i++)
		if (!asked->peer_ids[i] != (i >= asked->peer_id_count))
			return false;
	return true;
}

/**
 * ktlsd_check_socket - whether a handshake can begin on it
 * @sk:	any
 *
 * Return: 0, or what <linux/ktlsd.h> says of such a socket.
 */
int ktlsd_check_socket(const struct sock *sk)
{
	if (!sk_is_tcp(sk))
		return -EPROTONOSUPPORT;
	switch (inet_sk_state_load(sk)) {
	case TCP_ESTABLISHED:
		return inet_csk_has_ulp(sk) ? -EEXIST : 0;
	case TCP_LISTEN:
		return -EINVAL;
	default:
		return -ENOTCONN;
	}
}

static int take_socket(struct ktlsd_request *request, int fd)
{
	int error;

	request->sock = sockfd_lookup(fd, &error);
	if (!request->sock)
		return error;
	request->args.ta_sock = request->sock;
	return ktlsd_check_socket(request->sock->sk);
}

static int take_name(struct ktlsd_request *request, const struct ktlsd_handshake *asked)
{
	char name[KTLSD_HANDSHAKE_NAME_MAX];

	if (!asked->peer_name)
		return 0;
	if (copy_from_user(name, u64_to_user_ptr(asked->peer_name), asked->peer_name_length))
		return -EFAULT;
	if (memchr(name, '\0', asked->peer_name_length))
		return -EINVAL;
	memcpy(request->name, name, asked->peer_name_length);
	request->name[asked->peer_name_length] = '\0';
	request->args.ta_peername = request->name;
	return 0;
}

/*
 * Special numbers such as KEY_SPEC_SESSION_KEYRING are refused: the thread may be one of the ring's. A key that is
 * being made is not waited for.
 */
static int take_key(struct ktlsd_request *request, key_serial_t serial, enum key_need_perm need)
{
	key_ref_t reference;
	struct key *key;
	int state;

	if (!serial)
		return 0;
	if (serial < 0)
		return -EINVAL;
	reference = lookup_user_key(serial, KEY_LOOKUP_PARTIAL, need);
	if (IS_ERR(reference))
		return PTR_ERR(reference);
	key = key_ref_to_ptr(reference);
	request->keys[request->key_count++] = key;
	if (need == KEY_NEED_LINK && key->type != &key_type_keyring)
		return -ENOTDIR;
	state = key_read_state(key);
	switch (state) {
	case KEY_IS_POSITIVE:
		return 0;
	case -EKEYREJECTED:
	case -EKEYREVOKED:
	case -EKEYEXPIRED:
		return state;
	default: /* -EAGAIN and -EIOCBQUEUED, which mean something else to a ring, among them */
		return -ENOKEY;
	}
}

static int take_keys(struct ktlsd_request *request, const struct ktlsd_handshake *asked)
{
	struct tls_handshake_args *args = &request->args;
	unsigned int i;
	int error;

	args->ta_keyring = asked->keyring;
	args->ta_my_cert = asked->certificate;
	args->ta_my_privkey = asked->private_key;
	args->ta_num_peerids = asked->peer_id_count;
	if (asked->keyring && !capable(CAP_NET_ADMIN))
		return -EPERM;
	error = take_key(request, asked->keyring, KEY_NEED_LINK);
	if (!error)
		error = take_key(request, asked->certificate, KEY_NEED_READ);
	if (!error)
		error = take_key(request, asked->private_key, KEY_NEED_READ);
	for (i = 0; !error && i < asked->peer_id_count; i++) {
		args->ta_my_peerids[i] = asked->peer_ids[i];
		error = take_key(request, asked->peer_ids[i], KEY_NEED_READ);
	}
	return error;
}

/**
 * ktlsd_take_in - what a caller asks for becomes what net/handshake takes
 * @request:	a new one; what it gets of references goes with its last one
 *
 * Context: the caller's.
 * Return: 0, or what <linux/ktlsd.h> says of what is refused.
 */
int ktlsd_take_in(struct ktlsd_request *request)
{
	struct ktlsd_handshake asked;
	const struct way *way;
	int error;

	error = ktlsd_read_argument(&asked, sizeof(asked), HANDSHAKE_SIZE_FIRST, request->argument);
	if (error)
		return error;
	way = find_way(&asked);
	if (!way || !makes_sense(&asked, way))
		return -EINVAL;
	request->hello = way->hello;
	request->cookie = asked.cookie;
	request->deadline = jiffies + msecs_to_jiffies(asked.timeout_ms ?: KTLSD_HANDSHAKE_TIMEOUT_MS);
	error = take_socket(request, asked.fd);
	if (!error)
		error = take_name(request, &asked);
	if (!error)
		error = take_keys(request, &asked);
	return error;
}

/* Keys for both directions, or what an agent says counts for nothing. */
static int look_at_tls(struct sock *sk, struct ktlsd_handshake *result)
{
	const struct inet_connection_sock *icsk = inet_csk(sk);
	const struct tcp_ulp_ops *ulp = READ_ONCE(icsk->icsk_ulp_ops);
	const struct tls_context *tls;
	int error = -EPROTO;

	if (!ulp || strcmp(ulp->name, "tls"))
		return error;
	rcu_read_lock();
	tls = rcu_dereference(icsk->icsk_ulp_data);
	if (tls && tls->tx_conf != TLS_BASE && tls->rx_conf != TLS_BASE) {
		result->tls_version = tls->prot_info.version;
		result->cipher_type = tls->prot_info.cipher_type;
		error = 0;
	}
	rcu_read_unlock();
	return error;
}

/**
 * ktlsd_report - tells the caller what came of a handshake that the agent calls a success
 * @request:	an ended one
 *
 * Context: the caller's, or a kernel thread's where the caller is gone.
 * Return: 0, -EPROTO if the socket does not encrypt, -EFAULT if the caller's memory is gone.
 */
int ktlsd_report(struct ktlsd_request *request)
{
	struct ktlsd_handshake __user *argument = request->argument;
	struct ktlsd_handshake result = {.peer_id = request->peer_id};
	const size_t from = offsetof(struct ktlsd_handshake, peer_id);
	int error = look_at_tls(request->sock->sk, &result);

	if (error)
		return error;
	if (!current->mm || (current->flags & PF_KTHREAD) ||
	    copy_to_user(&argument->peer_id, &result.peer_id, HANDSHAKE_SIZE_FIRST - from))
		return -EFAULT;
	return 0;
}
