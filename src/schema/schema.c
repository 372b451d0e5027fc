/* Schema objects: accessors, copy and destruction. */
#include "schema.h"

#include <string.h>

int quern_schema_features(const quern_schema *s) { return s ? s->n_features : 0; }
int quern_schema_targets(const quern_schema *s) { return s ? s->n_targets : 0; }

static const quern__schema_column *target_of(const quern_schema *s, int i)
{
    return s && i >= 0 && i < s->n_targets ? quern__schema_at(s, true, i) : NULL;
}

const char *quern_schema_feature(const quern_schema *s, int i)
{
    return s && i >= 0 && i < s->n_features ? s->columns[i].name : NULL;
}

const char *quern_schema_target(const quern_schema *s, int i)
{
    return target_of(s, i) ? target_of(s, i)->name : NULL;
}
int quern_schema_target_output(const quern_schema *s, int i)
{
    return target_of(s, i) ? target_of(s, i)->output : -1;
}
int quern_schema_classes(const quern_schema *s, int i)
{
    return target_of(s, i) ? target_of(s, i)->classes.n : 0;
}

const char *quern_schema_class(const quern_schema *s, int i, int k)
{
    return k >= 0 && k < quern_schema_classes(s, i) ? target_of(s, i)->classes.list[k] : NULL;
}

int quern_schema_find_class(const quern_schema *s, int i, const char *name)
{
    return name && target_of(s, i) ? quern__names_find(&target_of(s, i)->classes, name) : -1;
}

int quern__schema_find(const quern_schema *s, bool target, const char *name)
{
    for (int i = 0; i < (target ? s->n_targets : s->n_features); i++)
        if (!strcmp(quern__schema_at(s, target, i)->name, name))
            return i;
    return -1;
}

quern_schema *quern__schema_new(int n_features, int n_targets, quern_error *err)
{
    quern_schema *s = quern__zalloc(1, sizeof *s);
    if (s)
        *s = (quern_schema){
            .n_features = n_features, .n_targets = n_targets, .separator = ',', .decimal = '.'
        };
    if (s && (s->columns = quern__zalloc((size_t)(n_features + n_targets) + 1, sizeof *s->columns)))
        return s;
    quern_schema_free(s);
    quern__fail_memory(err, sizeof *s);
    return NULL;
}

static int copy_column(quern__schema_column *to, const quern__schema_column *from, quern_error *err)
{
    *to = *from;
    to->classes = (quern__names){ 0 };
    to->name = quern__strdup(from->name);
    to->fill_class = from->fill_class ? quern__strdup(from->fill_class) : NULL;
    return to->name && (to->fill_class || !from->fill_class)
               ? quern__names_copy(&to->classes, &from->classes, err)
               : quern__fail_memory(err, strlen(from->name));
}

quern_schema *quern__schema_copy(const quern_schema *s, quern_error *err)
{
    return quern__schema_pick(s, NULL, NULL, err);
}

quern_schema *quern__schema_pick(const quern_schema *from, const int *features, const int *targets,
                                 quern_error *err)
{
    quern_schema *s = quern__schema_new(from->n_features, from->n_targets, err);
    if (!s)
        return NULL;
    quern__schema_column *columns = s->columns;
    *s = *from;
    s->columns = columns;
    int status = quern__names_copy(&s->missing, &from->missing, err);
    for (int i = 0; i < s->n_features && status >= 0; i++)
        status = copy_column(&columns[i], &from->columns[features ? features[i] : i], err);
    for (int i = 0; i < s->n_targets && status >= 0; i++)
        status = copy_column(&columns[s->n_features + i],
                             &from->columns[s->n_features + (targets ? targets[i] : i)], err);
    if (status >= 0)
        return s;
    quern_schema_free(s);
    return NULL;
}

void quern_schema_free(quern_schema *s)
{
    if (s)
        for (int i = 0; s->columns && i < s->n_features + s->n_targets; i++) {
            quern__free(s->columns[i].name);
            quern__free(s->columns[i].fill_class);
            quern__names_free(&s->columns[i].classes);
        }
    if (s) {
        quern__free(s->columns);
        quern__names_free(&s->missing);
    }
    quern__free(s);
}
