/* batch_shape: the shapes of the arrays of one batch, which may differ from batch to batch where the
 * model's inputs have open axes. */
#include "source.h"

#include <string.h>

void quern__batch_begin(quern_batch *b, int64_t size)
{
    b->size = size;
    memcpy(b->shapes, b->spec->shapes,
           (size_t)(b->spec->n_inputs + b->spec->n_targets) * sizeof *b->shapes);
}

int quern_batch_set_shape(quern_batch *b, int array, const quern_shape *shape, quern_error *err)
{
    QUERN__ENTER(err, QUERN_INVALID, "batch", b, "shape", shape);
    char have[96], want[96];
    const quern_batch_spec *s = b->spec;
    if (array < 0 || array >= s->n_inputs + s->n_targets)
        return quern__fail(err, QUERN_INVALID, "batch", "array %d is outside 0 … %d", array,
                           s->n_inputs + s->n_targets - 1);
    quern_shape most = s->shapes[array], own = *shape;
    own.dims[0] = most.dims[0];
    bool fits = shape->rank == most.rank;
    for (int k = 1; fits && k < most.rank; k++)
        fits = s->open[array] >> k & 1 ? shape->dims[k] >= 1 && shape->dims[k] <= most.dims[k]
                                       : shape->dims[k] == most.dims[k];
    if (!fits) {
        quern__fail(err, QUERN_SHAPE, "batch", "array %d has shape %s, the largest is %s", array,
                    quern_shape_text(&own, have, sizeof have),
                    quern_shape_text(&most, want, sizeof want));
        quern__hint(err, "set a larger size: --input-shape, or quern_model_set_input_shapes");
        return QUERN_SHAPE;
    }
    b->shapes[array] = own;
    return QUERN_OK;
}
