/* qrec: files of prepared records (docs/qrec.md): a JSON header that describes a record, then
 * records of equal size, each with a checksum. qrec_header.c reads and writes the header, qrec.c
 * is the source, prepare.c writes files. */
#ifndef QUERN__QREC_H
#define QUERN__QREC_H

#include "schema/schema.h"
#include "source/source.h"

enum { QUERN__QREC_ALIGN = 4096, QUERN__QREC_MOST_HEAD = 1 << 20, QUERN__QREC_SUM = 4 };

/* The content of the header. */
typedef struct quern__qrec {
    quern__description what;
    int64_t count;
    int64_t first;        /* offset of the first record */
    int64_t bytes;        /* of a record with its checksum */
    uint64_t fingerprint; /* of all checksums, in order */
    uint64_t seed;        /* of the shuffle */
    int n_classes[QUERN_MAX_ARRAYS];
    char **classes[QUERN_MAX_ARRAYS]; /* names, by target; owned */
    quern_schema *schema;             /* of its columns; NULL: no names; owned */
} quern__qrec;

/* Bytes of a record; 0: more than 1 GiB. */
int64_t quern__qrec_record_bytes(const quern__description *d);
/* The CRC-32 checksum of a record. */
uint32_t quern__qrec_sum(const void *record, size_t bytes);
/* The fingerprint after one more checksum. */
static inline uint64_t quern__qrec_print(uint64_t before, uint32_t sum)
{
    return quern__hash64(before ^ sum);
}
/* Writes the header at offset 0. quern__qrec_head_room returns the bytes to reserve for it; the
 * class names must be known. */
int quern__qrec_head_write(int fd, const char *path, const quern__qrec *q, quern_error *err);
int64_t quern__qrec_head_room(const quern__qrec *q);
/* Reads the header and checks it against the size of the file. */
int quern__qrec_head_read(int fd, const char *path, quern__qrec *q, quern_error *err);
void quern__qrec_free(quern__qrec *q);
/* Opens a prepared file as a generator. Returns new. */
quern_generator *quern__qrec_open(const char *path, quern_error *err);
extern int quern__qrec_piles;     /* piles for data of unknown size; tests reduce it */
extern size_t quern__qrec_window; /* bytes of both windows; tests reduce it */

#endif
