/* Generators over files, over the output of a program, over text, and over
 * series. Their common functions are in source.h. */
#ifndef QUERN_SOURCE_FILES_H
#define QUERN_SOURCE_FILES_H

#include <quern/source.h>

#ifdef __cplusplus
extern "C" {
#endif

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
QUERN_API quern_generator *quern_file_generator(const char *words, const quern_file_opts *opts,
                                                quern_error *err);

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
QUERN_API int64_t quern_prepare(quern_generator *data, const quern_prepare_opts *opts,
                                const char *path, quern_error *err);

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
QUERN_API quern_generator *quern_program_generator(const char *command,
                                                   const quern_program_opts *opts);

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
QUERN_API quern_generator *quern_text_generator(const char *paths, const quern_tokenizer *t,
                                                const quern_text_opts *opts, quern_error *err);

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
QUERN_API quern_generator *quern_series_array_generator(const quern_tensor *x,
                                                        const quern_tensor *y,
                                                        const quern_series_opts *opts,
                                                        quern_error *err);

/* A generator of windows over the rows of another generator: files, tables,
 * programs, callbacks. It reads `rows` sequentially and holds the rows of one
 * window, at most 2^30 bytes; shuffled runs use a shuffle buffer of 4 MiB. The first
 * axis of each input of the model is the length of a window. Rows with sample
 * weights are QUERN_UNSUPPORTED. Takes ownership of `rows`, also on failure (NULL:
 * returns NULL). Returns new, NULL on failure. */
QUERN_API quern_generator *quern_series_generator(quern_generator *rows,
                                                  const quern_series_opts *opts, quern_error *err);

#ifdef __cplusplus
}
#endif
#endif
