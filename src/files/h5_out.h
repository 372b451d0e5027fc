/* h5_out: what files of HDF5 are written with: bytes at places of a file or an image, and messages of objects. For h5_write.c and
 * h5_group.c only. */
#ifndef QUERN__FILES_H5_OUT_H
#define QUERN__FILES_H5_OUT_H

#include "files.h"

/* Where a file is written: to the disk, or into an image (then there is no fd). */
typedef struct quern__h5_out {
    int fd;
    quern__image *image;
    uint64_t end; /* so many bytes have a place */
    int why;      /* errno of the first write that failed; nothing is written behind it */
} quern__h5_out;

/* The address of n bytes behind all others, at a multiple of eight. */
uint64_t quern__h5_place(quern__h5_out *o, size_t n);
/* Writes bytes at a place. */
void quern__h5_put(quern__h5_out *o, uint64_t at, const void *bytes, size_t n);
/* The same for what was made in a text, which goes: where it could not be made whole, it counts as a write that failed. */
void quern__h5_put_text(quern__h5_out *o, uint64_t at, quern__text *t);
/* The file or the image ends where its last place does. */
void quern__h5_end(quern__h5_out *o);

/* ---- bytes being made ---- */

/* A number of `bytes` bytes, the lowest first. */
void quern__h5_add(quern__text *t, uint64_t v, int bytes);
/* Zeros up to n bytes. */
void quern__h5_fill(quern__text *t, size_t n);
/* A message with its head; `flags`: 1 where it never changes. */
void quern__h5_add_message(quern__text *t, int type, int flags, const quern__text *message);
/* The head of an object with its messages; where it was placed. Both texts go. */
uint64_t quern__h5_put_object(quern__h5_out *o, quern__text *messages, int n_messages);

/* ---- groups ---- */

/* A group or a dataset of a file that is being made. */
typedef struct quern__h5_node {
    char *name;
    struct quern__h5_node *first, *last, *next; /* those in a group, in the order in which they came */
    bool group;
    uint64_t object;      /* its address, once it is written */
    quern__text messages; /* of a group: its attributes */
    int n_messages;
} quern__h5_node;

/* Writes a group, all groups in it before. `tree` and `heap` become the addresses that its message tells. */
void quern__h5_put_group(quern__h5_out *o, quern__h5_node *group, uint64_t *tree, uint64_t *heap);

#endif
