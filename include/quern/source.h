/* Generators: where batches come from, one at a time.
 *
 * Everything that can be trained on is a quern_generator: a C function with an endless loop, a pull callback, an indexed
 * reader, another program, arrays in memory, or files read in place. All are made here, given to quern_fit_generator and
 * its family, and freed by their maker with quern_generator_free. A generator belongs to one run at a time.
 *
 * What a batch is: for each input x, each target y and each sample weight w of the model one array whose first axis is
 * the record. The run tells the generator what the model wants (quern_batch_spec) before it asks for the first batch; a
 * batch may hold fewer records than its buffers have room for (the last one of an epoch usually does).
 */
#ifndef QUERN_SOURCE_H
#define QUERN_SOURCE_H

#include <quern/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quern_generator quern_generator;
typedef struct quern_batch quern_batch;

/* How many arrays of one kind a batch may have. */
#define QUERN_MAX_ARRAYS 16

/* What the model wants of a batch. Shapes begin with the open record axis (-1). */
typedef struct quern_batch_spec {
    int32_t n_inputs, n_targets;       /* targets are 0 for predict                                                    */
    int32_t n_weights;                 /* 0: none are wanted; else one array (records,) per target                     */
    int32_t reserved;
    int64_t batch_size;                /* records a buffer has room for                                                */
    const char *names[2 * QUERN_MAX_ARRAYS];         /* of inputs, then of targets (the model's output names)          */
    quern_shape shapes[2 * QUERN_MAX_ARRAYS];        /* of inputs, then of targets                                     */
    int32_t dtypes[2 * QUERN_MAX_ARRAYS];            /* a quern_dtype each                                             */
} quern_batch_spec;

/* ---- a batch ---- */

/* The i-th input, target or weight as an array with room for `batch_size` records, in the dtype and shape the model wants.
 * Weights are there only when the generator said it has some (`.weights`). Returns borrowed: until the batch is yielded. */
QUERN_API quern_tensor *quern_batch_input(quern_batch *batch, int i);
QUERN_API quern_tensor *quern_batch_target(quern_batch *batch, int i);
QUERN_API quern_tensor *quern_batch_weight(quern_batch *batch, int i);
/* How many records the batch holds; a fresh batch holds batch_size. Setting more than there is room for is
 * QUERN_INVALID and leaves it as it was. */
QUERN_API int64_t quern_batch_size(const quern_batch *batch);
QUERN_API int quern_batch_set_size(quern_batch *batch, int64_t records);

/* ---- (a) a C function with an endless loop ---- */

typedef struct quern_yielder quern_yielder;

/* Runs on a thread of its own, started when the run begins. Returning QUERN_OK (or QUERN_END) means StopIteration;
 * a negative status is an error that stops the run (say why with quern_yielder_fail). */
typedef int quern_function(quern_yielder *yielder, void *arg);

/* The next recycled buffer, already shaped; its contents are old. NULL when the trainer has gone. Returns borrowed. */
QUERN_API quern_batch *quern_next_batch(quern_yielder *yielder);
/* Hands a batch over. Blocks while the queue is full; QUERN_CLOSED when the trainer has gone: return then. */
QUERN_API int quern_yield(quern_yielder *yielder, quern_batch *batch);
/* What the run wants (borrowed for the run), and the error to fill before returning a negative status (borrowed). */
QUERN_API const quern_batch_spec *quern_yielder_spec(const quern_yielder *yielder);
QUERN_API quern_error *quern_yielder_error(quern_yielder *yielder);

/* ---- options of every generator ---- */

/* Zero means the default in each. */
typedef struct quern_generator_opts {
    size_t size;                  /* set by the macro                                                                   */
    const struct quern_kw *by_name; /* keeps positional values out; leave NULL                                          */
    int64_t batch_size;           /* 0: what the run says, else 32 as in Keras                                          */
    int32_t weights;              /* true: every batch carries sample weights (not for arrays and files: they know)     */
    int32_t no_shuffle;           /* true: records in file order (indexed ones; others have no order to change)         */
    const char *target;           /* CSV: target column(s), comma-separated                                             */
    const char *features;         /* CSV: feature columns, comma-separated; NULL: all that are neither target nor weight */
    const char *weight;           /* CSV: the column of sample weights                                                  */
    const char *missing;          /* CSV: what an empty field, `?`, `NA` or `nan` means: NULL or "error", or a number to fill in */
    const char *arrays;           /* program: what comes, in order ("x,y", the default; "x,y,w"; or input/output names) */
    const char *format;           /* file: NULL by name then content; "csv", "tsv", "idx", "npy", "npz"                 */
    int64_t window_bytes;         /* shuffling of data that cannot be read record by record: bytes held (0: 4 MiB)      */
    quern_error *error;           /* where a failure to open is told; NULL if you do not care                           */
} quern_generator_opts;

/* A generator over the function above. Copies nothing of `arg`. Returns new, NULL on failure (`.error`). */
QUERN_API quern_generator *quern_function_generator_with(quern_function *fn, void *arg, const quern_generator_opts *opts);

/* ---- (b) a pull callback ---- */

/* `next` fills the batch (quern_batch_set_size for a short one) and returns QUERN_OK, QUERN_END for StopIteration, or a
 * negative status with `err` filled. It is called by one thread at a time. Any of the others may be NULL:
 * `reset` starts the data anew (validation does so each time; without it the stream carries on, and that is said),
 * `save` writes at most 128 bytes of position and returns how many, `restore` goes back to one. */
typedef struct quern_callback_ops {
    int (*next)(void *user, quern_batch *batch, quern_error *err);
    int (*reset)(void *user, quern_error *err);
    int (*save)(void *user, uint8_t state[128], quern_error *err);
    int (*restore)(void *user, const uint8_t *state, size_t n, quern_error *err);
} quern_callback_ops;
QUERN_API quern_generator *quern_callback_generator_with(const quern_callback_ops *ops, void *user, const quern_generator_opts *opts);

/* ---- (c) an indexed source ---- */

/* Fills the first `n` records of `batch` with records `indices[0 … n-1]`. May be called by several threads at once with
 * different batches. Shuffling, the short last batch and the number of batches are quern's business. */
typedef int quern_read(void *user, const int64_t *indices, size_t n, quern_batch *batch, quern_error *err);
QUERN_API quern_generator *quern_indexed_generator_with(quern_read *read, void *user, int64_t n_records, const quern_generator_opts *opts);

/* ---- (d) another program ---- */

/* Runs `command` with the shell; its standard output is a stream of `.npy` arrays, x then y (then w), batch after batch
 * (`.arrays`). End of stream between batches is StopIteration. Its environment has QUERN_EPOCH (from 1), QUERN_SEED, QUERN_PHASE. */
QUERN_API quern_generator *quern_program_generator_with(const char *command, const quern_generator_opts *opts);

/* ---- arrays in memory and files ---- */

/* Arrays that the caller keeps alive: `x` of n_x inputs, `y` of n_y targets, `w` of n_w weights (0 or n_y), all with the
 * same first axis. Converted to what the model wants as they are copied into a batch. Borrows the data. */
QUERN_API quern_generator *quern_array_generator_with(const quern_tensor *x, int n_x, const quern_tensor *y, int n_y,
                                                      const quern_tensor *w, int n_w, const quern_generator_opts *opts);

/* Files, as the command names them: "train.csv", "x=FILE y=FILE [w=FILE]", "data.npz", separated by blanks; a blank inside a
 * name is written "\ ". "-" is standard input, CSV. */
QUERN_API quern_generator *quern_file_generator_with(const char *words, const quern_generator_opts *opts);
/* One CSV or TSV file, gzipped or not. The same as quern_file_generator with `.format = "csv"`. */
QUERN_API quern_generator *quern_csv_generator_with(const char *path, const quern_generator_opts *opts);

/* Frees a generator, ends its program, closes its files. NULL is fine. */
QUERN_API void quern_generator_free(quern_generator *generator);

/* How many records an epoch has; -1 when only the end will tell. */
QUERN_API int64_t quern_generator_records(const quern_generator *generator);
/* What is known of the data without a model: names, shapes and types of its arrays (n 0 when nothing is). For CSV also how
 * many classes a string target has. */
QUERN_API int quern_generator_spec(const quern_generator *generator, quern_batch_spec *out);
/* Class names of target `i` when its labels are strings (bytewise sorted; the label is the position), else NULL.
 * Returns borrowed: until the generator is freed. */
QUERN_API const char *const *quern_generator_classes(const quern_generator *generator, int target, size_t *n_out);

#ifndef __cplusplus
#define QUERN_GENERATOR_OPTS(...) (&(quern_generator_opts){ .size = sizeof(quern_generator_opts), __VA_ARGS__ })
#define quern_function_generator(fn, arg, ...) quern_function_generator_with((fn), (arg), QUERN_GENERATOR_OPTS(__VA_ARGS__))
#define quern_callback_generator(ops, user, ...) quern_callback_generator_with((ops), (user), QUERN_GENERATOR_OPTS(__VA_ARGS__))
#define quern_indexed_generator(read, user, n, ...) quern_indexed_generator_with((read), (user), (n), QUERN_GENERATOR_OPTS(__VA_ARGS__))
#define quern_program_generator(command, ...) quern_program_generator_with((command), QUERN_GENERATOR_OPTS(__VA_ARGS__))
#define quern_array_generator(x, n_x, y, n_y, w, n_w, ...) \
    quern_array_generator_with((x), (n_x), (y), (n_y), (w), (n_w), QUERN_GENERATOR_OPTS(__VA_ARGS__))
#define quern_file_generator(words, ...) quern_file_generator_with((words), QUERN_GENERATOR_OPTS(__VA_ARGS__))
#define quern_csv_generator(path, ...) quern_csv_generator_with((path), QUERN_GENERATOR_OPTS(__VA_ARGS__))
#endif

#ifdef __cplusplus
}
#endif
#endif
