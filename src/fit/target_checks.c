/* Checks targets against the range that their loss accepts: labels are valid classes; binary
 * targets and numbers per class are in [0, 1]. An error names the record. */
#include "class_weights.h"

#include <stdio.h>

/* The range of a loss, by the meaning of its targets. */
static const struct {
    double low, high;
    const char *text, *hint;
} ranges[] = {
    [QUERN_MEANS_CLASS] = { 0, 0, NULL, "labels start at 0" },
    [QUERN_MEANS_BINARY] = { 0, 1, "a binary loss takes 0 and 1, or a probability",
                             "for more than two classes use one unit per class and "
                             "sparse_categorical_crossentropy" },
    [QUERN_MEANS_SIGN] = { -1, 1, "a hinge loss takes -1 and 1, or 0 and 1", NULL },
    [QUERN_MEANS_ONE_HOT] = { 0, 1,
                              "a categorical loss takes one number for each class, between 0 and 1",
                              "use sparse_categorical_crossentropy for labels" },
    [QUERN_MEANS_ANYTHING] = { 0, 0, NULL, NULL },
};

static double number_at(const quern_batch *b, int array, int64_t i)
{
    return b->spec->dtypes[array] == QUERN_INT32 ? (double)((const int32_t *)b->arrays[array])[i]
                                                 : (double)((const float *)b->arrays[array])[i];
}

/* Index of the first of n numbers outside [low, high]; n: none. NaN counts as inside, because the
 * loss reports it. */
static int64_t first_outside(const quern_batch *b, int array, int64_t from, int64_t n, double low,
                             double high)
{
    const int32_t *whole = b->arrays[array];
    const float *real = b->arrays[array], least = (float)low, most = (float)high;
    if (b->spec->dtypes[array] == QUERN_INT32)
        while (from < n && (double)whole[from] >= low && (double)whole[from] <= high)
            from++;
    else
        while (from < n && !(real[from] < least || real[from] > most))
            from++;
    return from;
}

static int report_target(const quern_batch *b, const quern_generator *g, int target, int64_t record,
                         double v, quern_error *err)
{
    const quern_batch_spec *s = b->spec;
    int means = s->means[target];
    char where[256];
    const char *file = quern__generator_file(g, s->n_inputs + target);
    const char *name = s->names[s->n_inputs + target];
    if (quern__generator_indexed(g))
        snprintf(where, sizeof where, "%.200s: record %lld",
                 file ? file : quern__generator_where(g, "data"),
                 (long long)b->indices[record] + 1);
    else
        snprintf(where, sizeof where, "%.200s: record %lld of the epoch",
                 quern__generator_where(g, "generator"), (long long)(b->first + record) + 1);
    if (means == QUERN_MEANS_CLASS)
        quern__fail(
            err, QUERN_INVALID, where, "label %g is outside 0 … %lld: output '%s' has %lld classes",
            v, (long long)s->classes[target] - 1, name ? name : "?", (long long)s->classes[target]);
    else
        quern__fail(err, QUERN_INVALID, where, "target %g of output '%s' is outside %g … %g: %s", v,
                    name ? name : "?", ranges[means].low, ranges[means].high, ranges[means].text);
    if (ranges[means].hint)
        quern__hint(err, "%s", ranges[means].hint);
    return QUERN_INVALID;
}

int quern__labels_check(const quern_batch *b, const quern_generator *g, quern_error *err)
{
    const quern_batch_spec *s = b->spec;
    for (int t = 0; t < s->n_targets; t++) {
        int array = s->n_inputs + t, means = s->means[t];
        bool classes = means == QUERN_MEANS_CLASS && s->classes[t] > 0;
        if (!classes && !ranges[means].text)
            continue;
        double low = classes ? 0 : ranges[means].low,
               high = classes ? (double)s->classes[t] - 1 : ranges[means].high;
        int64_t per = quern__per_record(&b->shapes[array]), n = b->size * per, at = -1;
        while ((at = first_outside(b, array, at + 1, n, low, high)) < n) {
            double v = number_at(b, array, at);
            if (!classes || v != (double)s->ignored[t])
                return report_target(b, g, t, at / per, v, err);
        }
    }
    return QUERN_OK;
}
