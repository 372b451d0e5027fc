/* pread_full: complete reads and writes at an offset, with repetition after partial transfers and
 * interrupts. */
#include "base.h"

#include <errno.h>
#include <unistd.h>

size_t quern__read_at(int fd, void *to, size_t n, int64_t at)
{
    size_t done = 0;
    errno = 0;
    while (done < n) {
        ssize_t got = pread(fd, (char *)to + done, n - done, (off_t)at + (off_t)done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            break;
        errno = 0;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return done;
}

bool quern__write_at(int fd, const void *from, size_t n, int64_t at)
{
    for (size_t done = 0; done < n;) {
        errno = 0;
        ssize_t put = pwrite(fd, (const char *)from + done, n - done, (off_t)at + (off_t)done);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0) {
            errno = errno ? errno : EIO;
            return false;
        }
        done += (size_t)put;
    }
    return true;
}
