/* Training, evaluation and prediction, from a generator in bounded memory or from
 * arrays. */
#ifndef QUERN_FIT_H
#define QUERN_FIT_H

#include <quern/callbacks.h>
#include <quern/model.h>
#include <quern/source.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- options ---- */

/* The policy when a generator ends before the last epoch. STOP: the epoch ends,
 * training stops as "exhausted", and a warning gives the number of steps. ERROR:
 * the run fails, also if validation_data ends before validation_steps. RESTART:
 * the generator starts again, within an epoch too if steps_per_epoch is set. An
 * epoch without a batch is an error. Arrays and files never exhaust: their end is
 * the end of an epoch, or with steps_per_epoch the start of the next pass. */
enum { QUERN_EXHAUSTED_STOP = 0, QUERN_EXHAUSTED_ERROR = 1, QUERN_EXHAUSTED_RESTART = 2 };

/* Whether the planner may split a batch into micro-batches. AUTO: if only
 * rounding changes. NEVER: no. ANY: also if layers use the whole batch
 * (BatchNormalization then has statistics of each micro-batch) or change a state
 * with each batch. */
enum { QUERN_SPLIT_AUTO = 0, QUERN_SPLIT_NEVER = 1, QUERN_SPLIT_ANY = 2 };

/* Options of quern_fit and quern_fit_generator; 0 means Keras's default, except
 * that `verbose` 0 is silent. */
typedef struct quern_fit_opts {
    /* sizeof (quern_fit_opts); 0: the layout of version 0.1 (docs/abi.md). */
    size_t size;
    int64_t steps_per_epoch; /* batches of an epoch; 0: until the data ends */
    int64_t epochs;          /* index of the last epoch + 1, as in Keras; 0: 1 */
    int64_t initial_epoch;   /* index of the first epoch */
    /* Records of a batch; 0: 32, or for programs and concatenated arrays the size
     * of their first batch. */
    int64_t batch_size;
    /* Borrowed. It starts again for each validation. One that cannot start again
     * is an error, unless it is used once, or is endless with validation_steps. */
    quern_generator *validation_data;
    int64_t validation_steps; /* batches of a validation; 0: until the data ends */
    int64_t validation_freq;  /* epochs between validations; 0: 1 */
    double validation_split;  /* quern_fit: last fraction of the arrays, 0 … 1 */
    const char *class_weight; /* "0:1,1:4"; NULL: unweighted */
    int32_t max_queue_size;   /* prefetched batches; 0: 10 */
    int32_t workers;          /* reader threads with random access, 1 … 64; 0: 1 */
    int32_t no_workers;       /* 1: the calling thread reads, without a queue */
    int32_t no_shuffle;       /* 1: records in their own order */
    int32_t on_exhausted;     /* a QUERN_EXHAUSTED_… */
    int32_t verbose;          /* on standard error; 0: silent, 1: bar, 2: lines */
    int32_t n_callbacks;
    int32_t resume;                   /* 1: resume from `checkpoint` if it exists */
    quern_callback *const *callbacks; /* borrowed; called in order */
    const char *checkpoint;           /* path of a `.keras` file; NULL: not written */
    int64_t checkpoint_steps;         /* steps between checkpoints; 0: not by steps */
    double checkpoint_seconds;        /* seconds between them; both 0: each epoch */
    /* 1: a generator without a resume position starts at that position itself
     * (quern_checkpoint_read); 0: the run reads and discards its earlier batches. */
    int32_t no_replay;
    int32_t split_batch; /* a QUERN_SPLIT_… */
    /* NULL: not used. When a signal handler sets it, the run finishes the step or
     * gives up the wait for a batch (not with no_workers), writes a checkpoint, and
     * ends as "interrupted". */
    const volatile int *interrupt;
    /* Memory budget in resident bytes of the process; 0: the limit of cgroups and
     * rlimits. See quern_plan_fit. */
    size_t memory;
    struct quern_plan *plan; /* receives the plan before training; NULL: not wanted */
} quern_fit_opts;

/* ---- checkpoints ---- */

/* The position of a run: completed epochs, completed steps of the next epoch, and
 * batches in total. */
typedef struct quern_checkpoint {
    int64_t epoch, step, batches;
} quern_checkpoint;

/* Reads the position from the newest valid checkpoint: `path` or path.previous.
 * Returns 0; QUERN_NOTFOUND if neither exists; or another negative status. */
QUERN_API int quern_checkpoint_read(const char *path, quern_checkpoint *out, quern_error *err);

/* ---- history ---- */

/* The logs of the completed epochs of a run. Threads: it is immutable; any number
 * may read it. */
typedef struct quern_history quern_history;

/* Number of completed epochs. */
QUERN_API int64_t quern_history_epochs(const quern_history *h);

/* The log entry `name` ("loss", "val_accuracy") of the i-th epoch of this run;
 * NaN: the epoch does not have it. */
QUERN_API double quern_history_value(const quern_history *h, const char *name, int64_t i);

/* Place and fault of the i-th bad record of training; NULL: i is out of range, or
 * at least 16. The log entries "bad_records" and "val_bad_records" count them by
 * epoch (quern_generator_set_bad_records). Returns borrowed from the history. */
QUERN_API const quern_error *quern_history_bad_record(const quern_history *h, int64_t i);

/* Why training ended: "completed", "exhausted", "stopped", "interrupted" or
 * "failed". Returns borrowed: valid for ever. */
QUERN_API const char *quern_history_reason(const quern_history *h);

/* The error of a failed run. Also set if TerminateOnNaN stopped training at a loss
 * that is not finite: it names the step and the batch or weights. NULL: no error,
 * also if EarlyStopping restored the best weights. Returns borrowed from the
 * history. */
QUERN_API const quern_error *quern_history_error(const quern_history *h);

/* Frees a history. NULL: does nothing. */
QUERN_API void quern_history_free(quern_history *h);

/* ---- generators ---- */

/* Sets the sizes of the model's open axes (quern_model_set_input_shapes) to those
 * of the records of a generator. Every run does this; a caller needs it to know
 * the shapes of the outputs before. Returns 0; QUERN_SHAPE if the generator does
 * not state its shapes and the caller has not set them. Not during a run. */
QUERN_API int quern_model_set_input_shapes_from(quern_model *m, const quern_generator *g,
                                                quern_error *err);

/* Trains. Returns a new history, also of a run that failed after an epoch (reason
 * "failed", with `err` filled); NULL if no epoch was completed. A run that
 * succeeds sets err->code to 0. After a failure the weights are those of the last
 * step.
 *
 * A loss that is not finite fails the run after its step; weights that are not
 * finite fail it at the end. The checkpoint then stays the last valid one.
 *
 * With `checkpoint`, an atomic write stores the model, the optimizer, metric
 * accumulators, the state of callbacks and the resume position; the previous file
 * stays as path.previous. With `resume`, the run continues from the newest valid
 * checkpoint, and its result is bit-identical to that of an uninterrupted run, for
 * any number of workers, queue size and threads; the history includes the earlier
 * epochs. A different model, different data (by the number of records and 16
 * batches) and options that change results are errors. An instruction set with
 * other bits (quern_set_isa) is a warning. */
QUERN_API quern_history *quern_fit_generator(quern_model *m, quern_generator *train,
                                             const quern_fit_opts *opts, quern_error *err);

/* Evaluates `steps` batches (0: until the data ends) in their order. Writes
 * quern_model_logs numbers to `logs`: loss and metrics, weighted by records.
 * `batch_size` 0: 32. Returns the number of records or a negative status. */
QUERN_API int64_t quern_evaluate_generator(quern_model *m, quern_generator *data,
                                           int64_t batch_size, int64_t steps, double *logs,
                                           quern_error *err);

/* Receives the predictions of a batch: for each output `records` times its
 * numbers, borrowed for the call. A result other than 0 stops the run. */
typedef int quern_sink(void *user, const float *const *outputs, int64_t records);

/* Predicts `steps` batches (0: until the data ends) and passes them to `sink` in
 * order. `batch_size` 0: 32. Returns the number of records or a negative status.
 */
QUERN_API int64_t quern_predict_generator(quern_model *m, quern_generator *data, int64_t batch_size,
                                          int64_t steps, quern_sink *sink, void *user,
                                          quern_error *err);

/* The predictions of a batch with columns of its file, borrowed for the call. */
typedef struct quern_prediction {
    int64_t records;
    const float *const *outputs;     /* by output: records × its numbers, C order */
    const quern_string *const *kept; /* by column of `keep`: records texts of the file */
    int32_t n_kept;
    int32_t reserved;
    const quern_shape *shapes; /* by output: (records, …), equal in all batches of a run */
} quern_prediction;

/* Receives the predictions of a batch. A result other than 0 stops the run. */
typedef int quern_prediction_sink(void *user, const quern_prediction *p);

/* Options of quern_predict_with; NULL and 0: the defaults. */
typedef struct quern_predict_opts {
    /* sizeof (quern_predict_opts); 0: the layout of version 0.1 (docs/abi.md). */
    size_t size;
    /* 0: 32. */
    int64_t batch_size;
    /* Batches; 0: until the data ends. */
    int64_t steps;
    /* At most 8 columns of a CSV between commas, for the sink. */
    const char *keep;
} quern_predict_opts;

/* Predicts as quern_predict_generator, with options. Returns the number of
 * records or a negative status; QUERN_INVALID: the data is empty. */
QUERN_API int64_t quern_predict_with(quern_model *m, quern_generator *data,
                                     const quern_predict_opts *opts, quern_prediction_sink *sink,
                                     void *user, quern_error *err);

/* ---- arrays ---- */

/* Trains on arrays in memory. `x` has one array for each input, `y` one for each
 * output, each (records, …) of any type; `weights` has one number for each record
 * (NULL: unweighted). Borrows the arrays for the call. Returns as
 * quern_fit_generator. */
QUERN_API quern_history *quern_fit(quern_model *m, const quern_tensor *x, const quern_tensor *y,
                                   const float *weights, const quern_fit_opts *opts,
                                   quern_error *err);

/* Evaluates arrays; arguments as quern_fit, results as quern_evaluate_generator. */
QUERN_API int64_t quern_evaluate(quern_model *m, const quern_tensor *x, const quern_tensor *y,
                                 const float *weights, int64_t batch_size, double *logs,
                                 quern_error *err);

/* Predicts arrays into out[i], which holds all predictions of output i. Returns
 * the number of records or a negative status. */
QUERN_API int64_t quern_predict(quern_model *m, const quern_tensor *x, int64_t batch_size,
                                float *const *out, quern_error *err);

/* ---- adapt ---- */

/* Adapts layers to `steps` batches of the generator (0: all), with one pass for
 * each layer in model order: Normalization, Discretization, and vocabularies of
 * TextVectorization, StringLookup and IntegerLookup that are not given. `layer`
 * NULL: all of them; layers of nested models stay as they are. A vocabulary has
 * bounded memory: after 2^19 different words it drops the rarest. Returns the
 * number of adapted layers or a negative status. */
QUERN_API int quern_adapt(quern_model *m, const char *layer, quern_generator *data,
                          int64_t batch_size, int64_t steps, quern_error *err);

/* ---- the memory budget ---- */

/* The memory of a training run in bytes, by part, and the choices that make it
 * fit. Exact parts come from shapes. The rest is measured with a margin: half of
 * the mapped bytes of the program and its libraries (all of them where more than
 * a quarter is resident; a quarter more while a file is written), the bytes that
 * malloc has allocated, and 1.5 MiB. Later allocations of the caller's callbacks
 * and generators are not included. */
typedef struct quern_plan {
    /* Of this plan. */
    size_t total;
    /* Of the plan with the least memory; 0: quern_fit_generator did not need it. */
    size_t smallest;
    /* The memory budget; SIZE_MAX: no limit. */
    size_t budget;
    size_t weights, gradients, optimizer, activations;
    size_t workspace; /* thread stacks with packed blocks and tiles */
    size_t queue;     /* prefetched batches, of validation too */
    size_t readers;   /* shuffle buffers and read buffers of the sources */
    size_t callbacks; /* copies of weights, files written meanwhile, history */
    size_t files;     /* extra bytes to save the model after training */
    /* Program, libraries, and what the process holds already; 0: unknown (/proc is
     * not mounted), and not part of total. */
    size_t runtime;
    /* The arena, and the lower bound: the largest sum of live values in a phase. */
    size_t arena, arena_lower_bound;
    /* Batches in the queue, at most the requested number. */
    int32_t max_queue_size;
    /* 1: the low-memory schedule, which sets a barrier after each node and updates
     * each weight as soon as its gradient exists. Results are bit-identical. */
    int32_t low_memory;
    /* Tenths of the activations that the backward pass recomputes, 0 … 10. Results
     * are bit-identical. */
    int32_t recompute;
    /* 1: total is at most budget. */
    int32_t fits;
    /* Micro-batches of each batch, with gradient accumulation; 1: the whole batch.
     * More than 1 changes rounding, and with QUERN_SPLIT_ANY more than that. */
    int64_t micro_batches;
    /* Estimate of a step on two threads, for comparisons of plans. */
    double seconds;
    /* The same, relative to the fastest plan; 1: as fast. */
    double relative_time;
    char limit[48];   /* what sets the budget: "memory", "memory cgroup"; "": no limit */
    char largest[16]; /* name of the largest part */
} quern_plan;

/* Plans training with `opts` (NULL: Keras's defaults) before any data is read.
 * `train` NULL: a file that is not known yet. The planner takes the cheapest
 * choice that fits, in this order: a shorter queue, the low-memory schedule,
 * activation recomputation, micro-batches; only the last changes results.
 * quern_fit_generator calls it when there is a limit. The model keeps the plan.
 * Returns 0; QUERN_BUDGET if no plan fits (`out` is filled too); or another
 * negative status. */
QUERN_API int quern_plan_fit(quern_model *m, quern_generator *train, const quern_fit_opts *opts,
                             quern_plan *out, quern_error *err);

/* Writes the live bytes of each phase of the last training plan to `live`, which
 * holds `capacity` numbers (NULL with 0: count only). Returns the number of
 * phases; 0: without a plan. */
QUERN_API int quern_plan_live(const quern_model *m, size_t *live, int capacity);

#ifdef __cplusplus
}
#endif
#endif
