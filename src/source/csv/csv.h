/* What the files of CSV share: csv_header.c reads the header, csv.c records, csv_values.c their fields; csv_columns.c says what
 * each column is, csv_classes.c which names its classes have. */
#ifndef QUERN__CSV_H
#define QUERN__CSV_H

#include "schema/schema.h"
#include "source/io/file_reader.h"
#include "source/io/readahead.h"
#include "source/source.h"

enum { QUERN__CSV_RECORD = 4 << 20, QUERN__CSV_TWIN_BYTES = 256 << 10 };
enum {
    QUERN__IGNORED = -1,
    QUERN__FIRST_TARGET = -2
}; /* places: features from 0 up, targets from -2 down, weights behind the targets */
/* What the options make of a column; REST: a feature where no features are named. */
enum { QUERN__ROLE_REST = 0, QUERN__ROLE_FEATURE, QUERN__ROLE_TARGET, QUERN__ROLE_WEIGHT };

typedef struct quern__column {
    char *name;
    int role, order; /* as the options say; its number among those of its role */
    int place;       /* in the present run */
    bool whole;      /* a target that the run takes as int32 */
    int exact;       /* a feature that the run takes as whole numbers: QUERN_INT32 or QUERN_INT64; 0: it does not */
    int64_t slot;    /* of a feature, in the run's rows */
    int text, kept;  /* 1 + its number among the strings of a record, as an input and as a column that is kept; 0: none */
    bool fills;      /* a missing number is `fill` */
    double fill;
    char *fill_class;     /* the class of a missing name; NULL: none */
    bool asked, named;    /* --classes; its values are names, whatever they look like */
    bool classifies;      /* a target whose loss takes names */
    bool numbers;         /* the model learned that its values are numbers */
    bool learned;         /* it is known whether its values are names: */
    quern__names classes; /* those; none: they are numbers */
    int64_t labels;       /* of a target that is a class: how many there are; 0: any */
    int64_t ignored;      /* the label that may be outside */
} quern__column;

/* What most fields are: a number that stands plainly between separators and goes to its place. */
enum { QUERN__PLAIN_NOT = 0, QUERN__PLAIN_X, QUERN__PLAIN_Y, QUERN__PLAIN_LABEL };
typedef struct quern__csv_plain {
    int kind;       /* NOT: quern__csv_put does it */
    int32_t labels; /* of a label: how many classes there are; 0: any whole number */
    int64_t at;     /* in x or y */
} quern__csv_plain;

/* The blocks of the files, which an epoch visits in an order of its own (csv_blocks.c). */
typedef struct quern__csv_blocks {
    int64_t n, size;      /* n: 0 where the files are only read in their order */
    int64_t *ends;        /* by file: blocks up to its end */
    bool quoted;          /* there are quotes at the beginning, */
    bool literal;         /* and some of them within fields */
    unsigned char *marks; /* how each begins, QUERN__MARK_…; NULL: the bytes around it tell */
    bool on;              /* this epoch goes by them */
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
    const quern_schema *given; /* of the options; NULL: none. Borrowed */
    quern_schema *schema;      /* of the present run; NULL: none yet */
    char separator, decimal;
    bool separator_given, no_header, features_named, targets_named;
    bool skip_unknown; /* records of a class that is not known are left out */
    bool unknown;      /* the record has one */
    int64_t skipped;   /* of them, in this epoch */
    char encoding[32];
    bool encoding_given; /* by the options */
    bool missing_given;
    quern__names missing;         /* what stands for a missing value then */
    int n, n_features, n_targets; /* columns; numbers of a record of the present run */
    int64_t n_slots;              /* of the features, in the run's rows */
    bool weighted, fresh;         /* fresh: nothing has been read since the start */
    bool passed;                  /* the record that failed lies behind */
    bool said;                    /* which columns are not used */
    bool checking;                /* headers alone are read */
    quern__column *columns;
    quern__csv_plain *plain;      /* by column, of the present run */
    int inner;                    /* newlines within the record's quotes */
    int64_t line;                 /* of the record's first byte */
    size_t used;                  /* bytes of the record at `begin`, its newline among them */
    struct quern__csv_twin *twin; /* a second thread that reads; NULL while there was no need */
    char *field;                  /* a quoted field without its quotes */
    size_t field_room, field_length;
    int column;  /* the present field is in; -1: none */
    int n_texts; /* strings of a record; where they lie, and the bytes of those */
    quern_string *texts;
    char *text;
    size_t text_used;
} quern__csv;

/* Where a reader is among quotes, as RFC 4180 has them: a quote opens a field at its beginning alone; within, two are one. */
typedef struct quern__csv_state {
    bool inside, fresh; /* within quotes; at the beginning of a field */
} quern__csv_state;
/* Takes the byte at p (and the second of two quotes); returns where the next one is. */
static inline const char *quern__csv_step(quern__csv_state *s, const char *p, const char *end, char separator)
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
/* An error at the present record, in a column (-1: in none). */
int quern__csv_fail(const quern__csv *f, int column, int code, quern_error *err, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* The next record, [p, e) without its end of line; QUERN_END when there is none in this file. `quoted`: it holds a quote. */
int quern__csv_next(quern__csv *f, char **p, char **e, bool *quoted, quern_error *err);
/* The field that begins at p, without quotes, in f->field; *p moves behind it (to a separator or e). */
int quern__csv_take(quern__csv *f, char **p, const char *e, quern_error *err);
/* The field of column k as text, in f->field, of the next record that has all its fields; QUERN_END at the end. */
int quern__csv_text(quern__csv *f, int k, quern_error *err);
int quern__csv_rewind(void *self, quern_error *err);
/* Opens the k-th file and reads its header. */
int quern__csv_open_file(quern__csv *f, int k, quern_error *err);
/* One record that lies in [p, e). */
int quern__csv_record(quern__csv *f, char *p, const char *e, float *x, double *y, quern_error *err);
/* The next record, of whatever kind. */
int quern__csv_read(void *self, float *x, double *y, quern_error *err);

/* ---- csv_header.c ---- */
/* Reads the header of the open file; that of the first file names the columns. */
int quern__csv_header(quern__csv *f, bool first, quern_error *err);

/* ---- csv_values.c ---- */
/* Which columns are plain numbers in the present run. */
void quern__csv_set_plain(quern__csv *f);
/* One field into its place; *p moves behind it. */
int quern__csv_put(quern__csv *f, int k, char **p, const char *e, float *x, double *y, quern_error *err);
/* "'TEXT' is not a number", with what may help. */
int quern__csv_no_number(const quern__csv *f, int k, const char *text, quern_error *err);
/* Whether a text stands for a missing value of the column: nothing, or one of the words that do. */
bool quern__csv_missing(const quern__csv *f, const quern__column *c, const char *text);
/* The text without blanks around it. */
char *quern__csv_trim(char *text);

/* ---- csv_parallel.c ---- */
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

/* ---- csv_marks.c ---- */
/* Where a block begins: within quotes; at the beginning of a field; behind a quote that may be the first of two; with a record. */
enum { QUERN__MARK_INSIDE = 1, QUERN__MARK_FRESH = 2, QUERN__MARK_TWO = 4, QUERN__MARK_RECORD = 8 };
/* Reads how all blocks begin, where the files are known to have quotes within fields. */
int quern__csv_mark(quern__csv *f, quern_error *err);
/* The first record at p, where a block begins, or behind it; NULL: none begins before `end`. */
const char *quern__csv_first(unsigned char mark, const char *p, const char *end, char separator);

/* ---- csv_roles.c ---- */
/* Gives every column its role, from the options. */
int quern__csv_columns(quern__csv *f, const quern_file_opts *o, quern_error *err);

/* ---- csv_columns.c ---- */
/* The stream's match: every column gets its place in the run, by name where names are known. */
int quern__csv_match(void *self, const quern_batch_spec *spec, int64_t *x_count, int64_t *y_count, quern_error *err);
/* The column of a name; negative, with an error, when there is none. */
int quern__csv_find(const quern__csv *f, const char *name, quern_error *err);

/* ---- csv_classes.c ---- */
/* Whether the values of a target are names, and which: from the schema (NULL: none), or a pass over the data. `means`: what the
 * loss takes them for. */
int quern__csv_learn(quern__csv *f, int k, const quern__schema_column *known, int means, quern_error *err);
/* Columns that are labels of the same units get the names of all of them. */
int quern__csv_share(quern__csv *f, const int *columns, int n, quern_error *err);
/* The schema of the run whose places are set. */
int quern__csv_schema(quern__csv *f, const quern_batch_spec *spec, quern_error *err);

#endif
