/* IDX files (yann.lecun.com/exdb/mnist), gzipped or not, read forward in bounded memory: images and labels side by side. */
#include "source.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

typedef struct half {
    char *path;
    gzFile file;
    int64_t records, per; /* bytes of a record */
} half;

typedef struct idx {
    half x, y;
    int64_t at;
    uint8_t *bytes;
} idx;

enum { most_per_record = 1 << 24 };

static int read_exactly(half *h, void *to, size_t n, int64_t record, quern_error *err)
{
    int got = gzread(h->file, to, (unsigned)n), code;
    if (got == (int)n)
        return QUERN_OK;
    char where[256];
    snprintf(where, sizeof where, "%s: record %lld", h->path, (long long)record);
    const char *why = gzerror(h->file, &code);
    if (got < 0 || (code != Z_OK && code != Z_BUF_ERROR && code != Z_STREAM_END))
        return quern__fail(err, QUERN_IO, where, "%s", *why ? why : strerror(errno));
    return quern__fail(err, QUERN_FORMAT, where, "the file ends early: %d of %zu bytes", got, n);
}

/* Magic number, dimensions; leaves the file at the first record. */
static int half_open(half *h, const char *path, quern_error *err)
{
    uint8_t head[4 + 4 * QUERN_MAX_RANK];
    h->path = quern__strdup(path);
    h->file = h->path ? gzopen(path, "rb") : NULL;
    if (!h->file)
        return quern__fail(err, QUERN_IO, path, "%s", strerror(errno));
    gzbuffer(h->file, 1 << 16);
    int status = read_exactly(h, head, 4, 0, err);
    if (status < 0)
        return status;
    int rank = head[3];
    if (head[0] || head[1] || head[2] != 8 || rank < 1 || rank > QUERN_MAX_RANK)
        return quern__fail(err, QUERN_FORMAT, path, "not an IDX file of bytes (starts with %02x %02x %02x %02x)", head[0], head[1],
                           head[2], head[3]);
    status = read_exactly(h, head + 4, 4 * (size_t)rank, 0, err);
    if (status < 0)
        return status;
    h->per = 1;
    for (int i = 0; i < rank; i++) {
        const uint8_t *p = head + 4 + 4 * i;
        int64_t d = (int64_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
        if (i == 0)
            h->records = d;
        else if (d < 1 || (h->per *= d) > most_per_record)
            return quern__fail(err, QUERN_FORMAT, path, "axis %d of %lld makes a record larger than %d bytes", i, (long long)d,
                               most_per_record);
    }
    return QUERN_OK;
}

static void half_close(half *h)
{
    if (h->file)
        gzclose(h->file);
    quern__free(h->path);
}

static void idx_free(void *self)
{
    idx *f = self;
    half_close(&f->x);
    half_close(&f->y);
    quern__free(f->bytes);
    quern__free(f);
}

static int half_rewind(half *h, quern_error *err)
{
    uint8_t head[4 + 4 * QUERN_MAX_RANK];
    if (!h->file)
        return QUERN_OK;
    if (gzrewind(h->file))
        return quern__fail(err, QUERN_IO, h->path, "cannot go back to the start");
    int status = read_exactly(h, head, 4, 0, err);
    return status < 0 ? status : read_exactly(h, head + 4, 4 * (size_t)head[3], 0, err);
}

static int idx_rewind(void *self, quern_error *err)
{
    idx *f = self;
    f->at = 0;
    int status = half_rewind(&f->x, err);
    return status < 0 ? status : half_rewind(&f->y, err);
}

static int idx_read(void *self, float *x, double *y, quern_error *err)
{
    idx *f = self;
    if (f->at == f->x.records)
        return QUERN_END;
    int status = read_exactly(&f->x, f->bytes, (size_t)f->x.per, f->at + 1, err);
    for (int64_t i = 0; status >= 0 && i < f->x.per; i++)
        x[i] = f->bytes[i];
    if (status >= 0 && f->y.file)
        status = read_exactly(&f->y, f->bytes, (size_t)f->y.per, f->at + 1, err);
    for (int64_t i = 0; status >= 0 && f->y.file && i < f->y.per; i++)
        y[i] = f->bytes[i];
    f->at++;
    return status;
}

int quern__idx_open(const char *x_path, const char *y_path, quern__stream *out, quern_error *err)
{
    idx *f = quern__zalloc(1, sizeof *f);
    if (!f)
        return quern__fail_memory(err, sizeof *f);
    int status = half_open(&f->x, x_path, err);
    if (status >= 0 && y_path)
        status = half_open(&f->y, y_path, err);
    if (status >= 0 && y_path && f->x.records != f->y.records)
        status = quern__fail(err, QUERN_FORMAT, y_path, "%lld records, %s has %lld", (long long)f->y.records, x_path,
                             (long long)f->x.records);
    if (status >= 0 && !(f->bytes = quern__alloc((size_t)(f->x.per > f->y.per ? f->x.per : f->y.per))))
        status = quern__fail_memory(err, (size_t)f->x.per);
    if (status < 0) {
        idx_free(f);
        return status;
    }
    *out = (quern__stream){ .rewind = idx_rewind,
                            .read = idx_read,
                            .free = idx_free,
                            .self = f,
                            .x_count = f->x.per,
                            .y_count = y_path ? f->y.per : 0,
                            .where = f->x.path };
    return idx_rewind(f, err);
}
