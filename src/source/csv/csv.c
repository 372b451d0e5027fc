/* Reads CSV and TSV (RFC 4180: a quoted field may contain separators, newlines and doubled quotes),
 * plain or gzipped. Several files with the same header are one sequence of records. Memory is
 * bounded: the buffer grows to the longest record, at most QUERN__CSV_RECORD.
 *
 * The reader finds a complete record in the buffer, then converts its fields. A field that is a
 * plain number is converted in place (quern__csv_plain); all others go through quern__csv_put. A
 * target that is not a number is a class: its index in the sorted names.
 *
 * The record at bytes.begin has `used` bytes. The next call moves over them, so a record stays
 * valid until then. quern__csv_open returns a record stream; the shuffle buffer makes batches of
 * it. */
#include "csv.h"
#include "parse_number.h"

#include <ctype.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

size_t quern__csv_buffer = 1 << 20;

int quern__csv_fail(const quern__csv *f, int column, int code, quern_error *err, const char *format,
                    ...)
{
    char where[256], what[300];
    va_list args;
    if (!err) /* speculative reads pass NULL, so that no thread counts lines for an error that is
                 discarded */
        return code;
    va_start(args, format);
    quern__vformat(what, sizeof what, format, args);
    va_end(args);
    snprintf(where, sizeof where, column >= 0 ? "%.150s:%lld: column '%s'" : "%.150s:%lld",
             f->bytes.path, (long long)quern__csv_line(f),
             column >= 0 ? f->columns[column].name : "");
    return quern__fail(err, code, where, "%s", what);
}

/* ---- records ---- */

/* The end of the record at p, outside quotes; *lines is the number of newlines in it. NULL: the
 * record continues after the buffer. */
static char *csv_quoted_end(const quern__csv *f, char *p, const char *end, bool at_end, int *lines)
{
    quern__csv_state s = { .fresh = true };
    const char *at = p;
    for (*lines = 0; at < end;) {
        if (*at == '\n' && !s.inside)
            return p + (at - p);
        *lines += *at == '\n';
        at = quern__csv_step(&s, at, end, f->separator);
    }
    return at_end && !s.inside ? p + (at - p) : NULL;
}

int quern__csv_next(quern__csv *f, char **p, char **e, bool *quoted, quern_error *err)
{
    quern__bytes *b = &f->bytes;
    f->line += f->used ? 1 + f->inner : 0;
    b->begin += f->used;
    f->used = 0;
    for (;;) {
        char *start = b->buffer + b->begin, *end = b->buffer + b->end,
             *newline = memchr(start, '\n', (size_t)(end - start));
        int lines = 0;
        *quoted = memchr(start, '"', (size_t)((newline ? newline : end) - start)) != NULL;
        if (*quoted)
            newline = csv_quoted_end(f, start, end, b->ended, &lines);
        else if (!newline && b->ended && start < end)
            newline = end;
        /* a complete record: without its line end, and with the newlines inside quotes counted */
        if (newline) {
            *p = start;
            *e = newline > start && newline[-1] == '\r' ? newline - 1 : newline;
            f->used = (size_t)(newline - start) + (newline < end);
            f->inner = lines;
            return QUERN_OK;
        }
        if (b->ended)
            return start < end
                       ? quern__csv_fail(f, -1, QUERN_FORMAT, err, "the file ends inside quotes")
                       : QUERN_END;
        quern__activity_set("reading", b->path, f->blocks.on ? "byte" : "line",
                            f->blocks.on ? quern__bytes_place(b) : f->line);
        int64_t got = quern__bytes_more(b, QUERN__CSV_RECORD, err);
        if (got < 0)
            return (int)got;
    }
}

int quern__csv_take(quern__csv *f, char **p, const char *e, quern_error *err)
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
    /* copy up to the separator; a quote ends the quoted part, two quotes are one */
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
    return memchr(f->field, 0, n)
               ? quern__csv_fail(f, f->column, QUERN_FORMAT, err, "the field contains a NUL byte")
               : QUERN_OK;
}

/* ---- files ---- */

int quern__csv_open_file(quern__csv *f, int k, quern_error *err)
{
    bool first = f->columns == NULL;
    f->at = k;
    int status = quern__bytes_open(&f->bytes, f->paths[k], quern__csv_buffer, err);
    f->bytes.stop = f->blocks.on || f->checking; /* only the header is wanted */
    return status < 0 ? status : quern__csv_header(f, first, err);
}

/* ---- records over all files ---- */

/* The next record over all files or blocks, without empty lines; QUERN_END after the last. */
static int csv_next_of_all(quern__csv *f, char **p, char **e, bool *quoted, quern_error *err)
{
    f->fresh = false;
    for (bool over = f->blocks.on && !f->blocks.open;;) {
        int status = QUERN_OK;
        for (; over || quern__csv_left(f) <= 0; over = false) {
            status = quern__csv_next_block(f, err);
            if (status != QUERN_OK)
                return status;
        }
        status = quern__csv_next(f, p, e, quoted, err);
        over = f->blocks.on && status == QUERN_END;
        if (over || (status == QUERN_OK && *p == *e && f->n > 1))
            continue;
        if (status != QUERN_END || f->at + 1 == f->n_paths)
            return status;
        status = quern__csv_open_file(f, f->at + 1, err);
        if (status < 0)
            return status;
    }
}

int quern__csv_text(quern__csv *f, int k, quern_error *err)
{
    char *p, *e;
    bool quoted;
    for (;;) {
        int status = csv_next_of_all(f, &p, &e, &quoted, err), fields = 0;
        char *start = p;
        for (; status == QUERN_OK && fields <= f->n; p++) {
            f->column = fields < f->n ? fields : -1;
            status = quern__csv_take(f, &p, e, err);
            fields++;
            if (p >= e)
                break;
        }
        if (status != QUERN_OK)
            return status;
        if (fields != f->n)
            continue; /* the conversion reports it */
        p = start;
        for (int i = 0; i <= k && status == QUERN_OK; i++, p++) {
            f->column = i;
            status = quern__csv_take(f, &p, e, err);
        }
        return status;
    }
}

/* Converts a plain number and stores it. Returns the end of the field; NULL: the field needs
 * quern__csv_put. */
static inline const char *csv_put_plain(const quern__csv_plain *c, char separator, const char *p,
                                        const char *e, float *x, double *y)
{
    float narrow;
    double v;
    const char *end = c->kind == QUERN__CPU_X ? quern__read_float(p, &narrow)
                      : c->kind               ? quern__read_double(p, &v)
                                              : NULL;
    if (!end || (end < e && *end != separator))
        return NULL;
    if (c->kind == QUERN__CPU_X) {
        x[c->at] = narrow;
        return fabsf(narrow) <= FLT_MAX ? end : NULL;
    }
    if (!(fabs(v) <= 3.4028235677973366e38))
        return NULL;
    if (c->kind == QUERN__CPU_LABEL &&
        (v != floor(v) || fabs(v) > INT32_MAX || (c->labels && (v < 0 || v >= c->labels))))
        return NULL;
    y[c->at] = v;
    return end;
}

int quern__csv_record(quern__csv *f, char *p, const char *e, float *x, double *y, quern_error *err)
{
    f->text_used = 0;
    for (int k = 0; k < f->n; k++, p++) {
        const char *end = csv_put_plain(&f->plain[k], f->separator, p, e, x, y);
        int status = end ? QUERN_OK : quern__csv_put(f, k, &p, e, x, y, err);
        p += end ? end - p : 0;
        if (status < 0)
            return status;
        /* more fields, the end of the record, or a wrong number of fields */
        if (p < e && k + 1 < f->n)
            continue;
        if (p >= e && k + 1 == f->n)
            break;
        int fields = k + 1;
        while (p < e) {
            p++;
            if (quern__csv_take(f, &p, e, err) < 0)
                break;
            fields++;
        }
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
    for (;;) {
        int status = csv_next_of_all(f, &p, &e, &quoted, err);
        f->passed = f->passed || status == QUERN_OK;
        f->unknown = false;
        if (status == QUERN_END && f->skipped) {
            quern__note("%s: %lld %s skipped: the model does not know %s", f->paths[0],
                        (long long)f->skipped, f->skipped == 1 ? "record was" : "records were",
                        f->skipped == 1 ? "its class" : "their classes");
            f->skipped = 0;
        }
        if (status != QUERN_OK)
            return status;
        if (f->skip_unknown && quern__csv_record(f, p, e, x, y, NULL) < 0 && f->unknown) {
            f->skipped++;
            continue;
        }
        return quern__csv_record(f, p, e, x, y, err);
    }
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
    return status < 0 ? status : quern__csv_header(f, false, err);
}

static void csv_free(void *self)
{
    quern__csv *f = self;
    quern__csv_twin_free(f->twin);
    quern__bytes_close(&f->bytes);
    quern__csv_cut_free(f);
    for (int k = 0; k < f->n; k++) {
        quern__free(f->columns[k].name);
        quern__free(f->columns[k].fill_class);
        quern__names_free(&f->columns[k].classes);
    }
    quern__names_free(&f->missing);
    quern_schema_free(f->schema);
    for (int i = 0; i < f->n_paths; i++)
        quern__free(f->paths[i]);
    quern__free(f->paths);
    quern__free(f->columns);
    quern__free(f->plain);
    quern__free(f->field);
    quern__free(f->texts);
    quern__free(f->text);
    quern__free(f);
}

static const char *class_name(void *self, int target, int i)
{
    return quern_schema_class(((quern__csv *)self)->schema, target, i);
}
static const quern_schema *csv_schema(void *self) { return ((quern__csv *)self)->schema; }
static bool csv_passed(void *self) { return ((quern__csv *)self)->passed; }
static const quern_string *csv_strings(void *self) { return ((quern__csv *)self)->texts; }

/* Takes separator, decimal mark, encoding and missing words from the options, else from the
 * schema. */
static int read_options(quern__csv *f, char separator, const quern_file_opts *o, quern_error *err)
{
    const char *encoding = o->encoding ? o->encoding : o->schema ? o->schema->encoding : "";
    int status = QUERN_OK;
    f->given = o->schema;
    f->encoding_given = o->encoding != NULL;
    f->separator_given = o->separator || separator == '\t';
    f->separator = o->separator                    ? o->separator
                   : separator == ',' && o->schema ? o->schema->separator
                                                   : separator;
    f->decimal = o->decimal ? o->decimal : o->schema ? o->schema->decimal : '.';
    f->no_header = o->no_header || (o->schema && o->schema->no_header);
    f->skip_unknown = o->unknown_class == QUERN_UNKNOWN_SKIP;
    if (strlen(encoding) >= sizeof f->encoding)
        return quern__fail(err, QUERN_INVALID, "encoding", "'%.60s' is not an encoding", encoding);
    strcpy(f->encoding, encoding);
    if (f->separator == f->decimal || isalnum((unsigned char)f->separator) ||
        strchr("+-\"\n\r", f->separator)) {
        quern__fail(err, QUERN_INVALID, "separator", "'%c' cannot separate columns%s", f->separator,
                    f->separator == f->decimal ? ": it is the decimal mark" : "");
        if (f->separator == ',' && f->decimal == ',')
            quern__hint(err, "add --decimal . if numbers have a decimal point");
        return QUERN_INVALID;
    }
    if (f->decimal != '.' && f->decimal != ',')
        return quern__fail(err, QUERN_INVALID, "decimal", "'%c' is not '.' or ','", f->decimal);
    f->missing_given = o->missing_values || (o->schema && o->schema->missing_given);
    if (!o->missing_values)
        return f->missing_given ? quern__names_copy(&f->missing, &o->schema->missing, err)
                                : QUERN_OK;
    for (const char *p = o->missing_values; *p && status >= 0;) {
        size_t length = strcspn(p, ",");
        char *word = quern__strndup(p, length);
        status = word ? quern__names_add(&f->missing, word, err) : quern__fail_memory(err, length);
        quern__free(word);
        p += length + (p[length] == ',');
    }
    return status;
}

/* Checks that the other files have the same columns, then opens the first file again. */
static int check_headers(quern__csv *f, quern_error *err)
{
    int status = QUERN_OK;
    f->checking = true;
    for (int k = 1; k < f->n_paths && status >= 0; k++)
        status = quern__csv_open_file(f, k, err);
    f->checking = false;
    return status < 0 || f->n_paths == 1 ? status : quern__csv_open_file(f, 0, err);
}

int quern__csv_open(char **paths, int n, char separator, const quern_file_opts *o,
                    quern__stream *out, quern_error *err)
{
    quern__csv *f = quern__zalloc(1, sizeof *f);
    if (!f || !(f->paths = quern__zalloc((size_t)n, sizeof *f->paths))) {
        quern__free(f);
        return quern__fail_memory(err, sizeof *f);
    }
    f->bytes.fd = -1;
    f->fresh = true;
    int status = read_options(f, separator, o, err);
    for (; f->n_paths < n && status >= 0; f->n_paths++)
        if (!(f->paths[f->n_paths] = quern__strdup(paths[f->n_paths])))
            status = quern__fail_memory(err, 1);
    if (status >= 0)
        status = quern__csv_open_file(f, 0, err);
    if (status >= 0)
        status = quern__csv_columns(f, o, err);
    if (status >= 0)
        status = check_headers(f, err);
    if (status >= 0)
        status = quern__csv_cut(f, err);
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
                            .schema = csv_schema,
                            .self = f,
                            .x_count = f->n_features,
                            .y_count = f->n_targets,
                            .weighted = f->weighted,
                            .bytes = quern__csv_buffer + QUERN__CSV_TWIN_BYTES +
                                     quern__csv_blocks_size(f),
                            .once = f->bytes.offset < 0 && !f->bytes.gz,
                            .where = f->paths[0] };
    return QUERN_OK;
}
