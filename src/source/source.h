/* source: the interface of data sources. Each kind of source fills one table of functions,
 * quern__source_ops. The modules queue and fit use this table only and know no kind.
 * A source is random access (`read`: any thread reads any record by its index) or sequential
 * (`next`: batches in one order). A sequential source of single records is a quern__stream;
 * shuffle_buffer.c turns it into a source. */
#ifndef QUERN__SOURCE_H
#define QUERN__SOURCE_H

#include "tensor/tensor.h"
#include <pthread.h>
#include <quern/source_files.h>

/* Reliability of a shape. OWN: the shape of an array. TABLE: the number of columns of a table,
 * which fill any inputs in order. LOST: the number of elements only, from .qrec files of an
 * early version that did not store shapes. */
enum { QUERN__AXES_OWN = 0, QUERN__AXES_TABLE = 1, QUERN__AXES_LOST = 2 };

/* The arrays of a record as the source knows them without a model: inputs first, then targets,
 * with the types in the data. */
typedef struct quern__description {
    int n_x, n_y;
    quern_shape shapes[2 * QUERN_MAX_ARRAYS]; /* with a dynamic batch dimension */
    int axes[2 * QUERN_MAX_ARRAYS];           /* QUERN__AXES_…, by array */
    int dtypes[2 * QUERN_MAX_ARRAYS];
    char names[2 * QUERN_MAX_ARRAYS]
              [64]; /* name of an input or output; empty: arrays match by order */
    bool weighted;  /* the data has one weight per record */
} quern__description;

typedef struct quern__source_ops {
    /* Begins a run: checks that the data fits `spec` and allocates. `spec` is borrowed until
     * close. */
    int (*open)(quern_generator *g, const quern_batch_spec *spec, bool shuffle, uint64_t seed,
                quern_error *err);
    /* Sequential: fills the next batch. Returns QUERN_OK, QUERN_END or an error. One thread at a
     * time. */
    int (*next)(quern_generator *g, quern_batch *batch, quern_error *err);
    /* Random access, instead of next: fills batch->size records from index `first` of a pass.
     * Any thread may call it, several at a time. `reset` is not called. */
    int (*read)(quern_generator *g, int64_t pass, int64_t first, quern_batch *batch,
                quern_error *err);
    /* Restarts the data for an epoch. NULL: not possible. */
    int (*reset)(quern_generator *g, int64_t epoch, quern_error *err);
    void (*cancel)(quern_generator *g); /* wakes a blocked next; NULL: next never blocks */
    void (*close)(quern_generator *g);  /* ends the run; open may follow; NULL: nothing to do */
    void (*free)(quern_generator *g);
    /* Fills the error that explains why the data has no records. NULL: a general error. */
    int (*empty)(const quern_generator *g, quern_error *err);
    /* Bytes that open and reading will allocate, in addition to those that the source holds.
     * NULL: almost 0. */
    size_t (*bytes)(const quern_generator *g, const quern_batch_spec *spec, bool shuffle);
    /* Describes the records. NULL: the model determines their layout. */
    int (*describe)(const quern_generator *g, quern__description *out, quern_error *err);
    /* The shapes of the inputs, for a model with open axes. QUERN_END: the source does not state
     * them. NULL: describe states them. */
    int (*shapes)(const quern_generator *g, quern__description *out, quern_error *err);
    /* Save and restore the resume position of a sequential source (`saves` in the generator);
     * resume_position.c does it for random access. save writes at most `room` bytes to `state`
     * and sets *size; `state` may be NULL. */
    int (*save)(const quern_generator *g, void *state, size_t room, size_t *size, quern_error *err);
    int (*restore)(quern_generator *g, const void *state, size_t size, quern_error *err);
    /* The number of records of the first batch, without taking it, before open. For sources that
     * determine the batch size; 0: the source is empty. Returns QUERN_CANCELED on interruption.
     * NULL: the run determines the batch size. */
    int64_t (*first)(quern_generator *g, uint64_t seed, const volatile int *interrupt,
                     quern_error *err);
} quern__source_ops;

/* Bad records of one batch. The reader thread adds them; the trainer reports them when it takes
 * the batch (bad_records.c). */
enum { QUERN__BAD_KEPT = 16 };
typedef struct quern__bad {
    int policy; /* QUERN_BAD_SKIP or QUERN_BAD_SUBSTITUTE */
    int64_t most, count;
    quern_error places[QUERN__BAD_KEPT]; /* the first ones */
} quern__bad;

/* Applies the policy to a record that failed with `own`. Returns QUERN_OK if the record is noted
 * and reading continues, else `status` with `err` filled. `bad` belongs to the batch; NULL:
 * every bad record is an error. */
int quern__bad_record(quern__bad *bad, int status, const quern_error *own, quern_error *err);
/* Counts, logs and keeps the bad records of a batch that the trainer takes. `last` is the error
 * with which the batch failed, or NULL. Fails if the epoch has too many bad records. Trainer
 * thread only. */
int quern__bad_report(quern_generator *g, quern__bad *bad, const quern_error *last,
                      quern_error *err);
/* Logs the total of bad records at the end of a run. */
void quern__bad_close(const quern_generator *g);

/* The current operation of a reader thread, for stall reports (activity.c). The lock protects
 * all fields. */
typedef struct quern__activity {
    pthread_mutex_t lock;
    const char *stage, *unit; /* static strings such as "reading" and "line" */
    int64_t n;
    char where[160];
} quern__activity;
/* Sets the activity that the calling thread updates; NULL: none. */
void quern__doing_here(quern__activity *d);
/* Records the start of an operation that may block: `stage` on `where`, at `unit` number n.
 * `stage` and `unit` must be static. */
void quern__activity_set(const char *stage, const char *where, const char *unit, int64_t n);
/* Sets n only. */
void quern__begin_next(int64_t n);
/* Formats place and number into `where`, such as "train.csv, line 41". Returns the stage. */
const char *quern__doing_text(quern__activity *d, char *where, size_t room);

/* ---- generator.c: what a run asks of a generator ---- */

bool quern__generator_finite(const quern_generator *g);   /* an epoch is one pass over it */
bool quern__generator_restarts(const quern_generator *g); /* can restart */
bool quern__generator_indexed(const quern_generator *g);  /* random access */
bool quern__generator_keeps(const quern_generator *g);    /* can provide the texts of columns */
/* The number of records with random access; 0: unknown. */
int64_t quern__generator_records(const quern_generator *g);
/* The policy for bad records, QUERN_BAD_…. */
int quern__generator_bad_policy(const quern_generator *g);
/* The name in errors, or `otherwise` if it has none; the file of an array of the batch, or NULL.
 * Borrowed. */
const char *quern__generator_where(const quern_generator *g, const char *otherwise);
const char *quern__generator_file(const quern_generator *g, int array);
/* Whether it determines the batch size; the size of its first batch (`first` of its ops). 0: the
 * run determines it, or the source is empty. */
bool quern__generator_sets_batches(const quern_generator *g);
int64_t quern__generator_first(quern_generator *g, uint64_t seed, const volatile int *interrupt,
                               quern_error *err);
/* Restores a resume position in a run that has not begun an epoch. */
int quern__generator_place(quern_generator *g, const void *state, size_t size, quern_error *err);
/* The next pass of the run begins at the start, not at the restored position. */
void quern__generator_start_over(quern_generator *g);

/* Fills the error of data without records. */
int quern__source_empty(const quern_generator *g, quern_error *err);
/* Bytes that `ops->bytes` reports. g NULL, before the source is known: an estimate for file
 * readers. */
size_t quern__source_bytes(const quern_generator *g, const quern_batch_spec *spec, bool shuffle);
/* The shapes of the inputs as the source states them. QUERN_END: it does not state them. */
int quern__source_shapes(const quern_generator *g, quern__description *out, quern_error *err);
/* Bytes of the conversion buffer for concatenated arrays: one array in another type. */
size_t quern__protocol_bytes(const quern_generator *g, const quern_batch_spec *spec, bool shuffle);

/* Random access: checks that a run with these options can resume at the restored position. */
int quern__position_check(const quern_generator *g, bool shuffle, uint64_t seed, int64_t batch_size,
                          quern_error *err);

/* Units of 4 bytes that input i occupies in a record of a stream. An element of type float32,
 * int32 or string has 1 unit, of type int64 2. */
int64_t quern__slots(const quern_batch_spec *spec, int i);
/* Elements of one record: the product of all dimensions except the first. */
int64_t quern__per_record(const quern_shape *s);
/* Bytes for the strings of a batch; 0: no string inputs; -1: overflow. */
int64_t quern__string_room(const quern_batch_spec *spec);
/* batch_shape.c: begins a batch of up to `size` records, with the shapes of the spec. */
void quern__batch_begin(quern_batch *b, int64_t size);
/* The QUERN_WEIGHTS_… that an array of this shape is for a target; -1: the shape does not fit. */
int quern__weights_kind(const quern_batch_spec *spec, int target, const quern_shape *have);
/* Random access: writes the indices of batch->size records from position `first` of a pass to
 * batch->indices, shuffled or not. */
void quern__number_records(const quern_generator *g, bool shuffle, uint64_t seed, int64_t pass,
                           int64_t first, quern_batch *b);
/* Reference count of a generator: keep adds a reference, quern_generator_free drops one. The
 * last one frees it. */
void quern__generator_keep(quern_generator *g);
/* A generator with these functions. Takes `self` on success. Returns new; NULL: out of memory. */
quern_generator *quern__generator_new(const quern__source_ops *ops, void *self);

/* A record stream: a sequential source of single records, which shuffle_buffer.c makes into
 * batches. rewind restarts it. */
typedef struct quern__stream {
    /* Called before rewind. Selects the layout of a record: all inputs concatenated, in the
     * types of the spec (quern__slots), and all targets concatenated. Sets the sizes. NULL:
     * x_count and y_count are fixed, and fill inputs and targets in order. */
    int (*match)(void *self, const quern_batch_spec *spec, int64_t *x_count, int64_t *y_count,
                 quern_error *err);
    int (*rewind)(void *self, quern_error *err);
    /* Reads one record: inputs into their slots, targets as doubles. Returns QUERN_OK, QUERN_END
     * or an error. */
    int (*read)(void *self, float *x, double *y, quern_error *err);
    /* Reads up to `most` records. Returns their number, 0 at the end, or a negative status.
     * NULL: read is used. */
    int64_t (*read_many)(void *self, float *x, double *y, int64_t most, quern_error *err);
    /* Called before rewind. Permits any order of records in this epoch; the order must be a
     * function of key and epoch only. key NULL: file order. NULL: the stream has file order
     * only. */
    void (*order)(void *self, const quern__random_key *key, int64_t epoch);
    /* The number of places in the data from which the records since rewind came; *all: the
     * number of all places. NULL: one. */
    int64_t (*places)(void *self, int64_t *all);
    void (*cancel)(void *self); /* as in quern__source_ops, like close; NULL: nothing to do */
    void (*close)(void *self);
    void (*free)(void *self);
    void *self;
    /* Strings of the record that `read` provided last: those of all string inputs in order, at
     * most QUERN_MOST_STRING bytes each. They count in x_count. NULL: no strings. With strings
     * only `read` is called. */
    const quern_string *(*strings)(void *self);
    /* Whether reading can continue after the record with which `read` failed. NULL: never. */
    bool (*passed)(void *self);
    /* Sets the list for bad records (NULL: none) before reading, if the stream reads another
     * generator. */
    void (*note)(void *self, quern__bad *bad);
    /* Name of class i of a target; NULL, or function NULL: the target has no classes. */
    const char *(*class_name)(void *self, int target, int i);
    const quern_schema *(*schema)(
        void *self); /* schema of its columns after `match`; NULL: columns have no names */
    /* Describes the records. NULL: one array of x_count inputs, one of y_count targets. */
    int (*describe)(const void *self, quern__description *out, quern_error *err);
    int64_t x_count, y_count; /* elements of a record */
    size_t bytes;  /* bytes that reading allocates later: threads, and buffers that usually grow */
    bool weighted; /* a record has one more double after the targets: its weight */
    bool once;     /* cannot be read a second time */
    const char *where;
} quern__stream;
/* Makes a generator of a stream. Takes s->self, also on failure. Returns new. */
quern_generator *quern__stream_generator(const quern__stream *s, quern_error *err);
/* Logs the index of dispersion of a shuffle that draws `what` from `places` of `all` places of
 * the data (all 0: very many). For data sorted by class it is 1 + (batch - 1) (1 / places - 1 /
 * all); a perfect shuffle has 1. A value above 1.1 is a warning with the advice. */
void quern__log_dispersion(const char *where, const char *what, double places, double all,
                           int64_t batch, const char *advice);
enum { QUERN__WORD = 4096 }; /* bytes of a word of DATA, with the terminator */
/* Expands words to paths: each word is a path or a glob pattern, whose files come in byte order.
 * The paths are new. */
int quern__paths_find(const char *words, char ***paths, int *n, quern_error *err);
void quern__paths_free(char **paths, int n);
/* Opens files of one kind. */
/* Arrays in files: "x=… y=…", or an NPZ. `format`: the required format; NULL: any.
 * `channels_first`: inputs have their channels on axis 1. Returns new. */
quern_generator *quern__records_open(const char *words, const char *format, bool channels_first,
                                     quern_error *err);
/* Concatenated arrays; "-" is standard input. Returns new. */
quern_generator *quern__input_open(const char *path, const quern_file_opts *o, quern_error *err);
/* CSV files as a record stream in *out. Copies the paths. */
int quern__csv_open(char **paths, int n, char separator, const quern_file_opts *o,
                    quern__stream *out, quern_error *err);
extern size_t quern__csv_buffer; /* initial size of a CSV buffer in bytes; tests reduce it */

#endif
