// SPDX-License-Identifier: MIT
/* Asking OCSP responders, good and bad ones, and what is remembered of their answers. */
#include <openssl/pem.h>
#include <signal.h>
#include <sys/wait.h>

#include "ocsp_asker.h"
#include "x509/verdicts.h"

static char directory[] = "/tmp/unit-responder-XXXXXX";

static int64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

/* ---- answers ---- */

static void test_answers(void)
{
	struct ocsp_settings settings = settings_for("answer");
	unsigned int before = server.requests;
	struct ocsp_verdict verdict;
	struct asker asker;

	server.status[2] = V_OCSP_CERTSTATUS_REVOKED;
	server.status[3] = V_OCSP_CERTSTATUS_UNKNOWN;
	check(!known(1, &settings, &verdict), "nothing is known at first");
	asker = ask(1, &settings);
	check(!asker.at_once && asker.verdict.answer == OCSP_ANSWER_GOOD && asker.verdict.nonce && asker.length > 0,
	      "good: %s", asker.verdict.text);
	check(strstr(asker.verdict.text, settings.responder) != NULL, "and who says so");
	check(known(1, &settings, &verdict) && verdict.answer == OCSP_ANSWER_GOOD, "from then on it is known");
	asker = ask(1, &settings);
	check(asker.at_once && asker.verdict.answer == OCSP_ANSWER_GOOD, "and told at once");
	asker = ask(2, &settings);
	check(asker.verdict.answer == OCSP_ANSWER_REVOKED, "revoked: %s", asker.verdict.text);
	asker = ask(3, &settings);
	check(asker.verdict.answer == OCSP_ANSWER_UNKNOWN, "unknown: %s", asker.verdict.text);
	check(server.requests == before + 3, "three requests (%u)", server.requests - before);
	settings.nonce = false;
	asker = ask(4, &settings);
	check(asker.verdict.answer == OCSP_ANSWER_GOOD && !asker.verdict.nonce, "good, without a nonce");
	settings.nonce_required = true;
	check(!known(4, &settings, &verdict), "which is not known to who requires one");
	asker = ask(4, &settings);
	check(!asker.at_once && asker.verdict.answer == OCSP_ANSWER_GOOD && asker.verdict.nonce, "but he can ask");
	settings.nonce_required = false;
	settings.max_age = 1;
	settings.leeway = 0;
	sleep(1);
	check(!known(4, &settings, &verdict), "nor to who wants it younger");
	settings = settings_for("pieces");
	asker = ask(5, &settings);
	check(asker.verdict.answer == OCSP_ANSWER_GOOD, "an answer in pieces: %s", asker.verdict.text);
}

static void test_refresh(void)
{
	struct ocsp_settings settings = settings_for("answer");
	struct ocsp_verdict verdict;
	struct asker asker;

	settings.refresh = 1;
	asker = ask(10, &settings);
	check(asker.verdict.answer == OCSP_ANSWER_GOOD && known(10, &settings, &verdict), "good");
	server.status[10] = V_OCSP_CERTSTATUS_REVOKED;
	usleep(1100000);
	check(!known(10, &settings, &verdict), "an interval later it is not known any more");
	asker = ask(10, &settings);
	check(asker.verdict.answer == OCSP_ANSWER_REVOKED, "and has been revoked");
	check(known(10, &settings, &verdict) && verdict.answer == OCSP_ANSWER_REVOKED, "which is known");
	settings.refresh = 3600;
	check(known(10, &settings, &verdict) && verdict.answer == OCSP_ANSWER_REVOKED, "to others, too");
}

/* ---- what responders do wrong ---- */

static void test_bad_responders(void)
{
	static const struct {
		const char *path, *says;
	} cases[] = {
		{"silent", ": no answer within 300 ms"},
		{"drip", ": no answer within 300 ms"},
		{"headers", ": "},
		{"body", ": "},
		{"huge", ": "},
		{"garbage", " gave 6 bytes that are no OCSP response"},
		{"trailing", " bytes that are no OCSP response"},
		{"404", ": the answer is \"HTTP/1.0 404 Not?[31mFound\"; expected HTTP/1.0 200 OK"},
		{"redirect", ": the answer is \"HTTP/1.0 302 Found\"; expected HTTP/1.0 200 OK"},
		{"page", "content type"},
		{"closed", ": no answer: the connection was closed"},
		{"cut", ": "},
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		struct ocsp_settings settings = settings_for(cases[i].path);
		int64_t started = clock_ms(), took;
		struct asker asker;

		settings.timeout_ms = 300;
		asker = ask(20 + (long)i, &settings);
		took = clock_ms() - started;
		check(asker.verdict.answer == OCSP_ANSWER_UNUSABLE && asker.length == 0 && took < 1000 &&
			      strstr(asker.verdict.text, settings.responder) == asker.verdict.text &&
			      strstr(asker.verdict.text, cases[i].says),
		      "/%s, %d ms: %s", cases[i].path, (int)took, asker.verdict.text);
	}
}

static void test_nobody(void)
{
	struct ocsp_settings settings = settings_for("answer");
	char url[64];
	unsigned int port;
	int fd = bind_port(&port);
	struct asker asker;

	snprintf(url, sizeof(url), "http://127.0.0.1:%u/", port);
	settings.responder = url;
	asker = ask(40, &settings);
	check(asker.verdict.answer == OCSP_ANSWER_UNUSABLE && strstr(asker.verdict.text, "Connection refused"), "%s",
	      asker.verdict.text);
	close(fd);
	settings.responder = "http://nowhere.invalid/";
	asker = ask(40, &settings);
	check(strstr(asker.verdict.text, "no address for nowhere.invalid: ") != NULL, "%s", asker.verdict.text);
	settings.responder = "https://127.0.0.1/";
	asker = ask(40, &settings);
	check(strstr(asker.verdict.text, "expected http://HOST") != NULL, "%s", asker.verdict.text);
	settings.responder = NULL;
	asker = ask(40, &settings);
	check(asker.at_once && strstr(asker.verdict.text, "names no OCSP responder"), "%s", asker.verdict.text);
}

static void test_replay(void)
{
	struct ocsp_settings settings = settings_for("replay");
	struct asker asker = ask(50, &settings);

	settings.refresh = 0;
	check(asker.verdict.answer == OCSP_ANSWER_GOOD, "a response, recorded");
	asker = ask(50, &settings);
	check(asker.verdict.answer == OCSP_ANSWER_UNUSABLE && strstr(asker.verdict.text, "may be a replay"),
	      "replayed: %s", asker.verdict.text);
	settings.nonce = false;
	asker = ask(50, &settings);
	check(asker.verdict.answer == OCSP_ANSWER_GOOD, "who sends no nonce can't tell");

	sleep(1);
	server.status[50] = V_OCSP_CERTSTATUS_REVOKED;
	settings.responder = at("answer");
	asker = ask(50, &settings);
	check(asker.verdict.answer == OCSP_ANSWER_REVOKED, "revoked");
	settings.responder = at("replay");
	asker = ask(50, &settings);
	check(asker.verdict.answer == OCSP_ANSWER_REVOKED && asker.length == 0,
	      "but a revocation is not undone by a response that is older: %s", asker.verdict.text);
	settings.responder = at("closed");
	asker = ask(50, &settings);
	check(asker.verdict.answer == OCSP_ANSWER_REVOKED, "nor by no response");
	asker = ask(50, &settings);
	check(asker.verdict.answer == OCSP_ANSWER_REVOKED, "nor while nobody is asked");
	sleep(1);
	server.status[50] = V_OCSP_CERTSTATUS_GOOD;
	settings.responder = at("answer");
	asker = ask(50, &settings);
	check(asker.verdict.answer == OCSP_ANSWER_GOOD, "but by a younger one (certificateHold)");
}

static void test_back_off(void)
{
	struct ocsp_settings settings = settings_for("closed");
	unsigned int before = server.requests;
	struct asker asker = ask(60, &settings);

	check(!asker.at_once && server.requests == before + 1, "a failure");
	asker = ask(60, &settings);
	check(asker.at_once && asker.verdict.answer == OCSP_ANSWER_UNUSABLE && server.requests == before + 1 &&
		      strstr(asker.verdict.text, "the connection was closed"),
	      "is told to the next at once: %s", asker.verdict.text);
	asker = ask(61, &settings);
	check(!asker.at_once && server.requests == before + 2, "but about another certificate the responder is asked");
	usleep(RESPONDER_BACK_OFF_MS * 1000 + 100000);
	asker = ask(60, &settings);
	check(!asker.at_once && server.requests == before + 3, "and again after a while");
}

/* ---- waiters ---- */

static void test_together(void)
{
	struct ocsp_settings settings = settings_for("slow");
	unsigned int before = server.requests, good = 0;
	static struct asker askers[20];

	for (size_t i = 0; i < COUNT(askers); i++)
		begin(&askers[i], 70, &settings);
	for (size_t i = 0; i < COUNT(askers); i++)
		good += wait_for(&askers[i]) && !askers[i].at_once && askers[i].verdict.answer == OCSP_ANSWER_GOOD;
	check(good == COUNT(askers) && server.requests == before + 1, "20 who ask the same: 1 request (%u), %u answers",
	      server.requests - before, good);
}

static void test_forget(void)
{
	struct ocsp_settings settings = settings_for("slow");
	struct asker stays, goes;

	begin(&stays, 71, &settings);
	begin(&goes, 71, &settings);
	check(responder_forget(&goes.waiter), "one that leaves");
	check(!responder_forget(&goes.waiter), "can't leave twice");
	check(wait_for(&stays) && stays.verdict.answer == OCSP_ANSWER_GOOD, "one that stays is told");
	check(!responder_forget(&stays.waiter), "and is too late to leave");
	usleep(100000);
	check(goes.times == 0 && stays.times == 1, "the other is not");
}

/* Each is told or forgotten, and never both. */
static void test_forget_at_any_time(void)
{
	struct ocsp_settings settings = settings_for("answer");
	unsigned int forgotten = 0, answered = 0, wrong = 0, seed = 1;

	settings.refresh = 0;
	for (int i = 0; i < 300; i++) {
		struct asker asker;

		begin(&asker, 72, &settings);
		usleep(rand_r(&seed) % 3000);
		if (asker.at_once) {
			wrong++;
		} else if (responder_forget(&asker.waiter)) {
			forgotten++;
			usleep(2000);
			wrong += asker.times != 0;
		} else {
			wrong += !wait_for(&asker) || asker.times != 1;
			answered++;
		}
	}
	check(!wrong && forgotten && answered, "%u forgotten, %u told, none of them both or neither", forgotten,
	      answered);
}

static void test_slow_responder(void)
{
	struct ocsp_settings settings = settings_for("silent"), other = settings_for("answer");
	static struct asker held_up[2 * RESPONDER_THREADS];
	int64_t started;
	struct asker asker;

	for (size_t i = 0; i < COUNT(held_up); i++)
		begin(&held_up[i], 80 + (long)i, &settings);
	usleep(100000);
	started = clock_ms();
	asker = ask(79, &other);
	check(asker.verdict.answer == OCSP_ANSWER_GOOD && clock_ms() - started < 1000,
	      "questions to a slow responder don't hold up others (%d ms)", (int)(clock_ms() - started));
	started = clock_ms();
	responder_stop();
	check(clock_ms() - started < 1000, "nor the end (%d ms)", (int)(clock_ms() - started));
	for (size_t i = 0; i < COUNT(held_up); i++)
		check(held_up[i].times == 1 && strstr(held_up[i].verdict.text, "the agent stops"), "%s",
		      held_up[i].verdict.text);
}

/* ---- what is known ---- */

static void test_bounds(void)
{
	struct authority about = leaf(LEAVES - 1);
	struct ocsp_question question = ocsp_question(about.certificate, root.certificate);
	struct ocsp_settings settings = settings_for("answer");
	struct ocsp_verdict verdict = {.answer = OCSP_ANSWER_GOOD, .this_update = time(NULL)}, found[4];
	struct ocsp_verdict revoked = {.answer = OCSP_ANSWER_REVOKED, .this_update = time(NULL)};
	const uint32_t first = UINT32_MAX;
	unsigned int have = 0;

	settings.refresh = 3600;
	verdicts_clear();
	memcpy(question.digest, &first, sizeof(first));
	verdicts_put(&question, &revoked, clock_ms());
	for (uint32_t i = 0; i < VERDICTS_MAX + 100; i++) {
		memcpy(question.digest, &i, sizeof(i));
		verdict.reason = (int)i;
		verdicts_put(&question, &verdict, clock_ms());
	}
	memcpy(question.digest, &first, sizeof(first));
	check(verdicts_get_revoked(&question, &revoked), "a revocation outlives good ones");
	for (uint32_t i = 0; i < VERDICTS_MAX + 100; i++) {
		memcpy(question.digest, &i, sizeof(i));
		if (verdicts_get(&question, &settings, time(NULL), clock_ms(), &verdict))
			have += verdict.reason == (int)i && i > 100;
	}
	check(have == VERDICTS_MAX - 1, "besides it the last %u verdicts are kept (%u)", VERDICTS_MAX - 1, have);
	check(verdicts_find("1FF", found, COUNT(found)) == COUNT(found),
	      "found by serial number, as many as asked for");
	verdicts_clear();
	check(verdicts_find("1FF", found, COUNT(found)) == 0, "and gone");
	free_authority(&about, false);
}

static void test_find(void)
{
	struct ocsp_settings settings = settings_for("answer");
	struct ocsp_verdict found[2];

	server.status[0xAB] = V_OCSP_CERTSTATUS_REVOKED;
	ask(0xAB, &settings);
	ask(0xAC, &settings);
	check(verdicts_find("AB", found, 2) == 1 && found[0].answer == OCSP_ANSWER_REVOKED, "AB: %s", found[0].text);
	check(verdicts_find("AC", found, 2) == 1 && found[0].answer == OCSP_ANSWER_GOOD, "AC: %s", found[0].text);
	check(verdicts_find("AD", found, 2) == 0, "AD: nothing is known");
}

/* ---- OpenSSL's responder ---- */

static void write_certificate(const char *name, X509 *certificate, EVP_PKEY *key)
{
	char path[256];
	FILE *out;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	out = fopen(path, "w");
	must(out && (!certificate || PEM_write_X509(out, certificate) == 1) &&
	     (!key || PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) == 1) && fclose(out) == 0);
}

static pid_t start_openssl(unsigned int port)
{
	char number[16];
	pid_t child;

	snprintf(number, sizeof(number), "%u", port);
	child = fork();
	if (child == 0) {
		if (chdir(directory) == 0 && freopen("openssl.log", "w", stdout) && dup2(1, 2) == 2)
			execlp("openssl", "openssl", "ocsp", "-index", "index", "-port", number, "-rsigner",
			       "responder.pem", "-CA", "ca.pem", "-ndays", "1", (char *)NULL);
		_exit(127);
	}
	return child;
}

/* Not by connecting: a connection without a request keeps it waiting for ever. */
static bool is_up(void)
{
	char path[256], text[256];
	size_t length;
	FILE *said;

	snprintf(path, sizeof(path), "%s/openssl.log", directory);
	said = fopen(path, "r");
	if (!said)
		return false;
	length = fread(text, 1, sizeof(text) - 1, said);
	text[length] = '\0';
	fclose(said);
	return strstr(text, "waiting for OCSP client connections");
}

static void test_openssl(void)
{
	static const struct {
		long serial;
		enum ocsp_answer answer;
		const char *says;
	} cases[] = {
		{0x100, OCSP_ANSWER_GOOD, "not revoked"},
		{0x101, OCSP_ANSWER_REVOKED, "revoked 2026-01-02T03:04:05Z (keyCompromise)"},
		{0x102, OCSP_ANSWER_UNKNOWN, "unknown to the responder"},
	};
	struct certificate_plan plan = {.name = "responder",
					.issuer = &root,
					.serial = 400,
					.from = time(NULL) - DAY,
					.until = time(NULL) + DAY,
					.extensions = {{"extendedKeyUsage", "OCSPSigning"}}};
	struct authority delegate = make_certificate(&plan);
	struct ocsp_settings settings = {.timeout_ms = 5000, .refresh = 3600, .leeway = 5, .nonce_required = true};
	static const char index[] = "V\t491231235959Z\t\t0100\tunknown\t/CN=leaf\n"
				    "R\t491231235959Z\t260102030405Z,keyCompromise\t0101\tunknown\t/CN=leaf\n";
	char url[64], path[256];
	unsigned int port;
	pid_t child;
	FILE *out;

	snprintf(path, sizeof(path), "%s/index", directory);
	must((out = fopen(path, "w")) && fputs(index, out) >= 0 && fclose(out) == 0);
	write_certificate("ca.pem", root.certificate, NULL);
	write_certificate("responder.pem", delegate.certificate, delegate.key);
	close(bind_port(&port));
	child = start_openssl(port);
	for (int i = 0; i < 100 && !is_up(); i++)
		usleep(50000);
	snprintf(url, sizeof(url), "http://localhost:%u", port);
	settings.responder = url;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct asker asker = ask(cases[i].serial, &settings);

		check(asker.verdict.answer == cases[i].answer && strstr(asker.verdict.text, cases[i].says) &&
			      asker.verdict.nonce,
		      "openssl ocsp: %s", asker.verdict.text);
	}
	kill(child, SIGTERM);
	waitpid(child, NULL, 0);
	free_authority(&delegate, true);
}

int main(void)
{
	must(mkdtemp(directory));
	start_server();
	test_answers();
	test_refresh();
	test_bad_responders();
	test_nobody();
	test_replay();
	test_back_off();
	test_together();
	test_forget();
	test_forget_at_any_time();
	test_slow_responder();
	test_bounds();
	test_find();
	test_openssl();
	stop_server();
	remove_folder(directory);
	return finish();
}
