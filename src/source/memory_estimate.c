/* Estimates the bytes that a source allocates when a run begins. `quern plan` and the memory
 * budget use them. */
#include "generator_struct.h"

size_t quern__protocol_bytes(const quern_generator *g, const quern_batch_spec *spec, bool shuffle)
{
    size_t bytes = 0, largest = 0;
    (void)g, (void)shuffle;
    for (int i = 0; i < spec->n_inputs + spec->n_targets; i++) {
        bytes =
            (size_t)spec->batch_size * (size_t)quern__per_record(&spec->shapes[i]) * sizeof(double);
        largest = bytes > largest ? bytes : largest;
    }
    return largest;
}

size_t quern__source_bytes(const quern_generator *g, const quern_batch_spec *spec, bool shuffle)
{
    enum { usual = 4 << 20 };
    if (!g)
        return usual + quern__csv_buffer + quern__protocol_bytes(g, spec, shuffle);
    return g->ops->bytes ? g->ops->bytes(g, spec, shuffle) : 0;
}

int quern__source_empty(const quern_generator *g, quern_error *err)
{
    if (g->ops->empty)
        return g->ops->empty(g, err);
    return quern__fail(err, QUERN_INVALID, g->where ? g->where : "data",
                       g->finite ? "the data has no records" : "the generator is empty");
}
