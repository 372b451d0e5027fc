/* embedding: Embedding: a table row for each index (keras.src.layers.core.embedding). Indices are
 * float32, int32 or int64. */
#include "keras/keras.h"

static int embedding_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    (void)in, (void)n;
    quern_shape table = { .rank = 2,
                          .dims = { quern__config_int(l->config, "input_dim"),
                                    quern__config_int(l->config, "output_dim") } };
    if (table.dims[0] < 1 || table.dims[1] < 1 || table.dims[0] > 1 << 24)
        return quern__fail(err, QUERN_INVALID, l->name,
                           "input_dim and output_dim must be at least 1, input_dim at most 2^24");
    return quern__kernel_build(
        l, &(quern__kernel_form){ .name = "embeddings", .shape = table, .shared = 2 }, err);
}

static quern__id embedding_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                bool training)
{
    (void)n, (void)training;
    if (quern__config_bool(l->config, "mask_zero"))
        l->context->mask_out[0] =
            quern__binary(g, QUERN__NOT_EQUAL, in[0], quern__graph_constant(g, 0, QUERN_FLOAT32));
    return quern__kernel_rows(l, g, in[0]);
}

static const quern__field embedding_fields[] = {
    { "input_dim", QUERN__F_INT, NULL },
    { "output_dim", QUERN__F_INT, NULL },
    { "embeddings_initializer", QUERN__F_INITIALIZER, "\"uniform\"" },
    { "embeddings_regularizer", QUERN__F_REGULARIZER, "null" },
    { "embeddings_constraint", QUERN__F_CONSTRAINT, "null" },
    { "mask_zero", QUERN__F_BOOL, "false" },
    { "weights", QUERN__F_ONLY_DEFAULT, "null" },
    QUERN__LORA_FIELDS,
    QUERN__QUANTIZATION_FIELD,
    { 0 }
};
const quern__class quern__layer_embedding = { .group = QUERN__LAYER,
                                              .name = "Embedding",
                                              .aliases = "",
                                              .module = "keras.layers",
                                              .fields = embedding_fields,
                                              .build = embedding_build,
                                              .call = embedding_call,
                                              .masks = QUERN__MASK_OWN,
                                              .whole = true,
                                              .by_step = true };
