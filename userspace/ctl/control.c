/* SPDX-License-Identifier: MIT */
/* The agent's control socket: one line there, one JSON object back. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <json-c/json.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <ktlsd/protocol.h>

#include "ktlsctl.h"

#define ANSWER_MAX (1 << 20)
#define PATIENCE_S 10
#define PENDING_MS 200 /* between looks at what a responder is being asked */
#define PENDING_LOOKS 50

static const char *remedy(int error)
{
	switch (error) {
	case ENOENT:
	case ECONNREFUSED:
		return "ktlsd does not run here; try: systemctl start ktlsd";
	case EACCES:
	case EPERM:
		return "the socket is for root and the configured control group";
	default:
		return strerror(error);
	}
}

static int control_connect(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = PATIENCE_S};
	int fd;

	if (strlen(path) >= sizeof(address.sun_path)) {
		complain("%s: the path is too long for a socket", path);
		return -1;
	}
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0 &&
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	complain("%s: %s", path, remedy(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Up to the end of the stream. The length, or -errno. */
static ssize_t read_all(int fd, char *text, size_t size)
{
	size_t used = 0;
	ssize_t n;

	while ((n = read(fd, text + used, size - used)) != 0) {
		if (n < 0)
			return -errno;
		used += n;
		if (used == size)
			return -EMSGSIZE;
	}
	return used;
}

static struct json_object *parse(const char *text, size_t length)
{
	struct json_tokener *tokener = json_tokener_new();
	struct json_object *answer;

	if (!tokener)
		return NULL;
	answer = json_tokener_parse_ex(tokener, text, length);
	json_tokener_free(tokener);
	return answer;
}

static bool send_all(int fd, const char *data, size_t length)
{
	while (length > 0) {
		ssize_t n = send(fd, data, length, MSG_NOSIGNAL);

		if (n < 0)
			return false;
		data += n;
		length -= n;
	}
	return true;
}

static struct json_object *exchange(int fd, const char *command, const char *body, size_t body_length)
{
	struct json_object *answer = NULL, *error;
	char *text = malloc(ANSWER_MAX);
	ssize_t length;

	if (!text || dprintf(fd, "%s\n", command) < 0 || !send_all(fd, body, body_length) ||
	    (body && shutdown(fd, SHUT_WR) != 0)) {
		complain("can't send the command: %s", strerror(errno));
		goto out;
	}
	length = read_all(fd, text, ANSWER_MAX);
	if (length < 0) {
		complain("no answer from the agent: %s", strerror(-length));
		goto out;
	}
	answer = parse(text, length);
	if (!json_object_is_type(answer, json_type_object)) {
		complain("the agent's answer is no JSON object: is it the same version?");
	} else if (json_object_object_get_ex(answer, "error", &error)) {
		complain("%s", json_object_get_string(error));
	} else {
		free(text);
		return answer;
	}
out:
	json_object_put(answer);
	free(text);
	return NULL;
}

struct json_object *control_request_with(const char *path, const char *command, const char *body, size_t length)
{
	struct json_object *answer;
	int fd;

	if (!path)
		path = getenv("KTLSD_CONTROL");
	if (!path || !*path)
		path = KTLSD_CONTROL_PATH;
	fd = control_connect(path);
	if (fd < 0)
		return NULL;
	answer = exchange(fd, command, body, length);
	close(fd);
	return answer;
}

struct json_object *control_request(const char *path, const char *command)
{
	return control_request_with(path, command, NULL, 0);
}

struct json_object *control_ask(const char *path, const char *command, const char *body, size_t length)
{
	struct json_object *answer, *pending;

	for (int i = 0; i < PENDING_LOOKS; i++) {
		answer = control_request_with(path, command, body, length);
		if (!answer || !json_object_object_get_ex(answer, "pending", &pending) ||
		    !json_object_get_boolean(pending))
			return answer;
		json_object_put(answer);
		usleep(PENDING_MS * 1000);
	}
	return control_request_with(path, command, body, length);
}
