/* One array in a file: IDX or NPY, plain or gzipped, or a member of an NPZ. The format is
 * determined by the first bytes. Headers are hostile: every size is checked before use.
 *
 * Four kinds of access:
 *
 *   PLAIN     pread at any offset
 *   STORED    a member without compression: any offset, under a lock, because libzip seeks
 *   GZIP      gunzip.c inflates sequentially, and can save its state
 *   DEFLATED  libzip inflates sequentially, where gunzip.c does not know the offset
 *
 * `at` is the offset of the next byte for the sequential kinds. Record r of the array is at offset
 * + r * per * size, for arrays in C order; an array in Fortran order is handled by
 * fortran_order.c. */
#include "array_file.h"
#include "tensor/convert_dtype.h"

#include "tensor/npy.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>

enum {
    PLAIN,
    GZIP,
    STORED,
    DEFLATED
}; /* GZIP: all that gunzip.c inflates, deflated zip members too */
enum { most_per_record = 1 << 24, chunk = 4096 };

int quern__array_file_fail(const quern__array_file *p, int64_t record, int code, const char *what,
                           quern_error *err)
{
    char where[256];
    snprintf(where, sizeof where, record >= 0 ? "%.200s: record %lld" : "%.200s", p->where,
             (long long)record + 1);
    return quern__fail(err, code, where, "%s", what);
}

int quern__array_file_short(const quern__array_file *p, int64_t record, int64_t got,
                            quern_error *err)
{
    return got < 0 ? quern__array_file_fail(p, record, QUERN_IO, "cannot be read", err)
                   : quern__array_file_fail(p, record, QUERN_FORMAT, "the file ends early", err);
}

/* ---- bytes ---- */

int64_t quern__array_file_bytes(quern__array_file *p, int64_t at, void *to, size_t n)
{
    if (p->kind == PLAIN) {
        size_t got = quern__read_at(p->fd, to, n, at);
        return got < n && errno ? -1 : (int64_t)got;
    }
    if (p->lock)
        pthread_mutex_lock(p->lock);
    int64_t result = -1;
    if (p->kind == GZIP) {
        if (at == p->at)
            result = quern__gunzip_read(p->gz, to, n);
    } else if (p->kind == STORED ? zip_fseek(p->member, at, SEEK_SET) == 0 : at == p->at)
        result = zip_fread(p->member, to, n);
    if (result >= 0 && p->kind != STORED)
        p->at = at + result;
    if (p->lock)
        pthread_mutex_unlock(p->lock);
    return result;
}

/* ---- opening ---- */

/* Opens a gzipped file with a descriptor of its own. */
static int open_gzip(quern__array_file *p, quern_error *err)
{
    int own = dup(p->fd);
    p->kind = GZIP;
    p->gz = own >= 0 && lseek(own, 0, SEEK_SET) == 0 ? quern__gunzip_new(own) : NULL;
    return p->gz ? QUERN_OK : quern__array_file_fail(p, -1, QUERN_IO, "cannot be opened", err);
}

/* Inflates a zip member with gunzip.c: it is faster than libzip and can save its state. False:
 * the offset of the member is unknown. */
static bool inflate_member(quern__array_file *p, const zip_stat_t *st)
{
    const zip_uint64_t known =
        ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_CRC | ZIP_STAT_ENCRYPTION_METHOD;
    bool whole = (st->valid & known) == known;
    int64_t from =
        whole && st->encryption_method == ZIP_EM_NONE ? quern__zip_place(p->fd, p->name) : -1;
    int own = from >= 0 && st->size <= INT64_MAX && st->comp_size <= INT64_MAX ? dup(p->fd) : -1;
    p->gz = own >= 0
                ? quern__inflate_new(own, from, (int64_t)st->comp_size, (int64_t)st->size, st->crc)
                : NULL;
    if (own >= 0 && !p->gz)
        close(own);
    p->kind = p->gz ? GZIP : p->kind;
    return p->gz != NULL;
}

/* "it has 'a', 'b' and 'c'": the arrays of an archive, as many as fit `text`. */
static const char *member_list(zip_t *z, char *text, size_t room)
{
    zip_int64_t n = zip_get_num_entries(z, 0), found = 0;
    size_t used = (size_t)snprintf(text, room, "it has");
    for (zip_int64_t i = 0; i < n; i++) {
        const char *name = zip_get_name(z, (zip_uint64_t)i, ZIP_FL_ENC_RAW);
        size_t length = name ? strlen(name) : 0;
        if (length < 5 || strcmp(name + length - 4, ".npy"))
            continue;
        bool fits = used + length + 16 < room;
        used += (size_t)snprintf(text + used, room - used, fits ? "%s '%.*s'" : "%s …",
                                 found++ ? "," : "", (int)length - 4, name);
        if (!fits)
            break;
    }
    if (!found)
        snprintf(text, room, "it has none");
    return text;
}

/* Opens a member of an NPZ: with gunzip.c if possible, else with libzip. */
static int open_zip(quern__array_file *p, const char *path, const char *member, quern_error *err)
{
    int code = 0;
    zip_stat_t st;
    char message[400], names[256];
    p->zip = zip_open(path, ZIP_RDONLY, &code);
    if (!p->zip)
        return quern__array_file_fail(p, -1, QUERN_FORMAT, "is not a zip file", err);
    snprintf(p->name, sizeof p->name, "%.250s.npy", member);
    if (zip_stat(p->zip, p->name, 0, &st) || !(st.valid & ZIP_STAT_COMP_METHOD)) {
        snprintf(message, sizeof message, "has no array '%.60s'; %s", member,
                 member_list(p->zip, names, sizeof names));
        return quern__array_file_fail(p, -1, QUERN_NOTFOUND, message, err);
    }
    p->kind = st.comp_method == ZIP_CM_STORE ? STORED : DEFLATED;
    if (st.comp_method == ZIP_CM_DEFLATE && inflate_member(p, &st))
        return QUERN_OK;
    p->member = zip_fopen(p->zip, p->name, 0);
    if (p->kind == STORED)
        p->lock = quern__zalloc(1, sizeof(pthread_mutex_t));
    if (p->lock)
        pthread_mutex_init(p->lock, NULL);
    return p->member && (p->lock || p->kind == DEFLATED)
               ? QUERN_OK
               : quern__array_file_fail(p, -1, QUERN_IO, "cannot be read", err);
}

/* Sets the number of records and of elements per record from the shape. */
static int set_shape(quern__array_file *p, quern_error *err)
{
    char text[96], message[200];
    const char *wrong = NULL;
    p->records = p->shape.dims[0];
    for (int i = 1; i < p->shape.rank && !wrong; i++)
        wrong = p->shape.dims[i] < 1 ? "has no elements" : NULL;
    for (int i = 1; i < p->shape.rank && !wrong; i++)
        if (__builtin_mul_overflow(p->per, p->shape.dims[i], &p->per) || p->per > most_per_record)
            wrong = "gives records of more than 16777216 elements";
    wrong = wrong ? wrong : p->records < 1 ? "has no records" : NULL;
    if (!wrong)
        return QUERN_OK;
    snprintf(message, sizeof message, "shape %s %s", quern_shape_text(&p->shape, text, sizeof text),
             wrong);
    return quern__array_file_fail(p, -1, QUERN_FORMAT, message, err);
}

/* IDX header, big-endian: magic number (byte 2: type, byte 3: rank), then the dimensions. */
static int idx_header(quern__array_file *p, const uint8_t *head, int64_t n, quern_error *err)
{
    static const int types[] = { QUERN_UINT8,   QUERN_INT8,   0, QUERN_INT16, QUERN_INT32,
                                 QUERN_FLOAT32, QUERN_FLOAT64 };
    int rank = head[3];
    p->dtype = head[2] >= 8 && head[2] <= 14 ? types[head[2] - 8] : 0;
    if (!p->dtype || rank < 1 || rank > QUERN_MAX_RANK || n < 4 + 4 * rank)
        return quern__array_file_fail(p, -1, QUERN_FORMAT,
                                      !p->dtype ? "unknown element type in the IDX header"
                                                : "the IDX header is incomplete",
                                      err);
    p->swapped = quern_dtype_size(p->dtype) > 1;
    p->idx = true;
    p->offset = 4 + 4 * rank;
    p->shape.rank = rank;
    for (int i = 0; i < rank; i++) {
        const uint8_t *b = head + 4 + 4 * i;
        p->shape.dims[i] = (int64_t)b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3];
    }
    return set_shape(p, err);
}

/* Reads the header of a .npy array. */
static int npy_header(quern__array_file *p, const uint8_t *head, int64_t n, quern_error *err)
{
    quern__npy npy;
    int status = quern__npy_parse(head, (size_t)n, &npy, p->where, err);
    if (status < 0)
        return status;
    if (npy.shape.rank < 1)
        return quern__array_file_fail(p, -1, QUERN_UNSUPPORTED,
                                      "is a scalar; an array of records is expected", err);
    p->dtype = npy.dtype;
    p->swapped = npy.swapped;
    p->fortran = npy.fortran && npy.shape.rank > 1;
    p->shape = npy.shape;
    p->offset = (int64_t)npy.header_bytes;
    return set_shape(p, err);
}

/* Reads the header, and checks the size of the data where that is cheap. */
static int read_header(quern__array_file *p, quern_error *err)
{
    uint8_t head[QUERN__NPY_HEADER_LIMIT];
    int64_t n = quern__array_file_bytes(p, 0, head, sizeof head);
    int status;
    p->per = 1;
    if (n >= 8 && !memcmp(head, "\x93NUMPY", 6))
        status = npy_header(p, head, n, err);
    else if (n >= 4 && !head[0] && !head[1])
        status = idx_header(p, head, n, err);
    else
        return quern__array_file_fail(
            p, -1, QUERN_FORMAT, n < 0 ? "cannot be read" : "is not an IDX or NumPy file", err);
    p->by_number = p->kind == PLAIN || p->kind == STORED;
    if (status >= 0)
        status = quern__array_file_rewind(p, err);
    if (status >= 0 && p->fortran)
        status = quern__array_file_order(p, err);
    if (p->held) { /* all data is in memory */
        quern__gunzip_free(p->gz);
        p->gz = NULL;
        p->kind = PLAIN;
    }
    return status;
}

int quern__array_file_open(quern__array_file *p, const char *name, const char *member,
                           quern_error *err)
{
    uint8_t head[4] = { 0 };
    char path[1024], own[256];
    /* "FILE:/member" or "FILE:member" names a member of an archive */
    const char *colon = strstr(name, ":/"), *last = colon ? NULL : strrchr(name, ':');
    snprintf(path, sizeof path, "%.*s", (int)((last ? last : name) - name), name);
    if (last && access(name, F_OK) && !access(path, F_OK)) /* "FILE:member" */
        colon = last;
    snprintf(path, sizeof path, "%.*s", (int)(colon ? colon - name : (long)strlen(name)), name);
    snprintf(own, sizeof own, "%s", !colon ? member : colon[1] == '/' ? colon + 2 : colon + 1);
    *p =
        (quern__array_file){ .where = quern__strdup(name), .fd = open(path, O_RDONLY | O_CLOEXEC) };
    if (!p->where || p->fd < 0)
        return quern__fail(err, p->where ? QUERN_IO : QUERN_NOMEM, path, "%s", strerror(errno));
    ssize_t got = pread(p->fd, head, 4, 0);
    int status = got < 0 ? quern__fail(err, QUERN_IO, path, "%s", strerror(errno)) : QUERN_OK;
    bool zipped = got == 4 && !memcmp(head, "PK\x03\x04", 4);
    if (status >= 0 && colon && !zipped)
        status =
            quern__fail(err, QUERN_INVALID, path, "is not an NPZ file and has no array '%s'", own);
    else if (status >= 0 && zipped)
        status = open_zip(p, path, own, err);
    else if (status >= 0 && quern__is_gzip(p->fd, 0))
        status = open_gzip(p, err);
    return status < 0 ? status : read_header(p, err);
}

void quern__array_file_close(quern__array_file *p)
{
    quern__gunzip_free(p->gz);
    if (p->member)
        zip_fclose(p->member);
    if (p->zip)
        zip_discard(p->zip);
    if (p->lock)
        pthread_mutex_destroy(p->lock);
    if (p->where && p->fd >= 0)
        close(p->fd);
    quern__free(p->lock);
    quern__free(p->held);
    quern__free(p->block);
    quern__free(p->where);
    *p = (quern__array_file){ .fd = -1 };
}

/* ---- reading ---- */

int quern__array_file_rewind(quern__array_file *p, quern_error *err)
{
    bool ok = true;
    char skipped[QUERN__NPY_HEADER_LIMIT];
    if (p->kind == GZIP)
        ok = quern__gunzip_rewind(p->gz);
    else if (p->kind ==
             DEFLATED) { /* libzip cannot seek in a deflated member: it is opened again */
        zip_fclose(p->member);
        p->member = zip_fopen(p->zip, p->name, 0);
        ok = p->member != NULL;
    }
    if (p->kind == GZIP || p->kind == DEFLATED)
        p->at = 0;
    if (ok && (p->kind == GZIP || p->kind == DEFLATED))
        ok = quern__array_file_bytes(p, 0, skipped, (size_t)p->offset) == p->offset;
    if (p->kind == PLAIN || p->kind == STORED)
        p->at = p->offset;
    return ok ? QUERN_OK : quern__array_file_fail(p, -1, QUERN_IO, "cannot rewind", err);
}

bool quern__array_file_has_places(const quern__array_file *p) { return p->kind != DEFLATED; }

int quern__array_file_keep(quern__array_file *p, quern__place *place, quern_error *err)
{
    *place = (quern__place){ .at = p->at,
                             .mark = p->kind == GZIP ? quern__gunzip_mark_new(p->gz) : NULL };
    return p->kind == GZIP && !place->mark ? quern__fail_memory(err, quern__gunzip_mark_bytes())
                                           : QUERN_OK;
}

int quern__array_file_go(quern__array_file *p, const quern__place *place, quern_error *err)
{
    if (place->mark && !quern__gunzip_go(p->gz, place->mark))
        return quern__array_file_fail(p, -1, QUERN_NOMEM, "cannot restore the inflate state", err);
    p->at = place->at;
    return QUERN_OK;
}

quern_shape quern__array_file_shape(const quern__array_file *p)
{
    return p->channels ? quern__axes_turned(&p->shape) : p->shape;
}

int quern__array_file_skip(quern__array_file *p, int64_t records, quern_error *err)
{
    char passed[chunk];
    int64_t end = p->at + records * p->per * (int64_t)quern_dtype_size(p->dtype);
    if (p->kind == PLAIN || p->kind == STORED)
        p->at = end;
    while (p->at < end) {
        int64_t got = quern__array_file_bytes(p, p->at, passed,
                                              end - p->at < chunk ? (size_t)(end - p->at) : chunk);
        if (got <= 0)
            return quern__array_file_short(p, -1, got, err);
    }
    return QUERN_OK;
}

int quern__array_file_read(quern__array_file *p, int64_t record, int dtype, void *to,
                           quern_error *err)
{
    double aligned[chunk / sizeof(double)];
    size_t size = quern_dtype_size(p->dtype);
    char why[128];
    int fits = QUERN_OK;
    int64_t bytes = p->per * (int64_t)size, at = record >= 0 ? p->offset + record * bytes : p->at,
            number = record;
    quern__walk walk = { 0 };
    if (p->channels)
        walk = quern__walk_of(&p->shape, 1, false, 1);
    if (record < 0)
        number = (at - p->offset) / bytes;
    for (int64_t done = 0; done < p->per;) {
        int64_t n =
            p->per - done < (int64_t)(chunk / size) ? p->per - done : (int64_t)(chunk / size);
        int64_t got =
            p->held || p->fortran
                ? quern__array_file_numbers(p, number, done, n, aligned, record < 0) * (int64_t)size
                : quern__array_file_bytes(p, at, aligned, (size_t)n * size);
        if (got != n * (int64_t)size)
            return quern__array_file_short(p, number, got, err);
        if (p->swapped)
            quern__swap_bytes(aligned, n, size);
        int64_t good = fits < 0      ? n
                       : p->channels ? quern__convert_walk(aligned, p->dtype, n, to, dtype, &walk)
                                     : quern__convert(aligned, p->dtype, n, to, dtype, done);
        if (good < n)
            fits = quern__array_file_fail(p, number, QUERN_INVALID,
                                          quern__convert_why(aligned, p->dtype, good, dtype, why),
                                          err);
        done += n;
        at += got;
    }
    if (record < 0)
        p->at = at;
    return fits;
}
