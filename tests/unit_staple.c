// SPDX-License-Identifier: MIT
/* Staples for our own certificates: fetched, renewed, kept, and what happens when they can't be. */
#include "log.h"
#include "ocsp_server.h"
#include "x509/kept.h"
#include "x509/responder.h"
#include "x509/staple.h"

static char directory[] = "/tmp/unit-staple-XXXXXX";
static FILE *log_file;

static struct ocsp_settings settings_for(const char *path)
{
	return (struct ocsp_settings){.responder = at(path), .timeout_ms = 2000, .leeway = 5, .nonce = true};
}

/* How often this was logged so far. */
static unsigned int logged(const char *what)
{
	char line[1024];
	unsigned int times = 0;

	rewind(log_file);
	while (fgets(line, sizeof(line), log_file))
		times += strstr(line, what) != NULL;
	fseek(log_file, 0, SEEK_END);
	return times;
}

static struct staple *staple_of(long serial, const struct ocsp_settings *settings)
{
	struct authority about = leaf(serial);
	const char *why;
	struct staple *staple = staple_get(about.certificate, root.certificate, settings, &why);

	free_authority(&about, false);
	must(staple);
	return staple;
}

static enum ocsp_answer stapled(struct staple *staple, long serial)
{
	struct ocsp_settings settings = {0};
	struct ocsp_received received = {.from = "the staple"};
	struct ocsp_verdict verdict;
	struct authority about = leaf(serial);
	struct ocsp_question question = ocsp_question(about.certificate, root.certificate);
	uint8_t *der = staple_copy(staple, time(NULL), &received.length);

	ocsp_unusable(&verdict, "no staple");
	received.der = der;
	if (der)
		ocsp_check(&question, &settings, &received, time(NULL), &verdict);
	OPENSSL_free(der);
	free_authority(&about, false);
	return verdict.answer;
}

/* Within a few seconds; what the staple is then. */
static bool becomes(struct staple *staple, long serial, enum ocsp_answer answer, int tenths)
{
	while (stapled(staple, serial) != answer && tenths-- > 0)
		usleep(100000);
	return stapled(staple, serial) == answer;
}

static const char *description(struct staple *staple)
{
	static char text[STAPLE_TEXT_MAX];

	staple_describe(staple, time(NULL), text);
	return text;
}

static void test_staple(void)
{
	struct ocsp_settings settings = settings_for("answer"), other = settings_for("slow");
	unsigned int before = server.requests;
	struct staple *staple = staple_of(300, &settings), *again = staple_of(300, &settings), *apart;
	struct authority bare = leaf(301);
	const char *why = "";
	bool done;

	check(staple == again, "one staple for who wants the same");
	done = becomes(staple, 300, OCSP_ANSWER_GOOD, 20);
	check(done, "it is fetched: %s", description(staple));
	check(server.requests == before + 1, "once");
	check(strstr(description(staple), "not revoked, says http") && strstr(description(staple), "; until "),
	      "described: %s", description(staple));
	apart = staple_of(300, &other);
	check(apart != staple && stapled(apart, 300) == OCSP_ANSWER_UNUSABLE,
	      "another for who wants it from elsewhere");
	check(strcmp(description(apart), "none yet") == 0, "described: %s", description(apart));
	staple_put(apart); /* while it is fetched */
	staple_put(again);
	check(stapled(staple, 300) == OCSP_ANSWER_GOOD, "it stays for who still holds it");
	staple_put(staple);
	settings.responder = NULL;
	done = !staple_get(bare.certificate, root.certificate, &settings, &why);
	check(done && strstr(why, "names no OCSP responder"), "%s", why);
	free_authority(&bare, false);
}

static void test_staple_life(void)
{
	struct ocsp_settings settings = settings_for("answer");
	unsigned int before = server.requests;
	struct staple *staple;
	bool done;

	settings.leeway = 60;
	server.life = 4;
	staple = staple_of(310, &settings);
	check(becomes(staple, 310, OCSP_ANSWER_GOOD, 20), "a staple for 4 s");
	usleep(2600000);
	check(server.requests >= before + 2 && server.requests <= before + 3 &&
		      stapled(staple, 310) == OCSP_ANSWER_GOOD,
	      "is renewed after 2 s (%u requests)", server.requests - before);
	server.down = true;
	usleep(2600000);
	check(strstr(description(staple), "; last attempt: ") && logged("no new OCSP response to staple") == 1,
	      "when that fails it says so: %s", description(staple));
	sleep(2);
	check(stapled(staple, 310) == OCSP_ANSWER_UNUSABLE && strstr(description(staple), "none any more"),
	      "and past its end there is none, whatever our leeway: %s", description(staple));
	server.down = false;
	server.life = DAY;
	done = becomes(staple, 310, OCSP_ANSWER_GOOD, 80);
	check(done, "until the responder is back: %s", description(staple));
	check(logged("no new OCSP response to staple") == 1 &&
		      logged("OCSP response to staple for CN=leaf (serial 136)") >= 1,
	      "each change is logged once");
	staple_put(staple);
}

static void test_staple_kept(void)
{
	struct ocsp_settings settings = settings_for("answer");
	struct staple *staple;
	unsigned int before;
	bool done;

	must(kept_in(directory));
	staple = staple_of(320, &settings);
	check(becomes(staple, 320, OCSP_ANSWER_GOOD, 20), "a staple");
	staple_put(staple);
	staple_stop();
	responder_stop();

	server.down = true;
	before = server.requests;
	staple = staple_of(320, &settings);
	check(stapled(staple, 320) == OCSP_ANSWER_GOOD, "after a restart it is there at once");
	for (int i = 0; i < 20 && server.requests == before; i++)
		usleep(100000);
	usleep(200000);
	check(server.requests == before + 1 && stapled(staple, 320) == OCSP_ANSWER_GOOD,
	      "a new one is asked for, and this one stays when there is none");
	server.down = false;
	server.status[320] = V_OCSP_CERTSTATUS_REVOKED;
	done = becomes(staple, 320, OCSP_ANSWER_REVOKED, 80);
	check(done && logged("IS REVOKED") == 1, "a revocation is stapled, and logged: %s", description(staple));
	staple_put(staple);
	staple = staple_of(320, &settings);
	check(stapled(staple, 320) == OCSP_ANSWER_REVOKED, "and kept");
	staple_put(staple);

	server.status[321] = V_OCSP_CERTSTATUS_UNKNOWN;
	staple = staple_of(321, &settings);
	done = !becomes(staple, 321, OCSP_ANSWER_UNKNOWN, 10);
	check(done && strstr(description(staple), "unknown to the responder"), "\"unknown\" is not stapled: %s",
	      description(staple));
	staple_put(staple);
	staple_stop();
	responder_stop();
	must(kept_in(NULL));
}

int main(void)
{
	must(mkdtemp(directory));
	start_server();
	log_file = tmpfile();
	must(log_file && dup2(fileno(log_file), STDERR_FILENO) >= 0);
	staple_start();
	test_staple();
	test_staple_life();
	test_staple_kept();
	stop_server();
	fclose(log_file);
	remove_folder(directory);
	return finish();
}
