/* What cases of whole models share. */
#ifndef QUERN_CONFORMANCE_MODELS_H
#define QUERN_CONFORMANCE_MODELS_H

#include "conformance.h"

#include <quern/quern.h>

/* A generator over arrays of the case: batches of given sizes, end to end; endless ones begin
 * again. */
typedef struct feed {
    const test_case *c;
    const quern_tensor *arrays[2 * QUERN_MAX_ARRAYS], *weights,
        *own[QUERN_MAX_ARRAYS]; /* own: by output */
    json_t *sizes;              /* NULL: all of batch_size, the last what is left */
    int64_t batch_size, at, records;
    size_t next;
} feed;

typedef struct model_case {
    test_case *c;
    quern_model *m;
    json_t *fit, *tolerance;
    int64_t batch_size;
} model_case;

/* Arrays x… and t… (or vx… vt…) of the case as a feed; false when one is missing. */
bool feed_of(model_case *k, const char *prefix, json_t *sizes, feed *f);
int feed_next(void *user, quern_batch *b, quern_error *err);
int feed_reset(void *user, quern_error *err);
/* Opens a file of the case; false, with the verdict, when that fails. */
bool open_model(model_case *k, const char *file);
void check_predictions(model_case *k, const char *prefix, const char *tolerance);
/* Members of a run begin with its name; those of a history that began earlier are held from `first`
 * on. */
void check_history(model_case *k, const quern_history *h, int64_t first, json_t *names,
                   const char *run);
void check_weights(model_case *k, const char *run);
/* Trains from epoch `first` to the end, with one reading thread, and compares all there is. */
void check_training(model_case *k, int64_t first);
/* step_sizes.c: steps on batches of several sizes. */
void check_steps(model_case *k, int steps);
/* Trains anew by plans that take less memory; the weights must be the same bits. The model is
 * another one afterwards. */
void check_plans(model_case *k);

#endif
