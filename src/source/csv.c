/* CSV and TSV with a header, gzipped or not, one file or several with the same header, read forward in bounded memory (RFC 4180:
 * quoted fields may hold separators, newlines and doubled quotes). A record is found whole in the buffer; where it holds no quote,
 * numbers are read where they stand. Features are numbers; a target that is none is a class: its place among the sorted names. */
#include "csv.h"
#include "number.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

size_t quern__csv_buffer = 1 << 20;
static const char blank[] = " \t\r\n";

int quern__csv_fail(const quern__csv *f, int column, int code, quern_error *err, const char *format, ...)
{
    char where[256], what[300];
    va_list args;
    if (!err) /* another thread may have met it, which must not count lines */
        return code;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    snprintf(where, sizeof where, column >= 0 ? "%.150s:%lld: column '%s'" : "%.150s:%lld", f->bytes.path,
             (long long)quern__csv_line(f), column >= 0 ? f->columns[column].name : "");
    return quern__fail(err, code, where, "%s", what);
}

/* ---- records ---- */

/* Where the record at the buffer's beginning ends, by quotes; `lines` gets its newlines. NULL: it goes on behind the buffer. */
static char *end_of_quoted(char *p, const char *end, bool at_end, int *lines)
{
    bool inside = false;
    for (*lines = 0; p < end; p++) {
        if (*p == '"')
            inside = !inside; /* a doubled quote leaves and enters */
        *lines += *p == '\n';
        if (*p == '\n' && !inside)
            return p;
    }
    return at_end && !inside ? p : NULL;
}

/* The next record, [p, e) without its end of line; QUERN_END when there is none in this file. `quoted`: it holds a quote. */
static int next_record(quern__csv *f, char **p, char **e, bool *quoted, quern_error *err)
{
    quern__bytes *b = &f->bytes;
    f->line += f->used ? 1 + f->inner : 0;
    b->begin += f->used;
    f->used = 0;
    for (;;) {
        char *start = b->buffer + b->begin, *end = b->buffer + b->end, *newline = memchr(start, '\n', (size_t)(end - start));
        int lines = 0;
        *quoted = memchr(start, '"', (size_t)((newline ? newline : end) - start)) != NULL;
        if (*quoted)
            newline = end_of_quoted(start, end, b->ended, &lines);
        else if (!newline && b->ended && start < end)
            newline = end;
        if (newline) {
            *p = start;
            *e = newline > start && newline[-1] == '\r' ? newline - 1 : newline;
            f->used = (size_t)(newline - start) + (newline < end);
            f->inner = lines - (lines && newline < end);
            return QUERN_OK;
        }
        if (b->ended)
            return start < end ? quern__csv_fail(f, -1, QUERN_FORMAT, err, "the file ends inside quotes") : QUERN_END;
        quern__begin("reading", b->path, f->blocks.on ? "byte" : "line", f->blocks.on ? quern__bytes_place(b) : f->line);
        int64_t got = quern__bytes_more(b, QUERN__CSV_RECORD, err);
        if (got < 0)
            return (int)got;
    }
}

/* The field that begins at p, without quotes, in f->field; *p moves behind it (to a separator or e). */
static int take_field(quern__csv *f, char **p, const char *e, quern_error *err)
{
    size_t n = 0, most = (size_t)(e - *p) + 1;
    if (most > f->field_room) {
        char *grown = quern__realloc(f->field, most + 64);
        if (!grown)
            return quern__fail_memory(err, most);
        f->field = grown;
        f->field_room = most + 64;
    }
    bool inside = **p == '"' && *p < e;
    for (char *s = *p + inside;; s++) {
        if (inside && s < e && *s == '"' && s + 1 < e && s[1] == '"')
            s++;
        else if (inside && s < e && *s == '"') {
            inside = false;
            continue;
        } else if (s >= e || (!inside && *s == f->separator)) {
            *p = s;
            break;
        }
        f->field[n++] = *s;
    }
    f->field[n] = 0;
    f->field_length = n;
    return QUERN_OK;
}

/* ---- the header ---- */

static int header(quern__csv *f, bool first, quern_error *err)
{
    char *p, *e;
    bool quoted;
    f->line = 1;
    f->used = 0;
    int status = next_record(f, &p, &e, &quoted, err), n = 0;
    if (status == QUERN_END || (status == QUERN_OK && p == e))
        return quern__fail(err, QUERN_FORMAT, f->bytes.path, "no header");
    if (status == QUERN_OK && e - p >= 6 && !memcmp(p, "\x93NUMPY", 6)) {
        quern__fail(err, QUERN_FORMAT, f->bytes.path, "holds NumPy arrays, not a table");
        quern__hint(err, "arrays one behind the other are --format npy");
        return QUERN_FORMAT;
    }
    if (status == QUERN_OK && e - p >= 3 && !memcmp(p, "\xef\xbb\xbf", 3))
        p += 3;
    for (; status == QUERN_OK; p++) {
        if (n == QUERN__CSV_COLUMNS)
            return quern__csv_fail(f, -1, QUERN_FORMAT, err, "more than %d columns", QUERN__CSV_COLUMNS);
        status = take_field(f, &p, e, err);
        if (status == QUERN_OK && first) {
            quern__column *grown = quern__realloc(f->columns, ((size_t)n + 1) * sizeof *grown);
            if (!grown)
                return quern__fail_memory(err, (size_t)n * sizeof *grown);
            f->columns = grown;
            grown[n] = (quern__column){ .place = QUERN__IGNORED };
            snprintf(grown[n].name, sizeof grown[n].name, "%.63s", f->field);
            f->n = n + 1;
        } else if (status == QUERN_OK && (n >= f->n || strncmp(f->columns[n].name, f->field, 63)))
            return quern__csv_fail(f, -1, QUERN_FORMAT, err, "column %d is '%.40s', in %s it is '%s'", n + 1, f->field, f->paths[0],
                                   n < f->n ? f->columns[n].name : "not there");
        n++;
        if (p >= e)
            break;
    }
    f->first_byte = quern__bytes_place(&f->bytes) + (int64_t)f->used;
    return status < 0  ? status
           : n == f->n ? QUERN_OK
                       : quern__csv_fail(f, -1, QUERN_FORMAT, err, "%d columns, %s has %d", n, f->paths[0], f->n);
}

int quern__csv_open_file(quern__csv *f, int k, quern_error *err)
{
    bool first = f->columns == NULL;
    f->at = k;
    int status = quern__bytes_open(&f->bytes, f->paths[k], quern__csv_buffer, err);
    f->bytes.stop = f->blocks.on; /* no more than the header is wanted */
    return status < 0 ? status : header(f, first, err);
}

/* ---- values ---- */

int quern__csv_class_of(const quern__column *c, const char *name)
{
    int low = 0, high = c->n_classes;
    while (low < high) {
        int middle = (low + high) / 2, order = strcmp(name, c->classes[middle]);
        if (order == 0)
            return middle;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -1;
}

bool quern__csv_missing(const char *text)
{
    return !*text || !strcmp(text, "?") || !strcasecmp(text, "na") || !strcasecmp(text, "nan");
}

/* A field that is not plainly a number: blanks, words for missing, names of classes, quotes. */
static int value_of(quern__csv *f, int k, double *out, quern_error *err)
{
    const quern__column *c = &f->columns[k];
    char *text = f->field + strspn(f->field, blank);
    size_t n = strlen(text);
    while (n && strchr(blank, text[n - 1]))
        text[--n] = 0;
    if (quern__csv_missing(text)) {
        *out = c->fill;
        return c->fills ? QUERN_OK
                        : quern__csv_fail(f, k, QUERN_NUMBER, err, "a value is missing ('%s'); --missing NUMBER fills it in", text);
    }
    if (c->classes) {
        int class = quern__csv_class_of(c, text);
        *out = class;
        return class >= 0 ? QUERN_OK
                          : quern__csv_fail(f, k, QUERN_INVALID, err, "'%.40s' is a class that was not there before", text);
    }
    const char *end = quern__read_double(text, out);
    if (!end || *end)
        return quern__csv_fail(f, k, QUERN_FORMAT, err, "'%.40s' is no number", text);
    return QUERN_OK;
}

static int fits(const quern__csv *f, int k, double v, const char *text, quern_error *err)
{
    return isfinite(v) && fabs(v) <= 3.4028235677973366e38
               ? QUERN_OK
               : quern__csv_fail(f, k, QUERN_NUMBER, err, "'%.*s' does not fit float32", (int)strcspn(text, ",\t\r\n "), text);
}

/* A field of text as it stands: blanks, and nothing at all, are text too. */
static int put_text(quern__csv *f, int k, char **p, const char *e, quern_error *err)
{
    int status = take_field(f, p, e, err);
    if (status >= 0 && f->field_length > QUERN_MOST_STRING)
        return quern__csv_fail(f, k, QUERN_INVALID, err, "a text of %zu bytes, at most %d", f->field_length, QUERN_MOST_STRING);
    if (status >= 0) {
        char *to = f->text + f->text_used; /* no longer than the record, for which there is room */
        memcpy(to, f->field, f->field_length);
        f->texts[f->columns[k].text - 1] = (quern_string){ to, (int64_t)f->field_length };
        f->text_used += f->field_length;
    }
    return status;
}

/* A whole number as it stands, exactly. */
static int put_whole(quern__csv *f, int k, char **p, const char *e, float *x, quern_error *err)
{
    const quern__column *c = &f->columns[k];
    int64_t v = 0;
    const char *end = quern__read_whole(*p, &v), *rest = end;
    if (!end || (end < e && *end != f->separator)) { /* not plainly one */
        double real;
        int status = take_field(f, p, e, err);
        if (status < 0 || (status = value_of(f, k, &real, err)) < 0)
            return status;
        const char *text = f->field + strspn(f->field, blank);
        rest = quern__read_whole(text, &v);
        if ((!rest || *rest) && !(real == floor(real)))
            return quern__csv_fail(f, k, QUERN_INVALID, err, "%g is no whole number", real);
        if ((!rest || *rest) && !(fabs(real) < 0x1p63))
            return quern__csv_fail(f, k, QUERN_INVALID, err, "%g is outside int64", real);
        v = rest && !*rest ? v : (int64_t)real;
    } else
        *p += end - *p;
    if (c->exact == QUERN_INT64)
        memcpy(x + c->slot, &v, sizeof v);
    else if (v < INT32_MIN || v > INT32_MAX)
        return quern__csv_fail(f, k, QUERN_INVALID, err, "%lld is outside int32 (-2147483648 to 2147483647)", (long long)v);
    else
        memcpy(x + c->slot, &(int32_t){ (int32_t)v }, sizeof(int32_t));
    return QUERN_OK;
}

/* One field into its place; *p moves behind it. */
static int put_field(quern__csv *f, int k, char **p, const char *e, float *x, double *y, quern_error *err)
{
    const quern__column *c = &f->columns[k];
    const char *end = NULL;
    double v = 0;
    float narrow;
    if (c->text || c->exact)
        return c->text ? put_text(f, k, p, e, err) : put_whole(f, k, p, e, x, err);
    if (c->place >= 0) {
        end = quern__read_float(*p, &narrow);
        v = (double)narrow;
    } else if (c->place != QUERN__IGNORED && !c->classes)
        end = quern__read_double(*p, &v);
    if (!end || (end < e && *end != f->separator)) { /* not plainly a number */
        int status = take_field(f, p, e, err);
        if (status < 0 || c->place == QUERN__IGNORED)
            return status;
        if ((status = value_of(f, k, &v, err)) < 0 || (status = fits(f, k, v, f->field, err)) < 0)
            return status;
        /* a quoted or blank-padded number is rounded from its own text */
        const char *text = f->field + strspn(f->field, blank);
        narrow = !quern__read_float(text, &narrow) || c->classes || quern__csv_missing(text) ? (float)v : narrow;
    } else {
        if (!isfinite(v) && fits(f, k, v, *p, err) < 0)
            return QUERN_NUMBER;
        *p += end - *p;
    }
    if (c->whole && !(v == floor(v) && fabs(v) <= INT32_MAX))
        return quern__csv_fail(f, k, QUERN_INVALID, err, "%g is no whole number", v);
    if (c->place >= 0)
        x[c->slot] = narrow;
    else if (c->place != QUERN__IGNORED)
        y[QUERN__FIRST_TARGET - c->place] = v;
    return QUERN_OK;
}

/* The next record over all files or blocks, without empty lines; QUERN_END at the end of the last. */
static int next_anywhere(quern__csv *f, char **p, char **e, bool *quoted, quern_error *err)
{
    f->fresh = false;
    for (bool over = f->blocks.on && !f->blocks.open;;) {
        int status = QUERN_OK;
        for (; over || quern__csv_left(f) <= 0; over = false)
            if ((status = quern__csv_next_block(f, err)) != QUERN_OK)
                return status;
        status = next_record(f, p, e, quoted, err);
        over = f->blocks.on && status == QUERN_END;
        if (over || (status == QUERN_OK && *p == *e && f->n > 1))
            continue;
        if (status != QUERN_END || f->at + 1 == f->n_paths)
            return status;
        if ((status = quern__csv_open_file(f, f->at + 1, err)) < 0)
            return status;
    }
}

int quern__csv_text(quern__csv *f, int k, quern_error *err)
{
    char *p, *e;
    bool quoted;
    for (;;) {
        int status = next_anywhere(f, &p, &e, &quoted, err), fields = 0;
        char *start = p;
        for (; status == QUERN_OK && fields <= f->n; p++) {
            status = take_field(f, &p, e, err);
            fields++;
            if (p >= e)
                break;
        }
        if (status != QUERN_OK)
            return status;
        if (fields != f->n)
            continue; /* reading it will tell */
        p = start;
        for (int i = 0; i <= k && status == QUERN_OK; i++, p++)
            status = take_field(f, &p, e, err);
        return status;
    }
}

int quern__csv_record(quern__csv *f, char *p, const char *e, float *x, double *y, quern_error *err)
{
    f->text_used = 0;
    for (int k = 0; k < f->n; k++, p++) {
        int status = put_field(f, k, &p, e, x, y, err);
        if (status < 0)
            return status;
        if (p < e && k + 1 < f->n)
            continue;
        if (p >= e && k + 1 == f->n)
            break;
        int fields = k + 1;
        while (p < e && take_field(f, (p++, &p), e, err) >= 0)
            fields++;
        return quern__csv_fail(f, -1, QUERN_FORMAT, err, "%d fields, expected %d", fields, f->n);
    }
    return QUERN_OK;
}

int quern__csv_read(void *self, float *x, double *y, quern_error *err)
{
    quern__csv *f = self;
    char *p, *e;
    bool quoted;
    f->passed = false;
    int status = next_anywhere(f, &p, &e, &quoted, err);
    f->passed = f->passed || status == QUERN_OK;
    return status == QUERN_OK ? quern__csv_record(f, p, e, x, y, err) : status;
}

int quern__csv_rewind(void *self, quern_error *err)
{
    quern__csv *f = self;
    quern__csv_restart(f);
    if (f->fresh || f->blocks.on)
        return QUERN_OK;
    f->fresh = true;
    if (f->n_paths > 1)
        return quern__csv_open_file(f, 0, err);
    int status = quern__bytes_rewind(&f->bytes, err);
    return status < 0 ? status : header(f, false, err);
}

static void csv_free(void *self)
{
    quern__csv *f = self;
    quern__csv_twin_free(f->twin);
    quern__bytes_close(&f->bytes);
    quern__csv_cut_free(f);
    for (int k = 0; k < f->n; k++) {
        for (int i = 0; i < f->columns[k].n_classes; i++)
            quern__free(f->columns[k].classes[i]);
        quern__free(f->columns[k].classes);
    }
    for (int i = 0; i < f->n_paths; i++)
        quern__free(f->paths[i]);
    quern__free(f->paths);
    quern__free(f->columns);
    quern__free(f->field);
    quern__free(f->texts);
    quern__free(f->text);
    quern__free(f);
}

static const char *class_name(void *self, int target, int i)
{
    const quern__csv *f = self;
    for (int k = 0; k < f->n; k++)
        if (f->columns[k].place == QUERN__FIRST_TARGET - target)
            return i >= 0 && i < f->columns[k].n_classes ? f->columns[k].classes[i] : NULL;
    return NULL;
}

static bool csv_passed(void *self) { return ((quern__csv *)self)->passed; }
static const quern_string *csv_strings(void *self) { return ((quern__csv *)self)->texts; }

int quern__csv_open(char **paths, int n, char separator, const quern_file_opts *o, quern__stream *out, quern_error *err)
{
    quern__csv *f = quern__zalloc(1, sizeof *f);
    if (!f || !(f->paths = quern__zalloc((size_t)n, sizeof *f->paths))) {
        quern__free(f);
        return quern__fail_memory(err, sizeof *f);
    }
    f->bytes.fd = -1;
    f->fresh = true;
    f->separator = separator;
    int status = QUERN_OK;
    for (; f->n_paths < n && status >= 0; f->n_paths++)
        if (!(f->paths[f->n_paths] = quern__strdup(paths[f->n_paths])))
            status = quern__fail_memory(err, 1);
    status = status < 0 ? status : quern__csv_open_file(f, 0, err);
    status = status < 0 ? status : quern__csv_columns(f, o, err);
    status = status < 0 ? status : quern__csv_cut(f, err);
    if (status < 0) {
        csv_free(f);
        return status;
    }
    *out = (quern__stream){ .rewind = quern__csv_rewind,
                            .read = quern__csv_read,
                            .read_many = quern__csv_many,
                            .order = quern__csv_order,
                            .places = quern__csv_places,
                            .match = quern__csv_match,
                            .strings = csv_strings,
                            .passed = csv_passed,
                            .free = csv_free,
                            .class_name = class_name,
                            .self = f,
                            .x_count = f->n_features,
                            .y_count = f->n_targets,
                            .weighted = f->weighted,
                            .bytes = quern__csv_buffer + QUERN__CSV_TWIN_BYTES + quern__csv_blocks_size(f),
                            .once = f->bytes.offset < 0 && !f->bytes.gz,
                            .where = f->paths[0] };
    return QUERN_OK;
}
