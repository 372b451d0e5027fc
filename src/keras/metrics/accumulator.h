/* accumulator: the variables that sum a metric over batches, and the nodes that update them. */
#ifndef QUERN__ACCUMULATOR_H
#define QUERN__ACCUMULATOR_H

#include "keras/registry/class.h"

/* Bits of `extra` in the rows of metrics: the result is the root of a mean; the metric takes values
 * (Mean); it sums them (Sum). */
enum { QUERN__METRIC_ROOT = 2, QUERN__METRIC_OF_VALUES = 4, QUERN__METRIC_OF_TOTALS = 5 };
enum { QUERN__MAX_METRIC_RESULTS = 200 };

typedef struct quern__accumulator {
    const quern__class *row; /* NULL: a mean whose total and count others add to */
    json_t *config;
    quern__variable *total,
        *count; /* float64; where the row has `counts`, total has all sums and count is NULL */
    quern__variable *given[2]; /* numbers that the nodes read; NULL: none */
    int how;                   /* for the functions of the row: a variant that `counts` selects */
    int n_results;
} quern__accumulator;

/* A metric for truths and predictions of these shapes; the batch dimension can be dynamic. Takes
 * `config`. Returns new. */
quern__accumulator *quern__accumulator_new(const quern__class *row, json_t *config,
                                           const char *name, const quern_shape *truth,
                                           const quern_shape *prediction, quern_error *err);
void quern__accumulator_free(quern__accumulator *m);
/* Adds the nodes that add one batch. `weights`, `mask`: 0 for none. */
void quern__accumulator_nodes(const quern__accumulator *m, quern__graph *g, quern__id truth,
                              quern__id prediction, quern__id weights, quern__id mask);
void quern__accumulator_reset(quern__accumulator *m);
/* Computes the n_results results. */
void quern__accumulator_results(const quern__accumulator *m, double *out);
/* For `counts` of a row: creates the total with that shape, zeros. */
int quern__accumulator_total(quern__accumulator *m, const quern_shape *shape, quern_error *err);
/* For `counts` of a row: creates given[which] from n numbers. */
int quern__accumulator_given(quern__accumulator *m, int which, const float *numbers, int64_t n,
                             quern_error *err);

/* The class that "accuracy" or "crossentropy" selects for these shapes; another name is returned as
 * it is. Returns a static string or `name`. */
const char *quern__metric_meaning(const char *name, const quern_shape *truth,
                                  const quern_shape *prediction);
/* Adds the nodes of a mean: sum(values * weights) is added to `total`, sum(weights) to `count`. */
void quern__mean_nodes(quern__graph *g, const quern__class *c, json_t *config, quern__id truth,
                       quern__id prediction, quern__id weights, quern__id mask,
                       quern__variable *total, quern__variable *count);
/* Whether a higher value of the metric or loss is better. */
bool quern__metric_rises(const quern__class *c);

#endif
