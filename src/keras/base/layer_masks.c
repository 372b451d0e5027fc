/* layer_masks: the masks of the inputs of a call, and how a layer with several inputs merges them. */
#include "keras/keras.h"

quern__id quern__layer_mask(const quern__layer *l, int i)
{
    return l->context->masks ? l->context->masks[i] : 0;
}

bool quern__layer_masks_all(const quern__layer *l)
{
    return json_is_true(json_object_get(l->config, "mask_all"));
}

/* The intersection of the masks; an input without a mask counts everywhere. */
static quern__id common_mask(const quern__layer *l, quern__graph *g, int n)
{
    quern__id all = 0;
    for (int i = 0; i < n; i++) {
        quern__id own = quern__layer_mask(l, i);
        all = !own || own == all ? all : !all ? own : quern__binary(g, QUERN__MINIMUM, all, own);
    }
    return all;
}

quern__id quern__layer_merged_mask(const quern__layer *l, quern__graph *g, int n_in)
{
    if (quern__layer_masks_all(l))
        return common_mask(l, g, n_in);
    quern__id any = n_in ? quern__layer_mask(l, 0) : 0;
    for (int i = 1; i < n_in && any; i++) {
        quern__id own = quern__layer_mask(l, i);
        any = !own ? 0 : own == any ? any : quern__binary(g, QUERN__MAXIMUM, any, own);
    }
    return any;
}
