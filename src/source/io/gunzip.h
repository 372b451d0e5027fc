/* gunzip: sequential inflate of a gzip file or of a deflated zip member. It uses ISA-L if the
 * build has it (three times as fast), else zlib. A mark stores the inflate state, so that
 * reading can resume at its position without the data before it. */
#ifndef QUERN__GUNZIP_H
#define QUERN__GUNZIP_H

#include "base/base.h"

typedef struct quern__gunzip quern__gunzip;
typedef struct quern__gunzip_mark quern__gunzip_mark;

/* Whether the bytes at offset `at` of a plain file are a gzip header. */
bool quern__is_gzip(int fd, int64_t at);
/* Takes the descriptor of a plain file. Returns new; NULL: out of memory. */
quern__gunzip *quern__gunzip_new(int fd);
/* The same for `size` bytes at offset `from`, deflated without a header; they inflate to `bytes`
 * bytes with checksum `crc`. */
quern__gunzip *quern__inflate_new(int fd, int64_t from, int64_t size, int64_t bytes, uint32_t crc);
/* Reads up to n bytes; fewer only at the end. -1: the data is corrupt or incomplete. */
int64_t quern__gunzip_read(quern__gunzip *g, void *to, size_t n);
/* Restarts at the first byte. False: out of memory. */
bool quern__gunzip_rewind(quern__gunzip *g);
void quern__gunzip_free(quern__gunzip *g);

/* Copies the current state. Returns new (about 100 KiB); NULL: out of memory. */
quern__gunzip_mark *quern__gunzip_mark_new(const quern__gunzip *g);
/* Resumes at a mark. False: out of memory. */
bool quern__gunzip_go(quern__gunzip *g, const quern__gunzip_mark *mark);
void quern__gunzip_mark_free(quern__gunzip_mark *mark);
size_t quern__gunzip_mark_bytes(void); /* approximate size of a mark */

/* ---- zip_locate.c ---- */
/* The offset of the compressed bytes of a member in an open zip; -1: unknown (a zip of more than
 * 4 GiB, or a corrupt one). */
int64_t quern__zip_place(int fd, const char *name);

#endif
