/* Shared by the cases of whole models. */
#ifndef QUERN_CONFORMANCE_MODELS_H
#define QUERN_CONFORMANCE_MODELS_H

#include "conformance.h"

#include <quern/quern.h>

/* A generator over arrays of the case: batches of given sizes in sequence; an endless one starts
 * again. */
typedef struct feed {
    const test_case *c;
    const quern_tensor *arrays[2 * QUERN_MAX_ARRAYS], *weights,
        *own[QUERN_MAX_ARRAYS]; /* own: by output */
    json_t *sizes;              /* NULL: batch_size each, the last the remainder */
    int64_t batch_size, at, records;
    size_t next;
} feed;

typedef struct model_case {
    test_case *c;
    quern_model *m;
    json_t *fit, *tolerance;
    int64_t batch_size;
} model_case;

/* Arrays x… and t… (or vx… vt…) of the case as a feed; false if one is missing. */
bool feed_of(model_case *k, const char *prefix, json_t *sizes, feed *f);
int feed_next(void *user, quern_batch *b, quern_error *err);
int feed_reset(void *user, quern_error *err);
/* Opens a file of the case; false, with the verdict, if that fails. */
bool open_model(model_case *k, const char *file);
void check_predictions(model_case *k, const char *prefix, const char *tolerance);
/* Members of a run start with its name; those of a history that started earlier are compared from
 * `first` on. */
void check_history(model_case *k, const quern_history *h, int64_t first, json_t *names,
                   const char *run);
void check_weights(model_case *k, const char *run);
/* Trains from epoch `first` to the end with one reader thread, and compares all results. */
void check_training(model_case *k, int64_t first);
/* step_sizes.c: steps on batches of several sizes. */
void check_steps(model_case *k, int steps);
/* Trains again with plans that need less memory; the weights must be bit-identical. The model is
 * different afterwards. */
void check_plans(model_case *k);

#endif
