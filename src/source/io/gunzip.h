/* gunzip: a gzip file, or a deflated member of a zip, inflated as it is read, forward; by ISA-L where the build has it (three times
 * as fast), else by zlib. A mark keeps the state of inflating at a place, so that reading can go on from there without what is
 * before it. */
#ifndef QUERN__GUNZIP_H
#define QUERN__GUNZIP_H

#include "base/base.h"

typedef struct quern__gunzip quern__gunzip;
typedef struct quern__gunzip_mark quern__gunzip_mark;

/* Whether what begins at a place of a plain file begins as gzip does. */
bool quern__is_gzip(int fd, int64_t at);
/* Takes the descriptor of a plain file. Returns new, NULL when there is no memory. */
quern__gunzip *quern__gunzip_new(int fd);
/* The same of the `size` bytes from place `from` on, which are deflated without a header; `bytes` of check sum `crc` come out. */
quern__gunzip *quern__inflate_new(int fd, int64_t from, int64_t size, int64_t bytes, uint32_t crc);
/* Up to n bytes; fewer only at the end. -1 when the data is broken or cut off. */
int64_t quern__gunzip_read(quern__gunzip *g, void *to, size_t n);
bool quern__gunzip_rewind(quern__gunzip *g);
void quern__gunzip_free(quern__gunzip *g);

/* The state of now. Returns new (some 100 KiB), NULL when there is no memory. */
quern__gunzip_mark *quern__gunzip_mark_new(const quern__gunzip *g);
/* Goes on from there. */
bool quern__gunzip_go(quern__gunzip *g, const quern__gunzip_mark *mark);
void quern__gunzip_mark_free(quern__gunzip_mark *mark);
size_t quern__gunzip_mark_bytes(void); /* about what a mark takes */

/* ---- zip_locate.c ---- */
/* Where the bytes of a member of the zip that is open begin; -1 when that cannot be told (a zip of more than 4 GiB, a broken one).
 */
int64_t quern__zip_place(int fd, const char *name);

#endif
