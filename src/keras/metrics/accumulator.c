/* accumulator: the totals of a metric, the nodes that add one batch, and the results. Most metrics
 * are means of values (losses.c); the rows of the others have `counts`, `count` and `results`.
 *
 * An accumulator has two variables in float64. For a mean they are the total of weighted values and
 * the total of weights. For other metrics `total` is a table of counts, whose shape `counts` sets,
 * and `count` is NULL. The nodes of each step add to them; the results are computed on the host
 * when a log is read. */
#include "keras/keras.h"

#include <math.h>
#include <string.h>

enum { most_counts = 1 << 23 };

void quern__accumulator_free(quern__accumulator *m)
{
    if (!m)
        return;
    json_decref(m->config);
    quern__variable_free(m->total);
    quern__variable_free(m->count);
    quern__variable_free(m->given[0]);
    quern__variable_free(m->given[1]);
    quern__free(m);
}

int quern__accumulator_total(quern__accumulator *m, const quern_shape *shape, quern_error *err)
{
    if (quern_shape_count(shape) > most_counts) /* a file can request any size */
        return quern__fail(err, QUERN_UNSUPPORTED, m->row ? m->row->name : NULL,
                           "more than %d counts", most_counts);
    m->total = quern__variable_new("total", QUERN_FLOAT64, shape, false, err);
    return m->total ? QUERN_OK : QUERN_NOMEM;
}

int quern__accumulator_given(quern__accumulator *m, int which, const float *numbers, int64_t n,
                             quern_error *err)
{
    m->given[which] = quern__variable_new("given", QUERN_FLOAT32,
                                          &(quern_shape){ .rank = 1, .dims = { n } }, false, err);
    if (!m->given[which])
        return QUERN_NOMEM;
    memcpy(m->given[which]->data, numbers, (size_t)n * sizeof *numbers);
    return QUERN_OK;
}

quern__accumulator *quern__accumulator_new(const quern__class *row, json_t *config,
                                           const char *name, const quern_shape *truth,
                                           const quern_shape *prediction, quern_error *err)
{
    quern_shape scalar = { 0 };
    quern__accumulator *m = quern__zalloc(1, sizeof *m);
    if (!m) {
        json_decref(config);
        quern__fail_memory(err, sizeof *m);
        return NULL;
    }
    *m = (quern__accumulator){ .row = row, .config = config, .n_results = 1 };
    int status = row && row->counts ? row->counts(m, truth, prediction, err)
                                    : quern__accumulator_total(m, &scalar, err);
    if (status >= 0 && m->n_results > QUERN__MAX_METRIC_RESULTS)
        status = quern__fail(err, QUERN_UNSUPPORTED, name, "a metric with more than %d results",
                             QUERN__MAX_METRIC_RESULTS);
    if (status >= 0 && (!row || !row->counts) &&
        !(m->count = quern__variable_new("count", QUERN_FLOAT64, &scalar, false, err)))
        status = QUERN_NOMEM;
    if (status >= 0)
        return m;
    quern__accumulator_free(m);
    return NULL;
}

void quern__accumulator_nodes(const quern__accumulator *m, quern__graph *g, quern__id truth,
                              quern__id prediction, quern__id weights, quern__id mask)
{
    if (!m->row->counts) {
        quern__mean_nodes(g, m->row, m->config, truth, prediction, weights, mask, m->total,
                          m->count);
        return;
    }
    quern__id counts = m->row->count(m, g, truth, prediction, weights);
    quern__assign(g, m->total, quern__add2(g, quern__graph_variable(g, m->total), counts));
}

void quern__accumulator_reset(quern__accumulator *m)
{
    memset(m->total->data, 0, (size_t)quern_shape_count(&m->total->shape) * sizeof(double));
    if (m->count)
        *(double *)m->count->data = 0;
}

void quern__accumulator_results(const quern__accumulator *m, double *out)
{
    if (m->row && m->row->counts) {
        m->row->results(m, out);
        return;
    }
    double total = *(double *)m->total->data, count = *(double *)m->count->data;
    *out = m->row && m->row->extra == QUERN__METRIC_OF_TOTALS ? total
           : count != 0                                       ? total / count
                                                              : 0;
    if (m->row && m->row->extra == QUERN__METRIC_ROOT)
        *out = sqrt(*out);
}
