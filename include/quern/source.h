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
    /* By array: bit k: axis k is open (None in Keras). Its size in `shapes` is the
     * largest; a batch may have a smaller one (quern_batch_set_shape). */
    uint32_t open[2 * QUERN_MAX_ARRAYS];
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
    /* Shapes of the arrays with a dynamic batch dimension: those of the spec,
     * unless quern_batch_set_shape changes them. */
    quern_shape shapes[2 * QUERN_MAX_ARRAYS];
} quern_batch;

/* Gives an array of this batch its own sizes at open axes: from 1 to those of the
 * spec. The array then has its records in that shape, one after the other. Axis 0
 * is ignored, and fixed axes must be equal. All arrays of a batch must fit the
 * model, such as targets for each step of a sequence. For callbacks and functions;
 * not for generators with random access. Returns 0; QUERN_SHAPE if the shape does
 * not fit the spec. */
QUERN_API int quern_batch_set_shape(quern_batch *b, int array, const quern_shape *shape,
                                    quern_error *err);

/* The largest string in bytes, and the average capacity for a string in a batch. */
enum { QUERN_MOST_STRING = 1 << 16, QUERN_STRING_ROOM = 1 << 12 };

/* Copies a string into element `at` (C order) of an array of type string. The
 * batch holds QUERN_STRING_ROOM bytes for each string, and at least one of
 * QUERN_MOST_STRING. An element may instead point to bytes that outlive the run.
 * Returns 0; QUERN_INVALID with the record if the string is too long or the batch
 * is full. */
QUERN_API int quern_batch_put_string(quern_batch *b, int array, int64_t at, const char *bytes,
                                     int64_t size, quern_error *err);

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
QUERN_API quern_generator *quern_array_generator(const quern_tensor *x, int n_x,
                                                 const quern_tensor *y, int n_y,
                                                 const float *weights, quern_error *err);

/* Sets sample weights of one target, (records) or (records, steps), instead of the
 * common ones. Borrows the array. Call it before a run. Returns 0 or a negative
 * status. */
QUERN_API int quern_array_generator_weights(quern_generator *g, int target,
                                            const quern_tensor *weights, quern_error *err);

/* ---- bad records ---- */

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
QUERN_API int quern_generator_set_bad_records(quern_generator *g, int policy, int64_t most,
                                              quern_error *err);

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
QUERN_API int quern_generator_set_stall_timeout(quern_generator *g, double seconds,
                                                quern_error *err);

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
QUERN_API int quern_generator_save(const quern_generator *g, void *state, size_t room, size_t *size,
                                   quern_error *err);

/* Restores a position of the same data: the next run starts there, and its first
 * epoch ends with that pass. A run with another seed or other shuffling is an
 * error. Not during a run. Returns 0 or a negative status. */
QUERN_API int quern_generator_restore(quern_generator *g, const void *state, size_t size,
                                      quern_error *err);

/* Frees a generator. NULL: does nothing. */
QUERN_API void quern_generator_free(quern_generator *g);

#ifdef __cplusplus
}
#endif
#endif
