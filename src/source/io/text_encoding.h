/* decode: text in another encoding becomes UTF-8, by iconv, through a buffer of bytes that have not been turned yet. */
#ifndef QUERN__DECODE_H
#define QUERN__DECODE_H

#include "base/base.h"

enum { QUERN__DECODE_BYTES = 64 << 10 };
typedef struct quern__decoder quern__decoder;

/* `raw`, `n`: what was read of the file before. Returns new; NULL on failure. */
quern__decoder *quern__decoder_new(const char *encoding, const char *path, const char *raw, size_t n, quern_error *err);
/* Room for bytes of the file, and how many there is room for. */
char *quern__decoder_room(quern__decoder *d, size_t *n);
void quern__decoder_put(quern__decoder *d, size_t n);
/* Up to `n` bytes of UTF-8 out of what was put; 0: it needs more. `last`: no more will come. A negative status for what is no text.
 */
int64_t quern__decoder_take(quern__decoder *d, char *to, size_t n, bool last, quern_error *err);
/* The file begins anew. */
void quern__decoder_reset(quern__decoder *d);
void quern__decoder_free(quern__decoder *d);

#endif
