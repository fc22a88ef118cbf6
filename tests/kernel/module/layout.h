/* SPDX-License-Identifier: GPL-2.0 */
/* The ABI is the same for 32 and 64 bits: this is compiled for both. */
#ifndef MODULE_LAYOUT_H
#define MODULE_LAYOUT_H

#include <linux/ktlsd.h>
#include <stddef.h>

#define STANDS_AT(type, member, offset) _Static_assert(offsetof(struct type, member) == (offset), #type "." #member)

_Static_assert(sizeof(struct ktlsd_command) == 16, "the room in an SQE");
_Static_assert(sizeof(struct ktlsd_handshake) == 88, "struct ktlsd_handshake");
_Static_assert(sizeof(struct ktlsd_cancel) == 16, "struct ktlsd_cancel");
_Static_assert(sizeof(struct ktlsd_info) == 8, "struct ktlsd_info");
STANDS_AT(ktlsd_handshake, fd, 8);
STANDS_AT(ktlsd_handshake, timeout_ms, 16);
STANDS_AT(ktlsd_handshake, peer_name, 24);
STANDS_AT(ktlsd_handshake, cookie, 32);
STANDS_AT(ktlsd_handshake, keyring, 40);
STANDS_AT(ktlsd_handshake, peer_id_count, 52);
STANDS_AT(ktlsd_handshake, peer_ids, 56);
STANDS_AT(ktlsd_handshake, reserved, 76);
STANDS_AT(ktlsd_handshake, peer_id, 80);
STANDS_AT(ktlsd_handshake, cipher_type, 86);
STANDS_AT(ktlsd_cancel, cookie, 8);
_Static_assert(KTLSD_HANDSHAKE == 0xc0586bd0 && KTLSD_CANCEL == 0x40106bd1 && KTLSD_INFO == 0xc0086bd2, "the commands");

#endif
