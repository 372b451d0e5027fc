/* h5: reads the objects of an HDF5 file: object headers and messages, groups, attributes ("HDF5
 * File Format Specification", The HDF Group).
 *
 * The whole file is in memory. An object is the address of its header, a list of messages (type,
 * bytes). Groups exist in two formats: a symbol table (B-tree of nodes, names in a local heap) and
 * link messages. What h5py writes with libver="latest", such as fractal heaps, is refused by name.
 *
 * The file is hostile. quern__h5_at returns NULL for a range outside of the file; every access goes
 * through it. `steps` bounds the work of all walks together, so that a cycle of addresses ends.
 * Recursion is bounded by the depth or by the level of a B-tree node. */
#include "h5.h"

#include <string.h>

/* Fails with QUERN_FORMAT; `what` names the invalid part. */
static int broken(const quern__h5 *h, const char *what, quern_error *err)
{
    return quern__fail(err, QUERN_FORMAT, h->where, "is not an HDF5 file that quern reads: %s",
                       what);
}

int quern__h5_open(quern__h5 *h, const char *bytes, size_t n, const char *where, quern_error *err)
{
    static const uint8_t magic[8] = { 0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n' };
    *h = (quern__h5){ .data = (const uint8_t *)bytes, .size = n, .steps = 1 << 26, .where = where };
    const uint8_t *p = quern__h5_at(h, 0, 96);
    if (!p || memcmp(p, magic, sizeof magic))
        return broken(h, "signature", err);
    bool old = p[8] < 2;
    const uint8_t *sizes = old ? p + 13 : p + 9;
    if (p[8] > 3 || sizes[0] != 8 || sizes[1] != 8)
        return broken(h, "superblock version", err);
    /* version 0 and 1: the last member of the superblock is the symbol table entry of the root
     * group */
    h->root = quern__h5_number(old ? p + 24 + (p[8] ? 4 : 0) + 32 + 8 : p + 36, 8);
    return QUERN_OK;
}

/* ---- messages ---- */

typedef struct walk {
    quern__h5 *h;
    quern__h5_visitor *fn;
    void *user;
    int version, depth;
    bool ordered; /* a message of version 2 has a creation order */
} walk;

static int block(walk *w, const uint8_t *p, uint64_t n, quern_error *err);

/* Visits the block of messages that a continuation message names. */
static int continued(walk *w, quern__h5_part m, quern_error *err)
{
    uint64_t n = m.size >= 16 ? quern__h5_number(m.data + 8, 8) : 0;
    const uint8_t *p = n ? quern__h5_at(w->h, quern__h5_number(m.data, 8), n) : NULL;
    if (!p || ++w->depth > 1000 || (w->version == 2 && (n < 8 || memcmp(p, "OCHK", 4))))
        return broken(w->h, "invalid continuation address in an object header", err);
    int status = w->version == 2 ? block(w, p + 4, n - 8, err) : block(w, p, n, err);
    w->depth--;
    return status;
}

/* Visits the messages of one block of an object header. */
static int block(walk *w, const uint8_t *p, uint64_t n, quern_error *err)
{
    uint64_t head = w->version == 1 ? 8 : 4 + 2 * (uint64_t)w->ordered;
    int status = QUERN_OK;
    for (uint64_t at = 0; status == QUERN_OK && at + head <= n;) {
        const uint8_t *m = p + at;
        int type = w->version == 1 ? (int)quern__h5_number(m, 2) : m[0],
            flags = w->version == 1 ? m[4] : m[3];
        uint64_t size = quern__h5_number(m + (w->version == 1 ? 2 : 1), 2);
        if (size > n - at - head || --w->h->steps < 0)
            return broken(w->h, "a message exceeds its object header", err);
        quern__h5_part part = { m + head, (size_t)size };
        if (type == QUERN__H5_CONTINUED)
            status = continued(w, part, err);
        else if (type && flags & 2)
            status = quern__fail(err, QUERN_UNSUPPORTED, w->h->where, "shared messages");
        else if (type)
            status = w->fn(w->user, type, part, err);
        at += head + size;
    }
    return status;
}

int quern__h5_messages(quern__h5 *h, uint64_t object, quern__h5_visitor *fn, void *user,
                       quern_error *err)
{
    walk w = { .h = h, .fn = fn, .user = user };
    const uint8_t *p = quern__h5_at(h, object, 16);
    if (!p)
        return broken(h, "an object address is outside of the file", err);
    /* version 1: the number of messages, and a block of fixed size */
    if (p[0] == 1) {
        uint64_t n = quern__h5_number(p + 8, 4);
        w.version = 1;
        return quern__h5_at(h, object + 16, n) ? block(&w, p + 16, n, err)
                                               : broken(h, "a truncated object header", err);
    }
    if (memcmp(p, "OHDR", 4) || p[4] != 2)
        return broken(h, "an object without a header", err);
    /* version 2: optional times and limits before the size of the first block */
    uint64_t at = 6 + (p[5] & 0x20 ? 16u : 0u) + (p[5] & 0x10 ? 4u : 0u);
    int bytes = 1 << (p[5] & 3);
    const uint8_t *size = quern__h5_at(h, object + at, (uint64_t)bytes);
    uint64_t n = size ? quern__h5_number(size, bytes) : 0;
    w.version = 2;
    w.ordered = p[5] & 4;
    return size && quern__h5_at(h, object + at + (uint64_t)bytes, n)
               ? block(&w, size + bytes, n, err)
               : broken(h, "a truncated object header", err);
}

/* ---- groups ---- */

/* A search for a name, or, with `each`, a visit of all links. */
typedef struct search {
    quern__h5 *h;
    const char *name;
    size_t length;
    uint64_t found;
    quern__h5_each *each;
    void *user;
} search;

/* Fails for a soft or external link. */
static int link_refused(const search *s, quern_error *err)
{
    return quern__fail(err, QUERN_UNSUPPORTED, s->h->where, "'%.*s' is not a hard link",
                       (int)s->length, s->name);
}

/* Searches a symbol table node. Returns 1 when it has the name. */
static int in_table(search *s, uint64_t table, const uint8_t *heap, uint64_t heap_size,
                    quern_error *err)
{
    const uint8_t *p = quern__h5_at(s->h, table, 8);
    uint64_t n = p ? quern__h5_number(p + 6, 2) : 0;
    if (!p || memcmp(p, "SNOD", 4) || !quern__h5_at(s->h, table + 8, 40 * n))
        return broken(s->h, "a symbol table node", err);
    for (uint64_t i = 0; i < n; i++) {
        const uint8_t *entry = p + 8 + 40 * i;
        uint64_t at = quern__h5_number(entry, 8);
        if (--s->h->steps < 0)
            return broken(s->h, "too many objects or a cycle", err);
        uint64_t child = quern__h5_number(entry + 8, 8);
        if (s->each && at < heap_size) {
            const char *name = (const char *)heap + at;
            int status =
                s->each(s->user, name, strnlen(name, (size_t)(heap_size - at)), child, err);
            if (status)
                return status;
            continue;
        }
        if (at >= heap_size || s->length >= heap_size - at ||
            memcmp(heap + at, s->name, s->length) || heap[at + s->length])
            continue;
        s->found = child;
        return quern__h5_number(entry + 16, 4) == 2 ? link_refused(s, err) : 1;
    }
    return QUERN_OK;
}

/* Searches a B-tree node of a group and its children; `depth` bounds the level. */
static int in_tree(search *s, uint64_t node, const uint8_t *heap, uint64_t heap_size, int depth,
                   quern_error *err)
{
    const uint8_t *p = quern__h5_at(s->h, node, 24);
    uint64_t n = p ? quern__h5_number(p + 6, 2) : 0;
    if (!p || memcmp(p, "TREE", 4) || p[4] != 0 || !quern__h5_at(s->h, node + 24, 16 * n + 8) ||
        p[5] >= depth)
        return broken(s->h, "a group's B-tree", err);
    int status = QUERN_OK;
    for (uint64_t i = 0; status == QUERN_OK && i < n; i++) {
        uint64_t child = quern__h5_number(p + 24 + 16 * i + 8, 8);
        if (--s->h->steps < 0)
            return broken(s->h, "too many objects or a cycle", err);
        status = p[5] ? in_tree(s, child, heap, heap_size, p[5], err)
                      : in_table(s, child, heap, heap_size, err);
    }
    return status;
}

/* Searches a group of the old format: a B-tree of symbol tables, with names in a local heap. */
static int in_old_group(search *s, quern__h5_part m, quern_error *err)
{
    const uint8_t *heap =
        m.size >= 16 ? quern__h5_at(s->h, quern__h5_number(m.data + 8, 8), 32) : NULL;
    uint64_t size = heap ? quern__h5_number(heap + 8, 8) : 0;
    const uint8_t *names = heap ? quern__h5_at(s->h, quern__h5_number(heap + 24, 8), size) : NULL;
    if (!names || memcmp(heap, "HEAP", 4))
        return broken(s->h, "a local heap of names", err);
    return in_tree(s, quern__h5_number(m.data, 8), names, size, 32, err);
}

/* Reads a link message of the new group format. */
static int in_link(search *s, quern__h5_part m, quern_error *err)
{
    if (m.size < 2)
        return broken(s->h, "a link message", err);
    int flags = m.data[1], bytes = 1 << (flags & 3);
    size_t at = 2 + (flags & 8 ? 1u : 0u) + (flags & 4 ? 8u : 0u) + (flags & 16 ? 1u : 0u);
    int type = flags & 8 && m.size > 2 ? m.data[2] : 0;
    uint64_t length = at + (size_t)bytes <= m.size ? quern__h5_number(m.data + at, bytes) : m.size;
    at += (size_t)bytes;
    if (at > m.size || length > m.size - at)
        return broken(s->h, "a link message", err);
    const char *name = (const char *)m.data + at;
    if (!s->each && (length != s->length || memcmp(name, s->name, s->length)))
        return QUERN_OK;
    if (type != 0)
        return s->each ? QUERN_OK : link_refused(s, err);
    at += length;
    if (m.size - at < 8)
        return broken(s->h, "a link message", err);
    s->found = quern__h5_number(m.data + at, 8);
    return s->each ? s->each(s->user, name, (size_t)length, s->found, err) : 1;
}

/* Searches a message of a group: a symbol table, a link, or a heap of links, which is an error. */
static int visit_group_message(void *user, int type, quern__h5_part m, quern_error *err)
{
    search *s = user;
    if (type == QUERN__H5_TABLE)
        return in_old_group(s, m, err);
    if (type == QUERN__H5_LINK)
        return in_link(s, m, err);
    size_t heap = m.size > 1 && m.data[1] & 1 ? 10 : 2;
    if (type == QUERN__H5_LINKS && m.size >= heap + 8 &&
        quern__h5_number(m.data + heap, 8) != UINT64_MAX)
        return quern__fail(err, QUERN_UNSUPPORTED, s->h->where,
                           "a group with links in a fractal heap (libver=\"latest\")");
    return QUERN_OK;
}

int quern__h5_find(quern__h5 *h, uint64_t from, const char *path, uint64_t *object,
                   quern_error *err)
{
    search s = { .h = h, .found = from };
    while (*path) {
        path += strspn(path, "/");
        s.name = path;
        s.length = strcspn(path, "/");
        if (!s.length)
            break;
        path += s.length;
        int status = quern__h5_messages(h, s.found, visit_group_message, &s, err);
        if (status < 0)
            return status;
        if (status == 0)
            return QUERN_END;
    }
    *object = s.found;
    return QUERN_OK;
}

int quern__h5_links(quern__h5 *h, uint64_t group, quern__h5_each *fn, void *user, quern_error *err)
{
    search s = { .h = h, .name = "", .each = fn, .user = user };
    return quern__h5_messages(h, group, visit_group_message, &s, err);
}

/* ---- attributes ---- */

typedef struct attribute {
    quern__h5 *h;
    const char *name;
    quern__h5_set set;
} attribute;

/* Reads a message if it is the attribute with the wanted name: its datatype, dataspace and content.
 * Returns 1 when found. */
static int take_attribute(void *user, int type, quern__h5_part m, quern_error *err)
{
    attribute *a = user;
    if (type == QUERN__H5_ATTRIBUTES) {
        size_t heap = m.size > 1 && m.data[1] & 1 ? 4 : 2;
        return m.size >= heap + 8 && quern__h5_number(m.data + heap, 8) != UINT64_MAX
                   ? quern__fail(err, QUERN_UNSUPPORTED, a->h->where,
                                 "attributes in a fractal heap (libver=\"latest\")")
                   : QUERN_OK;
    }
    if (type != QUERN__H5_ATTRIBUTE)
        return QUERN_OK;
    if (m.size < 9 || m.data[0] < 1 || m.data[0] > 3)
        return broken(a->h, "an attribute message", err);
    bool padded = m.data[0] == 1;
    size_t part[3], at = m.data[0] == 3 ? 9 : 8, starts[3],
                    name = (size_t)quern__h5_number(m.data + 2, 2);
    for (int i = 0; i < 3; i++) { /* name, datatype, dataspace */
        part[i] = (size_t)quern__h5_number(m.data + 2 + 2 * i, 2);
        starts[i] = at;
        at += padded ? (part[i] + 7) / 8 * 8 : part[i];
    }
    if (at > m.size || !name)
        return broken(a->h, "an attribute message", err);
    if (strnlen((const char *)m.data + starts[0], name) != strlen(a->name) ||
        memcmp(m.data + starts[0], a->name, strlen(a->name)))
        return QUERN_OK;
    if (!padded && m.data[1])
        return quern__fail(err, QUERN_UNSUPPORTED, a->h->where,
                           "attributes with a shared datatype");
    if (quern__h5_type_of((quern__h5_part){ m.data + starts[1], part[1] }, &a->set.type) < 0 ||
        quern__h5_space((quern__h5_part){ m.data + starts[2], part[2] }, &a->set) < 0)
        return broken(a->h, "the datatype of an attribute", err);
    a->set.bytes = (quern__h5_part){ m.data + at, m.size - at };
    return 1;
}

/* A string in a global heap collection. */
static quern__h5_part in_global_heap(quern__h5 *h, const uint8_t *reference)
{
    uint64_t address = quern__h5_number(reference + 4, 8),
             index = quern__h5_number(reference + 12, 4);
    const uint8_t *p = quern__h5_at(h, address, 16);
    uint64_t n = p && !memcmp(p, "GCOL", 4) ? quern__h5_number(p + 8, 8) : 0;
    if (!quern__h5_at(h, address, n))
        return (quern__h5_part){ 0 };
    for (uint64_t at = 16; at + 16 <= n && --h->steps >= 0;) {
        uint64_t size = quern__h5_number(p + at + 8, 8), room = n - at - 16;
        if (size > room || !quern__h5_number(p + at, 2))
            break;
        if (quern__h5_number(p + at, 2) == index) {
            uint64_t length = quern__h5_number(reference, 4);
            return (quern__h5_part){ p + at + 16, (size_t)(length < size ? length : size) };
        }
        at += 16 + (size + 7) / 8 * 8;
    }
    return (quern__h5_part){ 0 };
}

void quern__h5_strings_free(char **list, int n)
{
    if (list)
        for (int i = 0; i < n; i++)
            quern__free(list[i]);
    quern__free(list);
}

int quern__h5_strings(quern__h5 *h, uint64_t object, const char *name, char ***list, int *n,
                      quern_error *err)
{
    attribute a = { .h = h, .name = name };
    *list = NULL;
    *n = 0;
    int status = quern__h5_messages(h, object, take_attribute, &a, err);
    if (status < 0)
        return status;
    if (status == 0)
        return QUERN_END;
    const quern__h5_set *s = &a.set;
    bool any = s->type.class == 9;
    if (s->count == 0) /* the datatype of an empty list is not checked */
        return QUERN_OK;
    if ((!any && s->type.class != 3) || s->count > 1 << 20 || s->type.size == 0 ||
        (any && s->type.size != 16) || (size_t)s->count > s->bytes.size / s->type.size)
        return broken(h, "an attribute is not a list of strings", err);
    *list = quern__zalloc((size_t)s->count, sizeof **list);
    if (!*list)
        return quern__fail_memory(err, (size_t)s->count * sizeof **list);
    for (*n = 0; *n < s->count; (*n)++) {
        const uint8_t *p = s->bytes.data + (size_t)*n * s->type.size;
        quern__h5_part text = any ? in_global_heap(h, p) : (quern__h5_part){ p, s->type.size };
        (*list)[*n] = quern__strndup(
            text.data ? (const char *)text.data : "",
            strnlen((const char *)text.data ? (const char *)text.data : "", text.size));
        if (!(*list)[*n]) {
            quern__h5_strings_free(*list, *n);
            *list = NULL;
            *n = 0;
            return quern__fail_memory(err, text.size);
        }
    }
    return QUERN_OK;
}
