/* Files that are written whole: beside, synced, and only then under their name. */
#include "base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int quern__file_beside(const char *path, const char *ending, char *out, quern_error *err)
{
    enum { room = 4096 };
    bool fits = snprintf(out, room, "%s.partial%s", path, ending) < room;
    return fits ? QUERN_OK : quern__fail(err, QUERN_INVALID, path, "the name is too long");
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

int quern__file_replace(const char *beside, const char *path, quern_error *err)
{
    char folder[4096];
    if (!synced(beside) || rename(beside, path)) {
        int why = errno ? errno : EIO;
        unlink(beside);
        return quern__fail(err, QUERN_IO, path, "cannot be written: %s", strerror(why));
    }
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[1] = 0;
    (void)synced(slash ? folder : "."); /* some file systems cannot; the file itself is safe */
    return QUERN_OK;
}

int quern__file_check(const char *path, quern_error *err)
{
    char folder[4096];
    struct stat is;
    if ((size_t)snprintf(folder, sizeof folder, "%s", path) >= sizeof folder)
        return quern__fail(err, QUERN_INVALID, path, "the name is too long");
    char *slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = 0;
    bool there = stat(path, &is) == 0;
    int why = there && S_ISDIR(is.st_mode)    ? EISDIR
              : there && !S_ISREG(is.st_mode) ? (access(path, W_OK) ? errno : 0)
              : access(slash ? folder : ".", W_OK | X_OK) ? errno
                                                          : 0;
    return why ? quern__fail(err, QUERN_IO, path, "cannot be written: %s", strerror(why)) : QUERN_OK;
}
