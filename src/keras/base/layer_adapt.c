/* layer_adapt: adapt of one layer, for module fit. */
#include "layer.h"

bool quern__layer_learns(const quern__layer *layer)
{
    return layer->kind->adapt && layer->n_constants == 0 && !layer->given;
}

int quern__layer_adapt(quern__layer *layer, const quern_tensor *batch, int64_t *seen,
                       quern_error *err)
{
    int status = layer->kind->adapt(layer, batch, *seen, err);
    int64_t channels = layer->n_weights ? quern_shape_count(&layer->weights[0]->shape) : 1;
    if (status >= 0)
        *seen += quern_shape_count(&batch->shape) / (channels > 0 ? channels : 1);
    return status;
}

int quern__layer_adapted(quern__layer *layer, quern_error *err)
{
    return layer->kind->adapted ? layer->kind->adapted(layer, err) : QUERN_OK;
}
