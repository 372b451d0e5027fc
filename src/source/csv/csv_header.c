/* The header of a CSV, and what is no CSV at all: files that are compressed, binary, or written with another separator are told by
 * how they begin, with the option that reads them. */
#include "base/utf8.h"
#include "csv.h"
#include "parse_number.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* How files begin that are no tables of text. */
static const struct {
    const char *begins;
    int n;
    const char *what, *hint;
} others[] = {
    { "BZh", 3, "is compressed by bzip2", "bunzip2 -c FILE | quern … - reads it, or gzip it" },
    { "\xfd"
      "7zXZ",
      5, "is compressed by xz", "xz -dc FILE | quern … - reads it, or gzip it" },
    { "\x28\xb5\x2f\xfd", 4, "is compressed by zstd", "zstd -dc FILE | quern … - reads it, or gzip it" },
    { "PK\3\4", 4, "is a zip archive (or a spreadsheet)",
      "unzip it, or save the sheet as CSV; an .npz needs its name, or --format npz" },
    { "PAR1", 4, "is Parquet, not a table of text", "save it as CSV" },
    { "ARROW1", 6, "is Arrow, not a table of text", "save it as CSV" },
    { "\x89HDF", 4, "is HDF5, not a table of text", "save its datasets as .npy, or the table as CSV" },
    { "SQLite format 3", 15, "is an SQLite database, not a table of text",
      "sqlite3 -csv -header FILE 'SELECT …' | quern … - reads it" },
    { "\x93NUMPY", 6, "holds NumPy arrays, not a table", "arrays one behind the other are --format npy" },
    { "{", 1, "is JSON, not a table of text", "save it as CSV with a header" },
    { "[", 1, "is JSON, not a table of text", "save it as CSV with a header" },
    { "\x04\x22\x4d\x18", 4, "is compressed by lz4", "lz4 -dc FILE | quern … - reads it, or gzip it" },
    { "version https://git-lfs", 23, "is a pointer of Git LFS, not the file", "git lfs pull gets the file" },
    { "%PDF", 4, "is PDF, not a table of text", "save the table as CSV" },
    { "ORC", 3, "is ORC, not a table of text", "save it as CSV" },
    { "Obj\1", 4, "is Avro, not a table of text", "save it as CSV" },
    { "\x80\4\x95", 3, "is a pickle of Python, not a table of text", "save it as CSV" },
    { "\x80\5\x95", 3, "is a pickle of Python, not a table of text", "save it as CSV" },
    { "<", 1, "is HTML or XML, not a table of text", "save it as CSV with a header" },
};

/* Bytes at the beginning of the file are in the buffer, 24 of them where there are so many. */
static int fill(quern__csv *f, quern_error *err)
{
    quern__bytes *b = &f->bytes;
    while (b->end - b->begin < 24 && !b->ended) {
        int64_t got = quern__bytes_more(b, QUERN__CSV_RECORD, err);
        if (got < 0)
            return (int)got;
    }
    return QUERN_OK;
}

static bool begins(const quern__csv *f, const char *with, size_t n)
{
    const quern__bytes *b = &f->bytes;
    return b->end - b->begin >= n && !memcmp(b->buffer + b->begin, with, n);
}

/* The mark of an encoding is taken away, and the encoding is that of the mark or of the options. */
static int decode(quern__csv *f, quern_error *err)
{
    static const struct {
        const char *mark;
        int n;
        const char *encoding;
    } marks[] = { { "\xef\xbb\xbf", 3, NULL },
                  { "\xff\xfe\0\0", 4, "UTF-32LE" },
                  { "\0\0\xfe\xff", 4, "UTF-32BE" },
                  { "\xff\xfe", 2, "UTF-16LE" },
                  { "\xfe\xff", 2, "UTF-16BE" } };
    enum { n = sizeof marks / sizeof *marks };
    int k = 0; /* a mark says more than what another file of the model was written in */
    while (k < n && (f->encoding_given || !begins(f, marks[k].mark, (size_t)marks[k].n)))
        k++;
    const char *encoding = k < n ? marks[k].encoding : *f->encoding ? f->encoding : NULL;
    int status = fill(f, err);
    if (status >= 0 && encoding && !f->bytes.decoder)
        status = quern__bytes_decode(&f->bytes, encoding, err);
    if (status >= 0 && f->bytes.decoder)
        status = fill(f, err);
    if (status >= 0 && begins(f, "\xef\xbb\xbf", 3))
        f->bytes.begin += 3;
    return status;
}

/* Every second byte of UTF-16 is 0 where the text is plain. */
static int check_mark(const quern__csv *f, quern_error *err)
{
    const char *p = f->bytes.buffer + f->bytes.begin;
    bool enough = f->bytes.end - f->bytes.begin >= 4, little = enough && p[0] && !p[1] && p[2] && !p[3];
    if (!little && !(enough && !p[0] && p[1] && !p[2] && p[3]))
        return QUERN_OK;
    quern__fail(err, QUERN_FORMAT, f->bytes.path, "is UTF-16 without its mark");
    quern__hint(err, "--encoding utf-16%s reads it", little ? "le" : "be");
    return QUERN_FORMAT;
}

static int begin(quern__csv *f, quern_error *err)
{
    int status = fill(f, err);
    status = status < 0 ? status : decode(f, err);
    status = status < 0 ? status : check_mark(f, err);
    for (size_t i = 0; status >= 0 && i < sizeof others / sizeof *others; i++)
        if (begins(f, others[i].begins, (size_t)others[i].n)) {
            status = quern__fail(err, QUERN_FORMAT, f->bytes.path, "%s", others[i].what);
            quern__hint(err, "%s", others[i].hint);
        }
    return status;
}

/* ---- columns ---- */

static int add_column(quern__csv *f, const char *name, quern_error *err)
{
    if (f->n == QUERN__MOST_COLUMNS)
        return quern__csv_fail(f, -1, QUERN_FORMAT, err, "more than %d columns", QUERN__MOST_COLUMNS);
    if (strlen(name) > QUERN__MOST_NAME)
        return quern__csv_fail(f, -1, QUERN_FORMAT, err, "the name of column %d has more than %d bytes", f->n + 1,
                               QUERN__MOST_NAME);
    if (!quern__utf8_valid(name, strlen(name))) {
        quern__csv_fail(f, -1, QUERN_FORMAT, err, "the name of column %d is not UTF-8 text", f->n + 1);
        quern__hint(err, "--encoding latin1 (or the file's own encoding) reads it");
        return QUERN_FORMAT;
    }
    for (int k = 0; k < f->n; k++)
        if (!strcmp(f->columns[k].name, name))
            return quern__csv_fail(f, -1, QUERN_FORMAT, err, "columns %d and %d are both called '%.100s'", k + 1, f->n + 1, name);
    quern__column *grown = quern__realloc(f->columns, ((size_t)f->n + 1) * sizeof *grown);
    if (!grown)
        return quern__fail_memory(err, (size_t)f->n * sizeof *grown);
    f->columns = grown;
    grown[f->n] = (quern__column){ .place = QUERN__IGNORED, .name = quern__strdup(name) };
    if (!grown[f->n].name)
        return quern__fail_memory(err, strlen(name));
    f->n++;
    return QUERN_OK;
}

static int same_column(const quern__csv *f, int k, quern_error *err)
{
    if (k < f->n && !strcmp(f->columns[k].name, f->field))
        return QUERN_OK;
    return quern__csv_fail(f, -1, QUERN_FORMAT, err, "column %d is '%.40s', in %.60s it is '%.40s'", k + 1, f->field, f->paths[0],
                           k < f->n ? f->columns[k].name : "not there");
}

/* The fields of the first line, which name the columns or are those that were named before. */
static int take_columns(quern__csv *f, char *p, const char *e, bool first, quern_error *err)
{
    char number[24];
    int n = 0, status = QUERN_OK;
    for (; status >= 0; p++) {
        status = quern__csv_take(f, &p, e, err);
        if (status >= 0 && first && f->no_header)
            snprintf(number, sizeof number, "%d", n + 1);
        if (status >= 0 && first)
            status = add_column(f, f->no_header ? number : f->field, err);
        else if (status >= 0 && !f->no_header)
            status = same_column(f, n, err);
        n++;
        if (p >= e)
            break;
    }
    return status < 0 || n == f->n ? status
                                   : quern__csv_fail(f, -1, QUERN_FORMAT, err, "%d columns, %s has %d", n, f->paths[0], f->n);
}

/* What is suspicious in a header: another separator, old ends of lines, a comment, a record in its place. */
static int look_at(const quern__csv *f, const char *p, const char *e, quern_error *err)
{
    const char *name = f->columns[0].name, *other = f->n == 1 ? strpbrk(name, ";\t") : NULL;
    int numbers = 0;
    if (memchr(p, '\r', (size_t)(e - p))) {
        quern__fail(err, QUERN_FORMAT, f->bytes.path, "the lines end in CR alone, as old Mac files do");
        quern__hint(err, "tr '\\r' '\\n' < FILE | quern … - reads it");
        return QUERN_FORMAT;
    }
    if (f->n == 1 && !strncasecmp(name, "sep=", 4)) {
        quern__fail(err, QUERN_FORMAT, f->bytes.path, "the first line tells a spreadsheet its separator ('%.40s'), it is no header",
                    name);
        quern__hint(err, "tail -n +2 FILE | quern … - --separator '%.1s' reads it", name + 4);
        return QUERN_FORMAT;
    }
    if (other && !f->separator_given) {
        quern__fail(err, QUERN_FORMAT, f->bytes.path, "the header is one column, '%.60s'", name);
        quern__hint(err, *other == ';' ? "--separator ';' reads columns between semicolons (and --decimal , their numbers)"
                                       : "--format tsv reads columns between tabs");
        return QUERN_FORMAT;
    }
    if (f->n == 1 && *name == '#') {
        quern__fail(err, QUERN_FORMAT, f->bytes.path, "the first line is a comment ('%.40s'), not a header", name);
        quern__hint(err, "grep -v '^#' FILE | quern … - reads it");
        return QUERN_FORMAT;
    }
    for (int k = 0; k < f->n && !f->no_header; k++) {
        double v;
        const char *end = quern__read_double(f->columns[k].name, &v);
        numbers += end && !*end;
    }
    if (numbers == f->n && f->at == 0)
        quern__warn("%s: the header is numbers ('%.20s'…): where it is the first record, --no-header reads it", f->bytes.path,
                    name);
    return QUERN_OK;
}

int quern__csv_header(quern__csv *f, bool first, quern_error *err)
{
    char *p, *e;
    bool quoted;
    f->line = 1;
    f->used = 0;
    f->inner = 0;
    f->column = -1;
    int status = begin(f, err);
    status = status < 0 ? status : quern__csv_next(f, &p, &e, &quoted, err);
    if (status == QUERN_END || (status == QUERN_OK && p == e))
        return quern__fail(err, QUERN_FORMAT, f->bytes.path,
                           status == QUERN_END ? "no header: the file is empty" : "no header: the first line is empty");
    status = status < 0 ? status : take_columns(f, p, e, first, err);
    status = status < 0 || !first || quoted ? status : look_at(f, p, e, err);
    if (f->no_header) /* it comes again, as a record */
        f->used = 0;
    f->first_byte = quern__bytes_place(&f->bytes) + (int64_t)f->used;
    return status;
}
