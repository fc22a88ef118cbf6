/* SPDX-License-Identifier: MIT */
/*
 * A target is what libFuzzer expects, so that clang -fsanitize=fuzzer runs it as it is; plus some seeds, from which
 * main.c works where there is no libFuzzer.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>

#define FUZZ_INPUT_MAX 16384

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Writes a good input, number 0 and on; 0 behind the last. */
size_t fuzz_seed(unsigned int number, uint8_t data[static FUZZ_INPUT_MAX]);

#endif
