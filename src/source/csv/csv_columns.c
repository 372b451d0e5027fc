/* Maps the columns of a CSV to a run: each is a feature, a target, the weight, or ignored. Names
 * decide where they are known, in this order: the model's schema, names of inputs and outputs,
 * options. Columns without names map by order. */
#include "csv.h"
#include "source/column_map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int quern__csv_find(const quern__csv *f, const char *name, quern_error *err)
{
    for (int i = 0; i < f->n; i++)
        if (!strcmp(f->columns[i].name, name))
            return i;
    bool one = f->n == 1 && !f->no_header;
    if (!one && !f->no_header)
        return quern__schema_missing(f->paths[0], name, &f->columns[0].name, (size_t)f->n,
                                     sizeof *f->columns, err);
    quern__fail(err, QUERN_NOTFOUND, f->paths[0], "no column is called '%.100s'", name);
    if (one)
        quern__hint(err, "the header has one column, '%.60s': set the separator with --separator",
                    f->columns[0].name);
    else
        quern__hint(err, "use 1 to %d: without a header, columns have numbers as names", f->n);
    return QUERN_NOTFOUND;
}

/* ---- the columns of a run ---- */

/* Columns in the order of their places. */
typedef struct chosen {
    int n[2]; /* features, targets */
    int *columns[2];
} chosen;

/* Selects the columns of a role, in the order of the options, else of the file. */
static void by_role(const quern__csv *f, bool target, chosen *c)
{
    int role = target              ? QUERN__ROLE_TARGET
               : f->features_named ? QUERN__ROLE_FEATURE
                                   : QUERN__ROLE_REST;
    for (int k = 0; k < f->n; k++)
        if (f->columns[k].role == role) {
            c->columns[target][role == QUERN__ROLE_REST ? c->n[target] : f->columns[k].order] = k;
            c->n[target]++;
        }
}

/* Moves columns with the name of an input or output to its position. */
static int by_names(const quern__csv *f, const quern_batch_spec *spec, bool target, chosen *c,
                    quern_error *err)
{
    int n = c->n[target];
    const char **names = quern__alloc(((size_t)n + 1) * sizeof *names);
    int *order = quern__alloc(((size_t)n + 1) * sizeof *order);
    if (names && order)
        for (int i = 0; i < n; i++) {
            names[i] = f->columns[c->columns[target][i]].name;
            order[i] = c->columns[target][i];
        }
    int status = names && order ? quern__deal_by_name(spec, target, names, n, order, err)
                                : quern__fail_memory(err, (size_t)n);
    if (status >= 0)
        memcpy(c->columns[target], order, (size_t)n * sizeof *order);
    quern__free(names);
    quern__free(order);
    return status;
}

/* Checks that the columns of an option are those of the schema. */
static int check_named(const quern__csv *f, const quern_schema *known, bool target,
                       quern_error *err)
{
    int role = target ? QUERN__ROLE_TARGET : QUERN__ROLE_FEATURE, named = 0;
    const char *stray = NULL;
    for (int k = 0; k < f->n; k++)
        if (f->columns[k].role == role) {
            named++;
            stray = quern__schema_find(known, target, f->columns[k].name) < 0 ? f->columns[k].name
                                                                              : stray;
        }
    if (!stray && named == (target ? known->n_targets : known->n_features))
        return QUERN_OK;
    const char *option = target ? "--target" : "--features",
               *what = target ? "targets" : "features";
    if (stray)
        quern__fail(err, QUERN_INVALID, option, "'%.100s' is not one of the %s of the model", stray,
                    what);
    else
        quern__fail(err, QUERN_INVALID, option, "%d columns, the model has %d %s", named,
                    target ? known->n_targets : known->n_features, what);
    quern__hint(err, "remove the option (the model stores its columns), or learn new ones with fit "
                     "--new-schema");
    return QUERN_INVALID;
}

/* Selects the columns of the schema by name. */
static int by_schema(const quern__csv *f, const quern_schema *known, bool target, chosen *c,
                     quern_error *err)
{
    bool named = target ? f->targets_named : f->features_named;
    int status = named ? check_named(f, known, target, err) : QUERN_OK;
    for (int i = 0; i < (target ? known->n_targets : known->n_features) && status >= 0; i++) {
        const char *name = quern__schema_at(known, target, i)->name;
        int k = quern__csv_find(f, name, err);
        status = k;
        if (k >= 0 && f->columns[k].role == QUERN__ROLE_WEIGHT)
            return quern__fail(err, QUERN_INVALID, "--weight",
                               "column '%.100s' is one of the %s of the model", name,
                               target ? "targets" : "features");
        if (i == f->n)
            return quern__fail(err, QUERN_INVALID, f->paths[0],
                               "%d columns, the model expects more", f->n);
        c->columns[target][c->n[target]++] = k;
    }
    return status < 0 ? status : QUERN_OK;
}

/* Logs once the columns that nothing uses. */
static void log_unused(quern__csv *f, const quern_schema *known)
{
    quern__text names = { 0 };
    int n = 0;
    for (int k = 0; k < f->n && known && !f->said; k++)
        if (f->columns[k].place == QUERN__IGNORED && !f->columns[k].kept &&
            f->columns[k].role != QUERN__ROLE_WEIGHT &&
            quern__schema_find(known, true, f->columns[k].name) < 0 && n++ < 10)
            quern__text_add(&names, "%s'%s'", n > 1 ? ", " : "", f->columns[k].name);
    if (n && !names.failed)
        quern__note("%s: the model does not use %s %s%s", f->paths[0], n > 1 ? "columns" : "column",
                    names.data, n > 10 ? ", …" : "");
    f->said = true;
    quern__text_free(&names);
}

/* ---- kinds of columns in a run ---- */

static int set_kept(quern__csv *f, const quern_batch_spec *spec, quern_error *err)
{
    for (int i = spec->n_inputs - spec->n_kept; i < spec->n_inputs; i++) {
        int k = quern__csv_find(f, spec->names[i], err);
        if (k < 0)
            return k;
        if (f->columns[k].kept)
            return quern__fail(err, QUERN_INVALID, f->columns[k].name,
                               "the column is named twice by --keep");
        f->columns[k].kept = ++f->n_texts;
        f->n_features++;
    }
    return QUERN_OK;
}

/* The schema of the column at a place; NULL: unknown. */
static const quern__schema_column *known_at(const quern_schema *known, bool target, int place)
{
    return known && place < (target ? known->n_targets : known->n_features)
               ? quern__schema_at(known, target, place)
               : NULL;
}

/* Sets the substitute for a missing value: from the options, else from the model. */
static int set_fill(quern__column *c, const quern__schema_column *known, quern_error *err)
{
    if (c->fills || c->fill_class || !known)
        return QUERN_OK;
    c->fills = known->fills;
    c->fill = known->fill;
    if (known->fill_class && !(c->fill_class = quern__strdup(known->fill_class)))
        return quern__fail_memory(err, strlen(known->fill_class));
    return QUERN_OK;
}

/* Sets the fill and the class names of one target. */
static int set_target(quern__csv *f, const quern_batch_spec *spec, const quern_schema *known,
                      int output, int place, int k, quern_error *err)
{
    int status = set_fill(&f->columns[k], known_at(known, true, place), err);
    return status < 0
               ? status
               : quern__csv_learn(f, k, known_at(known, true, place), spec->means[output], err);
}

/* Sets the classes of all targets of an output: one numbering that its units can represent. */
static int set_classes(quern__csv *f, const quern_batch_spec *spec, bool learned, int output,
                       const int *columns, int n, quern_error *err)
{
    int status = learned && quern__deal_shares(spec, output) ? quern__csv_share(f, columns, n, err)
                                                             : QUERN_OK;
    for (int i = 0; i < n && status >= 0; i++) {
        quern__column *c = &f->columns[columns[i]];
        status = quern__deal_classes(spec, output, c->name, &c->classes, f->paths[0], err);
        c->labels =
            spec->means[output] == QUERN_MEANS_CLASS && !c->classes.n ? spec->classes[output] : 0;
        c->ignored = spec->ignored[output];
        c->classifies = quern__deal_classifies(spec, output);
    }
    return status;
}

/* Sets the kinds of columns from the types of the arrays: text, integer, class. */
static int set_kinds(quern__csv *f, const quern_batch_spec *spec, const quern_schema *known,
                     const chosen *c, quern_error *err)
{
    int places[2] = { 0 };
    for (int i = 0; i < spec->n_inputs + spec->n_targets; i++) {
        bool target = i >= spec->n_inputs;
        if (!target && i >= spec->n_inputs - spec->n_kept)
            continue;
        int *place = &places[target], first = *place, status = QUERN_OK;
        for (int64_t per = quern__per_record(&spec->shapes[i]); per > 0 && *place < c->n[target];
             per--, ++*place) {
            int k = c->columns[target][*place];
            f->columns[k].text = spec->dtypes[i] == QUERN_STRING ? ++f->n_texts : 0;
            bool whole = spec->dtypes[i] == QUERN_INT32 || spec->dtypes[i] == QUERN_INT64;
            f->columns[k].whole = whole && target;
            f->columns[k].exact = whole && !target ? spec->dtypes[i] : 0;
            status = target ? set_target(f, spec, known, i - spec->n_inputs, *place, k, err)
                            : set_fill(&f->columns[k], known_at(known, false, *place), err);
            if (status < 0)
                return status;
        }
        if (target)
            status = set_classes(f, spec, !known, i - spec->n_inputs, c->columns[1] + first,
                                 *place - first, err);
        if (status < 0)
            return status;
    }
    return QUERN_OK;
}

/* Sets the offset of each feature in a row: int64 has 2 units, kept texts follow all features. */
static void set_slots(quern__csv *f, const chosen *c, int n_kept)
{
    f->n_slots = 0;
    for (int i = 0; i < c->n[0]; i++) {
        quern__column *column = &f->columns[c->columns[0][i]];
        column->slot = f->n_slots;
        f->n_slots += column->exact == QUERN_INT64 ? 2 : 1;
    }
    f->n_slots += n_kept;
}

static void set_places(quern__csv *f, const chosen *c)
{
    for (int k = 0; k < f->n; k++) {
        quern__column *column = &f->columns[k];
        column->place =
            column->role == QUERN__ROLE_WEIGHT ? QUERN__FIRST_TARGET - c->n[1] : QUERN__IGNORED;
        column->text = column->kept = 0;
        column->whole = false;
        column->exact = 0;
        column->labels = 0;
        column->classifies = false;
    }
    for (int i = 0; i < c->n[0]; i++)
        f->columns[c->columns[0][i]].place = i;
    for (int i = 0; i < c->n[1]; i++)
        f->columns[c->columns[1][i]].place = QUERN__FIRST_TARGET - i;
    f->n_features = c->n[0];
    f->n_targets = c->n[1];
    f->n_texts = 0;
}

/* Allocates the strings of a record. */
static int make_texts(quern__csv *f, quern_error *err)
{
    if (!f->n_texts)
        return QUERN_OK;
    quern__free(f->texts);
    quern__free(f->text);
    f->texts = quern__zalloc((size_t)f->n_texts, sizeof *f->texts);
    f->text = quern__alloc(QUERN__CSV_RECORD + 1);
    return f->texts && f->text ? QUERN_OK : quern__fail_memory(err, QUERN__CSV_RECORD);
}

static int choose_columns(quern__csv *f, const quern_batch_spec *spec, const quern_schema *known,
                          chosen *c, quern_error *err)
{
    int status = QUERN_OK;
    for (int side = 0; side < 1 + (spec->n_targets > 0) && status >= 0; side++)
        if (known)
            status = by_schema(f, known, side, c, err);
        else {
            by_role(f, side, c);
            status = by_names(f, spec, side, c, err);
        }
    return status;
}

/* Checks that the substitute for a missing value fits its column: a number, or a known class. */
static int check_fills(const quern__csv *f, quern_error *err)
{
    for (int k = 0; k < f->n; k++) {
        const quern__column *c = &f->columns[k];
        if (!c->fill_class || c->place == QUERN__IGNORED || c->text)
            continue;
        if (c->classes.n ? quern__names_find(&c->classes, c->fill_class) < 0 : !c->fills)
            return quern__fail(err, QUERN_INVALID, "--missing", "column '%.60s': '%.60s' is not %s",
                               c->name, c->fill_class,
                               c->classes.n ? "one of its classes" : "a number");
    }
    return QUERN_OK;
}

/* Checks that --classes names targets, and agrees with the schema. */
static int check_asked(const quern__csv *f, const quern_batch_spec *spec, const quern_schema *known,
                       quern_error *err)
{
    for (int k = 0; k < f->n; k++) {
        const quern__column *c = &f->columns[k];
        bool target =
            known ? quern__schema_find(known, true, c->name) >= 0 : c->role == QUERN__ROLE_TARGET;
        if (!c->asked || (target && (c->named || !spec->n_targets)))
            continue;
        quern__fail(err, QUERN_INVALID, "--classes", "column '%.60s' %s", c->name,
                    target ? "contains numbers in the model's schema" : "is not a target");
        if (target)
            quern__hint(err, "use fit --new-schema --classes %.60s to learn its values as names",
                        c->name);
        return QUERN_INVALID;
    }
    return QUERN_OK;
}

int quern__csv_match(void *self, const quern_batch_spec *spec, int64_t *x_count, int64_t *y_count,
                     quern_error *err)
{
    quern__csv *f = self;
    const quern_schema *known = spec->schema ? spec->schema : f->given;
    size_t room = ((size_t)f->n + 1) * sizeof(int);
    chosen c = { .columns = { quern__alloc(room), quern__alloc(room) } };
    int status = c.columns[0] && c.columns[1] ? choose_columns(f, spec, known, &c, err)
                                              : quern__fail_memory(err, room);
    if (status >= 0) {
        set_places(f, &c);
        status = set_kinds(f, spec, known, &c, err);
        if (status >= 0)
            status = check_asked(f, spec, known, err);
        if (status >= 0)
            status = check_fills(f, err);
        if (status >= 0)
            status = set_kept(f, spec, err);
        if (status >= 0)
            status = make_texts(f, err);
        set_slots(f, &c, spec->n_kept);
        quern__csv_set_plain(f);
        if (status >= 0)
            status = quern__csv_schema(f, spec, err);
    }
    if (status >= 0)
        log_unused(f, known);
    quern__free(c.columns[0]);
    quern__free(c.columns[1]);
    *x_count = f->n_features;
    *y_count = f->n_targets;
    return status;
}
