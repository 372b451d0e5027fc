/* h5: reads HDF5 files in memory, in the subset that Keras and h5py write for weights: groups of
 * both formats, compact, contiguous and chunked datasets of numbers (deflate, shuffle, fletcher32),
 * attributes of strings. Other features are errors: soft and external links, external and virtual
 * data, plugin filters. Format: HDF5 File Format Specification 3.0. h5_write.c writes a part of the
 * subset. */
#ifndef QUERN__H5_H
#define QUERN__H5_H

#include "tensor/tensor.h"

typedef struct quern__h5 {
    const uint8_t *data;
    size_t size;
    uint64_t root;
    int64_t steps; /* remaining work; it bounds reads of files with cyclic addresses */
    const char *where;
    bool
        once; /* the reader owns `data` and reads each dataset once: pages that were read are freed,
                  so that a file and its copy in the model are not in memory together */
} quern__h5;

/* The bytes of a message. */
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

/* The datatype of numbers or strings. */
typedef struct quern__h5_type {
    /* class of the specification: 0 integers, 1 floating point, 3 strings of fixed size, 9 of
     * variable size */
    int class;
    size_t size;                /* bytes of an element */
    bool big, is_signed, brain; /* big: big-endian; brain: bfloat16 */
} quern__h5_type;

/* A dataset or the content of an attribute. */
typedef struct quern__h5_set {
    quern_shape shape;
    quern__h5_type type;
    int64_t count;
    int layout;           /* 0 compact, 1 contiguous, 2 chunked */
    quern__h5_part bytes; /* of layouts 0 and 1; empty: all elements are 0 */
    uint64_t tree;        /* address of the B-tree of chunks */
    int64_t chunk[QUERN_MAX_RANK];
    int n_filters, filters[4];
} quern__h5_set;

/* A little-endian number of `bytes` bytes. */
static inline uint64_t quern__h5_number(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}
/* The n bytes at an address; NULL: they are not all in the file. */
static inline const uint8_t *quern__h5_at(const quern__h5 *h, uint64_t address, uint64_t n)
{
    return address <= h->size && n <= h->size - address ? h->data + address : NULL;
}

/* Opens a file in memory. Borrows `bytes`, and `where` for messages. */
int quern__h5_open(quern__h5 *h, const char *bytes, size_t n, const char *where, quern_error *err);
/* Searches the object at a path of hard links from the object `from`. Returns QUERN_END when it
 * does not exist. */
int quern__h5_find(quern__h5 *h, uint64_t from, const char *path, uint64_t *object,
                   quern_error *err);
/* Calls `fn` for each message of an object until it returns nonzero. Returns that result. */
typedef int quern__h5_visitor(void *user, int type, quern__h5_part message, quern_error *err);
int quern__h5_messages(quern__h5 *h, uint64_t object, quern__h5_visitor *fn, void *user,
                       quern_error *err);
/* Calls `fn` for each hard link of a group (a dataset has none) until it returns nonzero. Returns
 * that result. */
typedef int quern__h5_each(void *user, const char *name, size_t length, uint64_t object,
                           quern_error *err);
int quern__h5_links(quern__h5 *h, uint64_t group, quern__h5_each *fn, void *user, quern_error *err);
/* Reads a string attribute or an array of strings as a new list of n, which the caller frees with
 * quern__h5_strings_free. Returns QUERN_END when the attribute does not exist. */
int quern__h5_strings(quern__h5 *h, uint64_t object, const char *name, char ***list, int *n,
                      quern_error *err);
void quern__h5_strings_free(char **list, int n);

/* ---- unread_weights.c ---- */
/* Addresses of the datasets that were read. */
typedef struct quern__objects {
    uint64_t *list;
    size_t n, capacity;
} quern__objects;
int quern__objects_add(quern__objects *objects, uint64_t object, quern_error *err);
void quern__objects_free(quern__objects *objects);
/* Checks that every dataset of weights in the file was read. Otherwise returns QUERN_UNSUPPORTED
 * with the path of the first other one. */
int quern__unread(quern__h5 *h, quern__objects *read, quern_error *err);

/* ---- h5_data.c ---- */
int quern__h5_space(quern__h5_part message, quern__h5_set *set);
int quern__h5_type_of(quern__h5_part message, quern__h5_type *type);
/* Describes the dataset at an object. */
int quern__h5_dataset(quern__h5 *h, uint64_t object, quern__h5_set *set, quern_error *err);
/* Reads the numbers with a conversion to the dtype of `out`, which has the shape of the dataset. */
int quern__h5_read(quern__h5 *h, const quern__h5_set *set, quern_tensor *out, quern_error *err);

#endif
