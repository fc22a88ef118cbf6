// SPDX-License-Identifier: MIT
/*
 * Somebody in the middle of a handshake. The agent does both ends; a relay between them passes record after record on,
 * until one to which it does harm. For every record of both directions and both versions.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hostile.h"

#define TIMEOUT 500 /* ms */
#define LATE 300
#define RECORDS 12 /* of a direction, at the most, until the handshake is over */

enum harm { STOP, CLOSE, RESET, FLIP, CUT, INSERT, DOUBLE, HOLD };

static const char *const harms[] = {
	[STOP] = "stops",
	[CLOSE] = "closes",
	[RESET] = "resets",
	[FLIP] = "flips a bit",
	[CUT] = "closes in the middle of a record",
	[INSERT] = "inserts a plaintext record",
	[DOUBLE] = "doubles a record",
};

/* One direction. */
struct stream {
	int from, to;
	uint8_t data[65536];
	size_t length;
	unsigned int records;
};

struct relay {
	struct pair outer, inner; /* the client's connection to us, ours to the server */
	struct stream streams[2]; /* from the client, from the server */
	enum harm harm;
	unsigned int direction, record; /* where it is done */
	bool done, quiet;		/* it was; nothing is passed on any more */
	bool client_finished;		/* TLS 1.3: from here on there are only tickets */
	bool harmless;			/* to a record that no handshake hangs on: ChangeCipherSpec, or one behind it */
};

static void begin(struct relay *relay)
{
	memset(relay, 0, sizeof(*relay));
	relay->outer = tcp_pair();
	relay->inner = tcp_pair();
	relay->streams[0].from = relay->streams[1].to = relay->outer.server;
	relay->streams[0].to = relay->streams[1].from = relay->inner.client;
}

static void cut_off(struct relay *relay, bool reset)
{
	const struct linger linger = {.l_onoff = reset};

	setsockopt(relay->outer.server, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	setsockopt(relay->inner.client, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(relay->outer.server);
	close(relay->inner.client);
	relay->outer.server = relay->inner.client = -1;
	relay->quiet = true;
}

static void do_harm(struct relay *relay, struct stream *stream, size_t length)
{
	static const uint8_t alert_like[] = {22, 3, 3, 0, 4, 14, 0, 0, 0};

	relay->done = true;
	relay->harmless = stream->data[0] == 20 || relay->client_finished;
	switch (relay->harm) {
	case STOP:
	case HOLD:
		relay->quiet = true;
		return;
	case CLOSE:
	case RESET:
		cut_off(relay, relay->harm == RESET);
		return;
	case CUT:
		send(stream->to, stream->data, length / 2, MSG_NOSIGNAL);
		usleep(5000);
		cut_off(relay, false);
		return;
	case FLIP:
		stream->data[length - 1] ^= 1;
		send(stream->to, stream->data, length, MSG_NOSIGNAL);
		return;
	case INSERT:
		send(stream->to, alert_like, sizeof(alert_like), MSG_NOSIGNAL);
		send(stream->to, stream->data, length, MSG_NOSIGNAL);
		return;
	case DOUBLE:
		send(stream->to, stream->data, length, MSG_NOSIGNAL);
		send(stream->to, stream->data, length, MSG_NOSIGNAL);
		return;
	}
}

static void pass_records(struct relay *relay, struct stream *stream)
{
	size_t length;

	while (!relay->quiet && stream->length >= 5 &&
	       stream->length >= (length = 5 + (stream->data[3] << 8 | stream->data[4]))) {
		if (!relay->done && stream == &relay->streams[relay->direction] && stream->records == relay->record)
			do_harm(relay, stream, length);
		else
			send(stream->to, stream->data, length, MSG_NOSIGNAL);
		if (relay->quiet && relay->harm == HOLD)
			return;
		if (stream == &relay->streams[0] && stream->data[0] == 23)
			relay->client_finished = true;
		stream->records++;
		stream->length -= length;
		memmove(stream->data, stream->data + length, stream->length);
	}
}

/* Passes on what is there; waits up to 10 ms for it. */
static void turn(struct relay *relay, int other)
{
	struct pollfd ready[3] = {{.fd = relay->quiet ? -1 : relay->streams[0].from, .events = POLLIN},
				  {.fd = relay->quiet ? -1 : relay->streams[1].from, .events = POLLIN},
				  {.fd = other, .events = POLLIN}};
	ssize_t n;
	int i;

	poll(ready, 3, 10);
	for (i = 0; i < 2; i++) {
		struct stream *stream = &relay->streams[i];

		if (relay->quiet || !ready[i].revents)
			continue;
		n = recv(stream->from, stream->data + stream->length, sizeof(stream->data) - stream->length,
			 MSG_DONTWAIT);
		if (n > 0)
			stream->length += n;
		else if (n == 0 || errno != EAGAIN)
			cut_off(relay, n < 0);
		pass_records(relay, stream);
	}
}

static void end(struct relay *relay)
{
	if (relay->outer.server >= 0)
		cut_off(relay, false);
	close(relay->outer.client);
	close(relay->inner.server);
}

/* Runs both ends to their answers: [0] of the client, [1] of the server. */
static void run(struct relay *relay, struct ktlsd *agent, struct ended ended[2])
{
	int64_t start = now_ms();
	unsigned int answers = 0;
	struct ended one;
	uint64_t end_number;

	while (answers < 2 && now_ms() < start + 10000) {
		turn(relay, ktlsd_fd(agent));
		one = wait_ended(agent, 0, &end_number);
		if (one.error == ETIME || one.error == ENODATA)
			continue;
		one.ms = now_ms() - start;
		ended[end_number] = one;
		answers++;
	}
	if (answers < 2)
		report(false, "both ends have answers within 10 seconds");
}

static bool in_time(const struct ended *ended)
{
	return ended->error != ETIMEDOUT || (ended->ms >= TIMEOUT - 1 && ended->ms <= TIMEOUT + LATE);
}

/* What each harm may lead to. An end that had finished before the harm, or whose last flight was lost, does not know. */
static bool may_end_so(enum harm harm, const struct ended *ended)
{
	switch (ended->error) {
	case 0:
		return true;
	case ETIMEDOUT:
		return harm == STOP || harm == FLIP || harm == DOUBLE || harm == INSERT;
	case ECONNABORTED:
	case ECONNRESET:
		return harm != STOP;
	case EPROTO:
	case EKEYREJECTED:
		return harm == FLIP || harm == INSERT || harm == DOUBLE;
	}
	return false;
}

/* False when that record did not come. */
static bool harm_once(const char *version, enum harm harm, unsigned int direction, unsigned int record,
		      unsigned int *bad)
{
	static struct relay relay;
	struct ktlsd *agent = open_agent();
	struct ended ended[2];
	char service[16] = "web";
	bool good, both;

	begin(&relay);
	relay.harm = harm;
	relay.direction = direction;
	relay.record = record;
	strcat(service, version);
	hand_over(agent, relay.inner.server, service, TIMEOUT, 1);
	hand_over(agent, relay.outer.client, "client", TIMEOUT, 0);
	run(&relay, agent, ended);
	both = ended[0].error == 0 && ended[1].error == 0;
	good = in_time(&ended[0]) && in_time(&ended[1]) && may_end_so(harm, &ended[0]) && may_end_so(harm, &ended[1]) &&
	       (ended[0].error == 0 || is_dead(relay.outer.client)) &&
	       (ended[1].error == 0 || is_dead(relay.inner.server));
	/* What was already said of the handshake may be repeated behind it, but not changed in it. */
	if (relay.done && !both && ended[0].error == 0 && ended[1].error == 0)
		good = false;
	if (!good) {
		note("%s at record %u of the %s: client %s (%s) %d ms, server %s (%s) %d ms", harms[harm], record,
		     direction ? "server" : "client", name_of(ended[0].error), ended[0].why, (int)ended[0].ms,
		     name_of(ended[1].error), ended[1].why, (int)ended[1].ms);
		++*bad;
	}
	end(&relay);
	ktlsd_close(agent);
	return relay.done;
}

void relays(int argc, char **argv)
{
	static const char *const versions[] = {"", "12"};
	unsigned int before = agent_descriptors(), direction, record, bad, done;
	enum harm harm;

	(void)argc, (void)argv;
	for (size_t version = 0; version < COUNT(versions); version++) {
		for (harm = STOP; harm <= DOUBLE; harm++) {
			bad = done = 0;
			for (direction = 0; direction < 2; direction++) {
				for (record = 0; record < RECORDS; record++) {
					if (!harm_once(versions[version], harm, direction, record, &bad))
						break;
					done++;
				}
			}
			report(bad == 0 && done >= 4, "TLS %s, somebody in the middle %s, at each of %u records",
			       version ? "1.2" : "1.3", harms[harm], done);
		}
	}
	report(agent_settles(before), "no descriptor stays behind");
	report(good_handshake(), "the next handshake is unharmed");
}

/* ---- a handshake that is held while the agent is told something ---- */

static void tell_agent(const char *command)
{
	if (system(command) != 0)
		report(false, "%s", command);
}

/* held COMMAND: runs it in the middle of a handshake, which is then to end well. */
void held(int argc, char **argv)
{
	static struct relay relay;
	struct ktlsd *agent = open_agent();
	struct ended ended[2];
	int64_t start = now_ms();

	if (argc != 1)
		die("usage: held COMMAND");
	begin(&relay);
	relay.harm = HOLD;
	relay.direction = 1;
	hand_over(agent, relay.inner.server, "web", 0, 1);
	hand_over(agent, relay.outer.client, "client", 0, 0);
	while (!relay.quiet && now_ms() < start + 3000)
		turn(&relay, -1);
	tell_agent(argv[0]);
	usleep(300000);
	relay.quiet = false;
	pass_records(&relay, &relay.streams[1]);
	run(&relay, agent, ended);
	report(relay.done && ended[0].error == 0 && ended[1].error == 0, "a handshake in flight ends well: %s, %s",
	       name_of(ended[0].error), name_of(ended[1].error));
	end(&relay);
	ktlsd_close(agent);
}
