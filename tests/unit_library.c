// SPDX-License-Identifier: MIT
/* What libktlsd makes of chains, numbers and slots. */
#include <errno.h>

#include "ktlsd.h"
#include "slots.h"
#include "unit.h"

static void test_chain(void)
{
	static const struct {
		const char *what;
		uint8_t bytes[16];
		size_t length;
		int certificates;
	} chains[] = {
		{"an empty chain", {0}, 0, 0},
		{"two certificates", {3, 0, 0, 0, 'a', 'b', 'c', 1, 0, 0, 0, 'd'}, 12, 2},
		{"a chain cut inside a certificate", {3, 0, 0, 0, 'a', 'b'}, 6, 0},
		{"a chain cut inside a length", {1, 0, 0, 0, 'a', 1, 0, 0}, 8, 1},
		{"a certificate of no bytes", {0, 0, 0, 0}, 4, 0},
		{"a certificate larger than memory", {0xff, 0xff, 0xff, 0xff, 'a'}, 5, 0},
	};

	for (size_t i = 0; i < COUNT(chains); i++) {
		struct ktlsd_result result = {.chain = chains[i].bytes, .chain_length = chains[i].length};
		size_t offset = 0, length;
		const uint8_t *der;
		int count = 0;

		while (ktlsd_chain_next(&result, &offset, &der, &length)) {
			must(der + length <= chains[i].bytes + chains[i].length);
			count++;
		}
		check(count == chains[i].certificates, "%s: %d", chains[i].what, count);
	}
	check(!ktlsd_chain_next(&(struct ktlsd_result){0}, &(size_t){0}, NULL, NULL), "no chain");
}

static void test_names(void)
{
	check_text(ktlsd_version_name(0x0304), "TLS 1.3", "version");
	check_text(ktlsd_cipher_name(0xcca8), "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "cipher");
	check_text(ktlsd_group_name(0x11ec), "X25519MLKEM768", "group");
	check_text(ktlsd_alert_name(120), "no_application_protocol", "alert");
	check_text(ktlsd_alert_name(KTLSD_NO_ALERT), "unknown", "no alert");
	check_text(ktlsd_cipher_name(0), "unknown", "no cipher");
}

#define SLOTS 1000

static void test_slots(void)
{
	uint32_t taken[SLOTS];
	struct slots slots;
	bool good = true;

	slots_init(&slots);
	check(slots_next_ended(&slots) == NO_SLOT && !slot_is_open(&slots, 0), "no slots at first");
	for (uint32_t i = 0; i < SLOTS; i++) {
		must(slots_reserve(&slots, KTLSD_DATAGRAM_DESCRIPTORS));
		taken[i] = slot_take(&slots, i * 3, i % 3, (int)i);
	}
	for (uint32_t i = 0; i < SLOTS; i++)
		good &= slot_is_open(&slots, taken[i]) && slots.slot[taken[i]].cookie == i * 3 &&
			slots.slot[taken[i]].role == i % 3;
	check(good && slots.open == SLOTS, "a thousand are open, each with its cookie");
	check(!slot_is_open(&slots, slots.count) && !slot_is_open(&slots, UINT64_MAX), "numbers that are none");
	for (uint32_t i = 0; i < SLOTS; i += 2)
		slot_release(&slots, taken[i]);
	for (uint32_t i = 1; i < SLOTS; i += 2)
		slot_end(&slots, taken[i], ECONNRESET, i == 1);
	check(slots.open == 0, "none is open");
	for (uint32_t i = 1; i < SLOTS; i += 2) {
		uint32_t number = slots_next_ended(&slots);

		good &= number == taken[i] && slots.slot[number].error == ECONNRESET &&
			slots.slot[number].refused == (i == 1);
		slot_release(&slots, number);
	}
	check(good && slots_next_ended(&slots) == NO_SLOT, "the ended come in the order in which they ended");
	slots_destroy(&slots);
}

int main(void)
{
	test_chain();
	test_names();
	test_slots();
	return finish();
}
