/* atomic_file: atomic writes of files: a temporary file in the folder of the target, fsync, rename,
 * fsync of the folder. The temporary name is unpredictable. The target of a symbolic link is
 * replaced, not the link. Mode and owner of an existing file stay. A device or pipe is written to
 * and not replaced. */
#include "base.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { room = 4096, most_links = 40 };

static int not_written(const char *path, int why, quern_error *err)
{
    return quern__fail(err, QUERN_IO, path, "cannot be written: %s", strerror(why));
}

/* The folder of a path, with its slash; "." for a bare name. */
static void folder_of(const char *path, char *out)
{
    const char *slash = strrchr(path, '/');
    snprintf(out, room, "%.*s", slash ? (int)(slash - path) + 1 : 1, slash ? path : ".");
}

/* Follows symbolic links to the final path, which need not exist. */
int quern__file_target(const char *path, char *out, quern_error *err)
{
    char link[room], folder[room];
    if ((size_t)snprintf(out, room, "%s", path) >= room)
        return quern__fail(err, QUERN_INVALID, path, "the name exceeds %d bytes", room - 1);
    for (int i = 0; i < most_links; i++) {
        ssize_t n = readlink(out, link, sizeof link - 1);
        if (n < 0)
            return QUERN_OK;
        link[n] = 0;
        folder_of(out, folder);
        bool here = link[0] == '/' || !strchr(out, '/');
        if ((size_t)snprintf(out, room, "%s%s", here ? "" : folder, link) >= room)
            return quern__fail(err, QUERN_INVALID, path, "the target of the link exceeds %d bytes",
                               room - 1);
    }
    return not_written(path, ELOOP, err);
}

/* Whether a path exists and is not a regular file: then it is written to. */
static bool is_special(const char *path)
{
    struct stat is;
    return stat(path, &is) == 0 && !S_ISREG(is.st_mode) && !S_ISDIR(is.st_mode);
}

int quern__file_beside(const char *path, const char *ending, char *out, quern_error *err)
{
    char target[room], folder[room];
    uint64_t name;
    int status = quern__file_target(path, target, err);
    if (status < 0)
        return status;
    const char *temporary = getenv("TMPDIR");
    folder_of(target, folder);
    if (is_special(target))
        snprintf(folder, sizeof folder, "%.4000s/", temporary && *temporary ? temporary : "/tmp");
    if (getrandom(&name, sizeof name, 0) != (ssize_t)sizeof name)
        return not_written(path, errno, err);
    bool fits = snprintf(out, room, "%s%s.quern-%016llx%s", folder,
                         folder[strlen(folder) - 1] == '/' ? "" : "/", (unsigned long long)name,
                         ending) < room;
    return fits ? QUERN_OK
                : quern__fail(err, QUERN_INVALID, path, "the name exceeds %d bytes", room - 1);
}

void quern__file_place(quern_error *err, const char *beside, const char *path)
{
    if (err && err->code &&
        !strncmp(err->where, beside,
                 sizeof err->where - 1 < strlen(beside) ? sizeof err->where - 1 : strlen(beside)))
        snprintf(err->where, sizeof err->where, "%s", path);
}

int quern__file_create(const char *beside)
{
    return open(beside, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
}

/* Whether fsync of the file succeeds. */
static bool synced(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

/* Copies the temporary file to a device or pipe. */
static bool poured(const char *beside, const char *target)
{
    char bytes[1 << 14];
    int from = open(beside, O_RDONLY | O_CLOEXEC), to = open(target, O_WRONLY | O_CLOEXEC);
    bool ok = from >= 0 && to >= 0;
    for (ssize_t n; ok && (n = read(from, bytes, sizeof bytes)) != 0;) {
        ok = n > 0;
        for (ssize_t at = 0, put; ok && at < n; at += put) {
            put = write(to, bytes + at, (size_t)(n - at));
            ok = put >= 0 || errno == EINTR;
            put = put < 0 ? 0 : put;
        }
    }
    int why = errno;
    if (from >= 0)
        close(from);
    if (to >= 0 && close(to) && ok) {
        ok = false;
        why = errno;
    }
    unlink(beside);
    errno = why;
    return ok;
}

/* Copies mode and owner of the replaced file; a failure to change the owner is ignored. */
static void keep_mode(const char *beside, const char *target)
{
    struct stat is;
    if (stat(target, &is) != 0)
        return;
    if ((is.st_uid != geteuid() || is.st_gid != getegid()) &&
        chown(beside, is.st_uid, is.st_gid) != 0)
        errno = 0;
    chmod(beside, is.st_mode & 07777);
}

int quern__file_replace(const char *beside, const char *path, quern_error *err)
{
    char target[room], folder[room];
    int status = quern__file_target(path, target, err);
    if (status >= 0 && is_special(target))
        return poured(beside, target) ? QUERN_OK : not_written(path, errno ? errno : EIO, err);
    if (status >= 0)
        keep_mode(beside, target);
    errno = 0;
    if (status < 0 || !synced(beside) || rename(beside, target)) {
        int why = errno ? errno : EIO;
        unlink(beside);
        return status < 0 ? status : not_written(path, why, err);
    }
    folder_of(target, folder);
    (void)synced(folder); /* some file systems do not support it; the file itself is safe */
    return QUERN_OK;
}

int quern__file_check(const char *path, quern_error *err)
{
    char target[room], folder[room];
    struct stat is;
    int status = quern__file_target(path, target, err);
    if (status < 0)
        return status;
    folder_of(target, folder);
    bool there = stat(target, &is) == 0;
    if (there && S_ISDIR(is.st_mode))
        return not_written(path, EISDIR, err);
    if (there && access(target, W_OK))
        return not_written(path, errno, err);
    if (there && !S_ISREG(is.st_mode))
        return QUERN_OK;
    if (access(folder, W_OK | X_OK))
        return not_written(path, errno, err);
    const char *slash = strrchr(target, '/'), *name = slash ? slash + 1 : target;
    return strlen(name) > NAME_MAX ? not_written(path, ENAMETOOLONG, err) : QUERN_OK;
}

int quern_file_beside(const char *path, char *out, quern_error *err)
{
    return quern__file_beside(path, "", out, err);
}
int quern_file_replace(const char *beside, const char *path, quern_error *err)
{
    return quern__file_replace(beside, path, err);
}
int quern_file_check(const char *path, quern_error *err) { return quern__file_check(path, err); }
