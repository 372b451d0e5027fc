/* Maps named columns to the elements of inputs and outputs; the contract is in column_map.h. */
#include "column_map.h"
#include "tensor/array_axes.h"

#include <string.h>

/* Assigns to each input or output of one element the column with its name. now[position] is -1
 * if no name matches. */
static void map_named(const quern_batch_spec *spec, bool target, const char *const *names, int n,
                      int *left, int *now)
{
    int first = target ? spec->n_inputs : 0,
        arrays = target ? spec->n_targets : spec->n_inputs - spec->n_kept;
    for (int i = 0, at = 0; i < arrays; at += (int)quern__per_record(&spec->shapes[first + i++]))
        for (int k = 0;
             k < n && quern__per_record(&spec->shapes[first + i]) == 1 && spec->names[first + i];
             k++)
            if (left[k] >= 0 && !strcmp(names[k], spec->names[first + i])) {
                now[at] = left[k];
                left[k] = -1;
                break;
            }
}

int quern__deal_by_name(const quern_batch_spec *spec, bool target, const char *const *names, int n,
                        int *order, quern_error *err)
{
    int first = target ? spec->n_inputs : 0,
        arrays = target ? spec->n_targets : spec->n_inputs - spec->n_kept, next = 0;
    int64_t places = 0;
    for (int i = 0; i < arrays; i++)
        places += quern__per_record(&spec->shapes[first + i]);
    if (arrays < 2 || places != n)
        return QUERN_OK;
    int *now = quern__alloc((size_t)n * sizeof *now);
    if (!now)
        return quern__fail_memory(err, (size_t)n * sizeof *now);
    for (int i = 0; i < n; i++)
        now[i] = -1;
    map_named(spec, target, names, n, order, now);
    for (int at = 0; at < n; at++) {
        while (now[at] < 0 && order[next] < 0)
            next++;
        now[at] = now[at] < 0 ? order[next++] : now[at];
    }
    memcpy(order, now, (size_t)n * sizeof *now);
    quern__free(now);
    return QUERN_OK;
}

int quern__deal_output(const quern_batch_spec *spec, int64_t place)
{
    int i = 0;
    for (; i + 1 < spec->n_targets && place >= quern__per_record(&spec->shapes[spec->n_inputs + i]);
         i++)
        place -= quern__per_record(&spec->shapes[spec->n_inputs + i]);
    return i;
}

bool quern__deal_classifies(const quern_batch_spec *spec, int output)
{
    int means = spec->means[output];
    return means == QUERN_MEANS_CLASS || means == QUERN_MEANS_BINARY || means == QUERN_MEANS_SIGN;
}

bool quern__deal_shares(const quern_batch_spec *spec, int output)
{
    return spec->means[output] == QUERN_MEANS_CLASS &&
           quern__per_record(&spec->shapes[spec->n_inputs + output]) > 1;
}

int quern__deal_share(const quern_batch_spec *spec, quern_schema *s, quern_error *err)
{
    int status = QUERN_OK;
    for (int i = 0; i < spec->n_targets && status >= 0; i++) {
        quern__names all = { 0 };
        quern__schema_column *targets = s->columns + s->n_features;
        for (int t = 0; t < s->n_targets && quern__deal_shares(spec, i) && status >= 0; t++)
            status = targets[t].output == i ? quern__names_join(&all, &targets[t].classes, err)
                                            : QUERN_OK;
        for (int t = 0; t < s->n_targets && all.n && status >= 0; t++)
            if (targets[t].output == i) {
                quern__names_free(&targets[t].classes);
                targets[t].kind = QUERN__COLUMN_CLASS;
                status = quern__names_copy(&targets[t].classes, &all, err);
            }
        quern__names_free(&all);
    }
    return status;
}

int quern__deal_classes(const quern_batch_spec *spec, int output, const char *column,
                        const quern__names *classes, const char *where, quern_error *err)
{
    int means = spec->means[output];
    bool binary = means == QUERN_MEANS_BINARY || means == QUERN_MEANS_SIGN;
    int64_t most = means == QUERN_MEANS_CLASS ? spec->classes[output] : binary ? 2 : 0;
    if (!most || classes->n <= most)
        return QUERN_OK;
    quern__fail(err, QUERN_INVALID, where,
                "column '%.60s' has %d classes ('%.30s', '%.30s', …), the model has %lld", column,
                classes->n, classes->list[0], classes->list[1], (long long)most);
    quern__hint(
        err,
        binary
            ? "for more than two classes use one unit per class and sparse_categorical_crossentropy"
            : "give the last layer one unit per class");
    return QUERN_INVALID;
}

void quern__deal_hint(const quern_batch_spec *spec, int output, int64_t per, quern_error *err)
{
    if (spec->means[output] == QUERN_MEANS_ONE_HOT && per == 1)
        quern__hint(err, "categorical losses take one number per class; use "
                         "sparse_categorical_crossentropy for labels");
    if (spec->means[output] == QUERN_MEANS_CLASS && per > 1 && per == spec->classes[output])
        quern__hint(err, "sparse losses take one label per record; use categorical_crossentropy "
                         "for one-hot targets");
}

int quern__deal_axes(const quern_batch_spec *spec, int array, const char *where,
                     const quern_shape *have, quern_error *err)
{
    bool input = array < spec->n_inputs;
    quern_error own = { 0 };
    int status =
        quern__axes_check(where, have, &spec->shapes[array], spec->names[array], input, &own);
    if (status >= 0)
        return status;
    quern__fail(err, own.code, own.where, "%s", own.text);
    if (!input)
        quern__deal_hint(spec, array - spec->n_inputs, quern__per_record(have), err);
    if (*own.hint)
        quern__hint(err, "%s", own.hint);
    return status;
}
