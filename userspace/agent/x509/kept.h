/* SPDX-License-Identifier: MIT */
/*
 * OCSP responses in a folder, each in a file named for its question's digest, so that they outlive a restart. They are
 * signed, and verified again when they are read; but an older response is as well signed as a newer one, so the folder
 * must be ours alone. Any thread.
 */
#ifndef AGENT_KEPT_H
#define AGENT_KEPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Once; NULL: nothing is kept. False with a logged reason, and then nothing is. */
bool kept_in(const char *folder);

/* Whether there is such a file; der is to be freed with OPENSSL_free(). *written: seconds since 1970. */
bool kept_read(const uint8_t digest[static 32], uint8_t **der, size_t *length, time_t *written);

/* Failures are logged: it can be done without. */
void kept_write(const uint8_t digest[static 32], const uint8_t *der, size_t length);
void kept_remove(const uint8_t digest[static 32]);

/* Removes what has lapsed, is damaged, or was left half-written. */
void kept_sweep(time_t now);
bool kept_sweep_due(void); /* true once after kept_in(), and then after every few thousand files written */

#endif
