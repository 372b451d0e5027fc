/* Applies the options to the columns of a CSV: roles, columns of class names, and substitutes
 * for missing values. */
#include "csv.h"

#include <string.h>

/* Sets the role of the columns in a list of names. */
static int give_role(quern__csv *f, char *names, int role, int *count, quern_error *err)
{
    static const char *const words[] = { "", "--features", "--target", "--weight" };
    char stop;
    for (char *name; (name = quern__next_name(&names, ",", &stop));) {
        int k = quern__csv_find(f, name, err);
        if (k < 0)
            return k;
        if (f->columns[k].role)
            return quern__fail(err, QUERN_INVALID, f->columns[k].name,
                               "the column is named twice, by %s and by %s",
                               words[f->columns[k].role], words[role]);
        f->columns[k].role = role;
        f->columns[k].order = (*count)++;
    }
    return QUERN_OK;
}

/* Marks the columns in a list of names as class names. */
static int mark_classes(quern__csv *f, char *names, quern_error *err)
{
    char stop;
    for (char *name; (name = quern__next_name(&names, ",", &stop));) {
        int k = quern__csv_find(f, name, err);
        if (k < 0)
            return k;
        f->columns[k].named = f->columns[k].asked = true;
    }
    return QUERN_OK;
}

/* ---- missing values ---- */

/* Reads --missing: "7" for all columns of numbers, or "age=7,kind=cat". */
static int set_missing(quern__csv *f, char *text, quern_error *err)
{
    double v;
    char *rest = text, stop;
    if (text && quern__parse_number(text, &v)) {
        for (int k = 0; k < f->n; k++) {
            f->columns[k].fills = true;
            f->columns[k].fill = v;
        }
        return QUERN_OK;
    }
    for (char *name; (name = quern__next_name(&rest, "=,", &stop));) {
        if (stop != '=')
            return quern__fail(err, QUERN_INVALID, "--missing",
                               "'%s' is not a number and not COLUMN=VALUE,…", name);
        int k = quern__csv_find(f, name, err);
        if (k < 0)
            return k;
        quern__column *c = &f->columns[k];
        const char *value = quern__next_name(&rest, ",", &stop);
        quern__free(c->fill_class);
        if (!(c->fill_class = quern__strdup(value ? value : "")))
            return quern__fail_memory(err, 1);
        c->fills = quern__parse_number(c->fill_class, &c->fill);
    }
    return QUERN_OK;
}

/* Calls `read` with a copy of an option, which it may change. */
static int with_copy(quern__csv *f, const char *text,
                     int (*read)(quern__csv *f, char *own, quern_error *err), quern_error *err)
{
    char *own = text ? quern__strdup(text) : NULL;
    int status = !text ? QUERN_OK : own ? read(f, own, err) : quern__fail_memory(err, strlen(text));
    quern__free(own);
    return status;
}

static int read_targets(quern__csv *f, char *own, quern_error *err)
{
    return give_role(f, own, QUERN__ROLE_TARGET, &f->n_targets, err);
}

static int read_features(quern__csv *f, char *own, quern_error *err)
{
    return give_role(f, own, QUERN__ROLE_FEATURE, &f->n_features, err);
}

static int read_weight(quern__csv *f, char *own, quern_error *err)
{
    int weights = 0, status = give_role(f, own, QUERN__ROLE_WEIGHT, &weights, err);
    f->weighted = weights;
    return status < 0 || weights < 2
               ? status
               : quern__fail(err, QUERN_INVALID, "--weight", "%d columns, expected one", weights);
}

int quern__csv_columns(quern__csv *f, const quern_file_opts *o, quern_error *err)
{
    if (!(f->plain = quern__zalloc((size_t)f->n + 1, sizeof *f->plain)))
        return quern__fail_memory(err, (size_t)f->n * sizeof *f->plain);
    int status = with_copy(f, o->target, read_targets, err);
    if (status >= 0)
        status = with_copy(f, o->weight, read_weight, err);
    if (status >= 0)
        status = with_copy(f, o->features, read_features, err);
    f->features_named = o->features != NULL;
    f->targets_named = o->target != NULL;
    if (!o->features)
        f->n_features = f->n - f->n_targets - f->weighted;
    if (status >= 0)
        status = with_copy(f, o->classes, mark_classes, err);
    return status < 0 ? status : with_copy(f, o->missing, set_missing, err);
}
