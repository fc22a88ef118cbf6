/* SPDX-License-Identifier: MIT */
/* Looks at the kTLS sockets of another process: duplicates of its descriptors, never a key. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <json-c/json.h>

#include "ktlsctl.h"
#include "ktlsd.h"

static const char usage[] =
	"usage: ktlsctl socket [--json] PID [FD]\n"
	"\n"
	"Shows a process's sockets that have TLS in the kernel, or one of them: version, cipher, directions that have\n"
	"keys, records under the keys in force, and how much of a key's life (RFC 8446, section 5.5) that is. It takes\n"
	"the right to trace the process: its user's, or root's.\n"
	"\n"
	"  --json   one JSON array\n";

struct view {
	int pidfd;
	struct json_object *sockets;
};

static void name_end(int fd, int (*get)(int, struct sockaddr *, socklen_t *), char *text, size_t size)
{
	struct sockaddr_storage address;
	socklen_t length = sizeof(address);
	char host[64], port[16];

	if (get(fd, (struct sockaddr *)&address, &length) == 0 &&
	    getnameinfo((struct sockaddr *)&address, length, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) == 0)
		snprintf(text, size, address.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
	else
		snprintf(text, size, "-");
}

/* Of the direction that is further, in percent; 0 if the cipher sets no limit. */
static double used(const struct ktlsd_socket_info *info)
{
	uint64_t most = info->tx_records > info->rx_records ? info->tx_records : info->rx_records;

	return info->key_records && info->key_records != UINT64_MAX ? 100.0 * most / info->key_records : 0;
}

static struct json_object *describe(int fd, int number, const struct ktlsd_socket_info *info)
{
	struct json_object *object = json_object_new_object();
	char local[96], peer[96];

	name_end(fd, getsockname, local, sizeof(local));
	name_end(fd, getpeername, peer, sizeof(peer));
	json_object_object_add(object, "fd", json_object_new_int(number));
	json_object_object_add(object, "local", json_object_new_string(local));
	json_object_object_add(object, "peer", json_object_new_string(peer));
	json_object_object_add(object, "version", json_object_new_string(ktlsd_version_name(info->version)));
	json_object_object_add(object, "cipher", json_object_new_string(info->cipher));
	json_object_object_add(object, "tx", json_object_new_boolean(info->flags & KTLSD_RESULT_TX));
	json_object_object_add(object, "rx", json_object_new_boolean(info->flags & KTLSD_RESULT_RX));
	json_object_object_add(object, "tx_records", json_object_new_uint64(info->tx_records));
	json_object_object_add(object, "rx_records", json_object_new_uint64(info->rx_records));
	json_object_object_add(object, "key_records",
			       info->key_records == UINT64_MAX ? NULL : json_object_new_uint64(info->key_records));
	json_object_object_add(object, "key_used_percent", json_object_new_double(used(info)));
	return object;
}

/* 0, or -errno: -ENOPROTOOPT, -EOPNOTSUPP, -ENOTSOCK and others if it has no TLS. */
static int look_at(struct view *view, int number)
{
	struct ktlsd_socket_info info;
	int fd = pidfd_getfd(view->pidfd, number, 0), err;

	if (fd < 0)
		return -errno;
	err = ktlsd_socket_info(fd, &info);
	if (err == 0)
		json_object_array_add(view->sockets, describe(fd, number, &info));
	close(fd);
	return err;
}

static int look_at_one(struct view *view, int number)
{
	int err = look_at(view, number);

	if (err == 0)
		return EXIT_OK;
	if (err == -ENOPROTOOPT || err == -EOPNOTSUPP || err == -ENOTSOCK)
		return complain("descriptor %d is no socket with TLS in the kernel", number);
	return complain("descriptor %d: %s", number, strerror(-err));
}

/* Its sockets, by what /proc says, so that no file is touched. */
static bool is_socket(const char *directory, const char *name)
{
	char path[300], target[16];
	ssize_t length;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	length = readlink(path, target, sizeof(target));
	return length > 7 && strncmp(target, "socket:", 7) == 0;
}

static int look_at_all(struct view *view, const char *pid)
{
	char directory[32];
	struct dirent *entry;
	int err = 0;
	DIR *fds;

	snprintf(directory, sizeof(directory), "/proc/%s/fd", pid);
	fds = opendir(directory);
	if (!fds)
		return complain("%s: %s", directory, strerror(errno));
	while ((entry = readdir(fds)) && err != -EPERM)
		if (isdigit((unsigned char)*entry->d_name) && is_socket(directory, entry->d_name))
			err = look_at(view, atoi(entry->d_name));
	closedir(fds);
	return err == -EPERM ? complain("process %s may not be looked into: are you its user, or root?", pid) : EXIT_OK;
}

static const char *text(struct json_object *object, const char *name)
{
	return json_object_get_string(json_object_object_get(object, name));
}

static void print_socket(struct json_object *socket)
{
	bool tx = json_object_get_boolean(json_object_object_get(socket, "tx"));
	bool rx = json_object_get_boolean(json_object_object_get(socket, "rx"));

	printf("%4s  %-22s %-22s %-7s %-17s %-5s %12s %12s %6.2f %%\n", text(socket, "fd"), text(socket, "local"),
	       text(socket, "peer"), text(socket, "version"), text(socket, "cipher"),
	       tx && rx ? "tx rx"
	       : tx	? "tx"
	       : rx	? "rx"
			: "none",
	       text(socket, "tx_records"), text(socket, "rx_records"),
	       json_object_get_double(json_object_object_get(socket, "key_used_percent")));
}

static void print_sockets(struct json_object *sockets)
{
	printf("%4s  %-22s %-22s %-7s %-17s %-5s %12s %12s %8s\n", "fd", "local", "peer", "version", "cipher", "keys",
	       "tx records", "rx records", "key used");
	for (size_t i = 0; i < json_object_array_length(sockets); i++)
		print_socket(json_object_array_get_idx(sockets, i));
}

static int look(const char *pid, const char *fd, bool json)
{
	struct view view = {.pidfd = pidfd_open(atoi(pid), 0)};
	int status;

	if (view.pidfd < 0)
		return complain("process %s: %s", pid, strerror(errno));
	view.sockets = json_object_new_array();
	status = fd ? look_at_one(&view, atoi(fd)) : look_at_all(&view, pid);
	if (status == EXIT_OK && json)
		print_json(view.sockets);
	else if (status == EXIT_OK)
		print_sockets(view.sockets);
	json_object_put(view.sockets);
	close(view.pidfd);
	return status;
}

static bool is_number(const char *word)
{
	return *word && strlen(word) < 10 && strspn(word, "0123456789") == strlen(word);
}

int socket_main(int argc, char **argv)
{
	static const struct option options[] = {
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	bool json = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == 'h')
			return help(usage);
		if (option != 'j')
			return misused(usage);
		json = true;
	}
	if (argc - optind < 1 || argc - optind > 2 || !is_number(argv[optind]) ||
	    (argv[optind + 1] && !is_number(argv[optind + 1])))
		return misused(usage);
	return look(argv[optind], argv[optind + 1], json);
}
