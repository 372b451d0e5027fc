/* h5_write: writes HDF5 files to a path or into memory, in the form that h5py uses for Keras by
 * default (superblock 0, object headers of version 1). Numbers are written at once, groups and the
 * superblock at the end. The bytes depend on the model only, so equal models give equal files.
 *
 * The file grows at its end (quern__h5_place), and nothing is moved. A tree of nodes mirrors the
 * groups; a node keeps the address of a dataset or the messages of a group until quern__h5_finish
 * writes the groups bottom-up. Only the superblock, at offset 0, comes last, because it has the
 * address of the root. */
#include "h5.h"
#include "h5_out.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { superblock = 96, heap_bytes = 4096 };

struct quern__h5_file {
    quern__h5_out out;
    quern__h5_node root;
    char *path; /* NULL: in memory */
    /* strings of variable size: the open global heap collection, its address, and the number of its
     * objects */
    quern__text heap;
    uint64_t heap_at;
    int n_heap;
};

quern__h5_file *quern__h5_create(const char *path, quern__image *image, quern_error *err)
{
    quern__h5_file *f = quern__zalloc(1, sizeof *f);
    bool ready = f && (image || (f->path = quern__strdup(path)));
    if (image)
        image->n = 0;
    int fd = ready && !image ? quern__file_create(path) : -1;
    if (!ready || (!image && fd < 0)) {
        quern__fail(err, ready ? QUERN_IO : QUERN_NOMEM, image ? "weights" : path,
                    "cannot be written: %s", strerror(ready ? errno : ENOMEM));
        quern__free(f ? f->path : NULL);
        quern__free(f);
        return NULL;
    }
    f->root.group = true;
    f->out = (quern__h5_out){ .fd = fd, .image = image, .end = superblock };
    return f;
}

/* ---- the tree of objects ---- */

/* Frees the children of a group. */
static void free_nodes(quern__h5_node *group)
{
    for (quern__h5_node *c = group->first, *next; c; c = next) {
        next = c->next;
        free_nodes(c);
        quern__free(c->name);
        quern__free(c);
    }
    quern__text_free(&group->messages);
}

/* Fails the file for lack of memory, also for later writes. */
static int no_memory(quern__h5_file *f, quern_error *err)
{
    f->out.why = ENOMEM;
    return quern__fail_memory(err, sizeof(quern__h5_node));
}

/* The child `name` of a group. It is created as a group or dataset when it does not exist. Returns
 * borrowed; NULL: no memory. */
static quern__h5_node *child(quern__h5_node *in, const char *name, size_t n, bool group)
{
    for (quern__h5_node *c = in->first; c; c = c->next)
        if (!strncmp(c->name, name, n) && !c->name[n])
            return c;
    quern__h5_node *made = quern__zalloc(1, sizeof *made);
    if (!made || !(made->name = quern__strndup(name, n))) {
        quern__free(made);
        return NULL;
    }
    made->group = group;
    if (in->last)
        in->last->next = made;
    else
        in->first = made;
    in->last = made;
    return made;
}

/* The object at a path; it and missing parent groups are created. Returns borrowed; NULL with an
 * error. */
static quern__h5_node *at_path(quern__h5_file *f, const char *path, bool group, quern_error *err)
{
    quern__h5_node *node = &f->root;
    for (const char *p = path, *end; *p; p = end + (*end == '/')) {
        end = p + strcspn(p, "/");
        node = node->group ? child(node, p, (size_t)(end - p), *end || group) : NULL;
        if (!node) {
            no_memory(f, err);
            return NULL;
        }
    }
    return node;
}

/* ---- datatypes and dataspaces ---- */

/* Appends the head of a datatype message: version 1 and class, bit field, size. */
static void add_type(quern__text *t, int class, uint64_t bits, size_t size)
{
    quern__h5_add(t, (uint64_t)(0x10 | class), 1);
    quern__h5_add(t, bits, 3);
    quern__h5_add(t, size, 4);
}

/* A little-endian integer of `bytes` bytes. */
static void add_integer(quern__text *t, size_t bytes, bool is_signed)
{
    add_type(t, 0, is_signed ? 8 : 0, bytes);
    quern__h5_add(t, 0, 2);
    quern__h5_add(t, 8 * bytes, 2);
}

/* IEEE 754 binary32: positions of exponent and mantissa, and the bias. */
static void add_float(quern__text *t)
{
    static const char bits[] = { 0, 0, 32, 0, 23, 8, 0, 23, 127, 0, 0, 0 };
    add_type(t, 1, 0x1f20, 4);
    quern__text_add_bytes(t, bits, sizeof bits);
}

/* Strings of a fixed size in UTF-8, padded with zeros. */
static void add_string(quern__text *t, size_t size) { add_type(t, 3, 0x11, size); }

/* Strings of variable size in UTF-8: a size, the address of a global heap collection, and an index
 * in it. */
static void add_any_string(quern__text *t)
{
    add_type(t, 9, 0x101, 16);
    add_integer(t, 1, false);
}

/* A dataspace: version 1, the rank, and the dimensions. */
static void add_space(quern__text *t, int rank, const int64_t *dims)
{
    quern__h5_add(t, 1, 1);
    quern__h5_add(t, (uint64_t)rank, 7);
    for (int i = 0; i < rank; i++)
        quern__h5_add(t, (uint64_t)dims[i], 8);
}

/* ---- attributes ---- */

/* Closes the heap collection with an object for its free space. */
static void end_heap(quern__h5_file *f)
{
    size_t size = f->heap.length > heap_bytes ? f->heap.length : heap_bytes,
           free_bytes = size - f->heap.length;
    if (!f->n_heap)
        return;
    if (free_bytes >= 16) {
        quern__h5_add(&f->heap, 0, 8);
        quern__h5_add(&f->heap, free_bytes, 8);
    }
    quern__h5_fill(&f->heap, size);
    quern__h5_put_text(&f->out, f->heap_at, &f->heap);
    f->n_heap = 0;
}

/* Starts a heap collection with capacity for a string of `takes` bytes. */
static void begin_heap(quern__h5_file *f, size_t takes)
{
    size_t size = 16 + takes > heap_bytes ? 16 + takes : heap_bytes;
    f->heap_at = quern__h5_place(&f->out, size);
    quern__text_add_bytes(&f->heap, "GCOL\1\0\0\0", 8);
    quern__h5_add(&f->heap, size, 8);
}

/* Adds a string to the heap collection and its reference to an attribute. */
static void add_to_heap(quern__h5_file *f, const char *text, quern__text *attribute)
{
    size_t n = strlen(text), takes = 16 + (n + 7) / 8 * 8;
    if (f->heap.length + takes > heap_bytes)
        end_heap(f);
    if (!f->n_heap)
        begin_heap(f, takes);
    quern__h5_add(&f->heap, (uint64_t)++f->n_heap, 2);
    quern__h5_add(&f->heap, 1, 6); /* reference count */
    quern__h5_add(&f->heap, n, 8);
    size_t end = f->heap.length + takes - 16;
    quern__text_add_bytes(&f->heap, text, n);
    quern__h5_fill(&f->heap, end);
    quern__h5_add(attribute, n, 4);
    quern__h5_add(attribute, f->heap_at, 8);
    quern__h5_add(attribute, (uint64_t)f->n_heap, 4);
}

/* Appends the header of an attribute: its name, datatype and dataspace; frees the last two. */
static void add_head(quern__text *t, const char *name, quern__text *type, quern__text *space)
{
    const quern__text *parts[] = { type, space };
    quern__h5_add(t, 1, 2);
    quern__h5_add(t, strlen(name) + 1, 2);
    quern__h5_add(t, type->length, 2);
    quern__h5_add(t, space->length, 2);
    quern__text_add_bytes(t, name, strlen(name) + 1);
    quern__h5_pad(t);
    for (int i = 0; i < 2; i++) {
        quern__text_append(t, parts[i]);
        quern__h5_pad(t);
    }
    quern__text_free(type);
    quern__text_free(space);
}

/* Adds an attribute to a group as a message and frees it. */
static int take_attribute(quern__h5_file *f, quern__h5_node *node, quern__text *attribute,
                          quern_error *err)
{
    quern__h5_add_message(&node->messages, QUERN__H5_ATTRIBUTE, 0, attribute);
    node->n_messages++;
    quern__text_free(attribute);
    return node->messages.failed ? no_memory(f, err) : QUERN_OK;
}

int quern__h5_write_text(quern__h5_file *f, const char *path, const char *name, const char *text,
                         quern_error *err)
{
    quern__text type = { 0 }, space = { 0 }, attribute = { 0 };
    quern__h5_node *node = at_path(f, path, true, err);
    if (!node)
        return QUERN_NOMEM;
    add_any_string(&type);
    add_space(&space, 0, NULL);
    add_head(&attribute, name, &type, &space);
    add_to_heap(f, text, &attribute);
    return take_attribute(f, node, &attribute, err);
}

/* Writes one attribute with a part of a list: strings of the same size. */
static int write_part(quern__h5_file *f, quern__h5_node *node, const char *name,
                      const char *const *list, int n, size_t longest, quern_error *err)
{
    quern__text type = { 0 }, space = { 0 }, attribute = { 0 };
    add_string(&type, longest);
    add_space(&space, 1, &(int64_t){ n });
    add_head(&attribute, name, &type, &space);
    for (int i = 0; i < n; i++) {
        size_t end = attribute.length + longest;
        quern__text_add_bytes(&attribute, list[i], strlen(list[i]));
        quern__h5_fill(&attribute, end);
    }
    return take_attribute(f, node, &attribute, err);
}

int quern__h5_write_texts(quern__h5_file *f, const char *path, const char *name,
                          const char *const *list, int n, quern_error *err)
{
    enum { most = 64512 }; /* limit of Keras on the bytes of an attribute; a longer list is split */
    size_t longest = 1;
    char own[64];
    for (int i = 0; i < n; i++)
        longest = strlen(list[i]) > longest ? strlen(list[i]) : longest;
    quern__h5_node *node = at_path(f, path, true, err);
    int per = (int)(most / longest), status = node ? QUERN_OK : QUERN_NOMEM;
    if (status >= 0 && per < 1)
        return quern__fail(err, QUERN_UNSUPPORTED, name, "a name of %zu bytes", longest);
    if (status >= 0 && n <= per)
        return write_part(f, node, name, list, n, longest, err);
    for (int k = 0; status >= 0 && k * per < n; k++) {
        snprintf(own, sizeof own, "%.40s%d", name, k);
        status = write_part(f, node, own, list + k * per, n - k * per < per ? n - k * per : per,
                            longest, err);
    }
    return status;
}

/* ---- groups and datasets ---- */

int quern__h5_write_group(quern__h5_file *f, const char *path, const char *name, const char *text,
                          quern_error *err)
{
    if (name)
        return quern__h5_write_text(f, path, name, text, err);
    return at_path(f, path, true, err) ? QUERN_OK : QUERN_NOMEM;
}

int quern__h5_write_variable(quern__h5_file *f, const char *path, quern__variable *v,
                             quern_error *err)
{
    enum { fill_value = 0x05 };
    size_t bytes = 0;
    quern__text space = { 0 }, type = { 0 }, fill = { 0 }, layout = { 0 }, all = { 0 };
    quern__h5_node *node = at_path(f, path, false, err);
    if (!node)
        return QUERN_NOMEM;
    quern_tensor t;
    int status = quern__stored_numbers(v, &t, err);
    if (status < 0)
        return status;
    quern__shape_bytes(&t.shape, t.dtype, &bytes);
    uint64_t at = bytes ? quern__h5_place(&f->out, bytes) : UINT64_MAX;
    if (bytes)
        quern__h5_put(&f->out, at, t.data, bytes);
    quern__stored_free(v, &t);
    add_space(&space, t.shape.rank, t.shape.dims);
    if (t.dtype == QUERN_FLOAT32)
        add_float(&type);
    else
        add_integer(&type, quern_dtype_size(t.dtype), true);
    quern__h5_add(&fill, 0x01020202, 8); /* fill value: zeros, allocated at creation */
    quern__h5_add(&layout, 0x0103, 2);   /* contiguous layout */
    quern__h5_add(&layout, at, 8);
    quern__h5_add(&layout, bytes, 8);
    quern__h5_add_message(&all, QUERN__H5_SPACE, 0, &space);
    quern__h5_add_message(&all, QUERN__H5_TYPE, 1, &type);
    quern__h5_add_message(&all, fill_value, 1, &fill);
    quern__h5_add_message(&all, QUERN__H5_LAYOUT, 0, &layout);
    node->object = quern__h5_put_object(&f->out, &all, 4);
    quern__text_free(&space);
    quern__text_free(&type);
    quern__text_free(&fill);
    quern__text_free(&layout);
    return QUERN_OK;
}

/* ---- superblock ---- */

/* Writes the groups, then the superblock. */
static void put_rest(quern__h5_file *f)
{
    uint64_t tree = 0, heap = 0, nowhere = UINT64_MAX;
    quern__text t = { 0 };
    end_heap(f);
    quern__h5_put_group(&f->out, &f->root, &tree, &heap);
    quern__text_add_bytes(&t, "\x89HDF\r\n\x1a\n", 8);
    quern__h5_add(&t, 0, 5);
    quern__h5_add(&t, 0x0808, 3); /* addresses and sizes have eight bytes */
    quern__h5_add(&t, 0x00100004,
                  8); /* half capacities of symbol table and B-tree nodes (h5_group.c) */
    quern__h5_add(&t, 0, 8);
    quern__h5_add(&t, nowhere, 8);
    quern__h5_add(&t, f->out.end, 8);
    quern__h5_add(&t, nowhere, 8);
    quern__h5_add(&t, 0, 8);
    quern__h5_add(&t, f->root.object, 8);
    quern__h5_add(&t, 1, 8); /* the root entry caches the addresses of its B-tree and heap */
    quern__h5_add(&t, tree, 8);
    quern__h5_add(&t, heap, 8);
    quern__h5_put_text(&f->out, 0, &t);
    quern__h5_end(&f->out);
}

/* Closes the file; removes it unless it is complete. */
static void forget(quern__h5_file *f, bool keep)
{
    if (f->path && close(f->out.fd) && !f->out.why)
        f->out.why = errno ? errno : EIO;
    if (f->path && (!keep || f->out.why))
        unlink(f->path);
}

/* Frees the file's memory. */
static void free_file(quern__h5_file *f)
{
    free_nodes(&f->root);
    quern__text_free(&f->heap);
    quern__free(f->path);
    quern__free(f);
}

void quern__h5_close(quern__h5_file *f)
{
    if (!f)
        return;
    forget(f, false);
    free_file(f);
}

int quern__h5_finish(quern__h5_file *f, quern_error *err)
{
    put_rest(f);
    forget(f, true);
    int why = f->out.why, status = !why                       ? QUERN_OK
                                   : f->path && why != ENOMEM ? QUERN_IO
                                                              : QUERN_NOMEM;
    if (status == QUERN_NOMEM)
        quern__fail(err, status, f->path ? f->path : "weights", "out of memory");
    else if (status < 0)
        quern__fail(err, status, f->path, "cannot be written: %s", strerror(why));
    free_file(f);
    return status;
}
