/* Finds the compressed bytes of a zip member. The directory at the end of the file has the
 * offset of the local header, which precedes the bytes (APPNOTE.TXT, 4.3). */
#include "gunzip.h"

#include <string.h>
#include <unistd.h>

enum {
    end_bytes = 22,
    most_comment = 65535,
    entry_bytes = 46,
    local_bytes = 30,
    most_name = 300,
    most_directory = 1 << 20
};

static uint32_t little_endian(const uint8_t *p, int n)
{
    uint32_t v = 0;
    for (int i = n - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

static bool read_at(int fd, int64_t at, void *to, size_t n)
{
    return at >= 0 && pread(fd, to, n, at) == (ssize_t)n;
}

/* Finds the end record, which gives offset and size of the directory. */
static bool find_directory(int fd, int64_t *at, int64_t *bytes)
{
    int64_t size = lseek(fd, 0, SEEK_END),
            n = size < end_bytes + most_comment ? size : end_bytes + most_comment;
    uint8_t *tail = n >= end_bytes ? quern__alloc((size_t)n) : NULL;
    bool found = false;
    for (int64_t i = tail && read_at(fd, size - n, tail, (size_t)n) ? n - end_bytes : -1;
         i >= 0 && !found; i--)
        if (!memcmp(tail + i, "PK\5\6", 4) &&
            i + end_bytes + little_endian(tail + i + 20, 2) == n) {
            *bytes = little_endian(tail + i + 12, 4);
            *at = little_endian(tail + i + 16, 4);
            found = *at + *bytes <= size - n + i;
        }
    quern__free(tail);
    return found;
}

/* The offset of the local header of a member, from the directory; -1: not found, or the offset
 * exceeds 32 bits. */
static int64_t find_header(const uint8_t *directory, int64_t bytes, const char *name)
{
    size_t n = strlen(name);
    for (int64_t i = 0; i + entry_bytes <= bytes && !memcmp(directory + i, "PK\1\2", 4);) {
        const uint8_t *e = directory + i;
        size_t length = little_endian(e + 28, 2);
        i += entry_bytes + (int64_t)length + little_endian(e + 30, 2) + little_endian(e + 32, 2);
        if (length == n && i <= bytes && !memcmp(e + entry_bytes, name, n))
            return little_endian(e + 42, 4) == UINT32_MAX ? -1 : (int64_t)little_endian(e + 42, 4);
    }
    return -1;
}

int64_t quern__zip_place(int fd, const char *name)
{
    int64_t at = 0, bytes = 0;
    uint8_t head[local_bytes], own[most_name];
    size_t n = strlen(name);
    if (n > most_name || !find_directory(fd, &at, &bytes) || bytes > most_directory)
        return -1;
    uint8_t *directory = quern__alloc((size_t)bytes);
    int64_t header = directory && read_at(fd, at, directory, (size_t)bytes)
                         ? find_header(directory, bytes, name)
                         : -1;
    quern__free(directory);
    if (!read_at(fd, header, head, sizeof head) || memcmp(head, "PK\3\4", 4) ||
        little_endian(head + 26, 2) != n || !read_at(fd, header + local_bytes, own, n) ||
        memcmp(own, name, n))
        return -1;
    return header + local_bytes + (int64_t)n + little_endian(head + 28, 2);
}
