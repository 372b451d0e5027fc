/* Training, evaluating and predicting: from a generator in memory that is fixed before the first batch, or from arrays. */
#ifndef QUERN_FIT_H
#define QUERN_FIT_H

#include <quern/callbacks.h>
#include <quern/model.h>
#include <quern/source.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What happens when a generator ends before the epochs are through: the epoch closes normally and training stops, as "exhausted"
 * and with a warning that says how many steps there were; an error, also where validation_data ends before validation_steps; it
 * begins anew (generators that can), with steps_per_epoch within an epoch, which then has all its steps. A pass without a batch is
 * an error. Arrays and files end an epoch by ending, or with steps_per_epoch go on from pass to pass; they never exhaust. */
enum { QUERN_EXHAUSTED_STOP = 0, QUERN_EXHAUSTED_ERROR = 1, QUERN_EXHAUSTED_RESTART = 2 };

/* Whether a batch may be trained in parts when a budget asks for it: where the sum over records is all that it is, which differs by
 * rounding; never; or even where layers look at all records together (BatchNormalization: each part has its own mean and variance
 * then) or change a state with every batch. */
enum { QUERN_SPLIT_AUTO = 0, QUERN_SPLIT_NEVER = 1, QUERN_SPLIT_ANY = 2 };

/* Options of quern_fit and quern_fit_generator; zero means Keras's default, but for verbose: a library is silent. */
typedef struct quern_fit_opts {
    size_t size;                      /* sizeof (quern_fit_opts); 0: the layout of version 0.1 (docs/abi.md) */
    int64_t steps_per_epoch;          /* 0: until the data ends                                    */
    int64_t epochs;                   /* index of the last epoch + 1, as in Keras; 0: 1            */
    int64_t initial_epoch;            /* from 0                                                    */
    int64_t batch_size;               /* records a batch has room for; 0: 32, but of programs and of arrays one behind the other
                                         as many as their first batch has                          */
    quern_generator *validation_data; /* begins anew each time; borrowed. One that cannot is refused, unless it is wanted once
                                         only, or goes on and on with validation_steps             */
    int64_t validation_steps;         /* 0: until it ends                                          */
    int64_t validation_freq;          /* 0: 1                                                      */
    double validation_split;          /* quern_fit: the last part of the arrays, 0 … 1; 0: none    */
    const char *class_weight;         /* "0:1,1:4"; NULL: none                                     */
    int32_t max_queue_size;           /* 0: 10                                                     */
    int32_t workers;                  /* threads that read an indexed source, 1 … 64; 0: 1         */
    int32_t no_workers;               /* true: read on the calling thread, without a queue         */
    int32_t no_shuffle;               /* true: records in their own order                          */
    int32_t on_exhausted;             /* QUERN_EXHAUSTED_…                                         */
    int32_t verbose;                  /* 0: silent, 1: a bar, 2: a line an epoch, on standard error */
    int32_t n_callbacks;
    int32_t resume;                   /* true: goes on from `checkpoint` where there is one        */
    quern_callback *const *callbacks; /* borrowed; called in order                                 */
    const char *checkpoint;           /* a `.keras` file that the run can go on from; NULL: none   */
    int64_t checkpoint_steps;         /* written every so many steps; 0: not                       */
    double checkpoint_seconds;        /* and so many seconds; both 0: after every epoch            */
    int32_t no_replay;                /* true: a generator that cannot say where it is begins there itself (quern_checkpoint_read);
                                         else its batches up to there are read and left out        */
    int32_t split_batch;              /* a QUERN_SPLIT_…                                              */
    const volatile int *interrupt;    /* not 0 (set by a signal handler): the step is finished, or the wait for its batch
                                         given up (not with no_workers), a checkpoint written, and training ends as "interrupted";
                                         NULL: never                                               */
    size_t memory;                    /* bytes that the process may have resident; 0: what memory  */
                                      /* cgroups and rlimits leave it. See quern_plan_fit          */
    struct quern_plan *plan;          /* gets the plan before training begins; NULL: not wanted    */
} quern_fit_opts;

/* Where the run of a checkpoint is: epochs that are done, steps of the next one that are, and batches in all. */
typedef struct quern_checkpoint {
    int64_t epoch, step, batches;
} quern_checkpoint;
/* Reads it from the newest good file: `path`, or the one before it (path.previous). QUERN_NOTFOUND: there is none. */
QUERN_API int quern_checkpoint_read(const char *path, quern_checkpoint *out, quern_error *err);

/* Logs of every epoch that ran. Returned new by fit; freed with quern_history_free. Threads: it changes no more; any number of them
 * may read it. */
typedef struct quern_history quern_history;
QUERN_API int64_t quern_history_epochs(const quern_history *h);
/* The number that `name` ("loss", "val_accuracy") had in the i-th epoch that ran; NaN where it has none. */
QUERN_API double quern_history_value(const quern_history *h, const char *name, int64_t i);
/* The place of the i-th bad record that training came upon, and what is wrong there; NULL behind the last, or the first sixteen.
 * How many an epoch had is its "bad_records" (and "val_bad_records"), where the generator does something with them
 * (quern_generator_set_bad_records). Borrowed from the history. */
QUERN_API const quern_error *quern_history_bad_record(const quern_history *h, int64_t i);
/* Why training ended: "completed", "exhausted", "stopped", "interrupted", or "failed" behind these epochs. Borrowed: for ever. */
QUERN_API const char *quern_history_reason(const quern_history *h);
/* The error of a run that failed; and what is wrong with the model's numbers where a callback (TerminateOnNaN) ended training, as
 * "stopped", at a loss that is not finite: the step, and the number of the batch or of the weights that is not finite. NULL:
 * nothing; also where EarlyStopping put the weights of the best epoch back. Borrowed from the history. */
QUERN_API const quern_error *quern_history_error(const quern_history *h);
QUERN_API void quern_history_free(quern_history *h);

/* Trains. With `checkpoint`, the model, its optimizer, the sums of metrics, the callbacks' knowledge and the place in the data are
 * written there beside, synced and renamed, the file of before being kept as checkpoint.previous; with `resume` the run goes on
 * from the newest good one to the same bits as if it had not ended, with other workers, queues or threads too. Another model, other
 * data (told by how many records there are and 16 batches of them) or other options that change numbers are refused; another kind
 * of processor whose bits differ (quern_set_isa) is a warning. The history then has the epochs of before too. Returns the history.
 * Where the run fails the error is filled (its code is 0 after a run that did not), and the history has the epochs that were
 * completed before, with the reason "failed": NULL when there is none. On failure the weights are as the last step that was made
 * left them. A loss that is not finite is a failure after the step that shows it, and so are weights that are not at the end: the
 * model is spoilt then, and what `checkpoint` holds is the last good one, which is never replaced by another. */
QUERN_API quern_history *quern_fit_generator(quern_model *m, quern_generator *train, const quern_fit_opts *opts, quern_error *err);
/* Loss and metrics over `steps` batches (0: until the data ends), weighted by records; `logs` has room for quern_model_logs
 * numbers. Returns how many records there were, or a negative status. Order is kept; nothing is shuffled. */
QUERN_API int64_t quern_evaluate_generator(quern_model *m, quern_generator *data, int64_t batch_size, int64_t steps, double *logs,
                                           quern_error *err);
/* Predictions, batch after batch in order, are given to `sink` (borrowed for the call); non-zero stops. Returns records or a
 * status. */
typedef int quern_sink(void *user, const float *const *outputs, int64_t records);
QUERN_API int64_t quern_predict_generator(quern_model *m, quern_generator *data, int64_t batch_size, int64_t steps,
                                          quern_sink *sink, void *user, quern_error *err);

/* Predictions of one batch, and the texts of columns that are kept beside them; all is borrowed for the call of the sink. */
typedef struct quern_prediction {
    int64_t records;
    const float *const *outputs;     /* by output of the model: records × its numbers, float32, C order */
    const quern_string *const *kept; /* by column of `keep`: a text a record, as it stands in the file   */
    int32_t n_kept;
    int32_t reserved;
} quern_prediction;
typedef int quern_prediction_sink(void *user, const quern_prediction *p);
/* Options of predicting; NULL and zero: the default. */
typedef struct quern_predict_opts {
    size_t size;        /* sizeof (quern_predict_opts); 0: the layout of version 0.1 (docs/abi.md) */
    int64_t batch_size; /* 0: 32                                                                                         */
    int64_t steps;      /* batches; 0: until the data ends                                                               */
    const char *keep;   /* columns of a CSV between commas, at most 8, that are handed on with the predictions; NULL: none */
} quern_predict_opts;
/* As quern_predict_generator, with options. Data without a record is QUERN_INVALID. Returns records or a status. */
QUERN_API int64_t quern_predict_with(quern_model *m, quern_generator *data, const quern_predict_opts *opts,
                                     quern_prediction_sink *sink, void *user, quern_error *err);

/* The same from arrays in memory: `x` has an array for each input of the model, `y` for each output (types of any kind; the first
 * axis is the record), `weights` a number a record (NULL: none). The arrays are borrowed for the call. */
QUERN_API quern_history *quern_fit(quern_model *m, const quern_tensor *x, const quern_tensor *y, const float *weights,
                                   const quern_fit_opts *opts, quern_error *err);
QUERN_API int64_t quern_evaluate(quern_model *m, const quern_tensor *x, const quern_tensor *y, const float *weights,
                                 int64_t batch_size, double *logs, quern_error *err);
/* `out` has for each output room for all its predictions. */
QUERN_API int64_t quern_predict(quern_model *m, const quern_tensor *x, int64_t batch_size, float *const *out, quern_error *err);

/* Lets the layers that learn a state by looking at data (Normalization, Discretization, and the vocabularies of
 * TextVectorization, StringLookup and IntegerLookup that are not given) see `steps` batches of the generator (0: all of it), one
 * pass for each such layer, in the order of the model. Vocabularies are learned in bounded memory: beyond 2^19 different words the
 * rarest are forgotten. Those of models inside the model stay as they are. `layer` names one; NULL: every one. Returns how many
 * layers were adapted. */
QUERN_API int quern_adapt(quern_model *m, const char *layer, quern_generator *data, int64_t batch_size, int64_t steps,
                          quern_error *err);

/* What the process will hold in memory while it trains, in bytes: parts, their sum, and what was chosen so that it fits. What
 * cannot be known exactly is measured and counted with a margin: half of all that is mapped of the program and its libraries (all
 * of it where more than seven sixteenths are resident already; a quarter more while a file is written), what malloc has given out,
 * and 1.5 MiB. Callbacks and generators of the caller are not seen: what they hold when the plan is made is counted, what they ask
 * for later is not. */
typedef struct quern_plan {
    size_t total, smallest; /* of this plan; of the one that takes least, below which nothing trains: 0 when it was not looked for,
                               because quern_fit_generator had found one that fits                      */
    size_t budget;          /* SIZE_MAX: nothing limits                                                     */
    size_t weights, gradients, optimizer, activations;
    size_t workspace;       /* stacks: kernels keep packed copies and tiles there                                 */
    size_t queue;           /* batches that stand ready, of validation too                                        */
    size_t readers;         /* windows and buffers of sources                                                     */
    size_t callbacks;       /* copies of weights, files and checkpoints written meanwhile, the history's block      */
    size_t files;           /* by which writing the model's file afterwards takes more than training did          */
    size_t runtime;         /* the program, libraries, what it holds already; 0: unknown, for lack of /proc, and not in the total */
    size_t arena, bound;    /* what values within a step take, and the largest sum of those that live at a time */
    int32_t max_queue_size; /* chosen: at most what was asked for                                           */
    int32_t frugal; /* true: memory goes before time; threads wait after every call, weights are updated as soon as their gradients
                       are there. The numbers are the same, bit for bit                                     */
    int32_t recompute; /* of 10: how many of the values of the way forward are computed again on the way back instead of being
                          kept, the more the less memory there is; 0: none. The numbers are the same, bit for bit */
    int32_t fits;
    int64_t parts; /* in which a batch is trained, their gradients added in order; 1: whole. More than one gives other numbers, by
                      rounding (with QUERN_SPLIT_ANY by more)                                              */
    double seconds, slower; /* of a step on two threads, roughly estimated: for comparing plans; and how many times that of the
                               fastest plan                                                             */
    char limit[48];         /* what sets the budget: "memory", "memory cgroup", …; empty: nothing                 */
    char largest[16];       /* name of the largest part                                                           */
} quern_plan;
/* Plans training with these options (NULL: Keras's defaults) before anything is read, for `train` (NULL: a file that is not known
 * yet). Choices but the last change no number; they are made only as far as the budget asks for them, the cheapest first: a shorter
 * queue, a frugal plan, values that are computed again, and at last batches in parts. QUERN_OK, or QUERN_BUDGET when nothing fits;
 * `out` is filled then too. quern_fit_generator does the same by itself when there is a limit, and refuses in the same way. The
 * model keeps the plan. */
QUERN_API int quern_plan_fit(quern_model *m, quern_generator *train, const quern_fit_opts *opts, quern_plan *out, quern_error *err);
/* What lives within a step: bytes by phase of the training plan that was made last, from one barrier of the threads to the next,
 * into `live`, which has room for `room` of them. Returns how many there are; 0 when there is no plan. */
QUERN_API int quern_plan_live(const quern_model *m, size_t *live, int room);

#ifdef __cplusplus
}
#endif
#endif
