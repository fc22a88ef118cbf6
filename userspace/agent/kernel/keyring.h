/* SPDX-License-Identifier: MIT */
/*
 * Keys in the kernel's keyrings (keyrings(7)). The agent and its supervisor share a session keyring: what is linked into it, the
 * agent possesses and may read, whoever owns it.
 */
#ifndef AGENT_KERNEL_KEYRING_H
#define AGENT_KERNEL_KEYRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEYRING_LINKS_MAX 4
#define KEYRING_KEY_MAX 8192 /* bytes of a certificate or private key */

/* Before anything else here: a session keyring for this process and those that it starts. False with a logged reason. */
bool keyring_join(void);

/* Links a keyring of root's or our user's that has this name, if there is one by now. */
void keyring_link_named(const char *name);

/*
 * Moves what the kernel has linked into this process's keyring for a request over to the session keyring, and links the keyring
 * that the request names (0: none). Returns how many; their serial numbers are in links.
 */
size_t keyring_take(int32_t links[static KEYRING_LINKS_MAX], int32_t named);
void keyring_unlink(int32_t serial);

/* Reads a key's description and its payload. Lengths, or -errno. What was read is the caller's to wipe. */
int keyring_describe(int32_t serial, char *text, size_t size);
int keyring_read(int32_t serial, void *bytes, size_t size);

/* A key of type "psk" in the session keyring and those linked into it; 0: none. */
int32_t keyring_find_psk(const char *identity);

#endif
