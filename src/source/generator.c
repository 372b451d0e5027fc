/* generator: what runs ask of a generator. */
#include "generator_struct.h"

bool quern__generator_finite(const quern_generator *g) { return g->finite; }
bool quern__generator_restarts(const quern_generator *g) { return g->restarts; }
bool quern__generator_indexed(const quern_generator *g) { return g->ops->read != NULL; }
bool quern__generator_keeps(const quern_generator *g) { return g->keeps; }
int64_t quern__generator_records(const quern_generator *g) { return g->count; }
int quern__generator_bad_policy(const quern_generator *g) { return g->bad.policy; }

const char *quern__generator_where(const quern_generator *g, const char *otherwise)
{
    return g->where ? g->where : otherwise;
}

int quern__source_shapes(const quern_generator *g, quern__description *out, quern_error *err)
{
    if (g->ops->shapes)
        return g->ops->shapes(g, out, err);
    return g->ops->describe ? g->ops->describe(g, out, err) : QUERN_END;
}

const char *quern__generator_file(const quern_generator *g, int array)
{
    return g->file_of ? g->file_of(g, array) : NULL;
}

bool quern__generator_sets_batches(const quern_generator *g) { return g->ops->first != NULL; }

int64_t quern__generator_first(quern_generator *g, uint64_t seed, const volatile int *interrupt,
                               quern_error *err)
{
    return g->ops->first ? g->ops->first(g, seed, interrupt, err) : 0;
}

int quern__generator_place(quern_generator *g, const void *state, size_t size, quern_error *err)
{
    g->position.going = false; /* the queue is open, but no epoch has started */
    int status = quern_generator_restore(g, state, size, err);
    g->position.going = true;
    return status;
}

void quern__generator_start_over(quern_generator *g) { g->position.restored = false; }
