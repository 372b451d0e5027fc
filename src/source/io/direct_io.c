/* Asynchronous reads of Linux (io_submit(2)) with O_DIRECT. They need no thread, unlike
 * aio_read(3), and are permitted where io_uring is not. */
#include "direct_io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int quern__direct_always = -1;

bool quern__direct_wanted(int64_t bytes)
{
    return quern__direct_always < 0 ? (uint64_t)bytes > quern__memory_for_files() / 2
                                    : quern__direct_always;
}

quern__direct quern__direct_open(const char *path, int same)
{
    quern__direct d = { .fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT) };
    struct stat a, b;
    if (d.fd >= 0 && !fstat(d.fd, &a) && !fstat(same, &b) && a.st_dev == b.st_dev &&
        a.st_ino == b.st_ino && !syscall(SYS_io_setup, QUERN__DIRECT_MOST, &d.context))
        return d;
    if (d.fd >= 0)
        close(d.fd);
    return (quern__direct){ .fd = -1 };
}

void quern__direct_close(quern__direct *d)
{
    if (d->fd < 0)
        return;
    syscall(SYS_io_destroy, d->context);
    close(d->fd);
    d->fd = -1;
}

bool quern__direct_begin(const quern__direct *d, void *to, size_t bytes, int64_t at, uint64_t tag)
{
    struct iocb one = { .aio_data = tag,
                        .aio_lio_opcode = IOCB_CMD_PREAD,
                        .aio_fildes = (uint32_t)d->fd,
                        .aio_buf = (uint64_t)(uintptr_t)to,
                        .aio_nbytes = bytes,
                        .aio_offset = at },
                *all[] = { &one };
    return syscall(SYS_io_submit, d->context, 1L, all) == 1;
}

int quern__direct_wait(const quern__direct *d, quern__direct_done *done)
{
    struct io_event events[QUERN__DIRECT_MOST];
    long n;
    do
        n = syscall(SYS_io_getevents, d->context, 1L, (long)QUERN__DIRECT_MOST, events, NULL);
    while (n < 0 && errno == EINTR);
    for (long i = 0; i < n; i++)
        done[i] = (quern__direct_done){ events[i].data, events[i].res };
    return n < 0 ? 0 : (int)n;
}
