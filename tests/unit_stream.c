// SPDX-License-Identifier: MIT
/* What libktlsd makes of received records, chains and numbers. */
#include <errno.h>
#include <linux/tls.h>
#include <sys/socket.h>

#include "ktlsd.h"
#include "slots.h"
#include "unit.h"

/* type 0: no control message, as at the end of the TCP stream. */
static const struct {
	const char *what;
	uint8_t type;
	const char *bytes;
	ssize_t received;
	bool whole; /* MSG_EOR: the record is complete */
	ssize_t wanted;
	uint8_t alert;
} records[] = {
	{"data", 23, "hello", 5, true, 5, KTLSD_NO_ALERT},
	{"the first part of a record of data", 23, "hel", 3, false, 3, KTLSD_NO_ALERT},
	{"a record without data", 23, "", 0, true, -EAGAIN, KTLSD_NO_ALERT},
	{"an error of recvmsg()", 0, "", -EBADMSG, false, -EBADMSG, KTLSD_NO_ALERT},
	{"the end of the TCP stream", 0, "", 0, false, -ECONNABORTED, KTLSD_NO_ALERT},
	{"bytes without a record's type", 0, "hello", 5, true, -EPROTO, KTLSD_NO_ALERT},
	{"close_notify", 21, "\1\0", 2, true, 0, KTLSD_NO_ALERT},
	{"close_notify that calls itself fatal", 21, "\2\0", 2, true, 0, KTLSD_NO_ALERT},
	{"user_canceled", 21, "\1\x5a", 2, true, -EAGAIN, KTLSD_NO_ALERT},
	{"bad_record_mac", 21, "\2\x14", 2, true, -EPROTO, 20},
	{"an unknown alert", 21, "\2\xfe", 2, true, -EPROTO, 254},
	{"an alert of one byte", 21, "\2", 1, true, -EPROTO, KTLSD_NO_ALERT},
	{"an alert of three bytes", 21, "\1\0\0", 3, true, -EPROTO, KTLSD_NO_ALERT},
	{"no alert at all", 21, "", 0, true, -EPROTO, KTLSD_NO_ALERT},
	{"half an alert", 21, "\1", 1, false, -EMSGSIZE, KTLSD_NO_ALERT},
	{"NewSessionTicket", 22, "\4\0\0\1x", 5, true, -EAGAIN, KTLSD_NO_ALERT},
	{"NewSessionTicket that did not fit", 22, "\4\0\0\1x", 5, false, -EMSGSIZE, KTLSD_NO_ALERT},
	{"HelloRequest", 22, "\0\0\0\0", 4, true, -EAGAIN, KTLSD_NO_ALERT},
	{"KeyUpdate", 22, "\x18\0\0\1\1", 5, true, -EKEYEXPIRED, KTLSD_NO_ALERT},
	{"ClientHello", 22, "\1\0\0\0", 4, true, -EPROTO, KTLSD_NO_ALERT},
	{"a handshake record without a message", 22, "", 0, true, -EPROTO, KTLSD_NO_ALERT},
	{"ChangeCipherSpec", 20, "\1", 1, true, -EPROTO, KTLSD_NO_ALERT},
	{"a record of an unknown type", 99, "xx", 2, true, -EPROTO, KTLSD_NO_ALERT},
};

static void test_records(void)
{
	for (size_t i = 0; i < COUNT(records); i++) {
		union {
			struct cmsghdr header;
			char room[CMSG_SPACE(1)];
		} control = {
			.header = {.cmsg_level = SOL_TLS, .cmsg_type = TLS_GET_RECORD_TYPE, .cmsg_len = CMSG_LEN(1)}};
		struct iovec data = {.iov_base = (void *)records[i].bytes, .iov_len = 16384};
		struct msghdr message = {.msg_iov = &data,
					 .msg_iovlen = 1,
					 .msg_control = &control,
					 .msg_controllen = records[i].type ? sizeof(control) : 0,
					 .msg_flags = records[i].whole ? MSG_EOR : 0};
		uint8_t alert = 1;
		ssize_t got;

		*CMSG_DATA(&control.header) = records[i].type;
		got = ktlsd_received(&message, records[i].received, &alert);
		check(got == records[i].wanted && alert == records[i].alert, "%s: %zd, alert %u", records[i].what, got,
		      alert);
		check(ktlsd_received(&message, records[i].received, NULL) == got, "the same without asking for alerts");
	}
}

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
		taken[i] = slot_take(&slots, i * 3);
	}
	for (uint32_t i = 0; i < SLOTS; i++)
		good &= slot_is_open(&slots, taken[i]) && slots.slot[taken[i]].cookie == i * 3;
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
	test_records();
	test_chain();
	test_names();
	test_slots();
	return finish();
}
