/* Arrays in Fortran order (N records of P elements): the file has P runs of N elements, one run
 * per element position. A small array is transposed in memory. A large one is transposed in
 * blocks of consecutive records, or read element by element. */
#include "array_file.h"

#include <string.h>

/* Reads a small array and stores it in C order. */
static int fortran_load(quern__array_file *p, quern_error *err)
{
    char some[4096];
    size_t size = quern_dtype_size(p->dtype), all = (size_t)(p->records * p->per) * size;
    quern__walk walk = quern__walk_of(&p->shape, 0, true, -1);
    if (!(p->held = quern__alloc(all)))
        return quern__fail_memory(err, all);
    for (size_t done = 0; done < all;) {
        size_t n = all - done < sizeof some ? all - done : sizeof some;
        int64_t got = quern__array_file_bytes(p, p->offset + (int64_t)done, some, n);
        if (got != (int64_t)n)
            return quern__array_file_short(p, -1, got, err);
        for (size_t i = 0; i < n; i += size)
            memcpy(p->held + (size_t)quern__walk_next(&walk) * size, some + i, size);
        done += n;
    }
    /* for compressed data, this read verifies the checksum after the last element */
    return quern__array_file_bytes(p, p->offset + (int64_t)all, some, 1) < 0
               ? quern__array_file_fail(p, -1, QUERN_FORMAT, "cannot be read", err)
               : QUERN_OK;
}

int quern__array_file_order(quern__array_file *p, quern_error *err)
{
    int64_t bytes = p->records * (int64_t)quern_dtype_size(p->dtype);
    if (__builtin_mul_overflow(bytes, p->per, &bytes))
        return quern__array_file_fail(p, -1, QUERN_FORMAT, "has a size that overflows 64 bits",
                                      err);
    if (bytes <= QUERN__PART_HELD) {
        int status = fortran_load(p, err);
        p->by_number = true;
        p->fortran = false;
        p->at = p->offset;
        return status;
    }
    if (!p->by_number) {
        quern__array_file_fail(p, -1, QUERN_UNSUPPORTED,
                               "a compressed Fortran-order array exceeds 4 MiB", err);
        quern__hint(err, "save np.ascontiguousarray(x), or save it uncompressed");
        return QUERN_UNSUPPORTED;
    }
    p->by_number = p->per <= QUERN__PART_COLUMNS;
    return QUERN_OK;
}

/* Records of a block. */
static int64_t block_room(const quern__array_file *p)
{
    int64_t room = QUERN__PART_BLOCK / (p->per * (int64_t)quern_dtype_size(p->dtype));
    return room < 1 ? 1 : room < p->records ? room : p->records;
}

/* The block, and one run of the file. */
size_t quern__array_file_block_bytes(const quern__array_file *p)
{
    return p->fortran ? (size_t)block_room(p) * (size_t)(p->per + 1) * quern_dtype_size(p->dtype)
                      : 0;
}

/* Reads the block that begins at record `first`: one run per element position. */
static bool read_block(quern__array_file *p, int64_t first)
{
    size_t size = quern_dtype_size(p->dtype);
    int64_t room = block_room(p);
    if (!p->block)
        p->block = quern__alloc(quern__array_file_block_bytes(p));
    if (!p->block)
        return false;
    char *run = p->block + (size_t)(room * p->per) * size;
    int64_t n = p->records - first < room ? p->records - first : room;
    quern__walk walk = quern__walk_of(&p->shape, 1, true, -1);
    p->block_n = 0;
    for (int64_t k = 0; k < p->per; k++) {
        int64_t at = p->offset + (k * p->records + first) * (int64_t)size,
                place = quern__walk_next(&walk);
        if (quern__array_file_bytes(p, at, run, (size_t)n * size) != n * (int64_t)size)
            return false;
        for (int64_t r = 0; r < n; r++)
            memcpy(p->block + (size_t)(r * p->per + place) * size, run + (size_t)r * size, size);
    }
    p->block_first = first;
    p->block_n = n;
    return true;
}

int64_t quern__array_file_numbers(quern__array_file *p, int64_t record, int64_t first, int64_t n,
                                  void *to, bool forward)
{
    size_t size = quern_dtype_size(p->dtype);
    if (record >= p->records)
        return 0;
    if (p->held) {
        memcpy(to, p->held + (size_t)(record * p->per + first) * size, (size_t)n * size);
        return n;
    }
    if (forward) {
        bool there = record >= p->block_first && record < p->block_first + p->block_n;
        if (!there && !read_block(p, record))
            return 0;
        memcpy(to, p->block + (size_t)((record - p->block_first) * p->per + first) * size,
               (size_t)n * size);
        return n;
    }
    quern__walk walk = quern__walk_of(&p->shape, 1, true, -1);
    for (int64_t k = 0; k < p->per; k++) {
        int64_t at = p->offset + (k * p->records + record) * (int64_t)size,
                place = quern__walk_next(&walk) - first;
        if (place >= 0 && place < n &&
            quern__array_file_bytes(p, at, (char *)to + (size_t)place * size, size) !=
                (int64_t)size)
            return 0;
    }
    return n;
}
