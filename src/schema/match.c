/* Two schemas meet: columns and classes are found by name, and what is missing is named. */
#include "schema.h"

#include <string.h>

int quern__schema_missing(const char *where, const char *name, const void *names, size_t n, size_t stride, quern_error *err)
{
    int status = quern__fail(err, QUERN_NOTFOUND, where, "no column is called '%.100s'", name);
    const char *near = quern__nearest(name, names, n, stride);
    if (near && *near)
        quern__hint(err, "did you mean '%.100s'?", near);
    return status;
}

int quern__schema_order(const quern_schema *model, const quern_schema *data, bool target, const char *where, int *order,
                        quern_error *err)
{
    int n = target ? model->n_targets : model->n_features;
    for (int i = 0; i < n; i++) {
        const char *name = quern__schema_at(model, target, i)->name;
        order[i] = quern__schema_find(data, target, name);
        if (order[i] < 0)
            return quern__schema_missing(where, name, &data->columns[target ? data->n_features : 0].name,
                                         (size_t)(target ? data->n_targets : data->n_features), sizeof *data->columns, err);
    }
    return QUERN_OK;
}

int quern__schema_class_map(const quern__schema_column *model, const quern__schema_column *data, const char *where, int **map,
                            quern_error *err)
{
    bool same = model->classes.n == data->classes.n;
    *map = NULL;
    if ((model->kind == QUERN__COLUMN_CLASS) != (data->kind == QUERN__COLUMN_CLASS))
        return quern__fail(err, QUERN_INVALID, where, "column '%.100s' holds %s, the model learned %s", data->name,
                           data->kind == QUERN__COLUMN_CLASS ? "names of classes" : "numbers",
                           model->kind == QUERN__COLUMN_CLASS ? "names of classes" : "numbers");
    for (int k = 0; k < data->classes.n; k++) {
        int class = quern__names_find(&model->classes, data->classes.list[k]);
        same = same && class == k;
        if (class < 0)
            return quern__fail(err, QUERN_INVALID, where, "column '%.100s': '%.100s' is not a class of the model", data->name,
                               data->classes.list[k]);
    }
    if (same)
        return QUERN_OK;
    if (!(*map = quern__zalloc((size_t)data->classes.n + 1, sizeof **map)))
        return quern__fail_memory(err, (size_t)data->classes.n * sizeof **map);
    for (int k = 0; k < data->classes.n; k++)
        (*map)[k] = quern__names_find(&model->classes, data->classes.list[k]);
    return QUERN_OK;
}
