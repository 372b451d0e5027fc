/* safetensors: weights in `.safetensors`: the size of a JSON header in eight bytes, the header
 * (name: dtype, shape, offsets), numbers. */
#include "base/json.h"
#include "named_weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Dtypes in the terms of HDF5, for the same conversion. */
static const struct {
    const char *name;
    quern__h5_type type;
} types[] = { { "F64", { .class = 1, .size = 8 } },
              { "F32", { .class = 1, .size = 4 } },
              { "F16", { .class = 1, .size = 2 } },
              { "BF16", { .class = 1, .size = 2, .brain = true } },
              { "I64", { .class = 0, .size = 8, .is_signed = true } },
              { "I32", { .class = 0, .size = 4, .is_signed = true } },
              { "I16", { .class = 0, .size = 2, .is_signed = true } },
              { "I8", { .class = 0, .size = 1, .is_signed = true } },
              { "U64", { .class = 0, .size = 8 } },
              { "U32", { .class = 0, .size = 4 } },
              { "U16", { .class = 0, .size = 2 } },
              { "U8", { .class = 0, .size = 1 } },
              { "BOOL", { .class = 0, .size = 1 } } };

struct quern__safetensors {
    const char *where;
    json_t *header;
    const uint8_t *data;
    size_t size;
};

enum { header_limit = 100 << 20 }; /* limit of the format */

int quern__safetensors_open(quern__safetensors **out, const char *bytes, size_t n,
                            const char *where, quern_error *err)
{
    quern__safetensors *s = quern__zalloc(1, sizeof *s);
    uint64_t length = n >= 8 ? quern__h5_number((const uint8_t *)bytes, 8) : 0;
    *out = s;
    if (!s)
        return quern__fail_memory(err, sizeof *s);
    if (length < 2 || length > n - 8 || length > header_limit)
        return quern__fail(err, QUERN_FORMAT, where,
                           "is not a safetensors file: its header would have %llu bytes",
                           (unsigned long long)length);
    s->where = where;
    s->data = (const uint8_t *)bytes + 8 + length;
    s->size = n - 8 - (size_t)length;
    s->header = quern__json_read(bytes + 8, (size_t)length, where, "the safetensors header", err);
    if (!json_is_object(s->header))
        quern__fail(err, QUERN_FORMAT, where, "the safetensors header is not an object");
    return json_is_object(s->header) ? QUERN_OK : err->code;
}

void quern__safetensors_close(quern__safetensors *s)
{
    if (s)
        json_decref(s->header);
    quern__free(s);
}

json_t *quern__safetensors_names(const quern__safetensors *s) { return s->header; }

/* Describes an array as a contiguous dataset. */
static int describe(const quern__safetensors *s, json_t *spec, const char *name, quern__h5_set *set,
                    quern_error *err)
{
    json_t *shape = json_object_get(spec, "shape"),
           *offsets = json_object_get(spec, "data_offsets"), *d;
    const char *type = quern__config_text(spec, "dtype");
    size_t k, bytes;
    json_int_t from = json_integer_value(json_array_get(offsets, 0)),
               to = json_integer_value(json_array_get(offsets, 1));
    *set = (quern__h5_set){ .layout = 1, .shape = { .rank = (int32_t)json_array_size(shape) } };
    if (type)
        for (size_t i = 0; i < sizeof types / sizeof *types; i++)
            if (!strcmp(types[i].name, type))
                set->type = types[i].type;
    if (!set->type.size)
        return quern__fail(err, QUERN_UNSUPPORTED, s->where,
                           "%.100s: dtype %.20s is not in this version", name, type ? type : "?");
    bool fits = json_is_array(shape) && json_array_size(shape) <= QUERN_MAX_RANK;
    json_array_foreach(shape, k, d) if (fits)
    {
        set->shape.dims[k] = json_integer_value(d);
        fits = json_is_integer(d) && json_integer_value(d) >= 0;
    }
    set->count = fits ? quern_shape_count(&set->shape) : -1;
    if (set->count < 0 || !quern__mul((size_t)set->count, set->type.size, &bytes) || from < 0 ||
        to < from || (uint64_t)to > s->size || (size_t)(to - from) != bytes)
        return quern__fail(err, QUERN_FORMAT, s->where,
                           "%.100s: shape and offsets do not fit the file", name);
    set->bytes = (quern__h5_part){ s->data + from, bytes };
    return QUERN_OK;
}

int quern__safetensors_find(const quern__safetensors *s, const char *name, quern__h5_set *set,
                            quern_error *err)
{
    json_t *spec = json_object_get(s->header, name);
    return spec ? describe(s, spec, name, set, err) : QUERN_END;
}

int quern__safetensors_write(const char *path, quern__variable *const *v, const char *const *names,
                             int n, quern_error *err)
{
    json_t *header = json_object();
    size_t at = 0, bytes, length;
    for (int i = 0; i < n; i++) {
        json_t *shape = json_array();
        quern_tensor t = quern__stored_form(v[i]);
        for (int k = 0; k < t.shape.rank; k++)
            json_array_append_new(shape, json_integer(t.shape.dims[k]));
        quern__shape_bytes(&t.shape, t.dtype, &bytes);
        json_object_set_new(header, names[i],
                            json_pack("{s:s, s:o, s:[I,I]}", "dtype",
                                      t.dtype == QUERN_INT64  ? "I64"
                                      : t.dtype == QUERN_INT8 ? "I8"
                                                              : "F32",
                                      "shape", shape, "data_offsets", (json_int_t)at,
                                      (json_int_t)(at + bytes)));
        at += bytes;
    }
    char *text = quern__json_text(header, JSON_COMPACT), *all;
    length = text ? (strlen(text) + 7) / 8 * 8 : 0; /* the numbers start at a multiple of eight */
    all = text ? quern__alloc(8 + length + at) : NULL;
    int status = all ? QUERN_OK : quern__fail_memory(err, 8 + length + at);
    if (all)
        for (int i = 0; i < 8; i++)
            all[i] = (char)(length >> 8 * i & 255);
    if (all) {
        memset(all + 8, ' ', length);
        memcpy(all + 8, text, strlen(text));
    }
    for (int i = 0; i < n && status >= 0; i++) {
        json_t *place = json_object_get(json_object_get(header, names[i]), "data_offsets");
        quern_tensor t;
        if ((status = quern__stored_numbers(v[i], &t, err)) < 0)
            break;
        quern__shape_bytes(&t.shape, t.dtype, &bytes);
        memcpy(all + 8 + length + json_integer_value(json_array_get(place, 0)), t.data, bytes);
        quern__stored_free(v[i], &t);
    }
    if (status >= 0)
        status = quern__file_write(path, all, 8 + length + at, err);
    quern__free(all);
    free(text);
    json_decref(header);
    return status;
}
