/* Class names of targets. A pass over the data collects the names of a column, unless the model
 * knows them. The first value that is not missing decides whether a column contains names; a
 * word among numbers is an error at its line. This file also builds the schema of a run. */
#include "csv.h"
#include "parse_number.h"
#include "source/column_map.h"

#include <string.h>

static bool is_number(const quern__csv *f, const char *text)
{
    double v;
    char own[64];
    size_t n = strlen(text);
    if (n >= sizeof own || !strpbrk(text, "0123456789")) /* "Inf" may be a name */
        return false;
    memcpy(own, text, n + 1);
    char *mark = strchr(own, f->decimal);
    if (mark)
        *mark = '.';
    const char *end = quern__read_double(own, &v);
    return end && !*end;
}

/* Restarts at the first record, in file order. */
static int from_start(quern__csv *f, quern_error *err)
{
    f->blocks.on = false;
    return quern__csv_rewind(f, err);
}

/* Sets *word if the first value that is not missing is a word. */
static int begins_with_word(quern__csv *f, int k, bool *word, quern_error *err)
{
    int status;
    do
        status = quern__csv_text(f, k, err);
    while (status == QUERN_OK && quern__csv_missing(f, &f->columns[k], quern__csv_trim(f->field)));
    *word = status == QUERN_OK && !is_number(f, quern__csv_trim(f->field));
    return status < 0 ? status : QUERN_OK;
}

/* Collects all names of a column. Unless --classes names the column, the first word among
 * numbers is an error. */
static int csv_collect_names(quern__csv *f, int k, quern_error *err)
{
    quern__column *c = &f->columns[k];
    quern_error word = { 0 };
    bool mixed = false;
    int status;
    while ((status = quern__csv_text(f, k, err)) == QUERN_OK) {
        quern_error own = { 0 };
        char *name = quern__csv_trim(f->field);
        if (quern__csv_missing(f, c, name))
            continue;
        bool number = !c->asked && is_number(f, name);
        mixed = mixed || number;
        if (!c->asked && !number && !word.code)
            quern__csv_no_number(f, k, name, &word);
        if (quern__names_add(&c->classes, name, &own) < 0) {
            quern__csv_fail(f, k, own.code, err, "%s", own.text);
            if (*own.hint)
                quern__hint(err, "%s", own.hint);
            return own.code;
        }
    }
    if (status < 0 || !mixed || !word.code)
        return status < 0 ? status : QUERN_OK;
    if (err)
        *err = word;
    return word.code;
}

static int find_names(quern__csv *f, int k, quern_error *err)
{
    quern__column *c = &f->columns[k];
    bool word = c->named;
    int status = from_start(f, err);
    if (status >= 0 && !word) {
        status = begins_with_word(f, k, &word, err);
        if (status >= 0)
            status = from_start(f, err);
    }
    if (status < 0 || !word)
        return status;
    c->classifies = true;
    c->named = true; /* from here on only an empty field is missing */
    status = csv_collect_names(f, k, err);
    return status < 0 ? status : from_start(f, err);
}

int quern__csv_learn(quern__csv *f, int k, const quern__schema_column *known, int means,
                     quern_error *err)
{
    quern__column *c = &f->columns[k];
    bool classifies =
        means == QUERN_MEANS_CLASS || means == QUERN_MEANS_BINARY || means == QUERN_MEANS_SIGN;
    bool once = f->bytes.offset < 0 &&
                !f->bytes.gz; /* a pass for the names needs a file that can be read twice */
    if (known) {
        quern__names_free(&c->classes);
        c->named = known->kind == QUERN__COLUMN_CLASS;
        c->numbers = !c->named;
        c->learned = false;
        return quern__names_copy(&c->classes, &known->classes, err);
    }
    if (c->learned || once || !(c->named || classifies))
        return c->named && once && !c->classes.n
                   ? quern__fail(err, QUERN_UNSUPPORTED, f->paths[0],
                                 "class names need two passes, a pipe allows one")
                   : QUERN_OK;
    c->learned = true;
    return find_names(f, k, err);
}

int quern__csv_share(quern__csv *f, const int *columns, int n, quern_error *err)
{
    quern__names all = { 0 };
    const char *named = NULL, *plain = NULL;
    int status = QUERN_OK;
    for (int i = 0; i < n && status >= 0; i++) {
        const quern__column *c = &f->columns[columns[i]];
        *(c->classes.n ? &named : &plain) = c->name;
        status = quern__names_join(&all, &c->classes, err);
    }
    if (status >= 0 && named && plain) {
        status = quern__fail(
            err, QUERN_INVALID, f->paths[0],
            "column '%.60s' contains numbers, but '%.60s' of the same output contains class names",
            plain, named);
        quern__hint(err, "use --classes %.60s to read its values as names", plain);
    }
    for (int i = 0; i < n && named && status >= 0; i++) {
        quern__names_free(&f->columns[columns[i]].classes);
        status = quern__names_copy(&f->columns[columns[i]].classes, &all, err);
    }
    quern__names_free(&all);
    return status;
}

/* ---- the schema ---- */

static int schema_column(const quern__column *c, quern__schema_column *out, quern_error *err)
{
    out->kind = c->text        ? QUERN__COLUMN_TEXT
                : c->classes.n ? QUERN__COLUMN_CLASS
                               : QUERN__COLUMN_NUMBER;
    out->fills = c->fills;
    out->fill = c->fill;
    out->fill_class =
        out->kind == QUERN__COLUMN_CLASS && c->fill_class ? quern__strdup(c->fill_class) : NULL;
    if (!(out->name = quern__strdup(c->name)) ||
        (out->kind == QUERN__COLUMN_CLASS && c->fill_class && !out->fill_class))
        return quern__fail_memory(err, strlen(c->name));
    return quern__names_copy(&out->classes, &c->classes, err);
}

int quern__csv_schema(quern__csv *f, const quern_batch_spec *spec, quern_error *err)
{
    const quern_schema *known = spec->schema ? spec->schema : f->given;
    int n = f->n_features - spec->n_kept, status = QUERN_OK;
    quern_schema *s =
        known ? quern__schema_copy(known, err) : quern__schema_new(n, f->n_targets, err);
    if (!s)
        return QUERN_NOMEM;
    for (int k = 0; k < f->n && !known && status >= 0; k++) {
        const quern__column *c = &f->columns[k];
        int target = QUERN__FIRST_TARGET - c->place;
        if (c->place >= 0)
            status = schema_column(c, &s->columns[c->place], err);
        else if (c->place != QUERN__IGNORED && target < f->n_targets) {
            status = schema_column(c, &s->columns[n + target], err);
            s->columns[n + target].output = quern__deal_output(spec, target);
        }
    }
    s->separator = f->separator;
    s->decimal = f->decimal;
    s->no_header = f->no_header;
    memcpy(s->encoding, f->encoding, sizeof s->encoding);
    s->missing_given = f->missing_given;
    if (!known && status >= 0)
        status = quern__names_copy(&s->missing, &f->missing, err);
    if (status < 0) {
        quern_schema_free(s);
        return status;
    }
    quern_schema_free(f->schema);
    f->schema = s;
    return QUERN_OK;
}
