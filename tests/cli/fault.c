/* A disk that fails, loaded before a program (LD_PRELOAD): the n-th call that changes or opens
 * something in a folder fails. Environment variables select the fault:
 *   FAULT_UNDER  the folder, as an absolute path
 *   FAULT_AT     n, from 1
 *   FAULT_HOW    EIO: this call only. ENOSPC: each later call that needs space. kill: the process
 *                is killed before it. cut: the power fails before it; data that was not synced is
 *                lost, names are kept
 *   FAULT_SAID   a file elsewhere that receives a line with the call that failed first
 * A write that fails has written half of its bytes. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(NAME) ((__typeof__(&NAME))real(#NAME))

/* dlsym returns functions as objects, which POSIX permits and C does not. */
static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int calls;
/* The bytes of a file that are synced. */
static struct {
    ino_t file;
    off_t synced;
} known[1024];
static int n_known;

static const char *asked(const char *name)
{
    const char *value = getenv(name);
    return value ? value : "";
}

static bool under(const char *path)
{
    const char *folder = asked("FAULT_UNDER");
    size_t n = strlen(folder);
    return n && !strncmp(path, folder, n);
}

/* The name of an open file in the folder that is being written; empty for others. */
static const char *name_of(int fd, char *out, size_t size)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = fd < 0 ? -1 : readlink(link, out, size - 1);
    out[n < 0 ? 0 : n] = 0;
    return under(out) ? out : "";
}

static bool is_written(int fd) { return (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY; }

static void keep(int fd, off_t synced)
{
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode))
        return;
    pthread_mutex_lock(&lock);
    int k = 0;
    while (k < n_known && known[k].file != st.st_ino)
        k++;
    n_known += k == n_known && n_known < 1024;
    known[k < 1024 ? k : 0].file = st.st_ino;
    known[k < 1024 ? k : 0].synced = synced < 0 ? st.st_size : synced;
    pthread_mutex_unlock(&lock);
}

/* Truncates files to their synced bytes. */
static void lose(void)
{
    char path[PATH_MAX];
    DIR *d = opendir(asked("FAULT_UNDER"));
    struct stat st;
    for (struct dirent *e; d && (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s", asked("FAULT_UNDER"), e->d_name);
        for (int k = 0; !stat(path, &st) && k < n_known; k++)
            if (known[k].file == st.st_ino && st.st_size > known[k].synced &&
                truncate(path, known[k].synced))
                abort();
    }
}

/* Whether this call fails; sets errno. */
static bool fails(const char *call, const char *path, bool wants_room)
{
    const char *how = asked("FAULT_HOW");
    if (!*path)
        return false;
    pthread_mutex_lock(&lock);
    int at = atoi(asked("FAULT_AT")), now = ++calls;
    bool full = !strcmp(how, "ENOSPC"), due = full ? now >= at && wants_room : now == at;
    static bool said;
    int fd =
        due && !said ? REAL(open)(asked("FAULT_SAID"), O_WRONLY | O_CREAT | O_TRUNC, 0666) : -1;
    said = said || due;
    if (fd >= 0) {
        dprintf(fd, "%s %s\n", call, path);
        REAL(close)(fd);
    }
    if (due && !strcmp(how, "cut"))
        lose();
    if (due && (!strcmp(how, "cut") || !strcmp(how, "kill")))
        raise(SIGKILL);
    pthread_mutex_unlock(&lock);
    errno = due ? (full ? ENOSPC : EIO) : errno;
    return due;
}

static int opened(int fd, const char *path, int flags)
{
    if (fd >= 0 && under(path) && (flags & O_ACCMODE) != O_RDONLY)
        keep(fd, flags & (O_TRUNC | O_EXCL) ? 0 : -1);
    return fd;
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    return under(path) && fails("open", path, flags & O_CREAT)
               ? -1
               : opened(REAL(open)(path, flags, mode), path, flags);
}

int open64(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    return open(path, flags, mode);
}

FILE *fopen(const char *path, const char *mode)
{
    if (under(path) && fails("fopen", path, *mode != 'r'))
        return NULL;
    FILE *f = REAL(fopen)(path, mode);
    if (f)
        opened(fileno(f), path,
               *mode == 'w'                         ? O_WRONLY | O_TRUNC
               : *mode == 'r' && !strchr(mode, '+') ? O_RDONLY
                                                    : O_WRONLY);
    return f;
}

FILE *fopen64(const char *path, const char *mode) { return fopen(path, mode); }

ssize_t write(int fd, const void *bytes, size_t n)
{
    char path[PATH_MAX];
    if (!fails("write", name_of(fd, path, sizeof path), true))
        return REAL(write)(fd, bytes, n);
    int why = errno;
    (void)!REAL(write)(fd, bytes, n / 2);
    errno = why;
    return -1;
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at)
{
    char path[PATH_MAX];
    return fails("pwrite", name_of(fd, path, sizeof path), true) ? -1
                                                                 : REAL(pwrite)(fd, bytes, n, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t n, off_t at) { return pwrite(fd, bytes, n, at); }

size_t fwrite(const void *bytes, size_t size, size_t n, FILE *f)
{
    char path[PATH_MAX];
    return REAL(fwrite)(
        bytes, size, fails("fwrite", name_of(fileno(f), path, sizeof path), true) ? n / 2 : n, f);
}

int fflush(FILE *f)
{
    char path[PATH_MAX];
    return f && fails("fflush", name_of(fileno(f), path, sizeof path), true) ? EOF
                                                                             : REAL(fflush)(f);
}

int fclose(FILE *f)
{
    char path[PATH_MAX];
    const char *name = name_of(fileno(f), path, sizeof path);
    bool failed = is_written(fileno(f)) && fails("fclose", name, true);
    int why = errno, status = REAL(fclose)(f);
    errno = failed ? why : errno;
    return failed ? EOF : status;
}

int close(int fd)
{
    char path[PATH_MAX];
    const char *name = name_of(fd, path, sizeof path);
    bool failed = is_written(fd) && fails("close", name, true);
    int why = errno, status = REAL(close)(fd);
    errno = failed ? why : errno;
    return failed ? -1 : status;
}

int fsync(int fd)
{
    char path[PATH_MAX];
    if (fails("fsync", name_of(fd, path, sizeof path), true))
        return -1;
    int status = REAL(fsync)(fd);
    if (status == 0)
        keep(fd, -1);
    return status;
}

int ftruncate(int fd, off_t n)
{
    char path[PATH_MAX];
    if (fails("ftruncate", name_of(fd, path, sizeof path), false))
        return -1;
    return REAL(ftruncate)(fd, n);
}

int rename(const char *from, const char *to)
{
    return fails("rename", under(to) ? to : "", false) ? -1 : REAL(rename)(from, to);
}

int link(const char *from, const char *to)
{
    return fails("link", under(to) ? to : "", true) ? -1 : REAL(link)(from, to);
}

int unlink(const char *path)
{
    return fails("unlink", under(path) ? path : "", false) ? -1 : REAL(unlink)(path);
}

int remove(const char *path)
{
    return fails("remove", under(path) ? path : "", false) ? -1 : REAL(remove)(path);
}

int chmod(const char *path, mode_t mode)
{
    return fails("chmod", under(path) ? path : "", false) ? -1 : REAL(chmod)(path, mode);
}

int mkdir(const char *path, mode_t mode)
{
    return fails("mkdir", under(path) ? path : "", true) ? -1 : REAL(mkdir)(path, mode);
}
