/* unread_weights: weights in a file that no layer has read. Each is an error with its path, because
 * a model without them computes something else. Exceptions are states without effect on results: of
 * the optimizer, of metrics, and of random number generators.
 */
#include "files.h"
#include "h5.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { most_depth = 64 };

static int by_address(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

int quern__objects_add(quern__objects *o, uint64_t object, quern_error *err)
{
    if (o->n == o->capacity) {
        size_t capacity = o->capacity ? 2 * o->capacity : 64;
        uint64_t *grown = quern__realloc(o->list, capacity * sizeof *grown);
        if (!grown)
            return quern__fail_memory(err, capacity * sizeof *grown);
        o->list = grown;
        o->capacity = capacity;
    }
    o->list[o->n++] = object;
    return QUERN_OK;
}

void quern__objects_free(quern__objects *o) { quern__free(o->list); }

/* A group on the path to the present one. */
typedef struct place {
    quern__h5 *h;
    const quern__objects *read;
    char path[512];
    int depth;
} place;

static int is_dataset(void *user, int type, quern__h5_part m, quern_error *err)
{
    (void)user, (void)m, (void)err;
    return type == QUERN__H5_LAYOUT;
}

static bool may_stay(const char *path)
{
    return !strncmp(path, "/optimizer/", 11) || !strncmp(path, "/metrics/", 9) ||
           strstr(path, "/seed_generator/");
}

/* Visits an object: a dataset of weights must be in the list of those read; a group is searched. */
static int check_object(void *user, const char *name, size_t length, uint64_t object,
                        quern_error *err)
{
    const place *above = user;
    place own = { .h = above->h, .read = above->read, .depth = above->depth + 1 };
    if (own.depth > most_depth || --own.h->steps < 0 ||
        (size_t)snprintf(own.path, sizeof own.path, "%s/%.*s", above->path, (int)length, name) >=
            sizeof own.path)
        return quern__fail(err, QUERN_FORMAT, own.h->where, "groups are nested too deep");
    if (may_stay(own.path))
        return QUERN_OK;
    int dataset = quern__h5_messages(own.h, object, is_dataset, NULL, err);
    if (dataset < 0)
        return dataset;
    if (dataset == 0)
        return quern__h5_links(own.h, object, check_object, &own, err);
    if (own.read->n && bsearch(&object, own.read->list, own.read->n, sizeof object, by_address))
        return QUERN_OK;
    int status = quern__fail(err, QUERN_UNSUPPORTED, own.h->where,
                             "the weight %.200s does not belong to the model", own.path + 1);
    quern__hint(err, "the model of the file does not have this weight in this version");
    return status;
}

int quern__unread(quern__h5 *h, quern__objects *read, quern_error *err)
{
    place root = { .h = h, .read = read };
    if (read->n)
        qsort(read->list, read->n, sizeof *read->list, by_address);
    return quern__h5_links(h, h->root, check_object, &root, err);
}
