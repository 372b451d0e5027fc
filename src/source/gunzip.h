/* gunzip: a gzip file inflated as it is read, forward; by ISA-L where the build has it (three times as fast), else by zlib. */
#ifndef QUERN__GUNZIP_H
#define QUERN__GUNZIP_H

#include "base/base.h"

typedef struct quern__gunzip quern__gunzip;

/* Takes the descriptor of a plain file. Returns new, NULL when there is no memory. */
quern__gunzip *quern__gunzip_new(int fd);
/* Up to n bytes; fewer only at the end. -1 when the data is broken or cut off. */
int64_t quern__gunzip_read(quern__gunzip *g, void *to, size_t n);
bool quern__gunzip_rewind(quern__gunzip *g);
void quern__gunzip_free(quern__gunzip *g);

#endif
