/* npy: the header of a `.npy` array: a Python dictionary literal with three known keys. Everything
 * in it is checked. */
#include "npy.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *descr;
    int dtype;
} types[] = {
    { "<f4", QUERN_FLOAT32 }, { "<f8", QUERN_FLOAT64 }, { "<f2", QUERN_FLOAT16 },
    { "<i4", QUERN_INT32 },   { "<i8", QUERN_INT64 },   { "<i2", QUERN_INT16 },
    { "|i1", QUERN_INT8 },    { "<u4", QUERN_UINT32 },  { "<u8", QUERN_UINT64 },
    { "<u2", QUERN_UINT16 },  { "|u1", QUERN_UINT8 },   { "|b1", QUERN_BOOL },
};
enum { n_types = sizeof types / sizeof *types };

int quern__npy_header_bytes(const uint8_t *b, size_t n, size_t *out, const char *where,
                            quern_error *err)
{
    if (n < 10 || memcmp(b, "\x93NUMPY", 6))
        return quern__fail(err, QUERN_FORMAT, where,
                           "not a .npy array: it does not start with \\x93NUMPY");
    size_t prologue = b[6] == 1 ? 10 : 12, length = (size_t)b[8] | (size_t)b[9] << 8;
    if (b[6] < 1 || b[6] > 3)
        return quern__fail(err, QUERN_FORMAT, where, ".npy version %d.%d, expected 1 to 3", b[6],
                           b[7]);
    if (b[6] > 1 && n >= 12)
        length |= (size_t)b[10] << 16 | (size_t)b[11] << 24;
    if (length > QUERN__NPY_HEADER_LIMIT)
        return quern__fail(err, QUERN_FORMAT, where,
                           ".npy header of %zu bytes, expected at most %d", length,
                           QUERN__NPY_HEADER_LIMIT);
    *out = prologue + length;
    return QUERN_OK;
}

/* The text after `'key':`; NULL: it is missing. */
static const char *value_of(const char *header, const char *key)
{
    char quoted[24];
    for (int i = 0; i < 2; i++) {
        snprintf(quoted, sizeof quoted, "%c%s%c", "'\""[i], key, "'\""[i]);
        const char *p = strstr(header, quoted);
        if (p) {
            p += strlen(quoted);
            p += strspn(p, " ");
            if (*p++ != ':')
                return NULL;
            return p + strspn(p, " ");
        }
    }
    return NULL;
}

/* Parses "'<f4'": byte order ('=': native, which is little-endian), kind, size. */
static int parse_type(const char *descr, quern__npy *out, const char *where, quern_error *err)
{
    static const char read[] =
        "supported: float16 to float64, int8 to int64, uint8 to uint64, bool";
    bool quoted = *descr == '\'' || *descr == '"';
    size_t n = quoted ? strcspn(descr + 1, "'\",}\n") : 0;
    for (int i = 0; i < n_types && quoted; i++)
        if (n == 3 && strchr("<>|=", descr[1]) && !strncmp(descr + 2, types[i].descr + 1, 2) &&
            descr[4] == *descr) {
            out->dtype = types[i].dtype;
            out->swapped = descr[1] == '>' && quern_dtype_size(out->dtype) > 1;
            return QUERN_OK;
        }
    if (!quoted)
        return quern__fail(err, QUERN_DTYPE, where,
                           ".npy array of records (a structured dtype); %s", read);
    return quern__fail(err, QUERN_DTYPE, where, ".npy array of dtype '%.*s'; %s",
                       n < 40 ? (int)n : 40, descr + 1, read);
}

/* Parses "(2, 3)", "(2,)" or "()" with checked dimensions. */
static int parse_shape(const char *p, quern_shape *shape, const char *where, quern_error *err)
{
    shape->rank = 0;
    if (*p++ != '(')
        return quern__fail(err, QUERN_FORMAT, where, ".npy header without a shape");
    for (;;) {
        p += strspn(p, " ");
        if (*p == ')')
            return QUERN_OK;
        if (shape->rank == QUERN_MAX_RANK)
            return quern__fail(err, QUERN_SHAPE, where, "more than %d dimensions", QUERN_MAX_RANK);
        int64_t d = 0;
        if (*p < '0' || *p > '9')
            return quern__fail(err, QUERN_FORMAT, where,
                               ".npy header with a shape that is not numeric");
        for (; *p >= '0' && *p <= '9'; p++)
            if (__builtin_mul_overflow(d, 10, &d) || __builtin_add_overflow(d, *p - '0', &d))
                return quern__fail(err, QUERN_FORMAT, where,
                                   ".npy header with a dimension that is too large");
        shape->dims[shape->rank++] = d;
        p += strspn(p, "L ");
        if (*p == ',')
            p++;
        else if (*p != ')')
            return quern__fail(err, QUERN_FORMAT, where, ".npy header with a shape without an end");
    }
}

int quern__npy_parse(const uint8_t *bytes, size_t n, quern__npy *out, const char *where,
                     quern_error *err)
{
    char header[QUERN__NPY_HEADER_LIMIT + 1];
    quern__npy a = { 0 };
    int code = quern__npy_header_bytes(bytes, n, &a.header_bytes, where, err);
    if (code < 0)
        return code;
    size_t prologue = bytes[6] == 1 ? 10 : 12;
    if (n < a.header_bytes || a.header_bytes < prologue)
        return quern__fail(err, QUERN_FORMAT, where, "truncated .npy header");
    memcpy(header, bytes + prologue, a.header_bytes - prologue);
    header[a.header_bytes - prologue] = 0;
    const char *descr = value_of(header, "descr"), *order = value_of(header, "fortran_order"),
               *shape = value_of(header, "shape");
    if (!descr || !order || !shape)
        return quern__fail(err, QUERN_FORMAT, where,
                           ".npy header without descr, fortran_order or shape");
    if ((code = parse_type(descr, &a, where, err)) < 0)
        return code;
    a.fortran = !strncmp(order, "True", 4);
    if ((code = parse_shape(shape, &a.shape, where, err)) < 0)
        return code;
    if (!quern__shape_bytes(&a.shape, a.dtype, &a.data_bytes))
        return quern__fail(err, QUERN_FORMAT, where,
                           ".npy array with more bytes than the address space");
    *out = a;
    return QUERN_OK;
}

size_t quern__npy_write(const quern_shape *shape, int dtype, uint8_t out[256])
{
    char text[246];
    const char *descr = "<f4";
    int n = 0;
    for (int i = 0; i < n_types; i++)
        if (types[i].dtype == dtype)
            descr = types[i].descr;
    n += snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
    for (int i = 0; i < shape->rank; i++)
        n += snprintf(text + n, sizeof text - (size_t)n,
                      i + 1 < shape->rank ? "%lld, "
                      : shape->rank == 1  ? "%lld,"
                                          : "%lld",
                      (long long)shape->dims[i]);
    n += snprintf(text + n, sizeof text - (size_t)n, "), }");
    size_t whole = ((size_t)n + 10 + 1 + 63) / 64 * 64;
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = (uint8_t)((whole - 10) & 255);
    out[9] = (uint8_t)((whole - 10) >> 8);
    memset(out + 10, ' ', whole - 10);
    memcpy(out + 10, text, (size_t)n);
    out[whole - 1] = '\n';
    return whole;
}
