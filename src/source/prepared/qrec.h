/* qrec: prepared records in a file (docs/qrec.md): a head of JSON that says what a record is, then the records, all of one size,
 * each with its check sum. qrec_header.c reads and writes the head, qrec.c is the source, prepare.c makes the file. */
#ifndef QUERN__QREC_H
#define QUERN__QREC_H

#include "schema/schema.h"
#include "source/source.h"

enum { QUERN__QREC_ALIGN = 4096, QUERN__QREC_MOST_HEAD = 1 << 20, QUERN__QREC_SUM = 4 };

/* What a record is, and how many there are. */
typedef struct quern__qrec {
    quern__description what;
    int64_t count;
    int64_t first;        /* byte at which the first begins */
    int64_t bytes;        /* of one, with its check sum      */
    uint64_t fingerprint; /* of all check sums, in order     */
    uint64_t seed;        /* of the order                    */
    int n_classes[QUERN_MAX_ARRAYS];
    char **classes[QUERN_MAX_ARRAYS]; /* names, by target; owned */
    quern_schema *schema;             /* of its columns; NULL: they have no names. Owned */
} quern__qrec;

/* Bytes of a record; 0: more than can be counted. */
int64_t quern__qrec_record_bytes(const quern__description *d);
uint32_t quern__qrec_sum(const void *record, size_t bytes);
/* The fingerprint with one more check sum. */
static inline uint64_t quern__qrec_print(uint64_t before, uint32_t sum) { return quern__hash64(before ^ sum); }
/* Writes the head at the beginning of the file; room for it was left by quern__qrec_head_room, which the classes' names decide. */
int quern__qrec_head_write(int fd, const char *path, const quern__qrec *q, quern_error *err);
int64_t quern__qrec_head_room(const quern__qrec *q);
/* Reads and checks it against the size of the file. */
int quern__qrec_head_read(int fd, const char *path, quern__qrec *q, quern_error *err);
void quern__qrec_free(quern__qrec *q);
/* A prepared file as a generator. Returns new. */
quern_generator *quern__qrec_open(const char *path, quern_error *err);
extern int quern__qrec_piles;     /* of data of which it is not known how much there is; tests make them few */
extern size_t quern__qrec_window; /* bytes of the windows that records are drawn from; tests make it small */

#endif
