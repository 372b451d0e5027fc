/* What each column of a CSV is: a feature, a target, the weights, or nothing; what stands for a missing value; the classes of
 * targets that are names; which columns a run takes as text or as whole numbers. */
#include "csv.h"
#include "number.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int find_column(const quern__csv *f, const char *name, size_t n, quern_error *err)
{
    char wanted[64];
    snprintf(wanted, sizeof wanted, "%.*s", (int)(n < 63 ? n : 63), name);
    for (int i = 0; i < f->n; i++)
        if (!strcmp(f->columns[i].name, wanted))
            return i;
    int status = quern__fail(err, QUERN_NOTFOUND, f->bytes.path, "no column is called '%s'", wanted);
    const char **names = quern__zalloc((size_t)f->n, sizeof *names);
    for (int i = 0; names && i < f->n; i++)
        names[i] = f->columns[i].name;
    const char *near = names ? quern__nearest(wanted, names, (size_t)f->n, sizeof *names) : NULL;
    if (near)
        quern__hint(err, "did you mean '%s'?", near);
    quern__free(names);
    return status;
}

/* Gives the columns named between commas to `give`. */
static int each_name(quern__csv *f, const char *names, int (*give)(quern__csv *f, int column, quern_error *err), quern_error *err)
{
    for (const char *p = names; p && *p;) {
        size_t n = strcspn(p, ",");
        int k = find_column(f, p, n, err), status = k < 0 ? k : give(f, k, err);
        if (status < 0)
            return status;
        p += n + (p[n] == ',');
    }
    return QUERN_OK;
}

static int give_target(quern__csv *f, int k, quern_error *err)
{
    if (f->columns[k].place != QUERN__IGNORED)
        return quern__fail(err, QUERN_INVALID, f->columns[k].name, "this column is named twice");
    f->columns[k].place = QUERN__FIRST_TARGET - f->n_targets++;
    return QUERN_OK;
}

static int give_weight(quern__csv *f, int k, quern_error *err)
{
    if (f->columns[k].place != QUERN__IGNORED || f->weighted)
        return quern__fail(err, QUERN_INVALID, f->columns[k].name, "this column is no column of weights");
    f->weighted = true;
    f->columns[k].place = QUERN__FIRST_TARGET - f->n_targets;
    return QUERN_OK;
}

static int give_feature(quern__csv *f, int k, quern_error *err)
{
    if (f->columns[k].place != QUERN__IGNORED)
        return quern__fail(err, QUERN_INVALID, f->columns[k].name, "this column is named twice");
    f->columns[k].place = f->n_features++;
    return QUERN_OK;
}

/* "7" for all columns, or "age=7,price=0". */
static int set_missing(quern__csv *f, const char *text, quern_error *err)
{
    double v;
    if (text && quern__parse_number(text, &v)) {
        for (int k = 0; k < f->n; k++)
            f->columns[k].fills = true, f->columns[k].fill = v;
        return QUERN_OK;
    }
    for (const char *p = text; p && *p;) {
        size_t n = strcspn(p, "="), length = strcspn(p, ",");
        char number[40];
        snprintf(number, sizeof number, "%.*s", (int)(length > n ? length - n - 1 : 0), length > n ? p + n + 1 : "");
        if (n >= length || !quern__parse_number(number, &v))
            return quern__fail(err, QUERN_INVALID, "--missing", "'%s' is no number, nor COLUMN=NUMBER,…", text);
        int k = find_column(f, p, n, err);
        if (k < 0)
            return k;
        f->columns[k].fills = true;
        f->columns[k].fill = v;
        p += length + (p[length] == ',');
    }
    return QUERN_OK;
}

static int assign_columns(quern__csv *f, const quern_file_opts *o, quern_error *err)
{
    int status = each_name(f, o->target, give_target, err);
    status = status < 0 ? status : each_name(f, o->weight, give_weight, err);
    status = status < 0 ? status : each_name(f, o->features, give_feature, err);
    for (int k = 0; k < f->n && !o->features && status >= 0; k++)
        if (f->columns[k].place == QUERN__IGNORED)
            status = give_feature(f, k, err);
    return status < 0 ? status : set_missing(f, o->missing, err);
}

/* ---- classes ---- */

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Adds a name that is not there yet; sorted again after each, so that looking is quick. */
static int add_class(quern__csv *f, int k, const char *name, quern_error *err)
{
    quern__column *c = &f->columns[k];
    if (c->n_classes && quern__csv_class_of(c, name) >= 0)
        return QUERN_OK;
    if (c->n_classes == QUERN__CSV_CLASSES)
        return quern__csv_fail(f, k, QUERN_INVALID, err, "more than %d different names", QUERN__CSV_CLASSES);
    char *own = quern__strdup(name);
    if (!own)
        return quern__fail_memory(err, strlen(name));
    c->classes[c->n_classes++] = own;
    qsort(c->classes, (size_t)c->n_classes, sizeof *c->classes, by_text);
    return QUERN_OK;
}

/* A target whose first value is no number is a class: all its names are looked for in a first pass. */
static int find_classes(quern__csv *f, int k, quern_error *err)
{
    double v;
    int status = quern__csv_text(f, k, err);
    const char *end = status == QUERN_OK ? quern__read_double(f->field, &v) : NULL;
    if (status == QUERN_OK && ((end && !*end) || quern__csv_missing(f->field)))
        return quern__csv_rewind(f, err);
    if (status == QUERN_OK && !(f->columns[k].classes = quern__zalloc(QUERN__CSV_CLASSES, sizeof(char *))))
        return quern__fail_memory(err, QUERN__CSV_CLASSES * sizeof(char *));
    while (status == QUERN_OK) {
        status = quern__csv_missing(f->field) ? QUERN_OK : add_class(f, k, f->field, err);
        status = status < 0 ? status : quern__csv_text(f, k, err);
    }
    return status < 0 ? status : quern__csv_rewind(f, err);
}

/* The column that gives value `at` of the features (targets: of the targets); NULL: none. */
static quern__column *column_at(quern__csv *f, bool target, int64_t at)
{
    for (int k = 0; k < f->n; k++)
        if (f->columns[k].place == (target ? QUERN__FIRST_TARGET - at : at))
            return &f->columns[k];
    return NULL;
}

/* The slots of the features: two of an int64. */
static void lay_out(quern__csv *f)
{
    bool wide = false;
    for (int k = 0; k < f->n; k++) {
        f->columns[k].slot = f->columns[k].place;
        wide = wide || f->columns[k].exact == QUERN_INT64;
    }
    f->n_slots = f->n_features;
    for (int64_t at = 0, slot = 0; wide && at < f->n_features; at++, f->n_slots = slot) {
        quern__column *c = column_at(f, false, at);
        c->slot = slot;
        slot += c->exact == QUERN_INT64 ? 2 : 1;
    }
}

int quern__csv_columns(quern__csv *f, const quern_file_opts *o, quern_error *err)
{
    int assigned = assign_columns(f, o, err);
    if (assigned < 0)
        return assigned;
    lay_out(f);
    bool once = f->bytes.offset < 0 && !f->bytes.gz; /* names need a pass of their own */
    for (int k = 0, status; k < f->n && !once; k++)
        if (f->columns[k].place <= QUERN__FIRST_TARGET && f->columns[k].place > QUERN__FIRST_TARGET - f->n_targets &&
            (status = find_classes(f, k, err)) < 0)
            return status;
    return QUERN_OK;
}

/* ---- what a run takes ---- */

/* Which columns are text: those that inputs of type string take; and which are whole numbers. */
int quern__csv_match(void *self, const quern_batch_spec *spec, int64_t *x_count, int64_t *y_count, quern_error *err)
{
    quern__csv *f = self;
    int64_t places[2] = { 0 };
    *x_count = f->n_features;
    *y_count = f->n_targets;
    f->n_texts = 0;
    for (int k = 0; k < f->n; k++)
        f->columns[k].text = f->columns[k].exact = f->columns[k].whole = 0;
    for (int i = 0; i < spec->n_inputs + spec->n_targets; i++) {
        bool target = i >= spec->n_inputs, text = spec->dtypes[i] == QUERN_STRING,
             whole = spec->dtypes[i] == QUERN_INT32 || spec->dtypes[i] == QUERN_INT64;
        int64_t *place = &places[target], all = target ? f->n_targets : f->n_features;
        for (int64_t per = quern__per_record(&spec->shapes[i]); per > 0 && *place < all; per--, ++*place) {
            quern__column *c = text || whole ? column_at(f, target, *place) : NULL;
            if (c && text)
                c->text = ++f->n_texts;
            else if (c && target)
                c->whole = true;
            else if (c)
                c->exact = spec->dtypes[i];
        }
    }
    lay_out(f);
    if (!f->n_texts)
        return QUERN_OK;
    quern__free(f->texts);
    quern__free(f->text);
    f->texts = quern__zalloc((size_t)f->n_texts, sizeof *f->texts);
    f->text = quern__alloc(QUERN__CSV_RECORD + 1);
    return f->texts && f->text ? QUERN_OK : quern__fail_memory(err, QUERN__CSV_RECORD);
}
