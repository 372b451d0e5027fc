/* zip_write: writes the zip of a `.keras` file atomically. libzip produces small pieces; a buffer
 * turns them into large writes. */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>

/* The target of an archive: a buffer of `held` bytes that belongs to offset `at` of the file. */
typedef struct sink {
    int fd;
    char *bytes; /* capacity: most_held */
    uint64_t held, at, end;
    zip_error_t error;
} sink;

enum { most_held = 256 << 10 };

/* Writes the buffer at its offset. Returns false and sets the error on failure. */
static bool flush(sink *s)
{
    if (!quern__write_at(s->fd, s->bytes, s->held, (int64_t)s->at)) {
        zip_error_set(&s->error, ZIP_ER_WRITE, errno);
        return false;
    }
    s->at += s->held;
    s->held = 0;
    s->end = s->at > s->end ? s->at : s->end;
    return true;
}

/* Copies bytes to the buffer and writes it when it is full. Returns n; -1 on failure. */
static zip_int64_t sink_take(sink *s, const char *from, uint64_t n)
{
    for (uint64_t done = 0; done < n;) {
        uint64_t now = n - done < most_held - s->held ? n - done : most_held - s->held;
        memcpy(s->bytes + s->held, from + done, now);
        s->held += now;
        done += now;
        if (s->held == most_held && !flush(s))
            return -1;
    }
    return (zip_int64_t)n;
}

/* Moves the write position; libzip rewrites the headers of members. */
static zip_int64_t seek(sink *s, void *where, uint64_t n)
{
    if (!flush(s))
        return -1;
    zip_int64_t to = zip_source_seek_compute_offset(s->at, s->end, where, n, &s->error);
    s->at = to < 0 ? s->at : (uint64_t)to;
    return to < 0 ? -1 : 0;
}

/* The callback of libzip for the output file. It never reads, because the archive starts empty. */
static zip_int64_t serve(void *user, void *data, zip_uint64_t n, zip_source_cmd_t what)
{
    sink *s = user;
    switch (what) {
    case ZIP_SOURCE_SUPPORTS:
        return ZIP_SOURCE_SUPPORTS_WRITABLE;
    case ZIP_SOURCE_WRITE:
        return sink_take(s, data, n);
    case ZIP_SOURCE_SEEK_WRITE:
        return seek(s, data, n);
    case ZIP_SOURCE_TELL_WRITE:
        return (zip_int64_t)(s->at + s->held);
    case ZIP_SOURCE_COMMIT_WRITE:
        return flush(s) ? 0 : -1;
    case ZIP_SOURCE_BEGIN_WRITE:
    case ZIP_SOURCE_ROLLBACK_WRITE:
    case ZIP_SOURCE_REMOVE:
    case ZIP_SOURCE_FREE:
        return 0;
    case ZIP_SOURCE_ERROR:
        return zip_error_to_data(&s->error, data, n);
    default:
        zip_error_set(&s->error, ZIP_ER_READ, ENOENT);
        return -1;
    }
}

/* Adds the members to an archive without compression. */
static bool add_all(zip_t *z, const quern__member *members, int n)
{
    for (int i = 0; i < n; i++) {
        zip_source_t *s = members[i].file ? zip_source_file(z, members[i].file, 0, -1)
                                          : zip_source_buffer(z, members[i].bytes, members[i].n, 0);
        zip_int64_t at = s ? zip_file_add(z, members[i].name, s, ZIP_FL_ENC_UTF_8) : -1;
        if (at < 0 || zip_set_file_compression(z, (zip_uint64_t)at, ZIP_CM_STORE, 0)) {
            if (at < 0 && s)
                zip_source_free(s);
            return false;
        }
    }
    return true;
}

/* Writes the archive to the sink. The caller owns the file. */
static int write_all(sink *s, const char *path, const quern__member *members, int n,
                     quern_error *err)
{
    zip_error_t why;
    zip_error_init(&why);
    zip_source_t *to = zip_source_function_create(serve, s, &why);
    zip_t *z = to ? zip_open_from_source(to, ZIP_CREATE | ZIP_TRUNCATE, &why) : NULL;
    int status = QUERN_OK;
    if (!z)
        status =
            quern__fail(err, QUERN_IO, path, "cannot be written: %s", zip_error_strerror(&why));
    else if (!add_all(z, members, n) || zip_close(z)) {
        status = quern__fail(err, QUERN_IO, path, "cannot be written: %s", zip_strerror(z));
        zip_discard(z);
    }
    if (!z)
        zip_source_free(to);
    zip_error_fini(&why);
    return status;
}

int quern__archive_write(const char *path, const quern__member *members, int n, quern_error *err)
{
    char beside[4096];
    int status = quern__file_beside(path, "", beside, err);
    if (status < 0)
        return status;
    sink s = { .fd = quern__file_create(beside), .bytes = quern__alloc(most_held) };
    zip_error_init(&s.error);
    if (s.fd < 0 || !s.bytes)
        status = s.fd < 0
                     ? quern__fail(err, QUERN_IO, path, "cannot be written: %s", strerror(errno))
                     : quern__fail_memory(err, most_held);
    if (status >= 0)
        status = write_all(&s, path, members, n, err);
    if (s.fd >= 0 && close(s.fd) && status >= 0)
        status = quern__fail(err, QUERN_IO, path, "cannot be written: %s", strerror(errno));
    zip_error_fini(&s.error);
    quern__free(s.bytes);
    if (status >= 0)
        return quern__file_replace(beside, path, err);
    if (s.fd >= 0)
        unlink(beside);
    return status;
}
