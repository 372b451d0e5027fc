/* array_file: one array in a file, read sequentially or by record index: IDX or NPY, plain or
 * gzipped, or a member of an NPZ. */
#ifndef QUERN__PART_H
#define QUERN__PART_H

#include "source/io/gunzip.h"
#include "source/source.h"
#include "tensor/array_axes.h"

typedef struct quern__array_file {
    char *where;    /* file name, with the member */
    char name[300]; /* of a zip member */
    int kind;       /* storage: enum in array_file.c */
    int fd;
    quern__gunzip *gz;
    void *zip, *member;
    bool idx;       /* format IDX; else NPY */
    bool by_number; /* random access, from several threads */
    int64_t offset; /* of the first record in the uncompressed data */
    int64_t at; /* sequential: offset of the next byte; for Fortran order as if it were C order */
    int dtype;
    bool swapped;      /* elements are big-endian */
    bool fortran;      /* Fortran order: for each element of a record, the values of all records are
                          contiguous */
    bool channels;     /* axis 1 moves to the end during reading; set by the owner */
    quern_shape shape; /* in the file, axis 0: records */
    int64_t records, per;         /* per: elements of a record */
    void *lock;                   /* of a stored zip member, whose handle has one offset */
    char *held;                   /* all elements in C order, of a small Fortran-order array */
    char *block;                  /* some records in C order, for sequential reading */
    int64_t block_first, block_n; /* index of its first record; number of records */
} quern__array_file;

enum { QUERN__PART_HELD = 4 << 20, QUERN__PART_BLOCK = 1 << 20, QUERN__PART_COLUMNS = 64 };

/* Opens "FILE", "FILE:/member" or, if no such file exists, "FILE:member". `member` is the
 * default member of a zip; QUERN_NOTFOUND if it does not exist. */
int quern__array_file_open(quern__array_file *p, const char *name, const char *member,
                           quern_error *err);
/* Closes the file and resets *p; also after a failed open. */
void quern__array_file_close(quern__array_file *p);
/* Converts one record to `dtype` (float32, float64, int32 or int64). record -1: the next one; it
 * counts as read also if an element does not fit (QUERN_INVALID). */
int quern__array_file_read(quern__array_file *p, int64_t record, int dtype, void *to,
                           quern_error *err);
/* Skips records, sequentially. */
int quern__array_file_skip(quern__array_file *p, int64_t records, quern_error *err);
/* A position for sequential reading. */
typedef struct quern__place {
    int64_t at;
    quern__gunzip_mark *mark; /* inflate state of a compressed file; owned */
} quern__place;
/* Whether positions can be kept: not for a member that only libzip can find. */
bool quern__array_file_has_places(const quern__array_file *p);
/* Stores the current position in *place, and moves to a stored one. */
int quern__array_file_keep(quern__array_file *p, quern__place *place, quern_error *err);
int quern__array_file_go(quern__array_file *p, const quern__place *place, quern_error *err);
/* Restarts sequential reading. */
int quern__array_file_rewind(quern__array_file *p, quern_error *err);
/* The shape of records after reading, channels last. */
quern_shape quern__array_file_shape(const quern__array_file *p);

/* ---- shared by array_file.c and fortran_order.c ---- */
/* Fails at a record (-1: no record). */
int quern__array_file_fail(const quern__array_file *p, int64_t record, int code, const char *what,
                           quern_error *err);
/* Fails because fewer bytes than expected were read. `got` is negative after a read error. */
int quern__array_file_short(const quern__array_file *p, int64_t record, int64_t got,
                            quern_error *err);
/* Reads up to n bytes at offset `at` of the uncompressed data; fewer only at the end. Negative
 * on failure. */
int64_t quern__array_file_bytes(quern__array_file *p, int64_t at, void *to, size_t n);
/* Chooses how to read a Fortran-order array, after the header. A small one is kept in memory. An
 * uncompressed one is read by record if a record has few elements, else by blocks of records.
 * Fails for others. */
int quern__array_file_order(quern__array_file *p, quern_error *err);
/* Reads elements [first, first + n) of a record of an array in memory or in Fortran order, in
 * the order of the file. Returns n, or less on failure. `forward`: through a block. */
int64_t quern__array_file_numbers(quern__array_file *p, int64_t record, int64_t first, int64_t n,
                                  void *to, bool forward);
/* Bytes of a block; 0: no block. */
size_t quern__array_file_block_bytes(const quern__array_file *p);

#endif
