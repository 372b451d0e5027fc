/* Matches two schemas: columns and classes correspond by name; an error names what is missing. */
#include "schema.h"

#include <string.h>
#include <strings.h>

enum { most_listed = 5 };

char *quern__next_name(char **rest, const char *stops, char *stop)
{
    char *name = *rest, *to = name, *p = name;
    bool quoted = *p == '"';
    if (!*p)
        return NULL;
    for (p += quoted; *p && (quoted || !strchr(stops, *p)); p++) {
        if (quoted && *p == '"' && *++p != '"') {
            quoted = false;
            p--;
            continue;
        }
        *to++ = *p;
    }
    *stop = *p;
    *rest = *p ? p + 1 : p;
    *to = 0;
    return name;
}

/* Whether two names differ only in case and surrounding blanks. */
static bool names_similar(const char *a, const char *b)
{
    size_t n, m;
    a += strspn(a, " \t");
    b += strspn(b, " \t");
    for (n = strlen(a); n && strchr(" \t\r", a[n - 1]); n--)
        ;
    for (m = strlen(b); m && strchr(" \t\r", b[m - 1]); m--)
        ;
    return n == m && !strncasecmp(a, b, n);
}

int quern__schema_missing(const char *where, const char *name, const void *names, size_t n,
                          size_t stride, quern_error *err)
{
    int status = quern__fail(err, QUERN_NOTFOUND, where, "no column is called '%.100s'", name);
    const char *near =
        strlen(name) > 2 && strlen(name) < 64 ? quern__nearest(name, names, n, stride) : NULL;
    quern__text all = { 0 };
    for (size_t i = 0; i < n; i++) {
        const char *one = *(char *const *)((const char *)names + i * stride);
        near = names_similar(name, one) ? one : near;
        if (i < most_listed)
            quern__text_add(&all, "%s'%.20s'", i ? ", " : "", one);
    }
    if (near && *near)
        quern__hint(err, "did you mean '%.100s'?", near);
    else if (n && !all.failed)
        quern__hint(err, "use one of its columns: %s%s", all.data, n > most_listed ? ", …" : "");
    quern__text_free(&all);
    return status;
}

int quern__schema_order(const quern_schema *model, const quern_schema *data, bool target,
                        const char *where, int *order, quern_error *err)
{
    int n = target ? model->n_targets : model->n_features;
    for (int i = 0; i < n; i++) {
        const char *name = quern__schema_at(model, target, i)->name;
        order[i] = quern__schema_find(data, target, name);
        if (order[i] < 0)
            return quern__schema_missing(
                where, name, &data->columns[target ? data->n_features : 0].name,
                (size_t)(target ? data->n_targets : data->n_features), sizeof *data->columns, err);
    }
    return QUERN_OK;
}

int quern__schema_class_map(const quern__schema_column *model, const quern__schema_column *data,
                            const char *where, int **map, quern_error *err)
{
    bool same = model->classes.n == data->classes.n;
    *map = NULL;
    if ((model->kind == QUERN__COLUMN_CLASS) != (data->kind == QUERN__COLUMN_CLASS))
        return quern__fail(err, QUERN_INVALID, where,
                           "column '%.100s' contains %s, the model learned %s", data->name,
                           data->kind == QUERN__COLUMN_CLASS ? "class names" : "numbers",
                           model->kind == QUERN__COLUMN_CLASS ? "class names" : "numbers");
    for (int k = 0; k < data->classes.n; k++) {
        int class = quern__names_find(&model->classes, data->classes.list[k]);
        same = same && class == k;
        if (class < 0)
            return quern__fail(err, QUERN_INVALID, where,
                               "column '%.100s': '%.100s' is not a class of the model", data->name,
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
