/* SPDX-License-Identifier: MIT */
/*
 * A rekey token. The input is one as it comes from a caller; then, for what no caller can make, the content of one, which
 * is sealed as another version of the agent might have sealed it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <ktlsd/protocol.h>

#include "../../userspace/agent/token.h"
#include "fuzz.h"

#define NOW 1700000000

/* What token_open() lets through is sound. */
static int check_opened(const uint8_t *sealed, size_t length)
{
	struct token token;
	const char *why = NULL;
	int error = token_open(&token, sealed, length, NOW, &why);

	if (error && ((error != EBADMSG && error != EKEYEXPIRED) || !why))
		abort();
	if (!error && (token.expires <= NOW || !token.suite || token.suite->version != TLS_1_3_VERSION ||
		       strlen(token.service) >= sizeof(token.service)))
		abort();
	return error;
}

static void prepare(void)
{
	static bool done;

	if (!done && (!secrets_init() || !token_init() || !keys_init()))
		exit(2);
	done = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cipher_suite suite = {0};
	struct token token = {.suite = &suite};
	uint8_t sealed[TOKEN_LENGTH];

	prepare();
	check_opened(data, size);
	if (size < sizeof(suite.id) + sizeof(token))
		return 0;
	memcpy(&suite.id, data, sizeof(suite.id));
	memcpy(&token, data + sizeof(suite.id), sizeof(token));
	token.suite = &suite;
	if (token_seal(&token, sealed))
		check_opened(sealed, sizeof(sealed));
	return 0;
}

size_t fuzz_seed(unsigned int number, uint8_t data[static FUZZ_INPUT_MAX])
{
	struct token token = {
		.suite = cipher_suite_find(0x1301 + number),
		.role = number % 2 ? KTLSD_SERVER : KTLSD_CLIENT,
		.service = "web",
		.expires = NOW + 60,
	};

	prepare();
	if (number > 3)
		return 0;
	if (number == 3)
		return token_seal(&token, data) && check_opened(data, TOKEN_LENGTH) == 0 ? TOKEN_LENGTH : 0;
	memcpy(data, &token.suite->id, sizeof(token.suite->id));
	memcpy(data + sizeof(token.suite->id), &token, sizeof(token));
	return sizeof(token.suite->id) + sizeof(token);
}
