/* The interface between the files of the CSV reader. csv_header.c reads the header, csv.c finds
 * records, and csv_values.c converts fields. csv_roles.c applies the options, csv_columns.c maps
 * columns to a run, and csv_classes.c learns class names. csv_blocks.c and csv_marks.c shuffle
 * file blocks. csv_parallel.c uses a second thread. */
#ifndef QUERN__CSV_H
#define QUERN__CSV_H

#include "schema/schema.h"
#include "source/io/file_reader.h"
#include "source/io/readahead.h"
#include "source/source.h"

enum { QUERN__CSV_RECORD = 4 << 20, QUERN__CSV_TWIN_BYTES = 256 << 10 };
/* `place` of a column: features count from 0 up, targets from -2 down, the weight follows the
 * last target. */
enum { QUERN__IGNORED = -1, QUERN__FIRST_TARGET = -2 };
/* The role that the options give a column. REST: a feature if no features are named. */
enum { QUERN__ROLE_REST = 0, QUERN__ROLE_FEATURE, QUERN__ROLE_TARGET, QUERN__ROLE_WEIGHT };

typedef struct quern__column {
    char *name;
    int role, order; /* QUERN__ROLE_…; index among the columns of the same role */
    int place;       /* position in the current run */
    bool whole;      /* a target of type int32 in this run */
    int exact;      /* QUERN_INT32 or QUERN_INT64: a feature of that type in this run; 0: float32 */
    int64_t slot;   /* of a feature: offset in a row, in units of 4 bytes */
    int text, kept; /* 1 + index among the strings of a record, as an input and as a kept column; 0:
                       none */
    bool fills;     /* `fill` substitutes a missing number */
    double fill;
    char *fill_class;     /* this class substitutes a missing name; NULL: none */
    bool asked, named;    /* asked: named by --classes; named: all values are class names */
    bool classifies;      /* a target whose loss takes class names */
    bool numbers;         /* the model learned numbers */
    bool learned;         /* `classes` is known */
    quern__names classes; /* class names; empty: the values are numbers */
    int64_t labels;       /* of a class label: number of classes; 0: any */
    int64_t ignored;      /* the label outside this range that the loss ignores */
} quern__column;

/* The fast path of a column: a number between separators that is stored as it is. */
enum { QUERN__CPU_NOT = 0, QUERN__CPU_X, QUERN__CPU_Y, QUERN__CPU_LABEL };
typedef struct quern__csv_plain {
    int kind;       /* NOT: use quern__csv_put */
    int32_t labels; /* of a label: number of classes; 0: any integer */
    int64_t at;     /* index in x or y */
} quern__csv_plain;

/* File blocks, which an epoch visits in its own order (csv_blocks.c). */
typedef struct quern__csv_blocks {
    int64_t n, size;      /* number of blocks, 0: file order only; bytes of a block */
    int64_t *ends;        /* by file: number of blocks up to its end */
    bool quoted;          /* the first buffer contains quotes */
    bool literal;         /* some of them are inside unquoted fields */
    unsigned char *marks; /* by block: QUERN__MARK_… of its first byte; NULL: inferred from the
                             bytes around it */
    bool on;              /* this epoch uses blocks */
    quern__random_key key;
    int64_t place; /* position in the order: the next block */
    bool open;     /* a block is being read */
    int64_t number,
        limit; /* its index in the file; records that begin before byte `limit` belong to it */
    uint64_t begins,
        ended; /* sums of hashes of the starts of blocks, and of the ends of the previous ones */
    struct quern__csv_lines *lines;
    int64_t bytes;     /* bytes of the only file; 0: several files */
    bool past;         /* blocks are read with O_DIRECT through `next` */
    quern__ahead next; /* read-ahead of blocks */
} quern__csv_blocks;

typedef struct quern__csv {
    char **paths;
    int n_paths, at; /* index of the open file */
    quern__bytes bytes;
    int64_t first_byte; /* of the open file: offset after its header */
    quern__csv_blocks blocks;
    const quern_schema *given; /* schema from the options; NULL: none; borrowed */
    quern_schema *schema;      /* of the current run; NULL before it */
    char separator, decimal;
    bool separator_given, no_header, features_named, targets_named;
    bool skip_unknown; /* skip records with an unknown class */
    bool unknown;      /* the record has an unknown class */
    int64_t skipped;   /* skipped records of this epoch */
    char encoding[32];
    bool encoding_given; /* by an option */
    bool missing_given;
    quern__names missing;         /* words for a missing value, if missing_given */
    int n, n_features, n_targets; /* columns; elements of a record in this run */
    int64_t n_slots;              /* of the features: units of 4 bytes in a row */
    bool weighted, fresh;         /* fresh: nothing was read since the start */
    bool passed;                  /* reading can continue after the failed record */
    bool said;                    /* unused columns were logged */
    bool checking;                /* only headers are read */
    quern__column *columns;
    quern__csv_plain *plain;      /* by column, for this run */
    int inner;                    /* newlines inside the quotes of the record */
    int64_t line;                 /* line of the first byte of the record */
    size_t used;                  /* bytes of the record at `begin`, with its newline */
    struct quern__csv_twin *twin; /* the second thread; NULL until it is needed */
    char *field;                  /* buffer of a field without quotes */
    size_t field_room, field_length;
    int column;  /* column of the current field; -1: none */
    int n_texts; /* strings of a record; `texts` point into `text` */
    quern_string *texts;
    char *text;
    size_t text_used;
} quern__csv;

/* State of the RFC 4180 automaton: a quote opens a field only at its first byte; inside quotes,
 * two quotes are one. */
typedef struct quern__csv_state {
    bool inside, fresh; /* inside quotes; at the first byte of a field */
} quern__csv_state;
/* Consumes the byte at p, or both of two quotes. Returns the next byte. */
static inline const char *quern__csv_step(quern__csv_state *s, const char *p, const char *end,
                                          char separator)
{
    if (s->inside) {
        bool two = *p == '"' && p + 1 < end && p[1] == '"';
        s->inside = two || *p != '"';
        return p + 1 + two;
    }
    s->inside = *p == '"' && s->fresh;
    s->fresh = *p == separator || *p == '\n';
    return p + 1;
}

/* ---- csv.c ---- */
/* Fails at the current record, in a column (-1: no column). */
int quern__csv_fail(const quern__csv *f, int column, int code, quern_error *err, const char *format,
                    ...) __attribute__((format(printf, 5, 6)));
/* Finds the next record, [p, e) without its line end; QUERN_END at the end of this file.
 * `quoted`: the record contains a quote. */
int quern__csv_next(quern__csv *f, char **p, char **e, bool *quoted, quern_error *err);
/* Copies the field at p without quotes to f->field and moves *p to its end, a separator or e. */
int quern__csv_take(quern__csv *f, char **p, const char *e, quern_error *err);
/* Copies column k of the next complete record to f->field as text; QUERN_END at the end. */
int quern__csv_text(quern__csv *f, int k, quern_error *err);
/* `rewind` of the stream: the first record in file order, or the first block. */
int quern__csv_rewind(void *self, quern_error *err);
/* Opens file k and reads its header. */
int quern__csv_open_file(quern__csv *f, int k, quern_error *err);
/* Converts the record [p, e). err NULL: fails without a text. */
int quern__csv_record(quern__csv *f, char *p, const char *e, float *x, double *y, quern_error *err);
/* Reads the next record (`read` of the stream). */
int quern__csv_read(void *self, float *x, double *y, quern_error *err);

/* ---- csv_header.c ---- */
/* Reads the header of the open file. `first`: it defines the columns; else it must match them. */
int quern__csv_header(quern__csv *f, bool first, quern_error *err);

/* ---- csv_values.c ---- */
/* Selects the columns that use the fast path in this run. */
void quern__csv_set_plain(quern__csv *f);
/* Converts and stores one field and moves *p to its end. */
int quern__csv_put(quern__csv *f, int k, char **p, const char *e, float *x, double *y,
                   quern_error *err);
/* Fails with "'TEXT' is not a number" and a hint. */
int quern__csv_no_number(const quern__csv *f, int k, const char *text, quern_error *err);
/* Whether a text is a missing value: empty, or one of the words for it. */
bool quern__csv_missing(const quern__csv *f, const quern__column *c, const char *text);
/* The text without surrounding blanks; changes it in place. */
char *quern__csv_trim(char *text);

/* ---- csv_parallel.c ---- */
/* Reads up to `most` records, on two threads if there are enough. Returns their number, 0 at the
 * end, or a negative status. */
int64_t quern__csv_many(void *self, float *x, double *y, int64_t most, quern_error *err);
/* Stops and frees the second thread; NULL is valid. */
void quern__csv_twin_free(struct quern__csv_twin *twin);

/* ---- csv_blocks.c ---- */
/* Divides regular files of sufficient size into blocks. Called after the first header, before
 * any record. */
int quern__csv_cut(quern__csv *f, quern_error *err);
/* Frees the division and the read-ahead. */
void quern__csv_cut_free(quern__csv *f);
/* Bytes that reading by blocks allocates. */
size_t quern__csv_blocks_size(const quern__csv *f);
/* `order` and `places` of the stream. */
void quern__csv_order(void *self, const quern__random_key *key, int64_t epoch);
int64_t quern__csv_places(void *self, int64_t *all);
/* Starts an epoch. */
void quern__csv_restart(quern__csv *f);
/* Moves to the first record of the next block, which may be empty. QUERN_END after the last. */
int quern__csv_next_block(quern__csv *f, quern_error *err);
/* Bytes from the next record to the end of the block; records that begin there belong to it. */
static inline int64_t quern__csv_left(const quern__csv *f)
{
    return !f->blocks.on ? INT64_MAX
                         : f->blocks.limit - (quern__bytes_place(&f->bytes) + (int64_t)f->used);
}
/* The line of the current record; with blocks it is counted on request. */
int64_t quern__csv_line(const quern__csv *f);
extern int64_t quern__csv_block; /* bytes of a block; 0: chosen by record size; tests reduce it */

/* ---- csv_marks.c ---- */
/* State at the first byte of a block: inside quotes; at the start of a field; after a quote that
 * may be the first of two; at the start of a record. */
enum { QUERN__MARK_INSIDE = 1, QUERN__MARK_FRESH = 2, QUERN__MARK_TWO = 4, QUERN__MARK_RECORD = 8 };
/* Reads all files and marks the start of each block, for files with quotes inside unquoted
 * fields. */
int quern__csv_mark(quern__csv *f, quern_error *err);
/* The first record that starts at p or later, where a block begins at p; NULL: none starts
 * before `end`. */
const char *quern__csv_first(unsigned char mark, const char *p, const char *end, char separator);

/* ---- csv_roles.c ---- */
/* Sets the role of each column from the options. */
int quern__csv_columns(quern__csv *f, const quern_file_opts *o, quern_error *err);

/* ---- csv_columns.c ---- */
/* `match` of the stream: sets the place of each column for a run, by name where names are known. */
int quern__csv_match(void *self, const quern_batch_spec *spec, int64_t *x_count, int64_t *y_count,
                     quern_error *err);
/* The column of a name, or a negative status with an error. */
int quern__csv_find(const quern__csv *f, const char *name, quern_error *err);

/* ---- csv_classes.c ---- */
/* Decides whether the values of a target are names, and learns them: from the schema (known,
 * NULL: none) or in a pass over the data. `means` is the QUERN_MEANS_… of the loss. */
int quern__csv_learn(quern__csv *f, int k, const quern__schema_column *known, int means,
                     quern_error *err);
/* Gives columns that are labels of the same units the union of their class names. */
int quern__csv_share(quern__csv *f, const int *columns, int n, quern_error *err);
/* Builds the schema of the run from columns whose places are set. */
int quern__csv_schema(quern__csv *f, const quern_batch_spec *spec, quern_error *err);

#endif
