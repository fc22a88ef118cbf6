// SPDX-License-Identifier: MIT
/*
 * serve SERVICE [COUNT]: takes COUNT connections (default: one), one after the other; hands each to the agent, prints all that
 * the result says, one "result: NAME = VALUE" a line, greets and ends the stream in order. For scripts.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ktlsd.h"
#include "unit.h"

#define PATIENCE_MS 15000

static int listen_somewhere(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t length = sizeof(address);

	must(bind(fd, (struct sockaddr *)&address, length) == 0 && listen(fd, 1) == 0);
	must(getsockname(fd, (struct sockaddr *)&address, &length) == 0);
	printf("port %u\n", ntohs(address.sin_port));
	fflush(stdout);
	return fd;
}

static void print_text(const char *name, const char *value)
{
	printf("result: %s = %s\n", name, value);
}

static void print_number(const char *name, long value)
{
	printf("result: %s = %ld\n", name, value);
}

static void print_hex(const char *name, const uint8_t *bytes, size_t length)
{
	printf("result: %s = ", name);
	for (size_t i = 0; i < length; i++)
		printf("%02X", bytes[i]);
	putchar('\n');
}

static void print_peer(const struct ktlsd_result *result)
{
	size_t offset = 0, length, certificates = 0;
	const uint8_t *der;

	if (!result->peer)
		return;
	print_text("peer", result->peer->subject);
	print_text("issuer", result->peer->issuer);
	print_text("names", result->peer->names);
	print_text("peer_name", result->peer->name);
	print_text("serial", result->peer->serial);
	print_hex("sha256", result->peer->sha256, 32);
	while (ktlsd_chain_next(result, &offset, &der, &length))
		certificates++;
	print_number("certificates", certificates);
}

static void print_result(const struct ktlsd_result *result)
{
	print_text("error", result->error ? strerrorname_np(result->error) : "none");
	print_text("why", result->error_text);
	print_text("version", ktlsd_version_name(result->version));
	print_text("cipher", ktlsd_cipher_name(result->cipher));
	print_text("group", ktlsd_group_name(result->group));
	print_text("server_name", result->server_name);
	print_text("alpn", result->alpn);
	print_number("resumed", !!(result->flags & KTLSD_RESULT_RESUMED));
	print_number("verified", !!(result->flags & KTLSD_RESULT_VERIFIED));
	print_number("kernel", !!(result->flags & KTLSD_RESULT_TX) + !!(result->flags & KTLSD_RESULT_RX));
	if (result->alert_sent != KTLSD_NO_ALERT)
		print_text("alert_sent", ktlsd_alert_name(result->alert_sent));
	if (result->alert_received != KTLSD_NO_ALERT)
		print_text("alert_received", ktlsd_alert_name(result->alert_received));
	if (result->channel_binding)
		print_hex("channel_binding", result->channel_binding, 32);
	print_peer(result);
	puts("result: over");
	fflush(stdout);
}

static void greet(struct ktlsd *agent, int fd, const struct ktlsd_result *result)
{
	struct ktlsd_stream *stream;

	must(ktlsd_stream_new(&stream, fd, agent, result) == 0);
	must(ktlsd_stream_send(stream, "hello\n", 6, 0) == 6 && ktlsd_stream_shutdown(stream) == 0);
	while (ktlsd_stream_recv(stream, (char[512]){0}, 512, 0) > 0)
		;
	ktlsd_stream_free(stream);
}

static void serve(struct ktlsd *agent, int fd, const char *service)
{
	struct ktlsd_handoff *handoff = ktlsd_get_handoff(agent);
	struct ktlsd_result *result;

	must(fd >= 0);
	ktlsd_prep_server(handoff, fd, service);
	handoff->want |= KTLSD_WANT_CHAIN | KTLSD_WANT_CHANNEL_BINDING;
	must(ktlsd_submit(agent) == 1 && ktlsd_wait_result(agent, &result, PATIENCE_MS) == 0);
	print_result(result);
	if (result->error == 0)
		greet(agent, fd, result);
	ktlsd_result_seen(agent);
	close(fd);
}

int main(int argc, char **argv)
{
	int listener, count = argc > 2 ? atoi(argv[2]) : 1;
	struct ktlsd *agent;

	must(argc >= 2 && ktlsd_open(&agent, NULL) == 0);
	listener = listen_somewhere();
	while (count-- > 0)
		serve(agent, accept(listener, NULL, NULL), argv[1]);
	ktlsd_close(agent);
	return 0;
}
