/* h5_data: reads the datasets of an HDF5 file: dataspaces, datatypes, layouts, filters, and
 * numbers.
 *
 * A dataset is an object whose messages give its dataspace (shape), datatype, layout and filters;
 * `describe` collects them into a quern__h5_set in any order. Three layouts are read: compact (in
 * the message), contiguous, and chunked with a B-tree of version 1. Elements are integers of 1 to 8
 * bytes, floats of 2 to 8 bytes and bfloat16, in either byte order. They are converted to the dtype
 * of the weight. */
#include "h5.h"

#include "ops/ops.h"

#include <math.h>
#include <string.h>
#include <zlib.h>

/* Fails with QUERN_FORMAT; `what` names the invalid part. */
static int broken(const quern__h5 *h, const char *what, quern_error *err)
{
    return quern__fail(err, QUERN_FORMAT, h->where, "is not an HDF5 file that quern reads: %s",
                       what);
}

int quern__h5_space(quern__h5_part m, quern__h5_set *set)
{
    if (m.size < 4 || m.data[0] < 1 || m.data[0] > 2 || m.data[1] > QUERN_MAX_RANK)
        return QUERN_FORMAT;
    size_t at = m.data[0] == 1 ? 8 : 4;
    set->shape = (quern_shape){ .rank = m.data[1] };
    if (m.size < at + 8 * (size_t)set->shape.rank)
        return QUERN_FORMAT;
    for (int i = 0; i < set->shape.rank; i++) {
        uint64_t d = quern__h5_number(m.data + at + 8 * (size_t)i, 8);
        if (d > INT64_MAX >> 8)
            return QUERN_FORMAT;
        set->shape.dims[i] = (int64_t)d;
    }
    set->count = m.data[0] == 2 && m.data[3] == 2
                     ? 0
                     : quern_shape_count(&set->shape); /* 2: a null dataspace */
    return set->count < 0 ? QUERN_FORMAT : QUERN_OK;
}

int quern__h5_type_of(quern__h5_part m, quern__h5_type *t)
{
    if (m.size < 8)
        return QUERN_FORMAT;
    *t = (quern__h5_type){ .class = m.data[0] & 15,
                           .size = (size_t)quern__h5_number(m.data + 4, 4) };
    if (t->class == 8) /* an enumeration, which h5py uses for bool, is read as its base type */
        return m.size >= 16 && (m.data[8] & 15) == 0
                   ? quern__h5_type_of((quern__h5_part){ m.data + 8, m.size - 8 }, t)
                   : QUERN_FORMAT;
    if (t->class == 5 && t->size == 2) { /* opaque: as h5py stores bfloat16 */
        t->class = 1;
        t->brain = true;
        return QUERN_OK;
    }
    if (t->class > 1)
        return (t->class == 9 && (m.data[1] & 15) == 1) || t->class == 3 ? QUERN_OK
                                                                         : QUERN_UNSUPPORTED;
    t->big = m.data[1] & 1;
    t->is_signed = m.data[1] & 8;
    bool whole = t->class == 0 && (t->size == 1 || t->size == 2 || t->size == 4 || t->size == 8);
    bool floating = t->class == 1 && m.size >= 20 && (t->size == 2 || t->size == 4 || t->size == 8);
    if (floating) {
        int exponent = m.data[8 + 5];
        t->brain = t->size == 2 && exponent == 8;
        floating = exponent == (t->size == 8 ? 11 : t->size == 4 || t->brain ? 8 : 5);
    }
    return whole || floating ? QUERN_OK : QUERN_UNSUPPORTED;
}

/* ---- messages of a dataset ---- */

typedef struct description {
    quern__h5 *h;
    quern__h5_set *set;
    bool space, type, layout;
} description;

/* Reads a data layout message: compact, contiguous, or chunked with a version 1 B-tree. */
static int take_layout(description *d, quern__h5_part m, quern_error *err)
{
    quern__h5_set *s = d->set;
    if (m.size < 2 || (m.data[0] != 3 && m.data[0] != 4))
        return broken(d->h, "a data layout message", err);
    s->layout = m.data[1];
    if (s->layout > 2 || (s->layout == 2 && m.data[0] == 4))
        return quern__fail(err, QUERN_UNSUPPORTED, d->h->where,
                           s->layout == 3 ? "virtual datasets" : "chunks of libver=\"latest\"");
    uint64_t n = s->layout == 0 && m.size >= 4 ? quern__h5_number(m.data + 2, 2) : 0;
    if (s->layout == 0 && m.size >= 4 && n <= m.size - 4)
        s->bytes = (quern__h5_part){ m.data + 4, (size_t)n };
    else if (s->layout == 1 && m.size >= 18) {
        uint64_t address = quern__h5_number(m.data + 2, 8);
        n = quern__h5_number(m.data + 10, 8);
        const uint8_t *p = address == UINT64_MAX ? NULL : quern__h5_at(d->h, address, n);
        if (!p && address != UINT64_MAX)
            return broken(d->h, "a data address is outside of the file", err);
        s->bytes = (quern__h5_part){ p, p ? (size_t)n : 0 };
    } else if (s->layout == 2 && m.size >= 11 && m.data[2] >= 1 &&
               m.data[2] <= QUERN_MAX_RANK + 1 && m.size >= 11 + 4 * (size_t)m.data[2]) {
        s->tree = quern__h5_number(m.data + 3, 8);
        s->shape.reserved =
            m.data[2] - 1; /* the rank of the chunks, compared later with that of the dataspace */
        for (int i = 0; i + 1 < m.data[2]; i++)
            s->chunk[i] = (int64_t)quern__h5_number(m.data + 11 + 4 * i, 4);
    } else
        return broken(d->h, "a data layout message", err);
    d->layout = true;
    return QUERN_OK;
}

/* Reads a filter pipeline message; only deflate, shuffle and fletcher32 are accepted. */
static int take_filters(description *d, quern__h5_part m, quern_error *err)
{
    quern__h5_set *s = d->set;
    bool old = m.size > 0 && m.data[0] == 1;
    size_t at = old ? 8 : 2;
    if (m.size < at || m.data[0] > 2 || m.data[1] > 4)
        return broken(d->h, "filters", err);
    for (int i = 0; i < m.data[1]; i++) {
        if (m.size - at < 8)
            return broken(d->h, "filters", err);
        int id = (int)quern__h5_number(m.data + at, 2);
        if (id < 1 || id > 3) /* 1 deflate, 2 shuffle, 3 fletcher32 */
            return quern__fail(err, QUERN_UNSUPPORTED, d->h->where,
                               "data with filter %d, which needs a plugin", id);
        size_t name = old ? (size_t)quern__h5_number(m.data + at + 2, 2) : 0;
        size_t values = (size_t)quern__h5_number(m.data + at + (old ? 6 : 4), 2);
        at += (old ? 8 : 6) + (name + 7) / 8 * 8 + 4 * values + (old && values % 2 ? 4 : 0);
        if (at > m.size)
            return broken(d->h, "filters", err);
        s->filters[s->n_filters++] = id;
    }
    return QUERN_OK;
}

/* Reads a message of a dataset: dataspace, datatype, layout or filters. */
static int describe(void *user, int type, quern__h5_part m, quern_error *err)
{
    description *d = user;
    if (type == QUERN__H5_EXTERNAL)
        return quern__fail(err, QUERN_UNSUPPORTED, d->h->where, "data in external files");
    if (type == QUERN__H5_SPACE) {
        int32_t chunks = d->set->shape.reserved;
        d->space = true;
        int status = quern__h5_space(m, d->set);
        d->set->shape.reserved = chunks;
        return status < 0 ? broken(d->h, "a dataspace message", err) : QUERN_OK;
    }
    if (type == QUERN__H5_TYPE) {
        d->type = true;
        return quern__h5_type_of(m, &d->set->type) < 0
                   ? quern__fail(err, QUERN_UNSUPPORTED, d->h->where,
                                 "a datatype that is not numeric")
                   : QUERN_OK;
    }
    if (type == QUERN__H5_LAYOUT)
        return take_layout(d, m, err);
    return type == QUERN__H5_FILTERS && !d->set->n_filters ? take_filters(d, m, err) : QUERN_OK;
}

int quern__h5_dataset(quern__h5 *h, uint64_t object, quern__h5_set *set, quern_error *err)
{
    description d = { .h = h, .set = set };
    *set = (quern__h5_set){ 0 };
    int status = quern__h5_messages(h, object, describe, &d, err);
    if (status < 0)
        return status;
    if (!d.space || !d.type || !d.layout || set->type.class > 1)
        return broken(h, "an object is not a dataset of numbers", err);
    int chunk_rank = set->shape.reserved;
    set->shape.reserved = 0;
    if (set->layout == 2 && chunk_rank != set->shape.rank)
        return broken(h, "chunks of another rank", err);
    bool plain = set->layout < 2 && set->bytes.data;
    if (plain && ((size_t)set->count > set->bytes.size / set->type.size || set->n_filters))
        return broken(h, "truncated data", err);
    return QUERN_OK;
}

/* ---- numbers ---- */

/* The value of a float16 or bfloat16 bit pattern. */
static double half_value(uint64_t bits, bool brain)
{
    if (brain) {
        uint32_t wide = (uint32_t)bits << 16;
        float f;
        memcpy(&f, &wide, sizeof f);
        return (double)f;
    }
    int exponent = (int)(bits >> 10 & 31);
    double m = (double)(bits & 1023), v = exponent ? 1 + m / 1024 : m / 1024;
    int shift = exponent ? exponent - 15 : -14;
    for (; shift > 0; shift--)
        v *= 2;
    for (; shift < 0; shift++)
        v /= 2;
    if (exponent == 31)
        v = (bits & 1023) ? (double)NAN : (double)INFINITY;
    return bits >> 15 ? -v : v;
}

/* Converts an element of the file and stores it as element k. */
static void h5_store_element(quern_tensor *out, int64_t k, const quern__h5_type *t,
                             const uint8_t *p)
{
    uint64_t v = 0;
    for (size_t i = 0; i < t->size; i++)
        v = v << 8 | p[t->big ? i : t->size - 1 - i];
    if (t->class == 0) {
        int unused = 64 - 8 * (int)t->size;
        int64_t whole = t->is_signed ? (int64_t)(v << unused) >> unused : (int64_t)v;
        if (out->dtype == QUERN_INT64)
            ((int64_t *)out->data)[k] = whole;
        else
            quern__set(out, k, (double)whole);
        return;
    }
    float f;
    double d;
    uint32_t narrow = (uint32_t)v;
    memcpy(&f, &narrow, sizeof f);
    memcpy(&d, &v, sizeof d);
    if (t->size == 4 && out->dtype == QUERN_FLOAT32)
        ((float *)out->data)[k] = f;
    else
        quern__set(out, k, t->size == 8 ? d : t->size == 4 ? (double)f : half_value(v, t->brain));
}

/* ---- chunks ---- */

typedef struct chunks {
    quern__h5 *h;
    const quern__h5_set *set;
    quern_tensor *out;
    size_t bytes; /* bytes of a chunk */
    uint8_t *raw, *plain;
} chunks;

/* Applies the filters of a chunk in reverse order and verifies its checksum. Returns false when the
 * data is invalid. */
static bool unfilter(chunks *c, const uint8_t *p, size_t n, uint64_t mask)
{
    uint8_t *now = c->raw, *other = c->plain;
    size_t size = c->set->type.size, elements = c->bytes / size;
    if (n > c->bytes + 4096 && !c->set->n_filters)
        return false;
    bool there = false; /* the buffer with the present data; otherwise p */
    for (int i = c->set->n_filters - 1; i >= 0; i--) {
        if (mask >> i & 1)
            continue;
        const uint8_t *from = there ? now : p;
        if (c->set->filters[i] == 3) { /* the checksum follows the data */
            if (n < 4)
                return false;
            n -= 4;
            continue;
        }
        if (c->set->filters[i] == 1) {
            uLongf got = (uLongf)c->bytes + 4;
            if (uncompress(other, &got, from, (uLong)n) != Z_OK)
                return false;
            n = got;
        } else {
            if (n < c->bytes)
                return false;
            for (size_t k = 0; k < elements; k++)
                for (size_t b = 0; b < size; b++)
                    other[k * size + b] = from[b * elements + k];
            n = c->bytes;
        }
        uint8_t *swap = now;
        now = other;
        other = swap;
        there = true;
    }
    if (n < c->bytes)
        return false;
    if (!there)
        memcpy(now, p, c->bytes);
    c->raw = now;
    c->plain = other;
    return true;
}

/* Copies the elements of a chunk to their positions; ignores those outside of the dataset. */
static void scatter(chunks *c, const uint64_t *offsets)
{
    const quern__h5_set *s = c->set;
    int64_t at[QUERN_MAX_RANK] = { 0 };
    size_t elements = c->bytes / s->type.size;
    for (size_t k = 0; k < elements; k++) {
        int64_t place = 0;
        bool inside = true;
        for (int i = 0; i < s->shape.rank; i++) {
            int64_t own = (int64_t)offsets[i] + at[i];
            inside = inside && own < s->shape.dims[i];
            place = inside ? place * s->shape.dims[i] + own : 0;
        }
        if (inside)
            h5_store_element(c->out, place, &s->type, c->raw + k * s->type.size);
        for (int i = s->shape.rank - 1; i >= 0 && ++at[i] == s->chunk[i]; i--)
            at[i] = 0;
    }
}

/* Reads all chunks below a B-tree node. */
static int chunk_tree(chunks *c, uint64_t node, int depth, quern_error *err)
{
    int rank = c->set->shape.rank;
    uint64_t key = 8 + 8 * ((uint64_t)rank + 1), offsets[QUERN_MAX_RANK];
    const uint8_t *p = quern__h5_at(c->h, node, 24);
    uint64_t n = p ? quern__h5_number(p + 6, 2) : 0;
    if (!p || memcmp(p, "TREE", 4) || p[4] != 1 || p[5] >= depth ||
        !quern__h5_at(c->h, node + 24, n * (key + 8) + key))
        return broken(c->h, "a B-tree of chunks", err);
    for (uint64_t i = 0; i < n; i++) {
        const uint8_t *k = p + 24 + i * (key + 8);
        uint64_t child = quern__h5_number(k + key, 8), size = quern__h5_number(k, 4);
        c->h->steps -=
            1 +
            (int64_t)(p[5] ? 0
                           : c->bytes / 64); /* the limit is sufficient for two reads of the data */
        if (c->h->steps < 0)
            return broken(c->h, "too many objects or a cycle", err);
        if (p[5]) {
            int status = chunk_tree(c, child, p[5], err);
            if (status < 0)
                return status;
            continue;
        }
        const uint8_t *data = quern__h5_at(c->h, child, size);
        for (int d = 0; d < rank; d++) {
            offsets[d] = quern__h5_number(k + 8 + 8 * d, 8);
            if (offsets[d] >= (uint64_t)c->set->shape.dims[d])
                data = NULL;
        }
        if (!data || !unfilter(c, data, (size_t)size, quern__h5_number(k + 4, 4)))
            return broken(c->h, "a chunk", err);
        scatter(c, offsets);
    }
    return QUERN_OK;
}

/* Reads a chunked dataset; missing chunks are zeros. */
static int read_chunks(quern__h5 *h, const quern__h5_set *set, quern_tensor *out, quern_error *err)
{
    chunks c = { .h = h, .set = set, .out = out, .bytes = set->type.size };
    for (int i = 0; i < set->shape.rank; i++)
        if (set->chunk[i] < 1 || !quern__mul(c.bytes, (size_t)set->chunk[i], &c.bytes) ||
            c.bytes > 1u << 28)
            return broken(h, "a chunk is too large", err);
    memset(out->data, 0, (size_t)set->count * quern_dtype_size(out->dtype));
    if (set->tree == UINT64_MAX)
        return QUERN_OK;
    if (c.bytes / 1100 > h->size) /* deflate compresses by less than a factor of 1,100 */
        return broken(h, "a chunk is too large", err);
    uint8_t *one = c.raw = quern__alloc(c.bytes + 8), *two = c.plain = quern__alloc(c.bytes + 8);
    int status = one && two ? chunk_tree(&c, set->tree, 32, err) : quern__fail_memory(err, c.bytes);
    quern__free(one);
    quern__free(two);
    return status;
}

/* Whether the file has the numbers in the format of memory. */
static bool as_in_memory(const quern__h5_type *t, quern_dtype dtype)
{
    int class = dtype == QUERN_FLOAT32 ? 1 : dtype == QUERN_INT32 || dtype == QUERN_INT64 ? 0 : -1;
    return t->class == class && !t->big && (class || t->is_signed) &&
           t->size == quern_dtype_size(dtype);
}

int quern__h5_read(quern__h5 *h, const quern__h5_set *set, quern_tensor *out, quern_error *err)
{
    if (set->layout == 2)
        return read_chunks(h, set, out, err);
    if (!set->bytes.data)
        memset(out->data, 0, (size_t)set->count * quern_dtype_size(out->dtype));
    else if (as_in_memory(&set->type, out->dtype))
        memcpy(out->data, set->bytes.data, (size_t)set->count * set->type.size);
    else
        for (int64_t k = 0; k < set->count; k++)
            h5_store_element(out, k, &set->type, set->bytes.data + (size_t)k * set->type.size);
    if (h->once && set->bytes.data)
        quern__discard(set->bytes.data, (size_t)set->count * set->type.size);
    return QUERN_OK;
}
