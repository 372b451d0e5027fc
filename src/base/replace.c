/* Files that are written whole: beside, synced, and only then under their name. */
#include "base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
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
