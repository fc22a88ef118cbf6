// SPDX-License-Identifier: MIT
/* What outlives a restart of what OCSP responders have said, in files good and bad. */
#include <fcntl.h>
#include <sys/stat.h>

#include "ocsp_asker.h"
#include "x509/kept.h"

static char directory[] = "/tmp/unit-kept-XXXXXX";
static char file[256];

/* The file that the answer about a certificate is in. */
static const char *file_of(long serial)
{
	struct authority about = leaf(serial);
	struct ocsp_question question = ocsp_question(about.certificate, root.certificate);
	size_t length = snprintf(file, sizeof(file), "%s/", directory);

	for (size_t i = 0; i < sizeof(question.digest); i++)
		length += snprintf(file + length, sizeof(file) - length, "%02x", question.digest[i]);
	snprintf(file + length, sizeof(file) - length, ".der");
	free_authority(&about, false);
	return file;
}

static void write_bytes(const char *name, const void *bytes, size_t length)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	must(fd >= 0 && write(fd, bytes, length) == (ssize_t)length && close(fd) == 0);
}

static bool exists(const char *name)
{
	struct stat status;

	return lstat(name, &status) == 0;
}

static void restart(void)
{
	responder_stop();
	must(kept_in(directory));
}

static void test_kept(void)
{
	struct ocsp_settings settings = settings_for("answer"), impatient = settings;
	struct ocsp_verdict verdict;
	unsigned int before;
	struct stat status;
	struct asker asker;

	restart();
	ask(200, &settings);
	check(stat(file_of(200), &status) == 0 && (status.st_mode & 07777) == 0600 && status.st_size > 100,
	      "a response is kept, for nobody else to read");
	restart();
	before = server.requests;
	server.down = true;
	check(!known(200, &settings, &verdict), "after a restart nothing is known without looking there");
	asker = ask(200, &settings);
	check(asker.verdict.answer == OCSP_ANSWER_GOOD && !asker.verdict.nonce && asker.length > 0 &&
		      server.requests == before,
	      "but it is there, and nobody is asked: %s", asker.verdict.text);
	check(known(200, &settings, &verdict), "and then it is known");
	restart();
	impatient.refresh = 1;
	usleep(1100000);
	asker = ask(200, &impatient);
	check(asker.verdict.answer == OCSP_ANSWER_UNUSABLE && server.requests == before + 1,
	      "who wants it younger has to ask");
	restart();
	impatient = settings;
	impatient.nonce_required = true;
	asker = ask(200, &impatient);
	check(asker.verdict.answer == OCSP_ANSWER_UNUSABLE && server.requests == before + 2, "and who wants a nonce");
	server.down = false;
}

static void write_lapsed(long serial)
{
	struct authority about = leaf(serial);
	struct response_plan plan = {.signer = &root,
				     .issuer = &root,
				     .about = &about,
				     .this_update = time(NULL) - 3 * DAY,
				     .next_update = time(NULL) - 2 * DAY};
	uint8_t *der;
	size_t length = make_response(&plan, &der);

	write_bytes(file_of(serial), der, length);
	OPENSSL_free(der);
	free_authority(&about, false);
}

static void test_bad_files(void)
{
	static const char unfinished[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.new";
	struct ocsp_settings settings = settings_for("answer");
	struct timespec old[2] = {{.tv_sec = time(NULL) - 3600}, {.tv_sec = time(NULL) - 3600}};
	char left[256], foreign[256], moved[256];
	uint8_t zeroes[100] = {0};
	unsigned int before = server.requests;
	struct asker asker;

	snprintf(left, sizeof(left), "%s/%s", directory, unfinished);
	snprintf(foreign, sizeof(foreign), "%s/README", directory);
	snprintf(moved, sizeof(moved), "%s/moved", directory);
	write_bytes(foreign, "", 0);
	write_bytes(left, "", 0);
	must(utimensat(AT_FDCWD, left, old, 0) == 0);
	write_bytes(file_of(201), zeroes, sizeof(zeroes));
	write_lapsed(202);
	restart();
	asker = ask(201, &settings);
	check(asker.verdict.answer == OCSP_ANSWER_GOOD && server.requests == before + 1,
	      "a damaged file: the responder is asked");
	responder_stop();
	check(!exists(file_of(202)), "one that has lapsed is removed");
	check(!exists(left), "and one that was left half-written");
	check(exists(foreign) && exists(file_of(200)) && exists(file_of(201)), "nothing else is");

	must(rename(file_of(201), moved) == 0 && symlink(moved, file_of(201)) == 0);
	restart();
	asker = ask(201, &settings);
	check(asker.verdict.answer == OCSP_ANSWER_GOOD && server.requests == before + 2,
	      "a symbolic link is not followed");
	responder_stop();

	must(chmod(directory, 0770) == 0);
	check(!kept_in(directory), "a folder that others may write to is refused");
	must(chmod(directory, 0700) == 0);
	check(!kept_in("/nonexistent"), "and one that is not there");
	asker = ask(202, &settings);
	check(asker.verdict.answer == OCSP_ANSWER_GOOD && !exists(file_of(202)), "nothing is kept then");
	responder_stop();
	must(kept_in(NULL));
}

int main(void)
{
	must(mkdtemp(directory));
	start_server();
	test_kept();
	test_bad_files();
	stop_server();
	remove_folder(directory);
	return finish();
}
