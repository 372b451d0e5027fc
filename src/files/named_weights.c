/* named_weights: reads and writes weights in files of any kind: HDF5 in Keras's layout, and
 * `.safetensors` and `.npz` by name. A map renames weights: lines "weight = name in the file",
 * followed by "transposed" for a transposed matrix. */
#include "named_weights.h"
#include "model/model_struct.h"

#include <stdio.h>
#include <string.h>

/* ---- kinds ---- */

static bool ends_with(const char *path, const char *end)
{
    size_t n = strlen(path), k = strlen(end);
    return n >= k && !strcmp(path + n - k, end);
}

enum { KERAS, H5, WEIGHTS_H5, SAFETENSORS, NPZ, OTHER };

/* The kind of a file by its extension. */
static int kind_of(const char *path)
{
    static const char *const ends[] = { [KERAS] = ".keras",
                                        [H5] = ".h5",
                                        [WEIGHTS_H5] = ".weights.h5",
                                        [SAFETENSORS] = ".safetensors",
                                        [NPZ] = ".npz" };
    for (int k = OTHER - 1; k >= 0; k--)
        if (ends_with(path, ends[k]) && !(k == H5 && ends_with(path, ".weights.h5")))
            return k;
    return ends_with(path, ".hdf5") ? H5 : OTHER;
}

static int no_such_kind(const char *path, const char *kinds, quern_error *err)
{
    return quern__fail(err, QUERN_UNSUPPORTED, path, "unknown extension; expected one of %s",
                       kinds);
}

/* ---- maps ---- */

typedef struct mapping {
    char *text;
    int n;
    struct entry {
        const char *weight, *name;
        bool transposed, used;
    } * entries;
} mapping;

static void drop_mapping(mapping *m)
{
    quern__free(m->text);
    quern__free(m->entries);
}

/* Cuts the first word off at a blank. Returns it; *rest moves after it. */
static char *word(char **rest)
{
    char *p = *rest + strspn(*rest, " \t\r"), *end = p + strcspn(p, " \t\r");
    *rest = *end ? end + 1 : end;
    *end = 0;
    return p;
}

/* Reads a map (path NULL: an empty one). The caller frees it with drop_mapping. */
static int read_mapping(const char *path, mapping *m, quern_error *err)
{
    size_t n;
    *m = (mapping){ 0 };
    if (!path)
        return QUERN_OK;
    int status = quern__file_read(path, 1 << 26, &m->text, &n, err), line = 0, room = 1;
    if (status >= 0 && memchr(m->text, 0, n))
        status = quern__fail(err, QUERN_FORMAT, path, "is not text");
    for (size_t i = 0; status >= 0 && i < n; i++)
        room += m->text[i] == '\n';
    if (status >= 0 && !(m->entries = quern__zalloc((size_t)room, sizeof *m->entries)))
        status = quern__fail_memory(err, (size_t)room * sizeof *m->entries);
    for (char *p = status >= 0 ? m->text : NULL, *next; p && *p && status >= 0; p = next) {
        char where[300];
        size_t length = strcspn(p, "\n");
        next = p[length] ? p + length + 1 : p + length;
        p[length] = 0;
        line++;
        /* a line: weight = name [transposed]; empty lines and comments are skipped */
        char *weight = word(&p), *equals = word(&p), *name = word(&p), *told = word(&p),
             *more = word(&p);
        if (!*weight || *weight == '#')
            continue;
        snprintf(where, sizeof where, "%.250s:%d", path, line);
        if (strcmp(equals, "=") || !*name || (*told && strcmp(told, "transposed")) || *more)
            status = quern__fail(err, QUERN_FORMAT, where, "expected: weight = name [transposed]");
        else
            m->entries[m->n++] = (struct entry){ weight, name, *told != 0, false };
    }
    return status;
}

/* The name of a weight in the file. */
static const char *name_in_file(mapping *m, const char *weight, bool *transposed)
{
    *transposed = false;
    for (int i = 0; i < m->n; i++)
        if (!strcmp(m->entries[i].weight, weight)) {
            m->entries[i].used = true;
            *transposed = m->entries[i].transposed;
            return m->entries[i].name;
        }
    return weight;
}

/* Checks that the map names weights of the model only. */
static int check_mapping(const mapping *m, const char *path, quern__variable *const *v, int n,
                         quern_error *err)
{
    for (int i = 0; i < m->n; i++) {
        if (m->entries[i].used)
            continue;
        const char **names = quern__zalloc((size_t)n + 1, sizeof *names);
        if (names)
            for (int k = 0; k < n; k++)
                names[k] = v[k]->path;
        const char *near =
            names ? quern__nearest(m->entries[i].weight, names, (size_t)n, sizeof *names) : NULL;
        int status = quern__fail(err, QUERN_NOTFOUND, path, "no weight is called '%.100s'",
                                 m->entries[i].weight);
        if (near)
            quern__hint(err, "did you mean '%.100s'?", near);
        quern__free(names);
        return status;
    }
    return QUERN_OK;
}

/* out (columns, rows) = in (rows, columns) transposed */
static void transpose(float *out, const float *in, int64_t rows, int64_t columns)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            out[j * rows + i] = in[i * columns + j];
}

/* All weights of a model as a list, which the caller frees. */
static quern__variable **all_weights(const quern_model *m, int *n)
{
    *n = quern_model_weights(m);
    quern__variable **v = quern__zalloc((size_t)*n + 1, sizeof *v);
    if (v)
        for (int i = 0; i < *n; i++)
            v[i] = quern__model_variable(m, i);
    return v;
}

/* ---- reading by name ---- */

typedef struct named_file {
    const char *path;
    quern__safetensors *tensors; /* NULL: an NPZ */
} named_file;

/* Finds an array by name; *bytes owns the data of an NPZ member. QUERN_END: it does not exist. */
static int find(const named_file *f, const char *name, size_t limit, quern__h5_set *set,
                char **bytes, quern_error *err)
{
    *bytes = NULL;
    return f->tensors ? quern__safetensors_find(f->tensors, name, set, err)
                      : quern__npz_find(f->path, name, limit, set, bytes, err);
}

/* Fails for an array that the file does not have, with the nearest name as a hint. */
static int array_missing(const named_file *f, const char *name, quern_error *err)
{
    int status = quern__fail(err, QUERN_NOTFOUND, f->path, "has no array '%.150s'", name), n = 0;
    const char *key, *names[512];
    json_t *v;
    json_object_foreach(f->tensors ? quern__safetensors_names(f->tensors) : NULL, key,
                        v) if (n < 512) names[n++] = key;
    const char *near = quern__nearest(name, names, (size_t)n, sizeof *names);
    if (near)
        quern__hint(err, "did you mean '%.100s'? Use a map for other names.", near);
    else
        quern__hint(err, "use a map for names that differ in the file");
    return status;
}

static bool is_matrix(const quern__variable *v)
{
    return v->shape.rank == 2 && v->dtype == QUERN_FLOAT32 && !v->stored;
}

/* Reads the transpose of a matrix. */
static int read_transposed(quern__h5 *h, const quern__h5_set *set, const char *where,
                           quern__variable *v, quern_error *err)
{
    quern_shape shape = { .rank = 2, .dims = { v->shape.dims[1], v->shape.dims[0] } };
    if (!is_matrix(v))
        return quern__fail(err, QUERN_SHAPE, where, "%.100s is not a matrix that can be transposed",
                           v->path);
    quern__variable *turned = quern__variable_new(v->path, QUERN_FLOAT32, &shape, false, err);
    int status = turned ? quern__stored_read(h, set, where, turned, err) : QUERN_NOMEM;
    if (status >= 0)
        transpose(quern__variable_numbers(v), turned->data, shape.dims[0], shape.dims[1]);
    quern__variable_free(turned);
    return status;
}

/* Reads one array into a weight, transposed where the map says so. */
static int read_named(const named_file *f, quern__variable *v, const char *name, bool transposed,
                      quern_error *err)
{
    char *bytes;
    quern__h5_set set;
    size_t limit;
    quern__shape_bytes(&v->shape, QUERN_FLOAT64, &limit);
    int status = find(f, name, limit + 65536, &set, &bytes, err);
    quern__h5 h = { .where = f->path };
    if (status == QUERN_END)
        return array_missing(f, name, err);
    if (status >= 0)
        status = transposed ? read_transposed(&h, &set, f->path, v, err)
                            : quern__stored_read(&h, &set, f->path, v, err);
    quern__free(bytes);
    return status;
}

/* Reads all weights of a model by name. */
static int read_all(quern_model *m, const named_file *f, const char *map, quern_error *err)
{
    mapping names;
    int n, status = read_mapping(map, &names, err);
    quern__variable **v = all_weights(m, &n);
    if (status >= 0 && !v)
        status = quern__fail_memory(err, (size_t)n * sizeof *v);
    for (int i = 0; i < n && status >= 0; i++) {
        bool transposed;
        const char *name = name_in_file(&names, v[i]->path, &transposed);
        status = read_named(f, v[i], name, transposed, err);
    }
    if (status >= 0)
        status = check_mapping(&names, map, v, n, err);
    quern__free(v);
    drop_mapping(&names);
    return status;
}

/* ---- module functions ---- */

static int from_hdf5(quern_model *m, const char *path, const char *bytes, size_t n,
                     quern_error *err)
{
    quern__h5 h;
    int status = quern__h5_open(&h, bytes, n, path, err);
    if (status >= 0)
        status = quern__legacy_weights(m, &h, err);
    return status == QUERN_END ? quern__weights_read(m, path, bytes, n, err) : status;
}

int quern_model_load_weights(quern_model *m, const char *path, const char *map, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m, "path", path);
    int kind = kind_of(path), status;
    quern__member weights = { .name = "model.weights.h5" };
    named_file f = { .path = path };
    if (kind == OTHER)
        return no_such_kind(path, ".weights.h5, .h5, .keras, .safetensors, .npz", err);
    if (map && kind != SAFETENSORS && kind != NPZ)
        return quern__fail(err, QUERN_INVALID, map,
                           "a map needs .safetensors or .npz: weights in HDF5 are found by path");
    if (kind == NPZ)
        return read_all(m, &f, map, err);
    status = kind == KERAS
                 ? quern__archive_read(path, &weights, 1, QUERN__MOST_BYTES, err)
                 : quern__file_read(path, QUERN__MOST_BYTES, &weights.bytes, &weights.n, err);
    if (status >= 0 && kind == SAFETENSORS) {
        status = quern__safetensors_open(&f.tensors, weights.bytes, weights.n, path, err);
        if (status >= 0)
            status = read_all(m, &f, map, err);
        quern__safetensors_close(f.tensors);
    } else if (status >= 0)
        status = kind == KERAS ? quern__weights_read(m, path, weights.bytes, weights.n, err)
                               : from_hdf5(m, path, weights.bytes, weights.n, err);
    quern__free(weights.bytes);
    return status;
}

/* Transposed matrices are written from temporary variables; `own` of them are freed. */
static int write_all(const quern_model *m, const char *path, int kind, const char *map,
                     quern_error *err)
{
    mapping names;
    int n, status = read_mapping(map, &names, err);
    quern__variable **v = all_weights(m, &n),
                    **turned = quern__zalloc((size_t)n + 1, sizeof *turned);
    const char **called = quern__zalloc((size_t)n + 1, sizeof *called);
    if (status >= 0 && (!v || !turned || !called))
        status = quern__fail_memory(err, (size_t)n * sizeof *v);
    for (int i = 0; i < n && status >= 0; i++) {
        bool transposed;
        called[i] = name_in_file(&names, v[i]->path, &transposed);
        for (int k = 0; k < i && status >= 0; k++)
            if (!strcmp(called[k], called[i]))
                status = quern__fail(err, QUERN_INVALID, map ? map : m->name,
                                     "two weights are called '%.100s'", called[i]);
        if (status < 0 || !transposed)
            continue;
        quern_shape shape = { .rank = 2, .dims = { v[i]->shape.dims[1], v[i]->shape.dims[0] } };
        if (!is_matrix(v[i]))
            status = quern__fail(err, QUERN_SHAPE, map,
                                 "%.100s is not a matrix that can be transposed", v[i]->path);
        else if (!(turned[i] = quern__variable_new(v[i]->path, QUERN_FLOAT32, &shape, false, err)))
            status = QUERN_NOMEM;
        else {
            transpose(turned[i]->data, quern__variable_numbers(v[i]), shape.dims[1], shape.dims[0]);
            v[i] = turned[i];
        }
    }
    if (status >= 0)
        status = check_mapping(&names, map, v, n, err);
    if (status >= 0)
        status = kind == NPZ ? quern__npz_write(path, v, called, n, err)
                             : quern__safetensors_write(path, v, called, n, err);
    if (turned)
        for (int i = 0; i < n; i++)
            quern__variable_free(turned[i]);
    quern__free(turned);
    quern__free(v);
    quern__free(called);
    drop_mapping(&names);
    return status;
}

int quern_model_save_weights(const quern_model *m, const char *path, const char *map,
                             quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "model", m, "path", path);
    int kind = kind_of(path), status;
    char beside[4096];
    if (kind == SAFETENSORS || kind == NPZ)
        return quern__leave_file(err, path, write_all(m, path, kind, map, err));
    if (kind != WEIGHTS_H5)
        return no_such_kind(path, ".weights.h5, .safetensors, .npz", err);
    if (map)
        return quern__fail(err, QUERN_INVALID, map,
                           "a map needs .safetensors or .npz: weights in HDF5 are found by path");
    status = quern__file_beside(path, "", beside, err);
    if (status >= 0)
        status = quern__weights_write(m, beside, NULL, err);
    quern__file_place(err, beside, path);
    if (status >= 0)
        status = quern__file_replace(beside, path, err);
    return quern__leave_file(err, path, status);
}

bool quern__is_legacy_name(const char *path) { return kind_of(path) == H5; }
