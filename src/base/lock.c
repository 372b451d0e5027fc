/* lock: locks between processes on files that a run writes. A file ".NAME.lock" next to the target
 * is locked with flock and names its holder. The kernel releases the lock of a process that ends;
 * the next process reuses the file. */
#include "base.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct quern_lock {
    int fd;
    char path[4096];
};

/* The path of the lock file of `path`. Returns QUERN_END for a device or pipe. */
static int name_of(const char *path, char *out, size_t size, quern_error *err)
{
    char real[4096], *slash;
    struct stat is;
    if (stat(path, &is) == 0 && !S_ISREG(is.st_mode))
        return QUERN_END; /* a device or a pipe is not locked */
    int status = quern__file_target(path, real, err);
    if (status < 0)
        return status;
    slash = strrchr(real, '/');
    int n = snprintf(out, size, "%.*s.%.200s.lock", slash ? (int)(slash - real) + 1 : 0, real,
                     slash ? slash + 1 : real);
    return n > 0 && (size_t)n < size
               ? QUERN_OK
               : quern__fail(err, QUERN_INVALID, path, "the name is too long");
}

/* Opens and locks the lock file. Returns its descriptor; -1: another process holds it (*held), or
 * it cannot be created. */
static int lock_file_take(const char *path, bool *held)
{
    for (;;) {
        struct stat own, there;
        int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
        if (fd < 0)
            return -1;
        if (flock(fd, LOCK_EX | LOCK_NB)) {
            *held = errno == EWOULDBLOCK;
            close(fd);
            return -1;
        }
        if (fstat(fd, &own) == 0 && stat(path, &there) == 0 && own.st_ino == there.st_ino &&
            own.st_dev == there.st_dev)
            return fd;
        close(fd); /* its holder removed it before the lock */
    }
}

static void read_holder(const char *path, char *out, size_t size)
{
    FILE *f = fopen(path, "re");
    if (!f || !fgets(out, (int)size, f))
        snprintf(out, size, "another process");
    out[strcspn(out, "\n")] = 0;
    if (f)
        fclose(f);
}

int quern_lock_take(const char *path, quern_lock **out, quern_error *err)
{
    char host[65] = "", holder[128];
    bool held = false;
    *out = NULL;
    quern_lock *l = quern__zalloc(1, sizeof *l);
    if (!l)
        return quern__fail_memory(err, sizeof *l);
    int status = name_of(path, l->path, sizeof l->path, err);
    l->fd = status == QUERN_OK ? lock_file_take(l->path, &held) : -1;
    if (l->fd < 0) {
        if (held) {
            read_holder(l->path, holder, sizeof holder);
            status = quern__fail(err, QUERN_INVALID, path, "is being written by %s", holder);
            quern__hint(err, "wait for it, or write to another file with --output");
        }
        quern__free(l); /* without a lock file, the write itself will report the problem */
        return status < 0 ? status : QUERN_OK;
    }
    gethostname(host, sizeof host - 1);
    if (ftruncate(l->fd, 0) || dprintf(l->fd, "process %d on %s\n", (int)getpid(), host) < 0)
        errno = 0;
    *out = l;
    return QUERN_OK;
}

void quern_lock_give(quern_lock *l)
{
    if (!l)
        return;
    unlink(l->path);
    close(l->fd);
    quern__free(l);
}
