/* Converts the fields of CSV records: numbers, rounded once, class names, texts, and missing
 * values. quern__csv_record handles plain numbers itself; all other fields come here as text in
 * f->field. */
#include "csv.h"
#include "parse_number.h"

#include <math.h>
#include <string.h>
#include <strings.h>

static const char blank[] = " \t\r\n";

char *quern__csv_trim(char *text)
{
    text += strspn(text, blank);
    size_t n = strlen(text);
    while (n && strchr(blank, text[n - 1]))
        text[--n] = 0;
    return text;
}

bool quern__csv_missing(const quern__csv *f, const quern__column *c, const char *text)
{
    if (!*text)
        return true;
    if (f->missing_given)
        return quern__names_find(&f->missing, text) >= 0;
    return !c->classes.n && !c->named &&
           (!strcmp(text, "?") || !strcasecmp(text, "na") || !strcasecmp(text, "nan"));
}

/* A missing value: the substitute of its column, or an error with a hint. *out gets a number or a
 * class index. */
static int put_missing(const quern__csv *f, int k, const char *text, double *out, quern_error *err)
{
    const quern__column *c = &f->columns[k];
    if (c->classes.n && c->fill_class) {
        *out = quern__names_find(&c->classes, c->fill_class);
        return *out >= 0 ? QUERN_OK
                         : quern__csv_fail(f, k, QUERN_INVALID, err, "'%.60s' is not a class",
                                           c->fill_class);
    }
    *out = c->fill;
    if (c->fills && !c->classes.n)
        return QUERN_OK;
    quern__csv_fail(f, k, QUERN_NUMBER, err, "a value is missing ('%.40s')", text);
    if (*text && c->classifies && !c->named)
        quern__hint(err,
                    "use --classes %.60s to read '%.40s' as a name, or --bad-records skip to skip "
                    "the record",
                    c->name, text);
    quern__hint(err,
                "substitute it with --missing %.60s=%s, or skip the record with --bad-records skip",
                c->name, c->classes.n ? "CLASS" : "NUMBER");
    return QUERN_NUMBER;
}

static int unknown_class(quern__csv *f, int k, const char *text, quern_error *err)
{
    f->unknown = true;
    quern__csv_fail(f, k, QUERN_INVALID, err, "'%.60s' is not a class of the model", text);
    quern__hint(err, "skip these records with --unknown-class skip");
    return QUERN_INVALID;
}

/* Replaces the decimal mark with a point. False: the text contains a point although the mark is
 * another one. */
static bool normalise_decimal(const quern__csv *f, char *text)
{
    char *mark = f->decimal == '.' ? NULL : strchr(text, f->decimal);
    if (f->decimal != '.' && strchr(text, '.'))
        return false;
    if (mark)
        *mark = '.';
    return true;
}

int quern__csv_no_number(const quern__csv *f, int k, const char *text, quern_error *err)
{
    const quern__column *c = &f->columns[k];
    bool target = c->place <= QUERN__FIRST_TARGET && c->place > QUERN__FIRST_TARGET - f->n_targets;
    quern__csv_fail(f, k, QUERN_FORMAT, err, "'%.40s' is not a number", text);
    if (f->no_header && f->line == 1 && !f->blocks.on)
        quern__hint(err, "remove --no-header if the first line is a header (the model's schema may "
                         "also set it)");
    else if (f->decimal == ',' && strspn(text, "+-0123456789") && strchr(text, '.'))
        quern__hint(err, "add --decimal . if numbers have a decimal point (--decimal or the "
                         "model's schema sets ',')");
    else if (strspn(text, "+-0123456789") && strchr(text, ',') && f->decimal == '.')
        quern__hint(err, "add --decimal , if ',' is the decimal mark; remove it from the file if "
                         "it groups digits");
    else if (c->classifies && c->numbers)
        quern__hint(err, "learn class names with fit --new-schema (the model learned numbers)");
    else if (c->classifies && f->bytes.offset < 0 && !f->bytes.gz)
        quern__hint(err, "use a file, or a model with class names: learning them needs two passes, "
                         "a pipe allows one");
    else if (c->classifies)
        quern__hint(err,
                    "use --classes %.40s to read all values as names, or --missing-values '%.30s' "
                    "for a missing value",
                    c->name, text);
    else if (target)
        quern__hint(err,
                    "use a classification loss or --classes %.60s for class names, or "
                    "--missing-values '%.30s' for a "
                    "missing value",
                    c->name, text);
    else
        quern__hint(err, "add --missing-values '%.40s' if it is a missing value", text);
    return QUERN_FORMAT;
}

/* Converts f->field if it is not a plain number: blanks, quotes, words, class names. */
static int csv_value(quern__csv *f, int k, double *out, float *narrow, quern_error *err)
{
    const quern__column *c = &f->columns[k];
    char *text = quern__csv_trim(f->field);
    if (quern__csv_missing(f, c, text)) {
        int status = put_missing(f, k, text, out, err);
        *narrow = (float)*out;
        return status;
    }
    if (c->classes.n || c->named) {
        int class = quern__names_find(&c->classes, text);
        *out = class;
        return class >= 0 ? QUERN_OK : unknown_class(f, k, text, err);
    }
    const char *end = normalise_decimal(f, text) ? quern__read_double(text, out) : NULL;
    if (!end || *end)
        return quern__csv_no_number(f, k, text, err);
    quern__read_float(text, narrow);
    return QUERN_OK;
}

/* Checks that a number is finite as float32. */
static int fits(const quern__csv *f, int k, double v, const char *text, quern_error *err)
{
    return isfinite(v) && fabs(v) <= 3.4028235677973366e38
               ? QUERN_OK
               : quern__csv_fail(f, k, QUERN_NUMBER, err, "'%.*s' does not fit float32",
                                 (int)strcspn(text, ",\t\r\n "), text);
}

/* Checks that a label is one of the classes of the loss. */
static int check_label(const quern__csv *f, int k, double v, quern_error *err)
{
    const quern__column *c = &f->columns[k];
    if ((v >= 0 && v < (double)c->labels && v == floor(v)) || v == (double)c->ignored)
        return QUERN_OK;
    if (v != floor(v))
        return quern__csv_fail(f, k, QUERN_INVALID, err, "label %g is not an integer", v);
    quern__csv_fail(f, k, QUERN_INVALID, err,
                    "label %g is outside 0 … %lld: the model has %lld classes", v,
                    (long long)c->labels - 1, (long long)c->labels);
    quern__hint(err,
                "number labels from 0, or use --classes %.60s to read the values as class names",
                c->name);
    return QUERN_INVALID;
}

/* Stores a text field unchanged: blanks and the empty string are texts too. */
static int put_text(quern__csv *f, int k, char **p, const char *e, quern_error *err)
{
    const quern__column *c = &f->columns[k];
    int status = quern__csv_take(f, p, e, err);
    if (status >= 0 && f->field_length > QUERN_MOST_STRING)
        return quern__csv_fail(f, k, QUERN_INVALID, err, "a text of %zu bytes exceeds %d",
                               f->field_length, QUERN_MOST_STRING);
    if (status < 0)
        return status;
    char *to = f->text + f->text_used; /* f->text has the size of the longest record */
    memcpy(to, f->field, f->field_length);
    if (c->text)
        f->texts[c->text - 1] = (quern_string){ to, (int64_t)f->field_length };
    if (c->kept)
        f->texts[c->kept - 1] = (quern_string){ to, (int64_t)f->field_length };
    f->text_used += f->field_length;
    return QUERN_OK;
}

/* Stores an integer exactly. */
static int put_whole(quern__csv *f, int k, char **p, const char *e, float *x, quern_error *err)
{
    const quern__column *c = &f->columns[k];
    int64_t v = 0;
    const char *end = quern__read_whole(*p, &v), *rest = end;
    if (!end || (end < e && *end != f->separator)) { /* not a plain integer */
        double real;
        float narrow;
        int status = quern__csv_take(f, p, e, err);
        if (status < 0 || (status = csv_value(f, k, &real, &narrow, err)) < 0)
            return status;
        rest = quern__read_whole(quern__csv_trim(f->field), &v);
        if ((!rest || *rest) && !(real == floor(real)))
            return quern__csv_fail(f, k, QUERN_INVALID, err, "%g is not an integer", real);
        if ((!rest || *rest) && !(fabs(real) < 0x1p63))
            return quern__csv_fail(f, k, QUERN_INVALID, err, "%g is outside int64", real);
        v = rest && !*rest ? v : (int64_t)real;
    } else
        *p += end - *p;
    if (c->exact == QUERN_INT64)
        memcpy(x + c->slot, &v, sizeof v);
    else if (v < INT32_MIN || v > INT32_MAX)
        return quern__csv_fail(f, k, QUERN_INVALID, err,
                               "%lld is outside int32 (-2147483648 to 2147483647)", (long long)v);
    else
        memcpy(x + c->slot, &(int32_t){ (int32_t)v }, sizeof(int32_t));
    return QUERN_OK;
}

void quern__csv_set_plain(quern__csv *f)
{
    for (int k = 0; k < f->n; k++) {
        const quern__column *c = &f->columns[k];
        bool plain = !c->text && !c->kept && !c->exact && !c->classes.n && !c->named &&
                     f->decimal == '.' && c->place != QUERN__IGNORED;
        bool label = c->whole && c->labels <= INT32_MAX && (!c->labels || c->ignored == INT64_MIN);
        int kind = c->place >= 0 ? QUERN__CPU_X : label ? QUERN__CPU_LABEL : QUERN__CPU_Y;
        plain = plain && (c->place >= 0 || label || (!c->whole && !c->labels));
        f->plain[k] =
            (quern__csv_plain){ .kind = plain ? kind : QUERN__CPU_NOT,
                                .labels = (int32_t)c->labels,
                                .at = c->place >= 0 ? c->slot : QUERN__FIRST_TARGET - c->place };
    }
}

int quern__csv_put(quern__csv *f, int k, char **p, const char *e, float *x, double *y,
                   quern_error *err)
{
    const quern__column *c = &f->columns[k];
    char *begin = *p;
    double v = 0;
    float narrow = 0;
    f->column = k;
    if (c->text || c->kept) {
        int put = put_text(f, k, p, e, err);
        if (put < 0 || c->text || c->place == QUERN__IGNORED)
            return put;
        *p = begin;
    }
    if (c->exact)
        return put_whole(f, k, p, e, x, err);
    int status = quern__csv_take(f, p, e, err);
    if (status < 0 || c->place == QUERN__IGNORED)
        return status;
    if ((status = csv_value(f, k, &v, &narrow, err)) < 0 ||
        (status = fits(f, k, v, f->field, err)) < 0)
        return status;
    if (c->labels && check_label(f, k, v, err) < 0)
        return QUERN_INVALID;
    if (c->whole && !(v == floor(v) && fabs(v) <= INT32_MAX))
        return quern__csv_fail(f, k, QUERN_INVALID, err, "%g is not an integer", v);
    if (c->place >= 0)
        x[c->slot] = narrow;
    else if (c->place != QUERN__IGNORED)
        y[QUERN__FIRST_TARGET - c->place] = v;
    return QUERN_OK;
}
