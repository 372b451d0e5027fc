/* zip_read: reads the zip of a `.keras` file, and whole files. Sizes are checked before memory is
 * allocated. Writing a whole file is here too and is atomic. */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

/* Deflate compresses by less than a factor of 1,032. No model has that many members. */
enum { most_times = 1100, most_members = 1 << 16 };

/* Reads one member with checks of its size and compression ratio. */
static int read_member(zip_t *z, const char *path, quern__member *m, size_t limit, quern_error *err)
{
    zip_stat_t st;
    char where[256];
    snprintf(where, sizeof where, "%s: %s", path, m->name);
    bool there = zip_stat(z, m->name, 0, &st) == 0;
    if (!there && m->optional)
        return QUERN_OK;
    if (!there || !(st.valid & ZIP_STAT_SIZE))
        return quern__fail(err, QUERN_FORMAT, path, "no member %s: not a .keras file", m->name);
    limit = m->limit && m->limit < limit ? m->limit : limit;
    if (st.size > limit)
        return quern__fail(err, QUERN_FORMAT, where, "%llu bytes, expected at most %zu",
                           (unsigned long long)st.size, limit);
    if ((st.valid & ZIP_STAT_COMP_SIZE) && st.size / most_times > st.comp_size)
        return quern__fail(err, QUERN_FORMAT, where,
                           "%llu bytes from %llu compressed ones: impossible",
                           (unsigned long long)st.size, (unsigned long long)st.comp_size);
    m->n = (size_t)st.size;
    m->bytes = quern__alloc(m->n + 1);
    if (!m->bytes)
        return quern__fail_memory(err, m->n + 1);
    zip_file_t *f = zip_fopen(z, m->name, 0);
    zip_int64_t got = f ? zip_fread(f, m->bytes, m->n) : -1;
    bool whole = f && got == (zip_int64_t)m->n &&
                 zip_fread(f, where, 1) == 0; /* the last read verifies the checksum */
    if (f && zip_fclose(f))
        whole = false;
    if (!whole)
        return quern__fail(err, QUERN_FORMAT, path, "%s cannot be read completely", m->name);
    m->bytes[m->n] = 0;
    return QUERN_OK;
}

/* Opens a zip archive with a limit on its members. Returns new; NULL on failure. */
static zip_t *open_archive(const char *path, quern_error *err)
{
    int code = 0;
    zip_t *z = zip_open(path, ZIP_RDONLY | ZIP_CHECKCONS, &code);
    if (z && zip_get_num_entries(z, 0) <= most_members)
        return z;
    if (z) {
        quern__fail(err, QUERN_FORMAT, path, "more than %d members", most_members);
        zip_discard(z);
        return NULL;
    }
    zip_error_t why;
    zip_error_init_with_code(&why, code);
    quern__fail(err,
                code == ZIP_ER_NOENT                         ? QUERN_NOTFOUND
                : code == ZIP_ER_OPEN || code == ZIP_ER_READ ? QUERN_IO
                                                             : QUERN_FORMAT,
                path, "%s",
                code == ZIP_ER_NOZIP ? "is not a zip archive, as .keras and .npz files are"
                                     : zip_error_strerror(&why));
    zip_error_fini(&why);
    return NULL;
}

int quern__archive_read(const char *path, quern__member *members, int n, size_t limit,
                        quern_error *err)
{
    quern_error own = { 0 };
    zip_t *z = open_archive(path, err ? err : (err = &own));
    int status = z ? QUERN_OK : err->code;
    for (int i = 0; status >= 0 && i < n; i++)
        status = read_member(z, path, &members[i], limit, err);
    if (z)
        zip_discard(z);
    for (int i = 0; status < 0 && i < n; i++) {
        quern__free(members[i].bytes);
        members[i].bytes = NULL;
    }
    return status;
}

/* Reads the members for which `ours` is false, as far as they fit into `room` bytes in total. */
static int read_others(zip_t *z, const char *path, bool (*ours)(const char *name), size_t room,
                       quern__member **list, int *n, quern_error *err)
{
    zip_int64_t all = zip_get_num_entries(z, 0);
    for (zip_int64_t i = 0; i < all; i++) {
        const char *name = zip_get_name(z, (zip_uint64_t)i, 0);
        size_t length = name ? strlen(name) : 0;
        if (!length || ours(name) || name[length - 1] == '/')
            continue;
        quern__member *grown = quern__realloc(*list, ((size_t)*n + 1) * sizeof *grown),
                      m = { .name = quern__strdup(name) };
        *list = grown ? grown : *list;
        int status = grown && m.name ? read_member(z, path, &m, room, err)
                                     : quern__fail_memory(err, sizeof m);
        if (status < 0) {
            quern__free((void *)(uintptr_t)m.name);
            quern__free(m.bytes);
            return status;
        }
        room -= m.n;
        (*list)[(*n)++] = m;
    }
    return QUERN_OK;
}

int quern__archive_others(const char *path, bool (*ours)(const char *name), size_t room,
                          quern__member **list, int *n, quern_error *err)
{
    zip_t *z = open_archive(path, err);
    *list = NULL;
    *n = 0;
    if (!z)
        return QUERN_IO;
    int status = read_others(z, path, ours, room, list, n, err);
    zip_discard(z);
    if (status < 0) {
        quern__assets_free(*list, *n);
        *list = NULL;
        *n = 0;
    }
    return status;
}

int quern__file_read(const char *path, size_t limit, char **bytes, size_t *n, quern_error *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC), status = QUERN_OK;
    *bytes = NULL;
    if (fd < 0)
        return quern__fail(err, errno == ENOENT ? QUERN_NOTFOUND : QUERN_IO, path, "%s",
                           strerror(errno));
    if (fstat(fd, &st) || !S_ISREG(st.st_mode))
        status = quern__fail(err, QUERN_IO, path, "is not a regular file");
    else if ((uint64_t)st.st_size > limit)
        status = quern__fail(err, QUERN_FORMAT, path, "%lld bytes, expected at most %zu",
                             (long long)st.st_size, limit);
    *n = status < 0 ? 0 : (size_t)st.st_size;
    if (status >= 0 && !(*bytes = quern__alloc(*n + 1)))
        status = quern__fail_memory(err, *n);
    for (size_t at = 0; status >= 0 && at < *n;) {
        ssize_t got = read(fd, *bytes + at, *n - at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            status = quern__fail(err, QUERN_IO, path, "%s",
                                 got ? strerror(errno) : "the file became shorter during the read");
        at += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    if (status < 0) {
        quern__free(*bytes);
        *bytes = NULL;
    } else
        (*bytes)[*n] = 0;
    return status;
}

int quern__file_write(const char *path, const char *bytes, size_t n, quern_error *err)
{
    char beside[4096];
    if (quern__file_beside(path, "", beside, err) < 0)
        return QUERN_INVALID;
    int fd = quern__file_create(beside), why = fd < 0 ? errno : 0;
    for (size_t at = 0; !why && at < n;) {
        ssize_t put = write(fd, bytes + at, n - at);
        if (put < 0 && errno != EINTR)
            why = errno;
        at += put > 0 ? (size_t)put : 0;
    }
    if (fd >= 0 && close(fd) && !why)
        why = errno;
    if (!why)
        return quern__file_replace(beside, path, err);
    unlink(beside);
    return quern__fail(err, QUERN_IO, path, "cannot be written: %s", strerror(why));
}
