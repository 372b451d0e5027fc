/* part: one array in a file, record after record or by number: IDX or NPY, plain or gzipped, or a member of an NPZ. */
#ifndef QUERN__PART_H
#define QUERN__PART_H

#include "gunzip.h"
#include "source.h"

typedef struct quern__part_file {
    char *where;    /* the file, and the member */
    char name[300]; /* of a zip's member */
    int kind;       /* how it is stored: part.c */
    int fd;
    quern__gunzip *gz;
    void *zip, *member;
    bool idx;       /* not NPY */
    bool by_number; /* records can be read in any order, by several threads */
    int64_t offset; /* of the first record in what is read, behind the header */
    int64_t at;     /* place of the next byte, of those that are read forward */
    int dtype;
    int64_t records, per; /* numbers of a record */
    void *lock;           /* of a zip's member, which has one place */
} quern__part_file;

/* Opens "FILE" or "FILE:/member" (`member`: the one of a zip where none is named; a missing one is QUERN_NOTFOUND). */
int quern__part_open(quern__part_file *p, const char *name, const char *member, quern_error *err);
void quern__part_close(quern__part_file *p);
/* One record as numbers of `dtype` (float32, int32 or float64). By number, or (record -1) the next one. */
int quern__part_read(quern__part_file *p, int64_t record, int dtype, void *to, quern_error *err);
/* Passes over so many records of those that are read forward. */
int quern__part_skip(quern__part_file *p, int64_t records, quern_error *err);
/* A place from which forward reading can go on. */
typedef struct quern__place {
    int64_t at;
    quern__gunzip_mark *mark; /* of a gzipped file */
} quern__place;
/* Whether places of it can be kept: not of a member that only libzip finds. */
bool quern__part_has_places(const quern__part_file *p);
int quern__part_keep(quern__part_file *p, quern__place *place, quern_error *err);
int quern__part_go(quern__part_file *p, const quern__place *place, quern_error *err);
/* Forward reading begins anew. */
int quern__part_rewind(quern__part_file *p, quern_error *err);

#endif
