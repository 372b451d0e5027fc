/* Generators: where batches come from, one at a time. A generator is made here, given to quern_fit_generator and its family, and
 * freed by its maker. It belongs to one run at a time: another one at once, on any thread, is QUERN_INVALID. A run tells it what
 * the model wants (quern_batch_spec) before the first batch, and begins it at its start, unless it was told to go elsewhere
 * (quern_generator_restore) or cannot begin anew. */
#ifndef QUERN_SOURCE_H
#define QUERN_SOURCE_H

#include <quern/schema.h>
#include <quern/tensor.h>
#include <quern/text.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QUERN_MAX_ARRAYS 16

/* Threads: one at a time, which runs it; what of it reads on others is said by each kind. */
typedef struct quern_generator quern_generator;

/* What the model wants: inputs, then targets; shapes begin with the open record axis. */
typedef struct quern_batch_spec {
    int32_t n_inputs, n_targets; /* targets are 0 for predict */
    int64_t batch_size;          /* records a buffer has room for */
    quern_shape shapes[2 * QUERN_MAX_ARRAYS];
    int32_t dtypes[2 * QUERN_MAX_ARRAYS];    /* float32 or int32; of inputs as their dtype says, int64 and QUERN_STRING too */
    const char *names[2 * QUERN_MAX_ARRAYS]; /* of the model's inputs and outputs */
    /* By target: the largest weights it takes, (records, steps) where it has steps, else (records). */
    quern_shape weights[QUERN_MAX_ARRAYS];
    /* By target: what its numbers mean to its loss (a QUERN_MEANS_…), and of classes how many there are (0: not known). */
    int32_t means[QUERN_MAX_ARRAYS];
    int64_t classes[QUERN_MAX_ARRAYS];
    int64_t ignored[QUERN_MAX_ARRAYS]; /* the label that stands for none (ignore_class); INT64_MIN where there is no such one */
    const quern_schema *schema;        /* of the data that the model has learned from; NULL: none. Columns are matched by it */
    int32_t n_kept;                    /* of the inputs, the last: columns of text that the model does not take */
} quern_batch_spec;

/* How a target of a batch is weighted: as `weights` says for all targets, by one number a record, or one a record and step. */
enum { QUERN_WEIGHTS_COMMON = 0, QUERN_WEIGHTS_RECORDS = 1, QUERN_WEIGHTS_STEPS = 2 };

/* A recycled batch. Whoever fills it writes arrays of `size` records (<= spec->batch_size, which `size` holds at first) and, if it
 * has sample weights, `weights` (one number a record, for all targets) and sets has_weights; weights of a target's own go into
 * target_weights[i], and weighs[i] says how many they are. A target whose weights were one a record stays so for
 * the run, as does one that has them by step. */
typedef struct quern_batch {
    const quern_batch_spec *spec; /* borrowed from the run */
    int64_t size;
    void *arrays[2 * QUERN_MAX_ARRAYS]; /* inputs, then targets */
    float *weights;
    int64_t *indices; /* room for the numbers of the records; sources that know them fill it */
    int32_t has_weights;
    int64_t epoch, first;                    /* set by the run: epoch from 0, place of the first record in it */
    float *target_weights[QUERN_MAX_ARRAYS]; /* by target: room for spec->weights[i] */
    int32_t weighs[QUERN_MAX_ARRAYS];        /* by target: a QUERN_WEIGHTS_…, at first COMMON */
    char *text;                              /* bytes of inputs of type string: see quern_batch_put_string */
    int64_t text_room, text_used;
    struct quern__bad *bad; /* the run's own; NULL in a batch of one's own */
} quern_batch;

/* Bytes of one string at most; and of the room that a batch has for each string of its inputs, together. */
enum { QUERN_MOST_STRING = 1 << 16, QUERN_STRING_ROOM = 1 << 12 };

/* Puts a string into place `at` (in C order) of an array of type string of the batch: its bytes are copied into the batch's room,
 * which is as large as all strings with QUERN_STRING_ROOM bytes each, and never smaller than one of QUERN_MOST_STRING. Where the
 * bytes outlive the run, the element may point to them instead. QUERN_OK, or QUERN_INVALID that names the record when the string is
 * too long or the room is full. */
QUERN_API int quern_batch_put_string(quern_batch *b, int array, int64_t at, const char *bytes, int64_t size, quern_error *err);

/* Bytes that the state of a generator takes at most; of records that are known by number it takes no more than 128. */
#define QUERN_MAX_STATE 4096

/* A pull callback: `next` fills the batch and returns QUERN_OK, QUERN_END for StopIteration, or a negative status with `err`
 * filled; any other positive number is an error. One thread at a time calls it. `reset` starts the data anew: for a further run,
 * for each validation, and for on_exhausted restart; it may be NULL: then the stream carries on from run to run until it ends.
 * `save` and `restore` (both, or NULL) make quern_generator_save and quern_generator_restore work: save writes at most `room` bytes
 * to `state` (NULL: nothing) and tells in *size how many there are, at most QUERN_MAX_STATE; it is called behind every next, on the
 * same thread, so that a run can be saved while batches stand ready; restore goes to where save was called. Copies `ops`, borrows
 * `user`. Returns new, NULL when there is no memory. */
typedef struct quern_callback_ops {
    int (*next)(void *user, quern_batch *batch, quern_error *err);
    int (*reset)(void *user, quern_error *err);
    int (*save)(void *user, void *state, size_t room, size_t *size, quern_error *err);
    int (*restore)(void *user, const void *state, size_t size, quern_error *err);
} quern_callback_ops;
QUERN_API quern_generator *quern_callback_generator(const quern_callback_ops *ops, void *user);

/* Records that are known by number, 0 … count-1: `read` fills batch->size records, those that batch->indices names. Several threads
 * (workers) may call it at once, each with a batch of its own. The run shuffles (unless told not to) by a permutation of the
 * numbers, another in each epoch; the order does not depend on the number of workers. Borrows `user`. Returns new, NULL when there
 * is no memory or count is negative. */
typedef int quern_read(void *user, quern_batch *batch, quern_error *err);
QUERN_API quern_generator *quern_indexed_generator(quern_read *read, void *user, int64_t count);

/* A C function with an endless loop, on a thread of its own: quern_next_batch, fill, quern_yield. quern_yield waits while the last
 * batch has not been taken; NULL and QUERN_CLOSED mean that the trainer has gone: return. Returning QUERN_OK means StopIteration, a
 * negative status an error (fill quern_yielder_error), any other number is one too. It begins anew by being called anew, once it
 * has returned: for a further run, each validation, and on_exhausted restart; no thread of it is left when a run has ended. Borrows
 * `arg`. */
/* Threads: only the one that the function was called on. */
typedef struct quern_yielder quern_yielder;
typedef int quern_function(quern_yielder *yielder, void *arg);
QUERN_API quern_generator *quern_function_generator(quern_function *fn, void *arg);
QUERN_API quern_batch *quern_next_batch(quern_yielder *yielder);
QUERN_API int quern_yield(quern_yielder *yielder, quern_batch *batch);
QUERN_API quern_error *quern_yielder_error(quern_yielder *yielder);

/* Arrays in memory, kept alive by the caller: n_x inputs, n_y targets, weights (float32, one a record; NULL: none), all with the
 * same first axis, in any dtype; inputs of type string are quern_string, whose bytes are kept alive too. Shapes are compared axis
 * by axis when a run begins, as Keras does: a last axis of 1 may be added or dropped, any other difference is QUERN_SHAPE. Returns
 * new, NULL on failure. */
QUERN_API quern_generator *quern_array_generator(const quern_tensor *x, int n_x, const quern_tensor *y, int n_y,
                                                 const float *weights, quern_error *err);
/* Gives target `target` of such a generator weights of its own, (records) or (records, steps), kept alive by the caller; they stand
 * in place of those for all. Before a run. QUERN_OK or a negative status: another generator, no such target, another shape. */
QUERN_API int quern_array_generator_weights(quern_generator *g, int target, const quern_tensor *weights, quern_error *err);

/* How files are read; NULL and zero: the default. */
typedef struct quern_file_opts {
    size_t size;          /* sizeof (quern_file_opts); 0: the layout of version 0.1 (docs/abi.md) */
    const char *target;   /* columns of a CSV between commas; NULL: nothing is predicted                                 */
    const char *features; /* columns between commas; NULL: all others                                                    */
    const char *weight;   /* a column of sample weights                                                                  */
    const char *missing;  /* "0" or "age=30,price=0": what stands for a missing value; NULL: a missing value is an error */
    const char *format;   /* "csv", "tsv", "npy", "idx", "npz", "qrec"; NULL: found by name, then by content                     */
    const char *arrays;   /* npy arrays one behind the other: what comes, as quern_program_opts has it                   */
    double stall_timeout; /* seconds of waiting that are QUERN_STALLED: quern_generator_set_stall_timeout; of arrays one
                           * behind the other: of silence, whoever reads them                                            */
    const char *data_format; /* "channels_first": inputs of rank 3 and more, (N, C, ...), are read as (N, ..., C); NULL or
                              * "channels_last": as they lie                                                             */
    /* The rest is of CSV. */
    const quern_schema *schema; /* how files were written that the model has learned from (quern_model_schema); NULL: none.
                                 * Kept alive by the caller as long as the generator                                     */
    const char *classes;        /* targets between commas whose values are names of classes, whatever they look like; NULL: names
                                 * are classes where the loss classifies                                                 */
    const char *missing_values; /* texts between commas that stand for a missing value, beside nothing at all; NULL: "?", "NA"
                                 * and "nan" do in columns of numbers, none does among names of classes                  */
    const char *encoding;       /* of the file, as iconv calls it ("latin1", "utf-16le"); NULL: UTF-8, or UTF-16 by its mark */
    char separator;             /* between columns; 0: a comma, in .tsv a tab                                            */
    char decimal;               /* in numbers: '.' or ','; 0: '.'                                                        */
    int32_t no_header;          /* true: the first line is a record; columns are called "1", "2", …                      */
    int32_t unknown_class;      /* a QUERN_UNKNOWN_…                                                                     */
} quern_file_opts;
/* What becomes of a record whose class the model does not know: an error, or it is left out. */
enum { QUERN_UNKNOWN_ERROR = 0, QUERN_UNKNOWN_SKIP = 1 };
/* Files as the command names them, words between blanks (a backslash makes a blank, or a backslash, a part of its word): "x=FILE
 * y=FILE w=FILE" (arrays of inputs, targets and sample weights: IDX or NPY of any type and order of bytes and axes, gzipped or not,
 * or "FILE.npz:/member"; x:NAME=, y:NAME= and w:NAME= for several inputs and outputs; weights may be one a record and step of their
 * output, if the files can be read by number), "data.npz" with members x, y and w, or "data.qrec" (prepared records, quern_prepare:
 * shuffled within windows of 4 MiB whose blocks come from everywhere, read by any number of workers), or "a.csv b.csv" (tables with
 * one header, gzipped or not, ".tsv" between tabs; "-" is standard input). No file is held whole. An empty field, "?", "NA" or
 * "nan" of a CSV is missing. A target that is no number is a class: its place among the sorted names (quern_generator_class).
 * Columns fill several inputs, and several outputs, in their order, each in C order; inputs of type string take theirs as text, as
 * it stands. Arrays must have the axes of the model's input or output, but for a last axis of 1, which may be added or dropped; a
 * number that the model's type cannot hold is an error that names its record. Arrays in Fortran order are held up to 4 MiB; larger
 * ones are read by number where a record has at most 64 numbers, else forward. With the format "npy" a word without a role ("-", a
 * file, a named pipe) holds arrays one behind the other, as another program writes them (quern_program_generator); each option that
 * does not apply to the kind is refused. Arrays that are not compressed are shuffled exactly, and may be read by several workers;
 * all else is shuffled within a window of 4 MiB of records (65,536 at most), which a large CSV that is neither gzipped nor a pipe
 * fills with blocks of 16 to 64 KiB in an order of the epoch's own. How far that is from a perfect shuffle where like stands beside
 * like is said at the start, above 1.1 as a warning. Returns new, NULL on failure. */
QUERN_API quern_generator *quern_file_generator(const char *words, const quern_file_opts *opts, quern_error *err);
/* Name of class i of target `target` of a file whose targets are names; NULL where there is none. Borrowed from the generator. */
QUERN_API const char *quern_generator_class(const quern_generator *g, int target, int i);
/* What the columns of the data are, once a run has begun; NULL: it has no names. Borrowed from the generator until its next run. */
QUERN_API const quern_schema *quern_generator_schema(const quern_generator *g);

/* How records are prepared; zero: the default. */
typedef struct quern_prepare_opts {
    size_t size;                   /* sizeof (quern_prepare_opts); 0: the layout of version 0.1 (docs/abi.md) */
    size_t memory;                 /* bytes for piles and buffers, at least 4 MiB and 8 records; 0: 64 MiB                 */
    uint64_t seed;                 /* of the order                                                                       */
    const volatile int *interrupt; /* not 0 (set by a signal handler): it stops with QUERN_CANCELED; NULL: never          */
} quern_prepare_opts;
/* Reads all records of `data` (files of numbers; it must not be in a run) and writes them in a uniformly random order to a file of
 * prepared records (docs/qrec.md) that quern_file_generator opens: two passes, in bounded memory, with as much disk again while it
 * runs. The file takes the place of `path` when it is whole; whatever happens before, nothing is left. Small whole numbers
 * (uint8, int8, uint16, int16) are kept as they are, larger whole ones as int32, inputs of uint32 to uint64 and
 * int64 as int64, all else, columns of a table among it, as float32; names of classes and the axes
 * of arrays are kept.
 * Returns the number of records or a negative status. One thread. */
QUERN_API int64_t quern_prepare(quern_generator *data, const quern_prepare_opts *opts, const char *path, quern_error *err);

/* How another program generates; NULL and zero: the default. */
typedef struct quern_program_opts {
    size_t size;          /* sizeof (quern_program_opts); 0: the layout of version 0.1 (docs/abi.md) */
    double stall_timeout; /* seconds of silence that are QUERN_STALLED; 0: it may take its time                         */
    const char *arrays;   /* what it writes: "x,y,w" (weights last or anywhere), or names of inputs and outputs; NULL: x, y */
    int32_t validation;   /* QUERN_PHASE is "validation", not "train"                                                   */
    int32_t reserved;
    const char *data_format; /* as quern_file_opts has it; another word is an error when a run begins                    */
} quern_program_opts;
/* Another program: `command` is run with the shell and writes `.npy` arrays to its standard output, x then y (of each input and
 * target), batch after batch, with at most as many records as the run's batch_size (where that is 0, as its first batch) and the
 * axes that the model has (as files have them). Its environment has QUERN_EPOCH (from 1), QUERN_SEED and QUERN_PHASE. End of stream
 * between batches is StopIteration; an exit status other than 0 is an error that tells the last it said on standard error. Copies
 * command and options. Returns new, NULL when there is no memory. */
QUERN_API quern_generator *quern_program_generator(const char *command, const quern_program_opts *opts);
/* Tells the process groups of all such programs that run (of 64 at most) to stop. For a handler of signals that ends the process at
 * once: it is async-signal-safe. */
QUERN_API void quern_programs_stop(void);

/* What the targets of text are: every next token, or only the one behind the window. */
enum { QUERN_TARGETS_NEXT = 0, QUERN_TARGETS_LAST = 1 };

/* How text is cut; NULL and zero: the default. */
typedef struct quern_text_opts {
    size_t size;     /* sizeof (quern_text_opts); 0: the layout of version 0.1 (docs/abi.md) */
    int64_t window;  /* tokens; 0: the length of the model's input                                                            */
    int64_t stride;  /* tokens from the start of a window to the next; 0: the window's length for QUERN_TARGETS_NEXT, 3 (as in
                      * Keras's example of generating text) for QUERN_TARGETS_LAST                                             */
    int32_t targets; /* a QUERN_TARGETS_…                                                                                     */
    int32_t contiguous; /* 1: record r of a batch goes on where record r of the batch before it ended, for stateful models       */
    size_t memory;      /* bytes of tokens held at once, from which windows are drawn; 0: 4 MiB                                  */
} quern_text_opts;
/* Windows of a text for language models. `paths` are files or patterns with spaces between, or "-" for standard input; several
 * files are one text, one behind the other in that order (patterns: in byte order). A second input with "position" in its name gets
 * 0, 1, … Input is the ids of a window (int32, int64 or
 * float32, as the model wants them), or one-hot rows where the model's input is (records, window, classes); targets are the ids one
 * further (QUERN_TARGETS_NEXT), or the one behind the window (QUERN_TARGETS_LAST), or one-hot where the model's are so.
 *
 * The text is cut into blocks (4 KiB with the default memory) at white space, or between characters where there is none; each is
 * turned into tokens as a text of its own, and in each a window begins at every stride-th token, and runs on into the next block.
 * Each of these windows comes once an epoch, but those that the end of the text cuts short. Shuffled, files that are not compressed
 * are read block by block in another order each epoch, as many blocks at once as the memory holds, and windows are drawn from all
 * of them; with quern_generator_save, in at most 128 bytes, and restore. Gzipped files and pipes are read forward; windows are
 * drawn from what the memory holds. A text that fits into the memory is shuffled exactly; what the shuffling of a longer one is
 * worth is said at the start of a run (quern_set_log), as a warning where it is poor.
 *
 * Contiguous, the text is cut into as many lanes as a batch has records; nothing is shuffled, and an epoch ends when the shortest
 * lane does, so that some windows at the ends of others do not come. Only files that are not compressed can be read so.
 *
 * What the tokenizer refuses (bytes that are no UTF-8) is its error, with file and byte in front. Borrows `t`. Returns new, NULL on
 * failure. */
QUERN_API quern_generator *quern_text_generator(const char *paths, const quern_tokenizer *t, const quern_text_opts *opts,
                                                quern_error *err);

/* The text of such files, read forward, for quern_tokenizer_train: quern_text_reader_read is a quern_text_read, and a reader its
 * `user`. Returns new, NULL on failure; a reader of NULL may be closed. */
/* Threads: one at a time. */
typedef struct quern_text_reader quern_text_reader;
QUERN_API quern_text_reader *quern_text_reader_open(const char *paths, quern_error *err);
QUERN_API int64_t quern_text_reader_read(void *reader, char *to, int64_t room, quern_error *err);
QUERN_API void quern_text_reader_close(quern_text_reader *reader);

/* How rows that follow each other in time are cut into windows; zero: the default. Window k has the rows start_index +
 * k sequence_stride, and from there every sampling_rate-th, sequence_length in all. Its target is that of the row target_offset
 * behind its first: 0, as Keras's timeseries_dataset_from_array has it, for targets that stand where the window begins;
 * sequence_length for the row behind the window, as its older TimeseriesGenerator has it. A window whose rows or target are not
 * all there does not come. */
typedef struct quern_series_opts {
    size_t size;             /* sizeof (quern_series_opts); 0: the layout of version 0.1 (docs/abi.md) */
    int64_t sequence_length; /* rows of a window; 0: the length of the model's input (quern_series_generator only) */
    int64_t sequence_stride; /* rows from the start of a window to that of the next; 0: 1                           */
    int64_t sampling_rate;   /* rows from one of a window to its next; 0: 1                                         */
    int64_t start_index;     /* rows before it do not count                                                        */
    int64_t end_index;       /* rows from it on are in no window; 0: all are                                       */
    int64_t target_offset;   /* rows from the first of a window to that of its target                              */
    int32_t reverse;         /* 1: the last row of a window comes first                                            */
    int32_t reserved;        /* 0                                                                                  */
} quern_series_opts;
/* Windows over an array in memory, kept alive by the caller: x (rows, …) in any dtype of numbers, and targets y (rows, …), NULL for
 * none, which may be fewer. Windows have the axes (length, …) that the model's input must have. Known by number: shuffled exactly,
 * read by several workers, saved and restored. Returns new, NULL on failure: QUERN_INVALID when end_index is not below the number
 * of rows, as in Keras, or the length is 0. */
QUERN_API quern_generator *quern_series_array_generator(const quern_tensor *x, const quern_tensor *y, const quern_series_opts *opts,
                                                        quern_error *err);
/* Windows over the rows that another generator gives, each with its targets: files, tables, programs, callbacks. They are read in
 * their order, and no more are held than a window spans, at most 2^30 bytes; shuffled, windows are drawn from as many as 4 MiB
 * hold. Every input of the model has the windows' length as its first axis; rows with sample weights are QUERN_UNSUPPORTED. Takes
 * `rows` (freed on failure too; NULL gives NULL). Returns new, NULL on failure. */
QUERN_API quern_generator *quern_series_generator(quern_generator *rows, const quern_series_opts *opts, quern_error *err);

/* What becomes of a record that cannot be used: a row of a CSV with too few fields, with a word or a missing value where a number
 * belongs, a number that does not fit; a label or a whole input of an array that is no whole number, or too large for its type; a
 * record behind the end of a file that has become shorter; a batch of the generator protocol with a shape that the model does not
 * take; bytes of a text that are no UTF-8. QUERN_BAD_FAIL: it ends the run. QUERN_BAD_SKIP: it is left out; of files that are read
 * by number its batch then has one record fewer, elsewhere the next record takes its place; of a text a character is left out, of
 * the protocol a batch, which counts as one. QUERN_BAD_SUBSTITUTE: the last good record before it in the file comes once more in
 * its place (at the start, the first good one behind it), so that there are as many as before. What comes does not depend on the
 * number of workers. */
enum { QUERN_BAD_FAIL = 0, QUERN_BAD_SKIP = 1, QUERN_BAD_SUBSTITUTE = 2 };
/* Sets it for the runs that follow; more than `most` such records in an epoch are an error still (0: 100). A log line tells the
 * place of each of the first ten. What is broken behind all help stays an error: compressed data, a file that ends inside quotes,
 * a header, a file that is not there. QUERN_INVALID for what the generator cannot do: arrays in memory and functions of one's own
 * have nothing to leave out, windows over rows cannot do without a row, text and the generator protocol have nothing to put in a
 * bad one's place. Not during a run. */
QUERN_API int quern_generator_set_bad_records(quern_generator *g, int policy, int64_t most, quern_error *err);
/* How many there were in the last run, and the place of the i-th and what is wrong there; NULL behind the first sixteen. Borrowed
 * from the generator until its next run. */
QUERN_API int64_t quern_generator_bad_records(const quern_generator *g);
QUERN_API const quern_error *quern_generator_bad_record(const quern_generator *g, int64_t i);

/* How long the trainer waits for a batch before that is QUERN_STALLED, an error that names what is read, where, and how many
 * batches stand ready; 0 (the start): as long as it takes, with a log line that says the same after thirty seconds. A reader on the
 * trainer's own thread (no_workers) cannot be watched, and such a run is refused. Where a run ends so, the reader is left to
 * itself: a callback that does not return keeps its thread and `user` until it does, and the generator is in no other run before
 * that; freeing it is right at any time. Not during a run. */
QUERN_API int quern_generator_set_stall_timeout(quern_generator *g, double seconds, quern_error *err);

/* Columns of features that a CSV has, 0 for other sources. */
QUERN_API int quern_generator_features(const quern_generator *g);
/* Records of a source that knows them by number; -1 for others. */
QUERN_API int64_t quern_generator_count(const quern_generator *g);
/* Leaves of such a source the records [from, to) only. Before a run. */
QUERN_API int quern_generator_slice(quern_generator *g, int64_t from, int64_t to, quern_error *err);

/* Where the generator is: behind the last batch that was given to the trainer, whatever stands ready behind it. During a run (in a
 * callback) and after it; before the first it is the start. Writes at most `room` bytes to `state` (NULL: nothing) and tells in
 * *size how many there are. Sources of records that are known by number (arrays, files that are not compressed,
 * quern_indexed_generator) keep the pass, the place in it and what the order follows from; a pull callback what its own `save`
 * writes; other sources are QUERN_UNSUPPORTED. A pass is an epoch, but with steps_per_epoch it ends where the data does. */
QUERN_API int quern_generator_save(const quern_generator *g, void *state, size_t room, size_t *size, quern_error *err);
/* Goes to a place that was saved from the same data: the next run does not begin at the start but there, and its first epoch ends
 * where that pass would have ended. The order is that of the run that was saved; a run with another seed, or shuffled where that
 * was not, is refused. Not while a run reads the generator. */
QUERN_API int quern_generator_restore(quern_generator *g, const void *state, size_t size, quern_error *err);
QUERN_API void quern_generator_free(quern_generator *g);

#ifdef __cplusplus
}
#endif
#endif
