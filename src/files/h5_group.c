/* h5_group: writes groups in the old format of HDF5: a local heap of names, symbol table nodes of
 * up to eight objects sorted by name, and a B-tree above the nodes. */
#include "h5_out.h"

#include "h5.h"

#include <stdlib.h>
#include <string.h>

enum {
    leaf_k = 4, /* half of the capacity of a symbol table node, and of a B-tree node */
    tree_k = 16,
    leaf_bytes = 8 + 2 * leaf_k * 40,
    tree_bytes = 24 + 2 * tree_k * 8 + (2 * tree_k + 1) * 8
};
static const uint64_t nowhere = UINT64_MAX;

/* A symbol table node or B-tree node: its address, and the heap offset of its last name. */
typedef struct block {
    uint64_t at, last;
} block;

/* Order of the objects of a group, by bytes of their names. */
static int by_name(const void *a, const void *b)
{
    return strcmp((*(const quern__h5_node *const *)a)->name,
                  (*(const quern__h5_node *const *)b)->name);
}

/* Writes the names in sequence, at multiples of eight after an empty name. `places` gets their heap
 * offsets. Returns the heap's address. */
static uint64_t put_heap(quern__h5_out *o, quern__h5_node *const *nodes, size_t n, uint64_t *places)
{
    enum { head = 32 };
    quern__text names = { 0 }, t = { 0 };
    quern__h5_fill(&names, 8);
    for (size_t i = 0; i < n; i++) {
        places[i] = names.length;
        quern__text_add_bytes(&names, nodes[i]->name, strlen(nodes[i]->name) + 1);
        quern__h5_pad(&names);
    }
    uint64_t at = quern__h5_place(o, head + names.length);
    quern__text_add_bytes(&t, "HEAP\0\0\0\0", 8);
    quern__h5_add(&t, names.length, 8);
    quern__h5_add(&t, 1, 8); /* the heap has no free block */
    quern__h5_add(&t, at + head, 8);
    quern__text_append(&t, &names);
    quern__h5_put_text(o, at, &t);
    quern__text_free(&names);
    return at;
}

/* Appends a symbol table entry. The optional cache of a group's B-tree and heap addresses is not
 * used; readers find them in the group's message. */
static void add_entry(quern__text *t, const quern__h5_node *node, uint64_t name)
{
    quern__h5_add(t, name, 8);
    quern__h5_add(t, node->object, 8);
    quern__h5_fill(t, t->length + 24);
}

/* Writes the symbol table nodes of n objects. Returns their number. */
static size_t put_leaves(quern__h5_out *o, quern__h5_node *const *nodes, size_t n,
                         const uint64_t *names, block *out)
{
    size_t made = 0;
    for (size_t i = 0; i < n; i += 2 * leaf_k) {
        size_t here = n - i < 2 * leaf_k ? n - i : 2 * leaf_k;
        quern__text t = { 0 };
        quern__text_add_bytes(&t, "SNOD\1\0", 6);
        quern__h5_add(&t, here, 2);
        for (size_t k = 0; k < here; k++)
            add_entry(&t, nodes[i + k], names[i + k]);
        quern__h5_fill(&t, leaf_bytes);
        out[made] = (block){ quern__h5_place(o, leaf_bytes), names[i + here - 1] };
        quern__h5_put_text(o, out[made++].at, &t);
    }
    return made;
}

/* Writes the B-tree nodes above n blocks and replaces the blocks by them. Returns the new number.
 */
static size_t put_level(quern__h5_out *o, block *blocks, size_t n, int level)
{
    size_t many = n ? (n + 2 * tree_k - 1) / (2 * tree_k) : 1;
    uint64_t first = quern__h5_place(o, many * tree_bytes), key = 0;
    for (size_t i = 0; i < many; i++) {
        size_t from = i * 2 * tree_k, here = n - from < 2 * tree_k ? n - from : 2 * tree_k;
        quern__text t = { 0 };
        quern__text_add_bytes(&t, "TREE\0", 5);
        quern__h5_add(&t, (uint64_t)level, 1);
        quern__h5_add(&t, here, 2);
        quern__h5_add(&t, i ? first + (i - 1) * tree_bytes : nowhere, 8);
        quern__h5_add(&t, i + 1 < many ? first + (i + 1) * tree_bytes : nowhere, 8);
        quern__h5_add(&t, key, 8);
        for (size_t k = 0; k < here; k++) {
            quern__h5_add(&t, blocks[from + k].at, 8);
            quern__h5_add(&t, key = blocks[from + k].last, 8);
        }
        quern__h5_fill(&t, tree_bytes);
        quern__h5_put_text(o, first + i * tree_bytes, &t);
        blocks[i] = (block){ first + i * tree_bytes, key };
    }
    return many;
}

/* Writes the B-tree of a group's objects. Returns its address. */
static uint64_t put_tree(quern__h5_out *o, quern__h5_node *const *nodes, size_t n,
                         const uint64_t *names, block *blocks)
{
    int level = 0;
    size_t many = put_leaves(o, nodes, n, names, blocks);
    do
        many = put_level(o, blocks, many, level++);
    while (many > 1);
    return blocks[0].at;
}

void quern__h5_put_group(quern__h5_out *o, quern__h5_node *group, uint64_t *tree, uint64_t *heap)
{
    size_t n = 0, i = 0;
    for (const quern__h5_node *c = group->first; c; c = c->next)
        n++;
    quern__h5_node **nodes = quern__zalloc(n + 1, sizeof *nodes);
    uint64_t *names = quern__zalloc(n + 1, sizeof *names);
    block *blocks = quern__zalloc(n + 1, sizeof *blocks);
    quern__text message = { .failed = !nodes || !names || !blocks }, all = { 0 };
    for (quern__h5_node *c = group->first; c && !message.failed; c = c->next) {
        uint64_t of_tree, of_heap;
        if (c->group)
            quern__h5_put_group(o, c, &of_tree, &of_heap);
        nodes[i++] = c;
    }
    if (!message.failed) {
        /* the objects of the group are written: now their table */
        qsort(nodes, n, sizeof *nodes, by_name);
        *heap = put_heap(o, nodes, n, names);
        *tree = put_tree(o, nodes, n, names, blocks);
        quern__h5_add(&message, *tree, 8);
        quern__h5_add(&message, *heap, 8);
    }
    quern__h5_add_message(&all, QUERN__H5_TABLE, 0, &message);
    quern__text_append(&all, &group->messages);
    group->object = quern__h5_put_object(o, &all, group->n_messages + 1);
    quern__text_free(&message);
    quern__free(blocks);
    quern__free(names);
    quern__free(nodes);
}
