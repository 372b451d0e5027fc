/* npz: weights in `.npz`: a zip with a NumPy array per name. */
#include "named_weights.h"
#include "tensor/npy.h"

#include <stdio.h>
#include <string.h>

/* Describes an array as a contiguous dataset. */
static int describe(const quern__member *m, const char *where, quern__h5_set *set, quern_error *err)
{
    quern__npy npy;
    int status = quern__npy_parse((const uint8_t *)m->bytes, m->n, &npy, where, err);
    if (status < 0)
        return status;
    if (npy.data_bytes > m->n - npy.header_bytes)
        return quern__fail(err, QUERN_FORMAT, where, "truncated array");
    if (npy.fortran && npy.shape.rank > 1)
        return quern__fail(err, QUERN_UNSUPPORTED, where,
                           "the array has column-major order (fortran_order)");
    bool floating =
             npy.dtype == QUERN_FLOAT32 || npy.dtype == QUERN_FLOAT64 || npy.dtype == QUERN_FLOAT16,
         has_sign = npy.dtype == QUERN_INT8 || npy.dtype == QUERN_INT16 ||
                    npy.dtype == QUERN_INT32 || npy.dtype == QUERN_INT64;
    *set = (quern__h5_set){ .shape = npy.shape,
                            .count = quern_shape_count(&npy.shape),
                            .type = { .class = floating,
                                      .size = quern_dtype_size(npy.dtype),
                                      .big = npy.swapped,
                                      .is_signed = has_sign },
                            .layout = 1,
                            .bytes = { (const uint8_t *)m->bytes + npy.header_bytes,
                                       npy.data_bytes } };
    return QUERN_OK;
}

int quern__npz_find(const char *path, const char *name, size_t limit, quern__h5_set *set,
                    char **bytes, quern_error *err)
{
    char own[700];
    snprintf(own, sizeof own, "%.690s.npy", name);
    quern__member m = { .name = own, .optional = true };
    int status = quern__archive_read(path, &m, 1, limit, err);
    *bytes = m.bytes;
    if (status < 0)
        return status;
    if (!m.bytes)
        return QUERN_END;
    return describe(&m, path, set, err);
}

int quern__npz_write(const char *path, quern__variable *const *v, const char *const *names, int n,
                     quern_error *err)
{
    quern__member *all = quern__zalloc((size_t)n + 1, sizeof *all);
    char own[700];
    int status = all ? QUERN_OK : quern__fail_memory(err, (size_t)n * sizeof *all);
    for (int i = 0; i < n && status >= 0; i++) {
        uint8_t head[256];
        quern_tensor t;
        if ((status = quern__stored_numbers(v[i], &t, err)) < 0)
            break;
        size_t bytes, length = quern__npy_write(&t.shape, t.dtype, head);
        snprintf(own, sizeof own, "%.690s.npy", names[i]);
        quern__shape_bytes(&t.shape, t.dtype, &bytes);
        all[i] = (quern__member){ .name = quern__strdup(own),
                                  .bytes = quern__alloc(length + bytes),
                                  .n = length + bytes };
        if (!all[i].name || !all[i].bytes)
            status = quern__fail_memory(err, length + bytes);
        else {
            memcpy(all[i].bytes, head, length);
            memcpy(all[i].bytes + length, t.data, bytes);
        }
        quern__stored_free(v[i], &t);
    }
    if (status >= 0)
        status = quern__archive_write(path, all, n, err);
    quern__assets_free(all, n);
    return status;
}

int quern_npz_pack(const char *path, const char *const *names, const char *const *files, int n,
                   quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "path", path, "names", names, "files", files);
    if (n < 0)
        return quern__fail(err, QUERN_INVALID, path, "%d arrays", n);
    for (int i = 0; i < n; i++)
        if (quern__missing(err, "name", names[i], "file", files[i], NULL))
            return QUERN_INVALID;
    quern__member *list = quern__zalloc((size_t)n + 1, sizeof *list);
    int status = list ? QUERN_OK : quern__fail_memory(err, (size_t)n * sizeof *list);
    for (int i = 0; i < n && status >= 0; i++) {
        quern__text name = { 0 };
        quern__text_add(&name, "%s.npy", names[i]);
        list[i] = (quern__member){ .name = name.data, .file = quern__strdup(files[i]) };
        status =
            name.failed || !list[i].file ? quern__fail_memory(err, strlen(names[i])) : QUERN_OK;
    }
    if (status >= 0)
        status = quern__archive_write(path, list, n, err);
    if (list)
        for (int i = 0; i < n; i++) {
            quern__free((void *)(uintptr_t)list[i].name);
            quern__free(list[i].file);
        }
    quern__free(list);
    return quern__leave_file(err, path, status);
}
