/* Fuzz targets: one function for any bytes. Built for libFuzzer (QUERN_FUZZ) or with replay.c,
 * which runs the corpus as a test. */
#ifndef QUERN_FUZZ_TARGET_H
#define QUERN_FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);
/* Stores the bytes in an unnamed file. Returns its path, valid until the next call; NULL if the file
 * cannot be created. */
const char *fuzz_file(const uint8_t *bytes, size_t n);

#endif
