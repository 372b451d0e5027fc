/* Numbers that are not finite: in a batch, after its loss is not finite, and in the weights at the
 * end of a run. */
#include "fit.h"

#include <math.h>
#include <stdio.h>

static const char diverges[] = "try a lower learning rate or clipnorm; --watch finds the layer";

/* Index of the first number that is not finite; -1: all are finite. */
static int64_t first_not_finite(const float *x, int64_t n)
{
    int64_t k = 0;
    while (k < n && isfinite(x[k]))
        k++;
    return k < n ? k : -1;
}

static const char *number_text(float v) { return isnan(v) ? "nan" : v > 0 ? "inf" : "-inf"; }

/* Names number `at` of an array with `per` numbers per record. */
static void name_number(const quern__pass *p, const quern_batch *b, int array, const float *x,
                        int64_t at, int64_t per, char *where, char *what, size_t size)
{
    const quern_generator *g = quern__queue_source(p->queue);
    const char *file = array >= 0 ? quern__generator_file(g, array) : NULL,
               *name = array < 0 ? "weights" : b->spec->names[array];
    char own[120] = "", record[80];
    snprintf(where, 200, "%.190s", file ? file : quern__generator_where(g, "generator"));
    if (!file)
        snprintf(own, sizeof own, "'%.100s', ", name ? name : "?");
    if (quern__generator_indexed(g))
        snprintf(record, sizeof record, "record %lld", (long long)b->indices[at / per] + 1);
    else
        snprintf(record, sizeof record, "record %lld of the batch", (long long)(at / per) + 1);
    snprintf(what, size, "%s%s, number %lld: %s; ", own, record, (long long)(at % per) + 1,
             number_text(x[at]));
}

/* Finds a number that is not finite in the arrays and weights of the batch. */
static bool find_not_finite(const quern__pass *p, const quern_batch *b, char *where, char *what,
                            size_t size)
{
    const quern_batch_spec *s = b->spec;
    for (int i = 0; i < s->n_inputs + s->n_targets; i++) {
        int64_t per = quern__per_record(&s->shapes[i]), at;
        if (s->dtypes[i] != QUERN_FLOAT32 ||
            (at = first_not_finite(b->arrays[i], per * b->size)) < 0)
            continue;
        name_number(p, b, i, b->arrays[i], at, per, where, what, size);
        return true;
    }
    int64_t at = b->has_weights ? first_not_finite(b->weights, b->size) : -1;
    if (at >= 0)
        name_number(p, b, -1, b->weights, at, 1, where, what, size);
    return at >= 0;
}

int quern__loss_is_broken(const quern__pass *p, const quern_batch *b, quern_error *err)
{
    char where[200] = "loss", what[300] = "", when[100];
    bool found = find_not_finite(p, b, where, what, sizeof what);
    if (p->mode == QUERN__TRAIN)
        snprintf(when, sizeof when, "after step %lld of epoch %lld", (long long)p->done + 1,
                 (long long)b->epoch + 1);
    else
        snprintf(when, sizeof when, "after batch %lld of the %s", (long long)p->done + 1,
                 p->logs && p->logs->event.validating ? "validation" : "evaluation");
    int status = quern__fail(err, QUERN_NUMBER, where, "%s%s not finite %s", what,
                             found ? "the loss is" : "is", when);
    if (found)
        quern__hint(err, "replace these numbers, or remove their records");
    else if (p->mode == QUERN__TRAIN)
        quern__hint(err, diverges);
    return status;
}

int quern__weights_are_broken(const quern_model *m, int64_t epoch, int64_t step, quern_error *err)
{
    quern_error own = { 0 };
    if (quern__model_finite(m, &own))
        return QUERN_OK;
    int status = quern__fail(err, QUERN_NUMBER, own.where, "%s after step %lld of epoch %lld",
                             own.text, (long long)step, (long long)epoch + 1);
    quern__hint(err, diverges);
    return status;
}
