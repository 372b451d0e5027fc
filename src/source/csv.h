/* What the files of CSV share: csv.c reads records, columns.c says what each column is. */
#ifndef QUERN__CSV_H
#define QUERN__CSV_H

#include "ahead.h"
#include "bytes.h"
#include "source.h"

enum { QUERN__CSV_COLUMNS = 4096, QUERN__CSV_RECORD = 4 << 20, QUERN__CSV_CLASSES = 4096, QUERN__CSV_TWIN_BYTES = 256 << 10 };
enum {
    QUERN__IGNORED = -1,
    QUERN__FIRST_TARGET = -2
}; /* places: features from 0 up, targets from -2 down, weights behind the targets */

typedef struct quern__column {
    char name[64];
    int place;
    bool whole;   /* a target that the run takes as int32 */
    int exact;    /* a feature that the run takes as whole numbers: QUERN_INT32 or QUERN_INT64; 0: it does not */
    int64_t slot; /* of a feature, in the run's rows */
    int text;     /* 1 + its number among the columns that the run takes as text; 0: it is none */
    bool fills;
    double fill;
    char **classes; /* of a target of names; NULL: numbers */
    int n_classes;
} quern__column;

/* The blocks of the files, which an epoch visits in an order of its own (csv_blocks.c). */
typedef struct quern__csv_blocks {
    int64_t n, size; /* n: 0 where the files are only read in their order */
    int64_t *ends;   /* by file: blocks up to its end */
    bool quoted;     /* there are quotes at the beginning */
    bool on;         /* this epoch goes by them */
    quern__random_key key;
    int64_t place;          /* of the order: the next block */
    bool open;              /* one is read: */
    int64_t number, limit;  /* its number in its file; its records begin before this byte */
    uint64_t begins, ended; /* sums of where blocks began, and where the ones before them ended */
    struct quern__csv_lines *lines;
    int64_t bytes;     /* of the only file; 0: there are several */
    bool past;         /* it is read past the system's cache: */
    quern__ahead next; /* blocks that come soon */
} quern__csv_blocks;

typedef struct quern__csv {
    char **paths;
    int n_paths, at; /* the file that is open */
    quern__bytes bytes;
    int64_t first_byte; /* of the open file: behind its header */
    quern__csv_blocks blocks;
    char separator;
    int n, n_features, n_targets;
    int64_t n_slots;      /* of the features, in the run's rows */
    bool weighted, fresh; /* fresh: nothing has been read since the start */
    bool passed;          /* the record that failed lies behind */
    quern__column *columns;
    int inner;                    /* newlines within the record's quotes */
    int64_t line;                 /* of the record's first byte */
    size_t used;                  /* bytes of the record at `begin`, its newline among them */
    struct quern__csv_twin *twin; /* a second thread that reads; NULL while there was no need */
    char *field;                  /* a quoted field without its quotes */
    size_t field_room, field_length;
    int n_texts; /* columns that are text; where their fields lie, and the bytes of those */
    quern_string *texts;
    char *text;
    size_t text_used;
} quern__csv;

/* ---- csv.c ---- */
/* An error at the present record, in a column (-1: in none). */
int quern__csv_fail(const quern__csv *f, int column, int code, quern_error *err, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* The field of column k as text, in f->field, of the next record that has all its fields; QUERN_END at the end. */
int quern__csv_text(quern__csv *f, int k, quern_error *err);
int quern__csv_rewind(void *self, quern_error *err);
/* Opens the k-th file and reads its header. */
int quern__csv_open_file(quern__csv *f, int k, quern_error *err);
/* One record that lies in [p, e). */
int quern__csv_record(quern__csv *f, char *p, const char *e, float *x, double *y, quern_error *err);
/* The next record, of whatever kind. */
int quern__csv_read(void *self, float *x, double *y, quern_error *err);
/* The class of a name, -1 when it is none. */
int quern__csv_class_of(const quern__column *c, const char *name);
/* Whether the text stands for a missing value: nothing, "?", "NA", "nan". */
bool quern__csv_missing(const char *text);

/* ---- twin.c ---- */
/* Up to `most` records, on two threads where that is worth it. Returns how many, 0 at the end, or a negative status. */
int64_t quern__csv_many(void *self, float *x, double *y, int64_t most, quern_error *err);
void quern__csv_twin_free(struct quern__csv_twin *twin);

/* ---- csv_blocks.c ---- */
/* Cuts the files into blocks, where they can be read from anywhere and are large enough. Before anything is read behind the first
 * header. */
int quern__csv_cut(quern__csv *f, quern_error *err);
void quern__csv_cut_free(quern__csv *f);
/* Bytes of memory that reading by blocks asks for. */
size_t quern__csv_blocks_size(const quern__csv *f);
/* The stream's order and places. */
void quern__csv_order(void *self, const quern__random_key *key, int64_t epoch);
int64_t quern__csv_places(void *self, int64_t *all);
/* An epoch begins. */
void quern__csv_restart(quern__csv *f);
/* The reader stands before the first record of the next block, which may have none. QUERN_END behind the last. */
int quern__csv_next_block(quern__csv *f, quern_error *err);
/* Bytes from the next record on in which records of the block begin. */
static inline int64_t quern__csv_left(const quern__csv *f)
{
    return !f->blocks.on ? INT64_MAX : f->blocks.limit - (quern__bytes_place(&f->bytes) + (int64_t)f->used);
}
/* The line of the present record, by blocks counted when it is asked for. */
int64_t quern__csv_line(const quern__csv *f);
extern int64_t quern__csv_block; /* bytes of a block; 0: as records are long; tests make it small */

/* ---- columns.c ---- */
/* Gives every column its place, and targets of names their classes. */
int quern__csv_columns(quern__csv *f, const quern_file_opts *o, quern_error *err);
/* The stream's match: columns that are text are those that inputs of type string take. */
int quern__csv_match(void *self, const quern_batch_spec *spec, int64_t *x_count, int64_t *y_count, quern_error *err);

#endif
