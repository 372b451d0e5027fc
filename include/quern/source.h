/* Generators: the objects that provide batches to a run. The caller creates and
 * frees a generator. It serves one run at a time; a second run at the same time is
 * QUERN_INVALID. A run passes the model's shapes and types (quern_batch_spec)
 * before the first batch, and starts the data from the beginning, unless the
 * caller restored a position (quern_generator_restore) or the data cannot start
 * again. */
#ifndef QUERN_SOURCE_H
#define QUERN_SOURCE_H

#include <quern/schema.h>
#include <quern/tensor.h>
#include <quern/text.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The largest number of inputs, and of outputs, of a model. */
#define QUERN_MAX_ARRAYS 16

/* A generator. Threads: one at a time, which runs it; each kind says which other
 * threads read its data. */
typedef struct quern_generator quern_generator;

/* ---- batches ---- */

/* The arrays of a batch: inputs, then targets; shapes start with the dynamic batch
 * dimension. */
typedef struct quern_batch_spec {
    int32_t n_inputs, n_targets; /* 0 targets for predict */
    int64_t batch_size;          /* capacity of a batch in records */
    quern_shape shapes[2 * QUERN_MAX_ARRAYS];
    /* float32 or int32; an input may also be int64 or QUERN_STRING. */
    int32_t dtypes[2 * QUERN_MAX_ARRAYS];
    const char *names[2 * QUERN_MAX_ARRAYS]; /* of the model's inputs and outputs */
    /* By target: the largest shape of its weights, (records, steps) if it has
     * steps, else (records). */
    quern_shape weights[QUERN_MAX_ARRAYS];
    /* By target: a QUERN_MEANS_…, the meaning of its numbers to the loss. */
    int32_t means[QUERN_MAX_ARRAYS];
    int64_t classes[QUERN_MAX_ARRAYS]; /* by target: number of classes; 0: unknown */
    /* By target: the label that the loss ignores (ignore_class); INT64_MIN: none. */
    int64_t ignored[QUERN_MAX_ARRAYS];
    /* Schema of the training data, which selects columns by name; NULL: none. */
    const quern_schema *schema;
    /* The last n_kept inputs are columns of text that the model does not take. */
    int32_t n_kept;
} quern_batch_spec;

/* The sample weights of a target: those of all targets, one for each record, or
 * one for each record and step. */
enum { QUERN_WEIGHTS_COMMON = 0, QUERN_WEIGHTS_RECORDS = 1, QUERN_WEIGHTS_STEPS = 2 };

/* A recycled batch. The generator writes arrays of `size` records; `size` starts as
 * spec->batch_size and must not exceed it. Optional weights: one number for each
 * record in `weights` with has_weights set, or weights of one target in
 * target_weights[i] with their kind in weighs[i], which must stay the same in the
 * run. */
typedef struct quern_batch {
    const quern_batch_spec *spec; /* borrowed from the run */
    int64_t size;
    void *arrays[2 * QUERN_MAX_ARRAYS]; /* inputs, then targets */
    float *weights;
    int64_t *indices; /* record indexes; a source that knows them fills it */
    int32_t has_weights;
    /* Set by the run: the epoch from 0, and the index of the first record in it. */
    int64_t epoch, first;
    float *target_weights[QUERN_MAX_ARRAYS]; /* by target, of shape spec->weights[i] */
    /* By target: a QUERN_WEIGHTS_…; COMMON before the generator sets it. */
    int32_t weighs[QUERN_MAX_ARRAYS];
    char *text; /* bytes of strings (quern_batch_put_string) */
    int64_t text_room, text_used;
    struct quern__bad *bad; /* the run's bad records; NULL outside a run */
} quern_batch;

/* The largest string in bytes, and the average capacity for a string in a batch. */
enum { QUERN_MOST_STRING = 1 << 16, QUERN_STRING_ROOM = 1 << 12 };

/* Copies a string into element `at` (C order) of an array of type string. The
 * batch holds QUERN_STRING_ROOM bytes for each string, and at least one of
 * QUERN_MOST_STRING. An element may instead point to bytes that outlive the run.
 * Returns 0; QUERN_INVALID with the record if the string is too long or the batch
 * is full. */
QUERN_API int quern_batch_put_string(quern_batch *b, int array, int64_t at, const char *bytes, int64_t size, quern_error *err);

/* The largest state of a generator in bytes; with random access it has at most
 * 128. */
#define QUERN_MAX_STATE 4096

/* ---- callbacks and functions ---- */

/* The functions of a pull callback; one thread at a time calls them.
 *
 *     next     fills the batch; returns 0, QUERN_END (StopIteration), or a
 *              negative status with `err` filled
 *     reset    starts the data again: for another run, each validation and
 *              QUERN_EXHAUSTED_RESTART; NULL: the stream continues between runs
 *     save     writes at most `room` bytes of state (NULL: none) and sets *size to
 *              its size, at most QUERN_MAX_STATE; called after each `next`, on the
 *              same thread
 *     restore  continues from a saved state; `save` and `restore` are both set or
 *              both NULL */
typedef struct quern_callback_ops {
    int (*next)(void *user, quern_batch *batch, quern_error *err);
    int (*reset)(void *user, quern_error *err);
    int (*save)(void *user, void *state, size_t room, size_t *size, quern_error *err);
    int (*restore)(void *user, const void *state, size_t size, quern_error *err);
} quern_callback_ops;

/* A generator from a pull callback. Copies `ops`, borrows `user`. Returns new, NULL
 * if memory is short. */
QUERN_API quern_generator *quern_callback_generator(const quern_callback_ops *ops, void *user);

/* Fills the batch->size records that batch->indices names. Several reader threads
 * may call it at once, each with its own batch. */
typedef int quern_read(void *user, quern_batch *batch, quern_error *err);

/* A generator with random access to records 0 … count-1. The run shuffles by a
 * permutation of the indexes, a new one in each epoch; the order does not depend on
 * the number of workers. Borrows `user`. Returns new, NULL if memory is short or
 * `count` is negative. */
QUERN_API quern_generator *quern_indexed_generator(quern_read *read, void *user, int64_t count);

/* The handle of a generator function. Threads: only the thread of the function. */
typedef struct quern_yielder quern_yielder;

/* A generator function: a loop of quern_next_batch, fill, quern_yield. Returns 0
 * for StopIteration, or a negative status with quern_yielder_error filled. */
typedef int quern_function(quern_yielder *yielder, void *arg);

/* A generator that runs `fn` on its own thread, and again for another run, each
 * validation and QUERN_EXHAUSTED_RESTART. The thread ends with the run. Borrows
 * `arg`. Returns new, NULL if memory is short. */
QUERN_API quern_generator *quern_function_generator(quern_function *fn, void *arg);

/* The next batch to fill. Returns borrowed; NULL: the run has ended, return. */
QUERN_API quern_batch *quern_next_batch(quern_yielder *yielder);

/* Passes a filled batch to the trainer and waits until the trainer has taken the
 * previous one. Returns 0; QUERN_CLOSED: the run has ended, return. */
QUERN_API int quern_yield(quern_yielder *yielder, quern_batch *batch);

/* The error to fill before the function returns a negative status. Borrowed. */
QUERN_API quern_error *quern_yielder_error(quern_yielder *yielder);

/* ---- arrays in memory ---- */

/* A generator of `n_x` inputs, `n_y` targets and `weights` (float32, one for each
 * record; NULL: unweighted) with equal first dimensions, of any type. Borrows the
 * arrays and the bytes of strings. A run checks shapes as Keras does: a last
 * dimension of 1 may be missing or extra; another difference is QUERN_SHAPE.
 * Returns new, NULL on failure. */
QUERN_API quern_generator *quern_array_generator(const quern_tensor *x, int n_x, const quern_tensor *y, int n_y,
                                                 const float *weights, quern_error *err);

/* Sets sample weights of one target, (records) or (records, steps), instead of the
 * common ones. Borrows the array. Call it before a run. Returns 0 or a negative
 * status. */
QUERN_API int quern_array_generator_weights(quern_generator *g, int target, const quern_tensor *weights, quern_error *err);

/* ---- files ---- */

/* Options of quern_file_generator; NULL and 0: the defaults. */
typedef struct quern_file_opts {
    /* sizeof (quern_file_opts); 0: the layout of version 0.1 (docs/abi.md). */
    size_t size;
    const char *target;   /* target columns of a CSV, comma-separated; NULL: none */
    const char *features; /* feature columns, comma-separated; NULL: all others */
    const char *weight;   /* the column of sample weights; NULL: unweighted */
    /* Replaces missing values: "0", or by column "age=30,price=0"; NULL: a missing
     * value is an error. */
    const char *missing;
    /* "csv", "tsv", "npy", "idx", "npz" or "qrec"; NULL: by name, then by content. */
    const char *format;
    const char *arrays; /* order of concatenated NPY arrays, as in quern_program_opts */
    /* As quern_generator_set_stall_timeout, in seconds. For concatenated arrays it
     * limits each silence of the writer. 0: no limit. */
    double stall_timeout;
    /* "channels_first": transposes inputs of rank 3 or more from (N, C, ...) to
     * (N, ..., C). NULL or "channels_last": does not transpose. */
    const char *data_format;
    /* The members below apply to CSV only. */
    /* Schema of the training data (quern_model_schema); NULL: none. Borrowed until
     * the generator is freed. */
    const quern_schema *schema;
    /* Targets, comma-separated, whose values are class names even if they look like
     * numbers; NULL: names are classes if the loss is a classification loss. */
    const char *classes;
    /* Texts, comma-separated, that mean a missing value; an empty field always does.
     * NULL: "?", "NA" and "nan" in columns of numbers, and no class name. */
    const char *missing_values;
    /* The encoding, as iconv names it ("latin1", "utf-16le"); NULL: UTF-8, or UTF-16
     * after its byte order mark. */
    const char *encoding;
    char separator;        /* between columns; 0: a comma, in .tsv a tab */
    char decimal;          /* decimal mark, '.' or ','; 0: '.' */
    int32_t no_header;     /* 1: the first line is a record; columns are "1", "2", … */
    int32_t unknown_class; /* a QUERN_UNKNOWN_… */
} quern_file_opts;

/* The policy for a record of a class that the model does not have: an error, or
 * the generator skips the record. */
enum { QUERN_UNKNOWN_ERROR = 0, QUERN_UNKNOWN_SKIP = 1 };

/* A generator that reads files. `words` has the syntax of the command: words with
 * spaces between; a backslash escapes a space or a backslash.
 *
 *     x=FILE y=FILE w=FILE  arrays of inputs, targets and sample weights: IDX, NPY
 *                           or "FILE.npz:/member", gzipped or not; x:NAME=,
 *                           y:NAME= and w:NAME= for several inputs and outputs.
 *                           Files with random access may have a weight for each
 *                           record and step
 *     data.npz              an NPZ file with the members x, y and w
 *     data.qrec             prepared records (quern_prepare)
 *     a.csv b.csv           tables with the same header, gzipped or not; ".tsv" is
 *                           tab-separated; "-" is standard input
 *     - or FILE or a pipe   with the format "npy": concatenated arrays, as another
 *                           program writes them (quern_program_generator)
 *
 * No file is loaded as a whole. An option that does not apply to the format is an
 * error.
 *
 * Tables: columns fill the inputs, then the outputs, in order, each in C order. An
 * input of type string takes its columns as text. A target that is not a number is
 * a class: its index among the sorted names (quern_generator_class).
 *
 * Arrays: any type, byte order and axis order. The axes must be those of the model;
 * a last axis of 1 may be missing or extra. A number outside the range of the
 * model's type is an error that names the record. An array in Fortran order of at
 * most 4 MiB is loaded. A larger one has random access if a record has at most 64
 * numbers; otherwise it is sequential.
 *
 * Shuffling: an uncompressed array has random access, so its shuffle is exact, and
 * several workers may read it. Other files use a shuffle buffer of 4 MiB, at most
 * 65,536 records. A large CSV that is not gzipped and not a pipe fills the buffer
 * with blocks of 16 to 64 KiB in a new order in each epoch. Prepared records fill it
 * with blocks of the whole file, and several workers may read them. A log line at
 * the start of a run gives the index of dispersion of similar neighbors; above 1.1
 * it is a warning.
 *
 * Returns new, NULL on failure. */
QUERN_API quern_generator *quern_file_generator(const char *words, const quern_file_opts *opts, quern_error *err);

/* Name of class i of a target of a file; NULL: not found. Borrowed from the
 * generator. */
QUERN_API const char *quern_generator_class(const quern_generator *g, int target, int i);

/* The schema of the data, after a run has started; NULL: columns without names.
 * Borrowed from the generator until its next run. */
QUERN_API const quern_schema *quern_generator_schema(const quern_generator *g);

/* Options of quern_prepare; NULL and 0: the defaults. */
typedef struct quern_prepare_opts {
    /* sizeof (quern_prepare_opts); 0: the layout of version 0.1 (docs/abi.md). */
    size_t size;
    /* Bytes of all buffers, at least 4 MiB and 8 records; 0: 64 MiB. */
    size_t memory;
    uint64_t seed; /* seed of the order */
    /* When a signal handler sets it, quern_prepare returns QUERN_CANCELED; NULL:
     * not used. */
    const volatile int *interrupt;
} quern_prepare_opts;

/* Writes all records of `data` in a uniformly random order to a file of prepared
 * records (docs/qrec.md), which quern_file_generator opens. `data` must read files
 * of numbers and must not be in a run.
 *
 * Needs two passes, bounded memory, and temporary disk space of the size of the
 * file. The write is atomic: after a failure `path` is unchanged and no temporary
 * file stays. The file keeps uint8, int8, uint16 and int16; it stores larger
 * integers as int32, inputs of uint32, uint64 and int64 as int64, and all other
 * numbers, columns of a table too, as float32. It also keeps class names and axes.
 *
 * Returns the number of records or a negative status. Runs on the calling thread. */
QUERN_API int64_t quern_prepare(quern_generator *data, const quern_prepare_opts *opts, const char *path, quern_error *err);

/* Options of quern_program_generator; NULL and 0: the defaults. */
typedef struct quern_program_opts {
    /* sizeof (quern_program_opts); 0: the layout of version 0.1 (docs/abi.md). */
    size_t size;
    /* Seconds without output after which the run fails with QUERN_STALLED; 0: no
     * limit. */
    double stall_timeout;
    /* Order of the arrays: "x,y,w" (w at any place), or names of inputs and outputs;
     * NULL: x, y. */
    const char *arrays;
    int32_t validation; /* 1: QUERN_PHASE is "validation", not "train" */
    int32_t reserved;   /* 0 */
    /* As in quern_file_opts; another word is an error at the start of a run. */
    const char *data_format;
} quern_program_opts;

/* A generator that runs `command` with the shell. The program writes concatenated
 * `.npy` arrays to its standard output: for each batch all inputs, then all targets.
 * A batch has at most batch_size records (0: the size of the first batch), and the
 * axes of the model, as for files.
 *
 * Its environment has QUERN_EPOCH (from 1), QUERN_SEED and QUERN_PHASE. The end of
 * the stream between batches is StopIteration. An exit status other than 0 is an
 * error with the last lines of its standard error.
 *
 * Copies `command` and `opts`. Returns new, NULL if memory is short. */
QUERN_API quern_generator *quern_program_generator(const char *command, const quern_program_opts *opts);

/* Signals the process groups of all running programs (at most 64) to stop. It is
 * async-signal-safe, for a signal handler that ends the process. */
QUERN_API void quern_programs_stop(void);

/* ---- text ---- */

/* The targets of a token window: each next token, or the token after the window. */
enum { QUERN_TARGETS_NEXT = 0, QUERN_TARGETS_LAST = 1 };

/* Options of quern_text_generator; NULL and 0: the defaults. */
typedef struct quern_text_opts {
    /* sizeof (quern_text_opts); 0: the layout of version 0.1 (docs/abi.md). */
    size_t size;
    int64_t window; /* tokens of a window; 0: the length of the model's input */
    /* Tokens between the starts of two windows; 0: `window` for
     * QUERN_TARGETS_NEXT, 3 for QUERN_TARGETS_LAST, as in Keras's example of text
     * generation. */
    int64_t stride;
    int32_t targets; /* a QUERN_TARGETS_… */
    /* 1: record r of a batch continues record r of the previous batch, for stateful
     * models. */
    int32_t contiguous;
    size_t memory; /* bytes of the shuffle buffer of tokens; 0: 4 MiB */
} quern_text_opts;

/* A generator of token windows for language models. `paths` are files or glob
 * patterns with spaces between, or "-" for standard input. Several files are
 * concatenated in that order; the files of a pattern are in byte order.
 *
 * The input is the ids of a window (int32, int64 or float32, as the model has it),
 * or one-hot rows if the model's input is (records, window, classes). Targets are
 * the ids shifted by one (QUERN_TARGETS_NEXT) or the token after the window
 * (QUERN_TARGETS_LAST), one-hot if the model's target is. A second input with
 * "position" in its name gets 0, 1, ….
 *
 * The text is split into blocks (4 KiB with the default memory) at white space, or
 * else between characters. The tokenizer encodes each block separately.
 * In each block a window starts at every stride-th token, and it may end in a later
 * block. An epoch has each window once, without those that exceed the end of the
 * text.
 *
 * Shuffling: uncompressed files are read by blocks, in a new order in each epoch, as
 * many at once as the memory holds; windows are drawn from all of them. Gzipped
 * files and pipes are sequential, with a shuffle buffer. A text that fits in the
 * memory has an exact shuffle. For a longer one, a log line at the start of a run
 * (quern_set_log) gives its quality, as a warning if it is poor. The resume position
 * has at most 128 bytes.
 *
 * With `contiguous` the text is split into one lane for each record of a batch,
 * without shuffling. An epoch ends with the shortest lane, so longer lanes lose
 * their last windows. Requires uncompressed files.
 *
 * An error of the tokenizer (bytes that are not UTF-8) names the file and the byte.
 * Borrows `t`. Returns new, NULL on failure. */
QUERN_API quern_generator *quern_text_generator(const char *paths, const quern_tokenizer *t, const quern_text_opts *opts,
                                                quern_error *err);

/* A sequential reader of text files, for quern_tokenizer_train. Threads: one at a
 * time. */
typedef struct quern_text_reader quern_text_reader;

/* Opens the text of `paths`, as quern_text_generator does. Returns new, NULL on
 * failure. */
QUERN_API quern_text_reader *quern_text_reader_open(const char *paths, quern_error *err);

/* Reads at most `room` bytes; a quern_text_read whose `user` is the reader. */
QUERN_API int64_t quern_text_reader_read(void *reader, char *to, int64_t room, quern_error *err);

/* Closes a reader. NULL: does nothing. */
QUERN_API void quern_text_reader_close(quern_text_reader *reader);

/* Options of windows over a time series; 0: the defaults. Window k has the rows
 * start_index + k sequence_stride + i sampling_rate for i in [0, sequence_length).
 * Its target is that of its first row + target_offset. An offset of 0 is Keras's
 * timeseries_dataset_from_array; sequence_length is the row after the window, as in
 * the older TimeseriesGenerator. Windows that are not complete, or whose target is
 * missing, are left out. */
typedef struct quern_series_opts {
    /* sizeof (quern_series_opts); 0: the layout of version 0.1 (docs/abi.md). */
    size_t size;
    /* Rows of a window; 0: the length of the model's input (quern_series_generator
     * only). */
    int64_t sequence_length;
    int64_t sequence_stride; /* rows between the starts of two windows; 0: 1 */
    int64_t sampling_rate;   /* rows between two rows of a window; 0: 1 */
    int64_t start_index;     /* index of the first row */
    int64_t end_index;       /* index after the last row; 0: all rows */
    int64_t target_offset;   /* rows from the start of a window to its target */
    int32_t reverse;         /* 1: a window has its last row first */
    int32_t reserved;        /* 0 */
} quern_series_opts;

/* A generator of windows over arrays with random access: x (rows, …) of any numeric
 * type, and targets y (rows, …), which may have fewer rows (NULL: no targets).
 * Windows have the shape (length, …), which the model's input must have. Borrows the
 * arrays. Returns new, NULL on failure; QUERN_INVALID if end_index is not below the
 * number of rows, as in Keras, or sequence_length is 0. */
QUERN_API quern_generator *quern_series_array_generator(const quern_tensor *x, const quern_tensor *y, const quern_series_opts *opts,
                                                        quern_error *err);

/* A generator of windows over the rows of another generator: files, tables,
 * programs, callbacks. It reads `rows` sequentially and holds the rows of one
 * window, at most 2^30 bytes; shuffled runs use a shuffle buffer of 4 MiB. The first
 * axis of each input of the model is the length of a window. Rows with sample
 * weights are QUERN_UNSUPPORTED. Takes ownership of `rows`, also on failure (NULL:
 * returns NULL). Returns new, NULL on failure. */
QUERN_API quern_generator *quern_series_generator(quern_generator *rows, const quern_series_opts *opts, quern_error *err);

/* The policy for bad records. A bad record is
 *
 *     a row of a CSV with too few fields, with text or a missing value in a column
 *     of numbers, or with a number out of range;
 *     a label or integer input of an array that is not an integer or is out of range;
 *     a record after the new end of a file that was truncated;
 *     a batch of the generator protocol with another shape than the model's;
 *     bytes of a text that are not UTF-8.
 *
 * FAIL: the run fails. SKIP: the run leaves it out. With random access its batch
 * then has one record fewer; a sequential source takes the next record instead. A
 * text leaves out a character, and the protocol a whole batch, which counts as one.
 * SUBSTITUTE: the previous good record of the file replaces it (at the start of the
 * file, the next good one), so the number of records stays. The result does not
 * depend on the number of workers. */
enum { QUERN_BAD_FAIL = 0, QUERN_BAD_SKIP = 1, QUERN_BAD_SUBSTITUTE = 2 };

/* Sets the policy for later runs. More than `most` bad records in an epoch fail the
 * run (0: 100). A log line names the place of each of the first ten. Some faults are
 * always errors: corrupt compressed data, a file that ends inside quotes, a bad
 * header, a missing file.
 *
 * Returns 0; QUERN_INVALID if the source does not support the policy: arrays in
 * memory and functions support only FAIL; windows over rows do not support SKIP;
 * text and the generator protocol do not support SUBSTITUTE. Not during a run. */
QUERN_API int quern_generator_set_bad_records(quern_generator *g, int policy, int64_t most, quern_error *err);

/* Number of bad records in the last run. */
QUERN_API int64_t quern_generator_bad_records(const quern_generator *g);

/* Place and fault of the i-th bad record of the last run; NULL: i is out of range,
 * or at least 16. Borrowed from the generator until its next run. */
QUERN_API const quern_error *quern_generator_bad_record(const quern_generator *g, int64_t i);

/* ---- limits and positions ---- */

/* Sets the longest wait of the trainer for a batch, after which the run fails with
 * QUERN_STALLED: the error names the source, its position and the number of
 * prefetched batches. 0 (the default): no limit, with a log line after 30 seconds.
 * A run with no_workers is then refused. After such a failure the reader keeps its
 * thread and `user` until its callback returns, and only then serves another run;
 * freeing the generator is always safe. Not during a run. Returns 0 or a negative
 * status. */
QUERN_API int quern_generator_set_stall_timeout(quern_generator *g, double seconds, quern_error *err);

/* Number of feature columns of a CSV; 0: another source. */
QUERN_API int quern_generator_features(const quern_generator *g);

/* Number of records with random access; -1: the source is sequential. */
QUERN_API int64_t quern_generator_count(const quern_generator *g);

/* Limits a source with random access to the records [from, to). Call it before a
 * run. Returns 0 or a negative status. */
QUERN_API int quern_generator_slice(quern_generator *g, int64_t from, int64_t to, quern_error *err);

/* Saves the resume position: after the last batch that the trainer took, not the
 * prefetched ones. Valid during a run (in a callback) and after it. Writes at most
 * `room` bytes to `state` (NULL: none) and sets *size to its size. A source with
 * random access stores the pass, the index in it and the key of the order; a pull
 * callback calls `save`. A pass is an epoch; with steps_per_epoch it ends with the
 * data. Returns 0; QUERN_UNSUPPORTED for another source. */
QUERN_API int quern_generator_save(const quern_generator *g, void *state, size_t room, size_t *size, quern_error *err);

/* Restores a position of the same data: the next run starts there, and its first
 * epoch ends with that pass. A run with another seed or other shuffling is an
 * error. Not during a run. Returns 0 or a negative status. */
QUERN_API int quern_generator_restore(quern_generator *g, const void *state, size_t size, quern_error *err);

/* Frees a generator. NULL: does nothing. */
QUERN_API void quern_generator_free(quern_generator *g);

#ifdef __cplusplus
}
#endif
#endif
