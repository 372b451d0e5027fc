/* h5_out: output of HDF5 files: bytes at offsets of a file or image, and messages of objects.
 * Internal to h5_write.c and h5_group.c. */
#ifndef QUERN__FILES_H5_OUT_H
#define QUERN__FILES_H5_OUT_H

#include "files.h"

/* The target: a file, or an image (fd is unused then). */
typedef struct quern__h5_out {
    int fd;
    quern__image *image;
    uint64_t end; /* end of the allocated addresses */
    int why;      /* errno of the first write that failed; later writes do nothing */
} quern__h5_out;

/* Allocates n bytes after all others, at a multiple of eight. Returns their address. */
uint64_t quern__h5_place(quern__h5_out *o, size_t n);
/* Writes n bytes at an address. */
void quern__h5_put(quern__h5_out *o, uint64_t at, const void *bytes, size_t n);
/* Writes a text at an address and frees it. An incomplete text (no memory) counts as a failed
 * write. */
void quern__h5_put_text(quern__h5_out *o, uint64_t at, quern__text *t);
/* Sets the size of the file or image to the end of the allocated addresses. */
void quern__h5_end(quern__h5_out *o);

/* ---- messages in memory ---- */

/* Appends a little-endian number of `bytes` bytes. */
void quern__h5_add(quern__text *t, uint64_t v, int bytes);
/* Appends zeros up to n bytes. */
void quern__h5_fill(quern__text *t, size_t n);
/* Appends zeros up to a multiple of eight bytes. */
void quern__h5_pad(quern__text *t);
/* Appends a message with its header; `flags`: 1 where it is constant. */
void quern__h5_add_message(quern__text *t, int type, int flags, const quern__text *message);
/* Writes an object header with its messages and frees both texts. Returns the address. */
uint64_t quern__h5_put_object(quern__h5_out *o, quern__text *messages, int n_messages);

/* ---- groups ---- */

/* A group or dataset of the file. */
typedef struct quern__h5_node {
    char *name;
    struct quern__h5_node *first, *last, *next; /* children of a group, in order of creation */
    bool group;
    uint64_t object;      /* its address, after it is written */
    quern__text messages; /* of a group: attribute messages */
    int n_messages;
} quern__h5_node;

/* Writes a group after its subgroups. `tree` and `heap` get the addresses for its symbol table
 * message. */
void quern__h5_put_group(quern__h5_out *o, quern__h5_node *group, uint64_t *tree, uint64_t *heap);

#endif
