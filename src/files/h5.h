/* h5: reading HDF5 files in memory, as much of the format as Keras and h5py write for weights: groups of either kind, plain and
 * chunked datasets of numbers (deflate, shuffle, fletcher32), attributes of strings. What else there may be is refused: links that
 * are not hard, external and virtual data, filters that others must be loaded for. The format is that of the HDF5 File Format
 * Specification 3.0; h5_write.c writes what is read here. */
#ifndef QUERN__H5_H
#define QUERN__H5_H

#include "tensor/tensor.h"

typedef struct quern__h5 {
    const uint8_t *data;
    size_t size;
    uint64_t root;
    int64_t steps; /* that walking through the file may still take: loops of addresses end */
    const char *where;
} quern__h5;

/* Where a message of an object lies. */
typedef struct quern__h5_part {
    const uint8_t *data;
    size_t size;
} quern__h5_part;

enum {
    QUERN__H5_SPACE = 0x01,
    QUERN__H5_LINKS = 0x02,
    QUERN__H5_TYPE = 0x03,
    QUERN__H5_LINK = 0x06,
    QUERN__H5_EXTERNAL = 0x07,
    QUERN__H5_LAYOUT = 0x08,
    QUERN__H5_FILTERS = 0x0b,
    QUERN__H5_ATTRIBUTE = 0x0c,
    QUERN__H5_CONTINUED = 0x10,
    QUERN__H5_TABLE = 0x11,
    QUERN__H5_ATTRIBUTES = 0x15
};

/* A type of numbers or strings. */
typedef struct quern__h5_type {
    int class;                  /* 0 whole numbers, 1 floating, 3 strings, 9 strings of any length */
    size_t size;                /* bytes of an element */
    bool big, is_signed, brain; /* brain: bfloat16 */
} quern__h5_type;

/* A dataset, or the content of an attribute. */
typedef struct quern__h5_set {
    quern_shape shape;
    quern__h5_type type;
    int64_t count;
    int layout;           /* 0 here, 1 at one place, 2 in chunks */
    quern__h5_part bytes; /* of layouts 0 and 1; none: zeros */
    uint64_t tree;        /* of chunks */
    int64_t chunk[QUERN_MAX_RANK];
    int n_filters, filters[4];
} quern__h5_set;

/* A number of `bytes` bytes, the lowest first. */
static inline uint64_t quern__h5_number(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}
/* `n` bytes at an address; NULL when they are not in the file. */
static inline const uint8_t *quern__h5_at(const quern__h5 *h, uint64_t address, uint64_t n)
{
    return address <= h->size && n <= h->size - address ? h->data + address : NULL;
}

/* Opens an image (borrowed). `where` is borrowed for messages. */
int quern__h5_open(quern__h5 *h, const char *bytes, size_t n, const char *where, quern_error *err);
/* The object at a path of hard links below `from`. QUERN_END when there is none. */
int quern__h5_find(quern__h5 *h, uint64_t from, const char *path, uint64_t *object, quern_error *err);
/* Calls `fn` with every message of an object until it returns other than 0, which is returned. */
typedef int quern__h5_visitor(void *user, int type, quern__h5_part message, quern_error *err);
int quern__h5_messages(quern__h5 *h, uint64_t object, quern__h5_visitor *fn, void *user, quern_error *err);
/* Calls `fn` with every hard link of a group (none, of a dataset) until it returns other than 0, which is returned. */
typedef int quern__h5_each(void *user, const char *name, size_t length, uint64_t object, quern_error *err);
int quern__h5_links(quern__h5 *h, uint64_t group, quern__h5_each *fn, void *user, quern_error *err);
/* The strings of an attribute, one or an array of them. QUERN_END when there is none. A list of `n`, freed by
 * quern__h5_strings_free.
 */
int quern__h5_strings(quern__h5 *h, uint64_t object, const char *name, char ***list, int *n, quern_error *err);
void quern__h5_strings_free(char **list, int n);

/* ---- unread_weights.c ---- */
/* Datasets that were read, by their addresses. */
typedef struct quern__objects {
    uint64_t *list;
    size_t n, capacity;
} quern__objects;
int quern__objects_add(quern__objects *objects, uint64_t object, quern_error *err);
void quern__objects_free(quern__objects *objects);
/* QUERN_OK when every dataset of a file with weights was read, or need not be; else QUERN_UNSUPPORTED with its path. */
int quern__unread(quern__h5 *h, quern__objects *read, quern_error *err);

/* ---- h5_data.c ---- */
int quern__h5_space(quern__h5_part message, quern__h5_set *set);
int quern__h5_type_of(quern__h5_part message, quern__h5_type *type);
/* The dataset at an object. */
int quern__h5_dataset(quern__h5 *h, uint64_t object, quern__h5_set *set, quern_error *err);
/* Its numbers, as the type of `out`, which has its shape. */
int quern__h5_read(quern__h5 *h, const quern__h5_set *set, quern_tensor *out, quern_error *err);

#endif
