// SPDX-License-Identifier: MIT
/* The note that a ticket has of its peer: what a resumption reads from it, and when that does not do any more. */
#include <string.h>

#include "ocsp_authority.h"
#include "unit.h"
#include "x509/policy.h"
#include "x509/revocation.h"
#include "x509/trust.h"

#define DAY 86400

static struct authority root, leaf;
static struct trust trust;
static const struct policy policy = {.trust = &trust};

/* The note begins with two times: when the peer proved its key, and when its chain ends. */
static bool is_good(const uint8_t *note, size_t length, unsigned int which, int64_t later, const char *why)
{
	struct verification verification = {0};
	uint8_t changed[REVOCATION_NOTE_MAX];
	int64_t moment;
	bool good;

	memcpy(changed, note, length);
	memcpy(&moment, changed + which * sizeof(moment), sizeof(moment));
	moment += later;
	memcpy(changed + which * sizeof(moment), &moment, sizeof(moment));
	good = verify_again(&policy, leaf.certificate, changed, length, &verification);
	return good ? !why : why && strstr(verification.why, why);
}

int main(void)
{
	const time_t now = time(NULL);
	STACK_OF(X509) *chain = sk_X509_new_null();
	uint8_t note[REVOCATION_NOTE_MAX];
	size_t length;

	root = make_certificate(
		&(struct certificate_plan){.name = "root", .serial = 1, .from = now - DAY, .until = now + 30 * DAY});
	leaf = make_certificate(&(struct certificate_plan){
		.name = "leaf", .issuer = &root, .serial = 2, .from = now - DAY, .until = now + 20 * DAY});
	must(chain && sk_X509_push(chain, leaf.certificate) && sk_X509_push(chain, root.certificate));
	length = revocation_note(&policy, chain, note);
	check(length > 2 * sizeof(int64_t), "a note");
	check(is_good(note, length, 0, 0, NULL), "is good");
	check(is_good(note, length, 0, -6 * DAY, NULL), "for days after the peer has proved its key");
	check(is_good(note, length, 0, -8 * DAY, "its private key"), "but not for more than a week");
	check(is_good(note, length, 0, DAY, NULL), "another machine's clock may be ahead");
	check(is_good(note, length, 1, -19 * DAY, NULL), "and for as long as the chain is valid");
	check(is_good(note, length, 1, -21 * DAY, "has expired"), "but no longer");
	check(!verify_again(&policy, leaf.certificate, note, 15, &(struct verification){0}), "a piece of it is none");
	sk_X509_free(chain);
	free_authority(&leaf, true);
	free_authority(&root, true);
	return finish();
}
