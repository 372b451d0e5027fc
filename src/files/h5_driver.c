/* How libhdf5 writes here, to the disk or into memory: a driver that notes the first error of writing and goes on as if all were
 * well. A library that cannot write what it holds keeps the file open for ever, and falls over it when the program ends; so a full
 * disk is told when the file is finished, and the file is thrown away. The library's own files in memory give a copy of themselves
 * and nothing else; these are where they are wanted, in memory that serves the next one too. */
#include "h5_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

typedef struct disk {
    H5FD_t base; /* the library's */
    int fd, *why;
    quern__image *image; /* not NULL: in memory, and no fd */
    haddr_t allocated, written;
} disk;

typedef struct told {
    quern__image *image;
    int *why;
} told;

static void note(disk *d)
{
    if (!*d->why)
        *d->why = errno ? errno : EIO;
}

static H5FD_t *driver_open(const char *name, unsigned flags, hid_t access, haddr_t most)
{
    const told *t = H5Pget_driver_info(access);
    disk *d = t ? quern__zalloc(1, sizeof *d) : NULL;
    (void)flags, (void)most;
    if (!d)
        return NULL;
    d->why = t->why;
    d->image = t->image;
    d->fd = d->image ? -1 : quern__file_create(name);
    if (d->image || d->fd >= 0)
        return &d->base;
    note(d);
    quern__free(d);
    return NULL;
}

static herr_t driver_close(H5FD_t *file)
{
    disk *d = (disk *)file;
    if (!d->image && close(d->fd))
        note(d);
    quern__free(d);
    return 0;
}

static herr_t driver_query(const H5FD_t *file, unsigned long *flags)
{
    (void)file;
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE | H5FD_FEAT_AGGREGATE_SMALLDATA;
    return 0;
}

static haddr_t driver_get_eoa(const H5FD_t *file, H5FD_mem_t type)
{
    (void)type;
    return ((const disk *)file)->allocated;
}

static herr_t driver_set_eoa(H5FD_t *file, H5FD_mem_t type, haddr_t to)
{
    (void)type;
    ((disk *)file)->allocated = to;
    return 0;
}

static haddr_t driver_get_eof(const H5FD_t *file, H5FD_mem_t type)
{
    (void)type;
    return ((const disk *)file)->written;
}

/* ---- in memory ---- */

/* Room for so many bytes: a little more, so that not every small piece asks for its own. */
static bool make_room(disk *d, size_t n)
{
    enum { step = 64 << 10 };
    quern__image *image = d->image;
    if (n <= image->room)
        return true;
    size_t room = n + (step - n % step);
    char *grown = room > n ? quern__realloc(image->bytes, room) : NULL;
    if (!grown) {
        errno = ENOMEM;
        note(d);
        return false;
    }
    image->bytes = grown;
    image->room = room;
    return true;
}

/* Bytes at a place; zeros between the end and there. */
static void keep(disk *d, size_t to, const void *from, size_t size)
{
    quern__image *image = d->image;
    if (*d->why || !make_room(d, to + size))
        return;
    if (to > image->n)
        memset(image->bytes + image->n, 0, to - image->n);
    if (size)
        memcpy(image->bytes + to, from, size);
    image->n = to + size > image->n ? to + size : image->n;
}

static void recall(const disk *d, size_t from, void *to, size_t size)
{
    size_t there = from < d->image->n ? d->image->n - from : 0;
    if (there)
        memcpy(to, d->image->bytes + from, size < there ? size : there);
}

/* ---- what the library calls ---- */

/* What could not be written reads as zeros, as a hole does. */
static herr_t driver_read(H5FD_t *file, H5FD_mem_t type, hid_t how, haddr_t from, size_t size, void *to)
{
    disk *d = (disk *)file;
    (void)type, (void)how;
    memset(to, 0, size);
    if (d->image)
        recall(d, from, to, size);
    else if (quern__read_at(d->fd, to, size, (int64_t)from) < size && errno)
        note(d);
    return 0;
}

static herr_t driver_write(H5FD_t *file, H5FD_mem_t type, hid_t how, haddr_t to, size_t size, const void *from)
{
    disk *d = (disk *)file;
    (void)type, (void)how;
    if (d->image)
        keep(d, to, from, size);
    else if (!*d->why && !quern__write_at(d->fd, from, size, (int64_t)to))
        note(d);
    if (d->written < to + size)
        d->written = to + size;
    return 0;
}

static herr_t driver_truncate(H5FD_t *file, hid_t how, hbool_t closing)
{
    disk *d = (disk *)file;
    (void)how, (void)closing;
    if (d->image) {
        keep(d, d->allocated, NULL, 0);
        d->image->n = *d->why ? d->image->n : d->allocated;
    } else if (!*d->why && ftruncate(d->fd, (off_t)d->allocated))
        note(d);
    d->written = d->allocated;
    return 0;
}

static const H5FD_class_t driver = {
#ifdef H5FD_CLASS_VERSION
    .version = H5FD_CLASS_VERSION,
#endif
    .name = "quern",
    .maxaddr = ((haddr_t)1 << 62) - 1,
    .fc_degree = H5F_CLOSE_STRONG,
    .fapl_size = sizeof(told),
    .open = driver_open,
    .close = driver_close,
    .query = driver_query,
    .get_eoa = driver_get_eoa,
    .set_eoa = driver_set_eoa,
    .get_eof = driver_get_eof,
    .read = driver_read,
    .write = driver_write,
    .truncate = driver_truncate,
    .fl_map = H5FD_FLMAP_DICHOTOMY
};

/* The driver's number in the library, for the life of the process: a file that is closed calls the driver after it has given its
 * own hold on it back, so that the last hold must not be the file's. Where the host closed the library (H5close), the number is
 * none, and it is registered anew. */
static hid_t driver_id(void)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static hid_t id = -1;
    pthread_mutex_lock(&lock);
    if (id < 0 || H5Iget_type(id) != H5I_VFL)
        id = H5FDregister(&driver);
    hid_t own = id;
    pthread_mutex_unlock(&lock);
    return own;
}

bool quern__h5_driver_set(hid_t access, quern__image *image, int *why)
{
    hid_t id = driver_id();
    return id >= 0 && H5Pset_driver(access, id, &(told){ image, why }) >= 0;
}
