/* Reads the header of a CSV. Compressed and binary files, and files with another separator, are
 * recognised by their first bytes; the error names the command or option that reads them. */
#include "base/utf8.h"
#include "csv.h"
#include "parse_number.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* First bytes of files that are not text tables. */
static const struct {
    const char *begins;
    int n;
    const char *what, *hint;
} others[] = {
    { "BZh", 3, "is compressed by bzip2",
      "run bunzip2 -c FILE | quern … -, or compress it with gzip" },
    { "\xfd"
      "7zXZ",
      5, "is compressed by xz", "run xz -dc FILE | quern … -, or compress it with gzip" },
    { "\x28\xb5\x2f\xfd", 4, "is compressed by zstd",
      "run zstd -dc FILE | quern … -, or compress it with gzip" },
    { "PK\3\4", 4, "is a zip archive (or a spreadsheet)",
      "unzip it, or save the sheet as CSV; name an NPZ file .npz, or add --format npz" },
    { "PAR1", 4, "is Parquet, not a text table", "save it as CSV" },
    { "ARROW1", 6, "is Arrow, not a text table", "save it as CSV" },
    { "\x89HDF", 4, "is HDF5, not a text table", "save its datasets as .npy, or the table as CSV" },
    { "SQLite format 3", 15, "is an SQLite database, not a text table",
      "run sqlite3 -csv -header FILE 'SELECT …' | quern … -" },
    { "\x93NUMPY", 6, "contains NumPy arrays, not a table",
      "add --format npy for concatenated arrays" },
    { "{", 1, "is JSON, not a text table", "save it as CSV with a header" },
    { "[", 1, "is JSON, not a text table", "save it as CSV with a header" },
    { "\x04\x22\x4d\x18", 4, "is compressed by lz4",
      "run lz4 -dc FILE | quern … -, or compress it with gzip" },
    { "version https://git-lfs", 23, "is a Git LFS pointer, not the file",
      "fetch the file with git lfs pull" },
    { "%PDF", 4, "is PDF, not a text table", "save the table as CSV" },
    { "ORC", 3, "is ORC, not a text table", "save it as CSV" },
    { "Obj\1", 4, "is Avro, not a text table", "save it as CSV" },
    { "\x80\4\x95", 3, "is a Python pickle, not a text table", "save it as CSV" },
    { "\x80\5\x95", 3, "is a Python pickle, not a text table", "save it as CSV" },
    { "<", 1, "is HTML or XML, not a text table", "save it as CSV with a header" },
};

/* Reads the first 24 bytes of the file, or all if there are fewer. */
static int header_fill(quern__csv *f, quern_error *err)
{
    quern__bytes *b = &f->bytes;
    while (b->end - b->begin < 24 && !b->ended) {
        int64_t got = quern__bytes_more(b, QUERN__CSV_RECORD, err);
        if (got < 0)
            return (int)got;
    }
    return QUERN_OK;
}

/* Whether the file begins with n given bytes. */
static bool begins(const quern__csv *f, const char *with, size_t n)
{
    const quern__bytes *b = &f->bytes;
    return b->end - b->begin >= n && !memcmp(b->buffer + b->begin, with, n);
}

/* Skips the byte order mark. The encoding is that of the mark, else that of the options. */
static int header_decode(quern__csv *f, quern_error *err)
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
    int k = 0; /* a mark has priority over the encoding of the model's schema */
    while (k < n && (f->encoding_given || !begins(f, marks[k].mark, (size_t)marks[k].n)))
        k++;
    const char *encoding = k < n ? marks[k].encoding : *f->encoding ? f->encoding : NULL;
    int status = header_fill(f, err);
    if (status >= 0 && encoding && !f->bytes.decoder)
        status = quern__bytes_decode(&f->bytes, encoding, err);
    if (status >= 0 && f->bytes.decoder)
        status = header_fill(f, err);
    if (status >= 0 && begins(f, "\xef\xbb\xbf", 3))
        f->bytes.begin += 3;
    return status;
}

/* Recognises UTF-16 without a mark: in ASCII text every second byte is 0. */
static int check_mark(const quern__csv *f, quern_error *err)
{
    const char *p = f->bytes.buffer + f->bytes.begin;
    bool enough = f->bytes.end - f->bytes.begin >= 4,
         little = enough && p[0] && !p[1] && p[2] && !p[3];
    if (!little && !(enough && !p[0] && p[1] && !p[2] && p[3]))
        return QUERN_OK;
    quern__fail(err, QUERN_FORMAT, f->bytes.path, "is UTF-16 without a byte order mark");
    quern__hint(err, "add --encoding utf-16%s", little ? "le" : "be");
    return QUERN_FORMAT;
}

static int header_begin(quern__csv *f, quern_error *err)
{
    int status = header_fill(f, err);
    if (status >= 0)
        status = header_decode(f, err);
    if (status >= 0)
        status = check_mark(f, err);
    for (size_t i = 0; status >= 0 && i < sizeof others / sizeof *others; i++)
        if (begins(f, others[i].begins, (size_t)others[i].n)) {
            status = quern__fail(err, QUERN_FORMAT, f->bytes.path, "%s", others[i].what);
            quern__hint(err, "%s", others[i].hint);
        }
    return status;
}

/* ---- columns ---- */

/* Adds a column with a valid, new name. */
static int add_column(quern__csv *f, const char *name, quern_error *err)
{
    if (f->n == QUERN__MOST_COLUMNS)
        return quern__csv_fail(f, -1, QUERN_FORMAT, err, "more than %d columns",
                               QUERN__MOST_COLUMNS);
    if (strlen(name) > QUERN__MOST_NAME)
        return quern__csv_fail(f, -1, QUERN_FORMAT, err,
                               "the name of column %d has more than %d bytes", f->n + 1,
                               QUERN__MOST_NAME);
    if (!quern__utf8_valid(name, strlen(name))) {
        quern__csv_fail(f, -1, QUERN_FORMAT, err, "the name of column %d is not UTF-8 text",
                        f->n + 1);
        quern__hint(err, "set the encoding of the file, such as --encoding latin1");
        return QUERN_FORMAT;
    }
    for (int k = 0; k < f->n; k++)
        if (!strcmp(f->columns[k].name, name))
            return quern__csv_fail(f, -1, QUERN_FORMAT, err,
                                   "columns %d and %d are both called '%.100s'", k + 1, f->n + 1,
                                   name);
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
    return quern__csv_fail(f, -1, QUERN_FORMAT, err, "column %d is '%.40s', in %.60s it is '%.40s'",
                           k + 1, f->field, f->paths[0],
                           k < f->n ? f->columns[k].name : "not there");
}

/* Reads the fields of the first line: they define the columns (`first`), or must match them. */
static int header_columns(quern__csv *f, char *p, const char *e, bool first, quern_error *err)
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
                                   : quern__csv_fail(f, -1, QUERN_FORMAT, err,
                                                     "%d columns, %s has %d", n, f->paths[0], f->n);
}

/* Checks a header for common errors: another separator, old line ends, a comment, a record
 * instead of a header. */
static int header_check(const quern__csv *f, const char *p, const char *e, quern_error *err)
{
    const char *name = f->columns[0].name, *other = f->n == 1 ? strpbrk(name, ";\t") : NULL;
    int numbers = 0;
    /* no newline was found: old Mac files */
    if (memchr(p, '\r', (size_t)(e - p))) {
        quern__fail(err, QUERN_FORMAT, f->bytes.path, "lines end in CR only, as in old Mac files");
        quern__hint(err, "run tr '\\r' '\\n' < FILE | quern … -");
        return QUERN_FORMAT;
    }
    if (f->n == 1 && !strncasecmp(name, "sep=", 4)) {
        quern__fail(err, QUERN_FORMAT, f->bytes.path,
                    "the first line is a separator mark of a spreadsheet ('%.40s'), not a header",
                    name);
        quern__hint(err, "run tail -n +2 FILE | quern … - --separator '%.1s'", name + 4);
        return QUERN_FORMAT;
    }
    if (other && !f->separator_given) {
        quern__fail(err, QUERN_FORMAT, f->bytes.path, "the header has one column, '%.60s'", name);
        quern__hint(err,
                    *other == ';'
                        ? "add --separator ';' (and --decimal , if numbers have a decimal comma)"
                        : "add --format tsv for columns between tabs");
        return QUERN_FORMAT;
    }
    if (f->n == 1 && *name == '#') {
        quern__fail(err, QUERN_FORMAT, f->bytes.path,
                    "the first line is a comment ('%.40s'), not a header", name);
        quern__hint(err, "run grep -v '^#' FILE | quern … -");
        return QUERN_FORMAT;
    }
    for (int k = 0; k < f->n && !f->no_header; k++) {
        double v;
        const char *end = quern__read_double(f->columns[k].name, &v);
        numbers += end && !*end;
    }
    if (numbers == f->n && f->at == 0)
        quern__warn(
            "%s: the header contains only numbers ('%.20s'…); add --no-header if it is a record",
            f->bytes.path, name);
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
    int status = header_begin(f, err);
    if (status >= 0)
        status = quern__csv_next(f, &p, &e, &quoted, err);
    if (status == QUERN_END || (status == QUERN_OK && p == e))
        return quern__fail(err, QUERN_FORMAT, f->bytes.path,
                           status == QUERN_END ? "no header: the file is empty"
                                               : "no header: the first line is empty");
    if (status >= 0)
        status = header_columns(f, p, e, first, err);
    if (status >= 0 && first && !quoted)
        status = header_check(f, p, e, err);
    if (f->no_header) /* it is also the first record */
        f->used = 0;
    f->first_byte = quern__bytes_place(&f->bytes) + (int64_t)f->used;
    return status;
}
