/* Reads a case: a deflated zip of `.npy` members, with libzip. */
#include "conformance.h"

#include "tensor/npy.h"

#include <stdio.h>
#include <string.h>
#include <zip.h>

static int add_member(test_case *c, const char *name, const uint8_t *bytes, size_t n,
                      quern_error *err)
{
    quern__npy npy;
    size_t header;
    int status = quern__npy_header_bytes(bytes, n, &header, name, err);
    if (status >= 0)
        status = header <= n ? quern__npy_parse(bytes, header, &npy, name, err)
                             : quern__fail(err, QUERN_FORMAT, name, "cut off");
    if (status >= 0 &&
        (npy.fortran || npy.swapped || n - header < npy.data_bytes || c->n_members == MOST_MEMBERS))
        status = quern__fail(err, QUERN_FORMAT, name, "no C-order array of its size");
    if (status < 0)
        return status;
    size_t length = strlen(name) - 4;
    if (length == 4 && !strncmp(name, "spec", 4)) {
        c->spec = json_loadb((const char *)bytes + header, npy.data_bytes, 0, NULL);
        return c->spec ? QUERN_OK : quern__fail(err, QUERN_FORMAT, name, "is not JSON");
    }
    member *m = &c->members[c->n_members++];
    snprintf(m->name, sizeof m->name, "%.*s", (int)length, name);
    m->t = (quern_tensor){ .dtype = npy.dtype,
                           .shape = npy.shape,
                           .data = quern__alloc_aligned(npy.data_bytes + 64, 64) };
    if (!m->t.data)
        return quern__fail_memory(err, npy.data_bytes);
    memcpy(m->t.data, bytes + header, npy.data_bytes);
    return QUERN_OK;
}

static int read_member(test_case *c, zip_t *z, zip_uint64_t i, quern_error *err)
{
    zip_stat_t st;
    if (zip_stat_index(z, i, 0, &st) || st.size > (64u << 20) || strlen(st.name) < 5)
        return quern__fail(err, QUERN_FORMAT, c->name, "a member cannot be read");
    uint8_t *bytes = quern__alloc((size_t)st.size + 16);
    zip_file_t *f = bytes ? zip_fopen_index(z, i, 0) : NULL;
    int status = f && zip_fread(f, bytes, st.size) == (zip_int64_t)st.size
                     ? add_member(c, st.name, bytes, (size_t)st.size, err)
                     : quern__fail(err, QUERN_FORMAT, st.name, "cannot be read");
    if (f)
        zip_fclose(f);
    quern__free(bytes);
    return status;
}

int case_read(test_case *c, const char *path, quern_error *err)
{
    int code = 0, status = QUERN_OK;
    zip_t *z = zip_open(path, ZIP_RDONLY, &code);
    if (!z)
        return quern__fail(err, QUERN_FORMAT, path, "is not a zip file");
    for (zip_int64_t i = 0; status >= 0 && i < zip_get_num_entries(z, 0); i++)
        status = read_member(c, z, (zip_uint64_t)i, err);
    zip_discard(z);
    if (status >= 0 && !c->spec && strcmp(c->group, "field") != 0)
        status = quern__fail(err, QUERN_FORMAT, path, "has no member 'spec'");
    if (status < 0)
        return status;
    const char *name = quern__config_text(c->spec, "class_name");
    json_t *tolerance = json_object_get(c->spec, "tolerance");
    c->class_name = name ? name : "";
    c->config = json_object_get(c->spec, "config");
    c->rtol = json_number_value(json_object_get(tolerance, "rtol"));
    c->atol = json_number_value(json_object_get(tolerance, "atol"));
    return QUERN_OK;
}

int case_read_json(test_case *c, const char *path, quern_error *err)
{
    json_error_t why;
    c->spec = json_load_file(path, 0, &why);
    c->class_name = c->name;
    return c->spec ? QUERN_OK : quern__fail(err, QUERN_FORMAT, path, "%s", why.text);
}

void case_free(test_case *c)
{
    for (int i = 0; i < c->n_members; i++)
        quern__free_aligned(c->members[i].t.data);
    json_decref(c->spec);
}

const quern_tensor *case_member(const test_case *c, const char *name)
{
    for (int i = 0; i < c->n_members; i++)
        if (!strcmp(c->members[i].name, name))
            return &c->members[i].t;
    return NULL;
}

const quern_tensor *case_numbered(const test_case *c, const char *letter, int k)
{
    char name[40];
    snprintf(name, sizeof name, "%s%d", letter, k);
    return case_member(c, name);
}

int case_inputs(const test_case *c, const char *arg, int update, const quern_tensor **out, int most)
{
    json_t *inputs = json_object_get(c->spec, "inputs"), *input;
    size_t k;
    int n = 0;
    json_array_foreach(inputs, k, input)
    {
        const char *own = quern__config_text(input, "arg"),
                   *name = quern__config_text(input, "member");
        json_t *which = json_object_get(input, "update");
        size_t length =
            own ? strcspn(own, "[") : 0; /* "inputs[]" is a list even with one element */
        bool fits = own && strlen(arg) == length && !strncmp(own, arg, length);
        if (!fits || (update >= 0 && json_integer_value(which) != update) || n == most || !name)
            continue;
        if ((out[n] = case_member(c, name)))
            n++;
    }
    return n;
}

int64_t case_records(const test_case *c)
{
    int64_t records = 0;
    json_t *inputs = json_object_get(c->spec, "inputs"), *input;
    size_t k;
    json_array_foreach(inputs, k, input)
    {
        const char *name = quern__config_text(input, "member");
        const quern_tensor *t = name ? case_member(c, name) : NULL;
        if (!t || t->shape.rank < 1 || (records && t->shape.dims[0] != records))
            return 0;
        records = t->shape.dims[0];
    }
    return records;
}
