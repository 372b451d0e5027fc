/* The header of a prepared file: "QREC", version, length and checksum of a JSON object, then the
 * object. Zeros pad it to a multiple of 4096 bytes. The records follow. The file is hostile
 * until all of it is consistent. */
#include "base/json.h"
#include "qrec.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#ifdef QUERN_HAVE_ISAL
#include <isa-l/crc.h>
#else
#include <zlib.h>
#endif

typedef struct preamble {
    char magic[4];
    uint32_t version, length, sum;
} preamble;
enum { version_now = 1, spare = 256 };

/* CRC-32 as in zlib; ISA-L is several times as fast. */
uint32_t quern__qrec_sum(const void *record, size_t bytes)
{
#ifdef QUERN_HAVE_ISAL
    return crc32_gzip_refl(0, record, bytes);
#else
    return (uint32_t)crc32_z(0, record, bytes);
#endif
}

int64_t quern__qrec_record_bytes(const quern__description *d)
{
    size_t all = QUERN__QREC_SUM + (d->weighted ? sizeof(float) : 0), bytes;
    for (int i = 0; i < d->n_x + d->n_y; i++) {
        quern_shape s = d->shapes[i];
        s.dims[0] = 1;
        if (!quern__shape_bytes(&s, d->dtypes[i], &bytes) || bytes > ((size_t)1 << 30) ||
            all > ((size_t)1 << 30))
            return 0;
        all += bytes;
    }
    return (int64_t)all;
}

void quern__qrec_free(quern__qrec *q)
{
    for (int t = 0; t < QUERN_MAX_ARRAYS; t++) {
        for (int i = 0; i < q->n_classes[t]; i++)
            quern__free(q->classes[t][i]);
        quern__free(q->classes[t]);
    }
    quern_schema_free(q->schema);
    q->schema = NULL;
    memset(q->classes, 0, sizeof q->classes);
    memset(q->n_classes, 0, sizeof q->n_classes);
}

/* ---- writing ---- */

/* The header as JSON. Returns new; NULL: out of memory. */
static json_t *json_of(const quern__qrec *q)
{
    json_t *arrays = json_array(), *classes = json_array();
    char print[24], seed[24];
    for (int i = 0; i < q->what.n_x + q->what.n_y; i++) {
        json_t *shape = json_array();
        for (int k = 1; k < q->what.shapes[i].rank; k++)
            json_array_append_new(shape, json_integer(q->what.shapes[i].dims[k]));
        json_array_append_new(arrays,
                              json_pack("{s:s, s:s, s:s, s:o, s:b}", "role",
                                        i < q->what.n_x ? "x" : "y", "name", q->what.names[i],
                                        "dtype", quern_dtype_name(q->what.dtypes[i]), "shape",
                                        shape, "axes", q->what.axes[i] == QUERN__AXES_OWN));
    }
    for (int t = 0; t < q->what.n_y; t++) {
        json_t *names = json_array();
        for (int i = 0; i < q->n_classes[t]; i++)
            json_array_append_new(names, json_string(q->classes[t][i]));
        json_array_append_new(classes, names);
    }
    snprintf(print, sizeof print, "%016llx", (unsigned long long)q->fingerprint);
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)q->seed);
    json_t *root =
        json_pack("{s:o, s:b, s:o, s:I, s:I, s:s, s:s}", "arrays", arrays, "weighted",
                  q->what.weighted, "classes", classes, "records", (json_int_t)q->count,
                  "record_bytes", (json_int_t)q->bytes, "fingerprint", print, "seed", seed);
    if (root && q->schema &&
        json_object_set_new(root, "schema", quern__schema_write(q->schema)) < 0) {
        json_decref(root);
        return NULL;
    }
    return root;
}

static char *text_of(const quern__qrec *q, size_t *n)
{
    json_t *root = json_of(q);
    char *text = quern__json_text(root, JSON_COMPACT);
    json_decref(root);
    *n = text ? strlen(text) : 0;
    return text;
}

int64_t quern__qrec_head_room(const quern__qrec *q)
{
    size_t n;
    char *text = text_of(q, &n);
    bool ok = text != NULL;
    free(text);
    n += sizeof(preamble) + spare; /* the numbers in the header are not final */
    return ok ? (int64_t)((n + QUERN__QREC_ALIGN - 1) / QUERN__QREC_ALIGN * QUERN__QREC_ALIGN) : -1;
}

int quern__qrec_head_write(int fd, const char *path, const quern__qrec *q, quern_error *err)
{
    size_t n;
    char *text = text_of(q, &n), *all = text ? quern__zalloc((size_t)q->first, 1) : NULL;
    if (!all || sizeof(preamble) + n > (size_t)q->first) {
        free(text);
        quern__free(all);
        return quern__fail_memory(err, n);
    }
    preamble p = { .magic = "QREC",
                   .version = version_now,
                   .length = (uint32_t)n,
                   .sum = quern__qrec_sum(text, n) };
    memcpy(all, &p, sizeof p);
    memcpy(all + sizeof p, text, n);
    free(text);
    ssize_t put = pwrite(fd, all, (size_t)q->first, 0);
    int why = put < 0 ? errno : EIO;
    quern__free(all);
    return put == (ssize_t)q->first
               ? QUERN_OK
               : quern__fail(err, QUERN_IO, path, "cannot be written: %s", strerror(why));
}

/* ---- reading ---- */

static int header_error(const char *path, const char *what, quern_error *err)
{
    return quern__fail(err, QUERN_FORMAT, path, "byte 0: invalid header: %s", what);
}

static bool dtype_of(const char *name, int *out)
{
    *out = name ? quern_dtype_from_name(name) : 0;
    return *out && *out != QUERN_STRING;
}

static bool array_of(json_t *one, quern__description *d, int i)
{
    const char *role = json_string_value(json_object_get(one, "role")),
               *name = json_string_value(json_object_get(one, "name"));
    json_t *shape = json_object_get(one, "shape"), *axes = json_object_get(one, "axes");
    bool x = role && !strcmp(role, "x");
    if (!role || !name || strlen(name) >= sizeof *d->names || (!x && strcmp(role, "y")) ||
        (x && d->n_y) || json_array_size(shape) >= QUERN_MAX_RANK ||
        !dtype_of(json_string_value(json_object_get(one, "dtype")), &d->dtypes[i]))
        return false;
    snprintf(d->names[i], sizeof *d->names, "%s", name);
    d->axes[i] = !axes                ? QUERN__AXES_LOST
                 : json_is_true(axes) ? QUERN__AXES_OWN
                                      : QUERN__AXES_TABLE;
    d->shapes[i] = (quern_shape){ .rank = 1 + (int)json_array_size(shape), .dims = { -1 } };
    for (int k = 1; k < d->shapes[i].rank; k++) {
        d->shapes[i].dims[k] = json_integer_value(json_array_get(shape, (size_t)k - 1));
        if (d->shapes[i].dims[k] < 1 || d->shapes[i].dims[k] > 1 << 30)
            return false;
    }
    *(x ? &d->n_x : &d->n_y) += 1;
    return true;
}

static bool classes_of(json_t *all, quern__qrec *q)
{
    for (int t = 0; t < q->what.n_y; t++) {
        json_t *names = json_array_get(all, (size_t)t);
        size_t n = json_array_size(names);
        q->classes[t] = n ? quern__zalloc(n, sizeof *q->classes[t]) : NULL;
        for (size_t i = 0; i < n; i++) {
            const char *name = json_string_value(json_array_get(names, i));
            if (!q->classes[t] || !name || !(q->classes[t][q->n_classes[t]] = quern__strdup(name)))
                return false;
            q->n_classes[t]++;
        }
    }
    return true;
}

/* Whether the schema has one column per element of inputs and targets. */
static bool schema_fits(const quern__qrec *q)
{
    int64_t counts[2] = { 0 };
    for (int i = 0; i < q->what.n_x + q->what.n_y; i++)
        counts[i >= q->what.n_x] += quern__per_record(&q->what.shapes[i]);
    return q->what.n_x == 1 && q->what.n_y <= 1 && counts[0] == q->schema->n_features &&
           counts[1] == q->schema->n_targets;
}

/* Reads the JSON of a header and checks it against the file size. */
static int header_parse(json_t *root, const char *path, int64_t size, quern__qrec *q,
                        quern_error *err)
{
    json_t *arrays = json_object_get(root, "arrays");
    size_t n = json_array_size(arrays);
    const char *print = json_string_value(json_object_get(root, "fingerprint")),
               *seed = json_string_value(json_object_get(root, "seed"));
    if (n < 1 || n > 2 * QUERN_MAX_ARRAYS || !print || !seed)
        return header_error(path, "the description of a record is missing", err);
    for (size_t i = 0; i < n; i++)
        if (!array_of(json_array_get(arrays, i), &q->what, (int)i) ||
            q->what.n_x > QUERN_MAX_ARRAYS || q->what.n_y > QUERN_MAX_ARRAYS)
            return header_error(path, "an array description is invalid", err);
    q->what.weighted = json_is_true(json_object_get(root, "weighted"));
    q->fingerprint = strtoull(print, NULL, 16);
    q->seed = strtoull(seed, NULL, 10);
    q->count = json_integer_value(json_object_get(root, "records"));
    q->bytes = json_integer_value(json_object_get(root, "record_bytes"));
    if (!q->what.n_x || q->bytes < 1 || q->bytes != quern__qrec_record_bytes(&q->what))
        return header_error(path, "the record size does not match the arrays", err);
    if (q->count < 0 || q->count > (size - q->first) / q->bytes ||
        q->first + q->count * q->bytes != size)
        return quern__fail(err, QUERN_FORMAT, path,
                           "%lld records of %lld bytes do not match the file size %lld",
                           (long long)q->count, (long long)q->bytes, (long long)size);
    if (!classes_of(json_object_get(root, "classes"), q))
        return header_error(path, "the class names are invalid", err);
    json_t *schema = json_object_get(root, "schema");
    if (schema && (!(q->schema = quern__schema_read(schema, NULL)) || !schema_fits(q)))
        return header_error(path, "the schema does not match the arrays", err);
    return QUERN_OK;
}

int quern__qrec_head_read(int fd, const char *path, quern__qrec *q, quern_error *err)
{
    preamble p;
    int64_t size = lseek(fd, 0, SEEK_END);
    *q = (quern__qrec){ 0 };
    if (pread(fd, &p, sizeof p, 0) != (ssize_t)sizeof p || memcmp(p.magic, "QREC", 4))
        return quern__fail(err, QUERN_FORMAT, path, "is not a file of prepared records");
    if (p.version != version_now)
        return quern__fail(err, QUERN_UNSUPPORTED, path, "has version %u, expected %d", p.version,
                           version_now);
    if (p.length < 2 || p.length > QUERN__QREC_MOST_HEAD || (int64_t)p.length > size)
        return header_error(path, "the length is invalid", err);
    char *text = quern__alloc(p.length);
    if (!text)
        return quern__fail_memory(err, p.length);
    bool whole = pread(fd, text, p.length, sizeof p) == (ssize_t)p.length &&
                 quern__qrec_sum(text, p.length) == p.sum;
    json_t *root = whole ? quern__json_read(text, p.length, path, NULL, err) : NULL;
    quern__free(text);
    /* the reserved size was chosen before the final numbers, with spare bytes */
    int64_t least = ((int64_t)(sizeof p + p.length) + QUERN__QREC_ALIGN - 1) / QUERN__QREC_ALIGN *
                    QUERN__QREC_ALIGN;
    int64_t record = json_integer_value(json_object_get(root, "record_bytes")),
            count = json_integer_value(json_object_get(root, "records"));
    q->first =
        root && record > 0 && count >= 0 && count <= size / record ? size - count * record : -1;
    int status = root && (q->first == least || q->first == least + QUERN__QREC_ALIGN)
                     ? header_parse(root, path, size, q, err)
                 : root ? quern__fail(err, QUERN_FORMAT, path,
                                      "byte %lld: the file is truncated, or has additional bytes",
                                      (long long)size)
                        : header_error(path, "the checksum does not match", err);
    json_decref(root);
    if (status < 0)
        quern__qrec_free(q);
    return status;
}
