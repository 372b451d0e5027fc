/* text_encoding: converts text to UTF-8 with iconv, through a buffer of unconverted bytes. */
#ifndef QUERN__DECODE_H
#define QUERN__DECODE_H

#include "base/base.h"

enum { QUERN__DECODE_BYTES = 64 << 10 };
typedef struct quern__decoder quern__decoder;

/* `raw` (n bytes) is the part of the file that was read already; copied. Returns new; NULL on
 * failure. */
quern__decoder *quern__decoder_new(const char *encoding, const char *path, const char *raw,
                                   size_t n, quern_error *err);
/* The free part of the buffer, and its size. */
char *quern__decoder_room(quern__decoder *d, size_t *n);
/* Reports that the caller wrote n bytes to the free part. */
void quern__decoder_put(quern__decoder *d, size_t n);
/* Converts buffered bytes to up to n bytes of UTF-8. Returns their number; 0: more input is
 * needed; a negative status: invalid text. `last`: no more input follows. */
int64_t quern__decoder_take(quern__decoder *d, char *to, size_t n, bool last, quern_error *err);
/* Resets for the start of the file. */
void quern__decoder_reset(quern__decoder *d);
void quern__decoder_free(quern__decoder *d);

#endif
