/* CSV and TSV with a header, gzipped or not, read forward in bounded memory (RFC 4180: quoted fields may hold commas, newlines and
 * doubled quotes). Every feature and target is a number. */
#include "source.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

enum { most_columns = 4096, most_field = 4096 };

typedef struct csv {
    char *path, separator, names[most_columns][64];
    gzFile file;
    int columns, target; /* target -1: none */
    int64_t line;
    bool fills;
    double fill;
    char field[most_field];
} csv;

static int fail(csv *f, int code, const char *what, quern_error *err)
{
    char where[256];
    snprintf(where, sizeof where, "%s:%lld", f->path, (long long)f->line);
    return quern__fail(err, code, where, "%s", what);
}

/* The next field. Returns what ended it: the separator, '\n', or EOF; a negative status -1000 - code on failure. */
static int next_field(csv *f, bool *empty_line, quern_error *err)
{
    size_t n = 0;
    bool quoted = false, was_quoted = false;
    for (;;) {
        int c = gzgetc(f->file), code;
        if (c < 0) {
            gzerror(f->file, &code);
            if (quoted || (code != Z_OK && code != Z_BUF_ERROR && code != Z_STREAM_END))
                return -1000 + fail(f, QUERN_FORMAT, quoted ? "the file ends inside quotes" : "the compressed data is broken", err);
        }
        if (quoted && c == '"') {
            c = gzgetc(f->file);
            if (c != '"') {
                quoted = false;
                was_quoted = true;
            }
        } else if (!quoted && !was_quoted && n == 0 && c == '"') {
            quoted = true;
            continue;
        }
        if (c == '\n')
            f->line += 1;
        if (!quoted && (c == f->separator || c == '\n' || c < 0)) {
            if (n && c != f->separator && f->field[n - 1] == '\r')
                n--;
            f->field[n] = 0;
            *empty_line = n == 0 && !was_quoted;
            return c < 0 ? EOF : c;
        }
        if (n + 1 >= sizeof f->field)
            return -1000 + fail(f, QUERN_FORMAT, "a field is longer than 4095 bytes", err);
        f->field[n++] = (char)c;
    }
}

static int header(csv *f, quern_error *err)
{
    bool empty;
    f->columns = 0;
    f->line = 1;
    for (int end = f->separator; end == f->separator;) {
        end = next_field(f, &empty, err);
        if (end < EOF)
            return end + 1000;
        const char *name = f->field;
        if (f->columns == 0 && !strncmp(name, "\xef\xbb\xbf", 3))
            name += 3;
        if (f->columns == most_columns)
            return fail(f, QUERN_FORMAT, "more than 4096 columns", err);
        snprintf(f->names[f->columns++], sizeof f->names[0], "%.63s", name);
    }
    return f->columns == 1 && !f->names[0][0] ? quern__fail(err, QUERN_FORMAT, f->path, "no header") : QUERN_OK;
}

static int number(csv *f, int column, int64_t line, double *out, quern_error *err)
{
    const char *text = f->field + strspn(f->field, " \t");
    char *end, where[256];
    snprintf(where, sizeof where, "%s:%lld: column '%s'", f->path, (long long)line, f->names[column]);
    if (!*text || !strcmp(text, "?") || !strcasecmp(text, "na") || !strcasecmp(text, "nan")) {
        *out = f->fill;
        return f->fills ? QUERN_OK
                        : quern__fail(err, QUERN_NUMBER, where, "a value is missing ('%s'); --missing NUMBER fills it in", text);
    }
    *out = strtod(text, &end);
    end += strspn(end, " \t");
    if (*end || end == text)
        return quern__fail(err, QUERN_FORMAT, where, "'%.40s' is no number", text);
    return isfinite(*out) && fabs(*out) <= 3.4028235677973366e38
               ? QUERN_OK
               : quern__fail(err, QUERN_NUMBER, where, "'%.40s' does not fit float32", text);
}

static int csv_read(void *self, float *x, double *y, quern_error *err)
{
    csv *f = self;
    bool empty;
    for (int column = 0, feature = 0;; column++) {
        int64_t line = f->line;
        int end = next_field(f, &empty, err);
        double v = 0;
        if (end < EOF)
            return end + 1000;
        if (column == 0 && empty && end == EOF)
            return QUERN_END;
        if (column == 0 && empty && end == '\n' && f->columns > 1) {
            column = -1;
            continue;
        }
        int status = column < f->columns ? number(f, column, line, &v, err) : QUERN_OK;
        if (status < 0)
            return status;
        if (column < f->columns && column == f->target)
            *y = v;
        else if (column < f->columns)
            x[feature++] = (float)v;
        if (end == f->separator)
            continue;
        if (column + 1 == f->columns)
            return QUERN_OK;
        char what[64];
        snprintf(what, sizeof what, "%d fields, expected %d", column + 1, f->columns);
        f->line = line;
        return fail(f, QUERN_FORMAT, what, err);
    }
}

static int csv_rewind(void *self, quern_error *err)
{
    csv *f = self;
    return gzrewind(f->file) ? quern__fail(err, QUERN_IO, f->path, "cannot go back to the start") : header(f, err);
}

static void csv_free(void *self)
{
    csv *f = self;
    if (f->file)
        gzclose(f->file);
    quern__free(f->path);
    quern__free(f);
}

static int find_target(csv *f, const char *target, quern_error *err)
{
    f->target = -1;
    for (int i = 0; target && i < f->columns; i++)
        if (!strcmp(f->names[i], target))
            f->target = i;
    if (!target || f->target >= 0)
        return QUERN_OK;
    int status = quern__fail(err, QUERN_NOTFOUND, f->path, "no column is called '%s'", target);
    const char *names[most_columns];
    for (int i = 0; i < f->columns; i++)
        names[i] = f->names[i];
    const char *near = quern__nearest(target, names, (size_t)f->columns, sizeof *names);
    if (near)
        quern__hint(err, "did you mean '%s'?", near);
    return status;
}

int quern__csv_open(const char *path, const char *target, const char *missing, quern__stream *out, quern_error *err)
{
    csv *f = quern__zalloc(1, sizeof *f);
    if (!f || !(f->path = quern__strdup(path))) {
        quern__free(f);
        return quern__fail_memory(err, sizeof *f);
    }
    f->separator = strstr(path, ".tsv") ? 9 : 44; /* tab, comma */
    f->file = gzopen(path, "rb");
    int status = f->file ? QUERN_OK : quern__fail(err, QUERN_IO, path, "cannot be opened");
    if (status >= 0 && missing && !(f->fills = quern__parse_number(missing, &f->fill)))
        status = quern__fail(err, QUERN_INVALID, "--missing", "'%s' is no number", missing);
    if (status >= 0)
        gzbuffer(f->file, 1 << 17);
    status = status < 0 ? status : header(f, err);
    status = status < 0 ? status : find_target(f, target, err);
    if (status < 0) {
        csv_free(f);
        return status;
    }
    *out = (quern__stream){ .rewind = csv_rewind,
                            .read = csv_read,
                            .free = csv_free,
                            .self = f,
                            .x_count = f->columns - (f->target >= 0),
                            .y_count = f->target >= 0,
                            .where = f->path };
    return QUERN_OK;
}
