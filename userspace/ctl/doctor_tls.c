/* SPDX-License-Identifier: MIT */
/* TLS in the kernel: each thing is tried, none is believed from a version number. */
#include <errno.h>
#include <glob.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <linux/tls.h>
#include <sys/utsname.h>

#include "doctor.h"
#include "probe.h"

/* Whether the running kernel has tls as a module on disk. */
static bool has_tls_module(void)
{
	struct utsname name;
	char pattern[256];
	glob_t matches;
	bool has;

	uname(&name);
	snprintf(pattern, sizeof(pattern), "/lib/modules/%s/kernel/net/tls/tls.ko*", name.release);
	has = glob(pattern, 0, NULL, &matches) == 0;
	globfree(&matches);
	return has;
}

/* In a user namespace of its own, root is not the root that may load modules. */
static bool in_user_namespace(void)
{
	unsigned int inside = 0, outside = 0, count = 0;
	FILE *map = fopen("/proc/self/uid_map", "r");
	bool whole;

	if (!map)
		return false;
	whole = fscanf(map, "%u %u %u", &inside, &outside, &count) == 3 && outside == 0 && count == UINT32_MAX;
	fclose(map);
	return !whole;
}

static const char *tls_remedy(int err)
{
	switch (err) {
	case -ENOENT:
		if (in_user_namespace())
			return "a container can't load it; on the host: modprobe tls";
		if (has_tls_module())
			return "modprobe tls; for every boot: echo tls > /etc/modules-load.d/ktlsd.conf";
		return "this kernel is built without CONFIG_TLS, or its modules are not installed: use another kernel";
	case -ENETUNREACH:
	case -EADDRNOTAVAIL:
		return "the loopback device is down: ip link set lo up";
	default:
		return "it was a TCP connection from 127.0.0.1 to itself: does a firewall or a sandbox forbid it?";
	}
}

static bool check_ulp(void)
{
	int fd = ktls_probe_socket();

	if (fd < 0) {
		found(VERDICT_FAIL, "TLS in the kernel", tls_remedy(fd), "%s",
		      fd == -ENOENT ? "the tls module is not there" : strerror(-fd));
		return false;
	}
	close(fd);
	found(VERDICT_OK, "TLS in the kernel", NULL, "the tls protocol attaches to a TCP socket");
	return true;
}

/* Where it fails: "send", "receive" or "data"; NULL if it does not. */
static const char *try_cipher(int fd, const struct ktls_cipher *cipher, int *err)
{
	*err = ktls_probe_install(fd, cipher, TLS_TX, 0);
	if (*err < 0)
		return "send keys";
	*err = ktls_probe_install(fd, cipher, TLS_RX, 0);
	if (*err < 0)
		return "receive keys";
	*err = ktls_probe_echo(fd);
	return *err < 0 ? "data" : NULL;
}

/* Without its first cipher TLS 1.3 can't be offered to everybody; the others are missed by few. */
static void check_cipher(const struct ktls_cipher *cipher)
{
	enum verdict verdict = cipher == &ktls_ciphers[0] ? VERDICT_FAIL : VERDICT_WARN;
	char remedy[128];
	const char *where;
	int fd, err;

	fd = ktls_probe_socket();
	if (fd < 0)
		return;
	where = try_cipher(fd, cipher, &err);
	close(fd);
	if (!where) {
		found(VERDICT_OK, cipher->name, NULL, "sends and receives");
		return;
	}
	if (err == -ENOENT)
		snprintf(remedy, sizeof(remedy), "modprobe -a %s; then restart ktlsd", cipher->modules);
	else
		snprintf(remedy, sizeof(remedy), "ktlsd will not offer it");
	found(verdict, cipher->name, remedy, "%s: %s", where, strerror(-err));
}

static void check_rekey(void)
{
	if (ktls_probe_rekey())
		found(VERDICT_OK, "rekey", NULL, "keys of a TLS 1.3 connection can be replaced");
	else
		found(VERDICT_WARN, "rekey",
		      "Linux 6.14 or newer has it; a connection whose peer sends KeyUpdate ends here",
		      "keys can't be replaced");
}

static void check_record_size(void)
{
	if (ktls_probe_max_payload())
		found(VERDICT_OK, "record size", NULL, "can be limited as a peer asks");
	else
		found(VERDICT_WARN, "record size",
		      "Linux 6.19 or newer has it; peers that ask for max_fragment_length are refused",
		      "can't be limited");
}

void check_kernel_tls(void)
{
	if (!check_ulp())
		return;
	for (size_t i = 0; i < ktls_cipher_count; i++)
		check_cipher(&ktls_ciphers[i]);
	check_rekey();
	check_record_size();
}
