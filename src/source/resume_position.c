/* Saves and restores the resume position of a generator as bytes. With random access it is a
 * pass, an index in it, and the parameters of the order. Sequential sources provide their own
 * state (ops->save), or do not support it. */
#include "generator_struct.h"

#include <string.h>

/* The format of the state with random access, little-endian like all files of quern. */
typedef struct kept {
    char magic[4];
    uint32_t flags;
    int64_t from, count; /* identifies the data */
    int64_t pass, first; /* the next record */
    uint64_t seed;
    int64_t batch_size; /* of the run; `first` is a multiple of it */
} kept;
enum { KNOWN = 1, SHUFFLED = 2 }; /* KNOWN: a run has begun */

static const char *where(const quern_generator *g) { return g->where ? g->where : "generator"; }

static int too_small(const quern_generator *g, size_t room, size_t size, quern_error *err)
{
    return quern__fail(err, QUERN_INVALID, where(g), "its state has %zu bytes, the buffer %zu",
                       size, room);
}

static int save_index(const quern_generator *g, void *state, size_t room, size_t *size,
                      quern_error *err)
{
    const quern__position *p = &g->position;
    kept k = { .magic = "qpos",
               .flags = (p->known ? KNOWN : 0u) | (p->shuffle ? SHUFFLED : 0u),
               .from = g->from,
               .count = g->count,
               .pass = p->pass,
               .first = p->first,
               .seed = p->seed,
               .batch_size = p->batch_size };
    *size = sizeof k;
    if (state && room < sizeof k)
        return too_small(g, room, sizeof k, err);
    if (state)
        memcpy(state, &k, sizeof k);
    return QUERN_OK;
}

int quern_generator_save(const quern_generator *g, void *state, size_t room, size_t *size,
                         quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "generator", g, "size", size);
    const quern__position *p = &g->position;
    *size = 0;
    if (g->ops->read)
        return save_index(g, state, room, size, err);
    if (!g->saves)
        return quern__fail(err, QUERN_UNSUPPORTED, where(g), "cannot save its position");
    if (!p->size) /* before the first batch: the source's own state */
        return g->ops->save(g, state, room, size, err);
    *size = p->size;
    if (state && room < p->size)
        return too_small(g, room, p->size, err);
    if (state)
        memcpy(state, p->state, p->size);
    return QUERN_OK;
}

/* Restores a position with random access; the number of records must be equal. */
static int restore_index(quern_generator *g, const void *state, size_t size, quern_error *err)
{
    kept k;
    if (size != sizeof k || memcmp(state, "qpos", 4))
        return quern__fail(err, QUERN_FORMAT, where(g),
                           "the bytes are not a state of a random-access generator");
    memcpy(&k, state, sizeof k);
    if (k.from != g->from || k.count != g->count)
        return quern__fail(
            err, QUERN_INVALID, where(g),
            "the state belongs to other data: %lld records from %lld, expected %lld from %lld",
            (long long)k.count, (long long)k.from, (long long)g->count, (long long)g->from);
    if (k.pass < 0 || k.pass > (int64_t)1 << 48 || k.first < 0 || k.first > k.count ||
        (k.flags & KNOWN && k.batch_size < 1))
        return quern__fail(err, QUERN_FORMAT, where(g), "the state is invalid");
    g->position = (quern__position){ .known = k.flags & KNOWN,
                                     .restored = k.flags & KNOWN,
                                     .shuffle = k.flags & SHUFFLED,
                                     .seed = k.seed,
                                     .pass = k.pass,
                                     .first = k.first,
                                     .batch_size = k.batch_size };
    return QUERN_OK;
}

int quern_generator_restore(quern_generator *g, const void *state, size_t size, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "generator", g, "state", state);
    if (g->position.going)
        return quern__fail(err, QUERN_INVALID, where(g), "it is in use by a run");
    if (g->ops->read)
        return restore_index(g, state, size, err);
    if (!g->saves)
        return quern__fail(err, QUERN_UNSUPPORTED, where(g), "cannot restore a position");
    g->position.size = 0;
    int status = g->ops->restore(g, state, size, err);
    g->position.restored = status >= 0;
    return status;
}

int quern__position_check(const quern_generator *g, bool shuffle, uint64_t seed, int64_t batch_size,
                          quern_error *err)
{
    const quern__position *p = &g->position;
    if (shuffle != p->shuffle || (shuffle && seed != p->seed))
        return quern__fail(err, QUERN_INVALID, where(g),
                           "the state belongs to a run with %s, which has another order",
                           shuffle != p->shuffle ? (p->shuffle ? "shuffling" : "no shuffling")
                                                 : "another seed");
    if (batch_size != p->batch_size && p->first % batch_size)
        return quern__fail(err, QUERN_INVALID, where(g),
                           "the state is at record %lld, which is not the first of a batch of %lld",
                           (long long)p->first + 1, (long long)batch_size);
    return QUERN_OK;
}
