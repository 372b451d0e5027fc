/* input: InputLayer and Identity, which return their input. */
#include "keras/layers/layer_rows.h"

static quern__id same_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                           bool training)
{
    (void)l, (void)g, (void)n, (void)training;
    return in[0];
}

static const quern__field input_fields[] = { { "shape", QUERN__F_ANY, "null" },
                                             { "batch_size", QUERN__F_INT, "null" },
                                             { "sparse", QUERN__F_ONLY_DEFAULT, "false" },
                                             { "ragged", QUERN__F_ONLY_DEFAULT, "false" },
                                             { "batch_shape", QUERN__F_ANY, "null" },
                                             { 0 } };
QUERN__LAYER_ROW(input_layer, "InputLayer", "", input_fields, NULL, same_call, PASSES);

QUERN__LAYER_ROW_OF(identity, "Identity", "", NULL, NULL, same_call, PASSES, true);
