/* part: one array in a file, record after record or by number: IDX or NPY, plain or gzipped, or a member of an NPZ. */
#ifndef QUERN__PART_H
#define QUERN__PART_H

#include "array_axes.h"
#include "source/io/gunzip.h"
#include "source/source.h"

typedef struct quern__array_file {
    char *where;    /* the file, and the member */
    char name[300]; /* of a zip's member */
    int kind;       /* how it is stored: array_file.c */
    int fd;
    quern__gunzip *gz;
    void *zip, *member;
    bool idx;       /* not NPY */
    bool by_number; /* records can be read in any order, by several threads */
    int64_t offset; /* of the first record in what is read, behind the header */
    int64_t at;     /* place of the next byte, of those that are read forward; of Fortran order, as if it were C order */
    int dtype;
    bool swapped;                 /* the first byte of a number is its largest */
    bool fortran;                 /* numbers of all records lie one behind the other, for each place in a record */
    bool channels;                /* the second axis becomes the last while reading; its owner says so */
    quern_shape shape;            /* as it lies, the records first */
    int64_t records, per;         /* numbers of a record */
    void *lock;                   /* of a zip's member, which has one place */
    char *held;                   /* all numbers in C order, of a small array in Fortran order */
    char *block;                  /* some records in C order, of one that is read forward */
    int64_t block_first, block_n; /* the first of them, and how many */
} quern__array_file;

enum { QUERN__PART_HELD = 4 << 20, QUERN__PART_BLOCK = 1 << 20, QUERN__PART_COLUMNS = 64 };

/* Opens "FILE" or "FILE:/member" ("FILE:member" too where that is no file; `member`: the one of a zip where none is named; a
 * missing one is QUERN_NOTFOUND). */
int quern__array_file_open(quern__array_file *p, const char *name, const char *member, quern_error *err);
void quern__array_file_close(quern__array_file *p);
/* One record as numbers of `dtype` (float32, float64, int32 or int64). By number, or (record -1) the next one, which lies behind
 * also when a number of it does not fit (QUERN_INVALID). */
int quern__array_file_read(quern__array_file *p, int64_t record, int dtype, void *to, quern_error *err);
/* Passes over so many records of those that are read forward. */
int quern__array_file_skip(quern__array_file *p, int64_t records, quern_error *err);
/* A place from which forward reading can go on. */
typedef struct quern__place {
    int64_t at;
    quern__gunzip_mark *mark; /* of a gzipped file */
} quern__place;
/* Whether places of it can be kept: not of a member that only libzip finds. */
bool quern__array_file_has_places(const quern__array_file *p);
int quern__array_file_keep(quern__array_file *p, quern__place *place, quern_error *err);
int quern__array_file_go(quern__array_file *p, const quern__place *place, quern_error *err);
/* Forward reading begins anew. */
int quern__array_file_rewind(quern__array_file *p, quern_error *err);
/* What records are once they are read: with channels last, where that was asked for. */
quern_shape quern__array_file_shape(const quern__array_file *p);

/* ---- what array_file.c and fortran_order.c share ---- */
/* An error at a record (-1: at none). */
int quern__array_file_fail(const quern__array_file *p, int64_t record, int code, const char *what, quern_error *err);
/* The same where fewer bytes came than there must be: `got`, negative where reading failed. */
int quern__array_file_short(const quern__array_file *p, int64_t record, int64_t got, quern_error *err);
/* Up to n bytes at place `at` of what is stored; fewer only at the end. Negative on failure. */
int64_t quern__array_file_bytes(quern__array_file *p, int64_t at, void *to, size_t n);
/* Once the header is read, of an array in Fortran order: decides how it is read. One that is small is held, one that is not
 * compressed is read by number where a record has few numbers, else by blocks of records; any other is refused. */
int quern__array_file_order(quern__array_file *p, quern_error *err);
/* Numbers first … first + n of a record of an array that is held or in Fortran order, as they lie; n of them, or less on failure.
 * `forward`: by way of a block. */
int64_t quern__array_file_numbers(quern__array_file *p, int64_t record, int64_t first, int64_t n, void *to, bool forward);
/* Bytes that a block takes; 0: there is none. */
size_t quern__array_file_block_bytes(const quern__array_file *p);

#endif
