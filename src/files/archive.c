/* The zip of a `.keras` file. Sizes are checked before memory is asked for; writing goes to a file beside, which is synced and
 * renamed. */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>

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
    if (st.size > limit)
        return quern__fail(err, QUERN_FORMAT, where, "%llu bytes, at most %zu are read", (unsigned long long)st.size, limit);
    m->n = (size_t)st.size;
    m->bytes = quern__alloc(m->n + 1);
    zip_file_t *f = m->bytes ? zip_fopen(z, m->name, 0) : NULL;
    zip_int64_t got = f ? zip_fread(f, m->bytes, m->n) : -1;
    bool whole = f && got == (zip_int64_t)m->n && zip_fread(f, where, 1) == 0; /* the last read checks the sum */
    if (f && zip_fclose(f))
        whole = false;
    if (!whole)
        return quern__fail(err, m->bytes ? QUERN_FORMAT : QUERN_NOMEM, path, "%s cannot be read whole", m->name);
    m->bytes[m->n] = 0;
    return QUERN_OK;
}

int quern__archive_read(const char *path, quern__member *members, int n, size_t limit, quern_error *err)
{
    int code = 0, status = QUERN_OK;
    zip_t *z = zip_open(path, ZIP_RDONLY | ZIP_CHECKCONS, &code);
    if (!z) {
        zip_error_t why;
        zip_error_init_with_code(&why, code);
        status = quern__fail(err,
                             code == ZIP_ER_NOENT                         ? QUERN_NOTFOUND
                             : code == ZIP_ER_OPEN || code == ZIP_ER_READ ? QUERN_IO
                                                                          : QUERN_FORMAT,
                             path, "%s", zip_error_strerror(&why));
        zip_error_fini(&why);
        return status;
    }
    for (int i = 0; status >= 0 && i < n; i++)
        status = read_member(z, path, &members[i], limit, err);
    zip_discard(z);
    for (int i = 0; status < 0 && i < n; i++) {
        quern__free(members[i].bytes);
        members[i].bytes = NULL;
    }
    return status;
}

/* The data is on the disk, not only in its cache. */
static bool synced(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool add_all(zip_t *z, const quern__member *members, int n)
{
    for (int i = 0; i < n; i++) {
        zip_source_t *s = zip_source_buffer(z, members[i].bytes, members[i].n, 0);
        zip_int64_t at = s ? zip_file_add(z, members[i].name, s, ZIP_FL_ENC_UTF_8) : -1;
        if (at < 0 || zip_set_file_compression(z, (zip_uint64_t)at, ZIP_CM_STORE, 0)) {
            if (at < 0 && s)
                zip_source_free(s);
            return false;
        }
    }
    return true;
}

int quern__archive_write(const char *path, const quern__member *members, int n, quern_error *err)
{
    char beside[4096], folder[4096];
    int code = 0;
    if ((size_t)snprintf(beside, sizeof beside, "%s.partial", path) >= sizeof beside)
        return quern__fail(err, QUERN_INVALID, path, "the name is too long");
    zip_t *z = zip_open(beside, ZIP_CREATE | ZIP_TRUNCATE, &code);
    if (!z)
        return quern__fail(err, QUERN_IO, path, "cannot be written: %s", strerror(errno));
    bool ok = add_all(z, members, n);
    char why[256] = "cannot be written";
    if (ok && zip_close(z)) {
        snprintf(why, sizeof why, "cannot be written: %s", zip_strerror(z));
        ok = false;
    }
    if (!ok)
        zip_discard(z);
    if (ok && (!synced(beside) || rename(beside, path))) {
        snprintf(why, sizeof why, "cannot be written: %s", strerror(errno));
        ok = false;
    }
    if (!ok) {
        unlink(beside);
        return quern__fail(err, QUERN_IO, path, "%s", why);
    }
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[1] = 0;
    (void)synced(slash ? folder : "."); /* some file systems cannot; the file itself is safe */
    return QUERN_OK;
}
