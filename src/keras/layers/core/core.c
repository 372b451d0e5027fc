/* The layers: Input, Dense, Flatten, Reshape, Dropout, Activation, Rescaling, Normalization, Concatenate, Add. */
#include "keras/keras.h"

#include <math.h>
#include <string.h>

static quern__id same(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    (void)l, (void)g, (void)n, (void)training;
    return in[0];
}

/* ---- Dense ---- */

static int dense_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    (void)n;
    int64_t units = quern__config_int(l->config, "units"), width = in[0].rank > 1 ? in[0].dims[in[0].rank - 1] : -1;
    char text[96];
    if (units < 1)
        return quern__fail(err, QUERN_INVALID, l->name, "units must be at least 1");
    if (width < 1)
        return quern__fail(err, QUERN_SHAPE, l->name, "inputs %s have no fixed last axis", quern_shape_text(in, text, sizeof text));
    quern_shape kernel = { .rank = 2, .dims = { width, units } }, bias = { .rank = 1, .dims = { units } };
    if (!quern__layer_weight(l, "kernel", &kernel, "kernel_initializer", err))
        return QUERN_NOMEM;
    if (quern__config_bool(l->config, "use_bias") && !quern__layer_weight(l, "bias", &bias, "bias_initializer", err))
        return QUERN_NOMEM;
    return QUERN_OK;
}

static quern__id dense_call(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    (void)n, (void)training;
    quern__id y = quern__matmul(g, in[0], quern__graph_variable(g, l->weights[0]), false, false);
    if (l->n_weights > 1)
        y = quern__add2(g, y, quern__graph_variable(g, l->weights[1]));
    return quern__activation(g, json_object_get(l->config, "activation"), y);
}

static const quern__field dense_fields[] = { { "units", QUERN__F_INT, NULL },
                                             { "activation", QUERN__F_ACTIVATION, "\"linear\"" },
                                             { "use_bias", QUERN__F_BOOL, "true" },
                                             QUERN__KERNEL_AND_BIAS_FIELDS,
                                             { 0 } };

/* ---- shapes ---- */

static quern__id flatten_call(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    (void)n, (void)training;
    quern_shape s = *quern__shape_of(g, in[0]), flat = { .rank = 2, .dims = { s.dims[0], 1 } };
    const char *format = quern__config_text(l->config, "data_format");
    int order[QUERN_MAX_RANK] = { 0 };
    for (int i = 1; i < s.rank; i++) {
        flat.dims[1] *= s.dims[i];
        order[i] = i + 1 < s.rank ? i + 1 : 1; /* channels go to the end */
    }
    bool first = format && !strcmp(format, "channels_first") && s.rank > 2;
    return quern__reshape(g, first ? quern__transpose(g, in[0], order) : in[0], &flat);
}

static quern__id reshape_call(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    (void)n, (void)training;
    quern_shape s = *quern__shape_of(g, in[0]), to = { .rank = 1, .dims = { s.dims[0] } };
    json_t *target = json_object_get(l->config, "target_shape"), *d;
    int64_t count = 1, known = 1;
    int guess = 0;
    size_t k;
    for (int i = 1; i < s.rank; i++)
        count *= s.dims[i];
    if (json_array_size(target) > QUERN_MAX_RANK - 1)
        return quern__graph_fail(g, QUERN_SHAPE, "target_shape has too many axes");
    json_array_foreach(target, k, d)
    {
        to.dims[to.rank] = json_integer_value(d);
        if (to.dims[to.rank] < 0)
            guess = to.rank;
        else
            known *= to.dims[to.rank];
        to.rank++;
    }
    if (guess && known && count % known == 0)
        to.dims[guess] = count / known;
    return quern__reshape(g, in[0], &to);
}

static const quern__field flatten_fields[] = { { "data_format", QUERN__F_TEXT, "\"channels_last\"" }, { 0 } };
static const quern__field reshape_fields[] = { { "target_shape", QUERN__F_ANY, NULL }, { 0 } };

/* Masks of arrays that are put behind each other along the steps; 0 when none has one. */
static quern__id steps_mask(quern__layer *l, quern__graph *g, const quern__id *in, int n)
{
    quern__id masks[QUERN__MAX_ARGUMENTS];
    bool any = false;
    for (int i = 0; i < n; i++) {
        const quern_shape *s = quern__shape_of(g, in[i]);
        quern_shape steps = { .rank = 2, .dims = { s->dims[0], s->dims[1] } };
        masks[i] = quern__layer_mask(l, i);
        any = any || masks[i];
        if (!masks[i])
            masks[i] = quern__broadcast(g, quern__graph_constant(g, 1, QUERN_FLOAT32), &steps);
    }
    return any ? quern__concat(g, masks, n, 1) : 0;
}

static quern__id concatenate_call(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    (void)training;
    int axis = (int)quern__config_int(l->config, "axis"), rank = quern__shape_of(g, in[0])->rank;
    axis = axis < 0 ? axis + rank : axis;
    if (axis < 1 || axis >= rank)
        return quern__graph_fail(g, QUERN_SHAPE, "axis %d does not fit", axis);
    l->context->mask_out[0] = axis == 1 ? steps_mask(l, g, in, n) : quern__layer_merged_mask(l, g, n);
    return quern__concat(g, in, n, axis);
}

static const quern__field concatenate_fields[] = { { "axis", QUERN__F_INT, "-1" }, { 0 } };

void quern__equal_ranks(quern__graph *g, const quern__id *in, int n, quern__id *out)
{
    int most = 0;
    for (int i = 0; i < n; i++)
        most = quern__shape_of(g, in[i])->rank > most ? quern__shape_of(g, in[i])->rank : most;
    for (int i = 0; i < n; i++) {
        quern_shape s = *quern__shape_of(g, in[i]), wide = { .rank = most, .dims = { s.dims[0] } };
        for (int k = 1; k < most; k++)
            wide.dims[k] = k > most - s.rank ? s.dims[k - most + s.rank] : 1;
        out[i] = s.rank == most || s.rank == 0 ? in[i] : quern__reshape(g, in[i], &wide);
    }
}

static quern__id add_call(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    quern__id x[QUERN__MAX_ARGUMENTS], y;
    (void)l, (void)training;
    quern__equal_ranks(g, in, n, x);
    y = x[0];
    for (int i = 1; i < n; i++)
        y = quern__add2(g, y, x[i]);
    return y;
}

/* ---- Dropout, Activation, Rescaling ---- */

static int dropout_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    (void)in, (void)n;
    double rate = quern__config_number(l->config, "rate");
    return rate >= 0 && rate <= 1 ? QUERN_OK : quern__fail(err, QUERN_INVALID, l->name, "rate %g is outside 0 … 1", rate);
}

uint32_t quern__shared_axes(const quern__layer *l)
{
    json_t *shape = json_object_get(l->config, "noise_shape"), *d;
    uint32_t shared = 0;
    size_t k;
    json_array_foreach(shape, k, d) shared |= json_integer_value(d) == 1 ? 1u << k : 0;
    return shared;
}

static quern__id dropout_call(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    (void)n;
    uint64_t own = quern__config_seed(l->config, l->seed);
    return training ? quern__dropout(g, in[0], quern__config_number(l->config, "rate"), own, quern__shared_axes(l)) : in[0];
}

static const quern__field dropout_fields[] = {
    { "rate", QUERN__F_NUMBER, NULL }, { "noise_shape", QUERN__F_ANY, "null" }, { "seed", QUERN__F_INT, "null" }, { 0 }
};

static quern__id activation_call(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    (void)n, (void)training;
    return quern__activation(g, json_object_get(l->config, "activation"), in[0]);
}

static const quern__field activation_fields[] = { { "activation", QUERN__F_ACTIVATION, NULL }, { 0 } };

static quern__id rescaling_call(quern__layer *l, quern__graph *g, const quern__id *in, int n, bool training)
{
    (void)n, (void)training;
    double scale = quern__config_number(l->config, "scale"), offset = quern__config_number(l->config, "offset");
    if (!l->n_constants)
        return quern__unary(g, QUERN__AFFINE, in[0], scale, offset, 0);
    quern__id factor = quern__graph_variable(g, l->constants[0]), term = quern__graph_variable(g, l->constants[1]);
    return quern__add2(g, quern__mul2(g, in[0], factor), term);
}

/* One number for all, or one a channel. */
static int rescaling_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    (void)in, (void)n;
    json_t *scale = json_object_get(l->config, "scale"), *offset = json_object_get(l->config, "offset");
    if (json_is_number(scale) && json_is_number(offset))
        return QUERN_OK;
    return quern__layer_constant(l, l->name, scale, err) && quern__layer_constant(l, l->name, offset, err) ? QUERN_OK
                                                                                                           : QUERN_INVALID;
}

static const quern__field rescaling_fields[] = { { "scale", QUERN__F_ANY, NULL }, { "offset", QUERN__F_ANY, "0.0" }, { 0 } };

#define LAYER(ID, NAME, ALIASES, FIELDS, BUILD, CALL, MASKS) TYPED(ID, NAME, ALIASES, FIELDS, BUILD, CALL, MASKS, false)
#define TYPED(ID, NAME, ALIASES, FIELDS, BUILD, CALL, MASKS, WHOLE) \
    static const quern__class ID = { .group = QUERN__LAYER,         \
                                     .name = NAME,                  \
                                     .aliases = ALIASES,            \
                                     .module = "keras.layers",      \
                                     .fields = FIELDS,              \
                                     .build = BUILD,                \
                                     .call = CALL,                  \
                                     .whole = WHOLE,                \
                                     .masks = QUERN__MASK_##MASKS,  \
                                     .by_step = QUERN__MASK_##MASKS != QUERN__MASK_ENDS }

static const quern__field input_fields[] = { { "shape", QUERN__F_ANY, "null" },
                                             { "batch_size", QUERN__F_INT, "null" },
                                             { "sparse", QUERN__F_ONLY_DEFAULT, "false" },
                                             { "ragged", QUERN__F_ONLY_DEFAULT, "false" },
                                             { "batch_shape", QUERN__F_ANY, "null" },
                                             { 0 } };
LAYER(input_class, "InputLayer", "", input_fields, NULL, same, PASSES);
LAYER(dense_class, "Dense", "", dense_fields, dense_build, dense_call, PASSES);
TYPED(flatten_class, "Flatten", "", flatten_fields, NULL, flatten_call, ENDS, true);
TYPED(reshape_class, "Reshape", "", reshape_fields, NULL, reshape_call, ENDS, true);
LAYER(dropout_class, "Dropout", "", dropout_fields, dropout_build, dropout_call, PASSES);
LAYER(activation_class, "Activation", "", activation_fields, NULL, activation_call, PASSES);
LAYER(rescaling_class, "Rescaling", "", rescaling_fields, rescaling_build, rescaling_call, PASSES);
#define MERGE(ID, NAME, FIELDS, CALL, MASKS)                       \
    static const quern__class ID = { .group = QUERN__LAYER,        \
                                     .name = NAME,                 \
                                     .aliases = "",                \
                                     .module = "keras.layers",     \
                                     .fields = FIELDS,             \
                                     .call = CALL,                 \
                                     .list = true,                 \
                                     .masks = QUERN__MASK_##MASKS, \
                                     .by_step = true }
MERGE(concatenate_class, "Concatenate", concatenate_fields, concatenate_call, OWN);
MERGE(add_class, "Add", NULL, add_call, PASSES);

extern const quern__class quern__normalization_class;
/* embedding.c, rnn.c, rnn_cells.c, wrappers.c */
extern const quern__class quern__layer_embedding, quern__layer_simple_rnn, quern__layer_lstm, quern__layer_gru, quern__layer_rnn,
    quern__layer_simple_rnn_cell, quern__layer_lstm_cell, quern__layer_gru_cell, quern__layer_stacked_rnn_cells,
    quern__layer_bidirectional, quern__layer_time_distributed;
/* model/nested_model.c */
extern const quern__class quern__layer_sequential, quern__layer_functional;
/* simple.c */
extern const quern__class quern__layer_subtract, quern__layer_multiply, quern__layer_average, quern__layer_maximum,
    quern__layer_minimum, quern__layer_softmax, quern__layer_re_lu, quern__layer_leaky_re_lu, quern__layer_elu,
    quern__layer_p_re_lu, quern__layer_identity, quern__layer_permute, quern__layer_repeat_vector, quern__layer_cropping1d,
    quern__layer_cropping2d, quern__layer_cropping3d, quern__layer_zero_padding1d, quern__layer_zero_padding2d,
    quern__layer_zero_padding3d, quern__layer_up_sampling1d, quern__layer_up_sampling2d, quern__layer_up_sampling3d,
    quern__layer_global_average_pooling1d, quern__layer_global_average_pooling2d, quern__layer_global_average_pooling3d,
    quern__layer_global_max_pooling1d, quern__layer_global_max_pooling2d, quern__layer_global_max_pooling3d,
    quern__layer_spatial_dropout1d, quern__layer_spatial_dropout2d, quern__layer_spatial_dropout3d, quern__layer_unit_normalization,
    quern__layer_activity_regularization;
/* string_lookup.c, layer_normalization.c, multi_head_attention.c, dot_product_attention.c, einsum_dense.c, convolution1d.c */
extern const quern__class quern__layer_layer_normalization, quern__layer_rms_normalization, quern__layer_multi_head_attention,
    quern__layer_grouped_query_attention, quern__layer_attention, quern__layer_additive_attention, quern__layer_masking,
    quern__layer_text_vectorization, quern__layer_string_lookup, quern__layer_integer_lookup, quern__layer_einsum_dense,
    quern__layer_dot, quern__layer_conv1d, quern__layer_max_pooling1d, quern__layer_average_pooling1d,
    quern__layer_batch_normalization, quern__layer_group_normalization, quern__layer_spectral_normalization, quern__layer_conv2d,
    quern__layer_conv3d, quern__layer_conv1d_transpose, quern__layer_conv2d_transpose, quern__layer_conv3d_transpose,
    quern__layer_depthwise_conv1d, quern__layer_depthwise_conv2d, quern__layer_separable_conv1d, quern__layer_separable_conv2d,
    quern__layer_max_pooling2d, quern__layer_max_pooling3d, quern__layer_average_pooling2d, quern__layer_average_pooling3d,
    quern__layer_adaptive_max_pooling1d, quern__layer_adaptive_max_pooling2d, quern__layer_adaptive_max_pooling3d,
    quern__layer_adaptive_average_pooling1d, quern__layer_adaptive_average_pooling2d, quern__layer_adaptive_average_pooling3d,
    quern__layer_conv_lstm1d, quern__layer_conv_lstm2d, quern__layer_conv_lstm3d;
/* augmentation.c */
extern const quern__class quern__layer_random_flip, quern__layer_random_rotation, quern__layer_random_zoom,
    quern__layer_random_translation, quern__layer_random_crop, quern__layer_random_contrast, quern__layer_random_brightness,
    quern__layer_random_shear, quern__layer_random_perspective, quern__layer_random_elastic_transform, quern__layer_random_hue,
    quern__layer_random_saturation, quern__layer_random_sharpness, quern__layer_random_grayscale, quern__layer_random_invert,
    quern__layer_random_posterization, quern__layer_solarization, quern__layer_random_color_degeneration,
    quern__layer_random_gaussian_blur, quern__layer_random_erasing, quern__layer_auto_contrast, quern__layer_equalization,
    quern__layer_random_color_jitter, quern__layer_rand_augment, quern__layer_aug_mix;
/* pipeline.c, spectrogram.c */
extern const quern__class quern__layer_pipeline, quern__layer_stft_spectrogram, quern__layer_mel_spectrogram;
/* resizing.c */
extern const quern__class quern__layer_resizing, quern__layer_center_crop;
/* noise.c */
extern const quern__class quern__layer_gaussian_noise, quern__layer_gaussian_dropout, quern__layer_alpha_dropout;
/* category_encoding.c, discretization.c */
extern const quern__class quern__layer_category_encoding, quern__layer_hashing, quern__layer_hashed_crossing,
    quern__layer_discretization;
const quern__class *const quern__layer_classes[] = { &input_class,
                                                     &dense_class,
                                                     &flatten_class,
                                                     &reshape_class,
                                                     &dropout_class,
                                                     &activation_class,
                                                     &rescaling_class,
                                                     &concatenate_class,
                                                     &add_class,
                                                     &quern__normalization_class,
                                                     &quern__layer_sequential,
                                                     &quern__layer_functional,
                                                     &quern__layer_subtract,
                                                     &quern__layer_multiply,
                                                     &quern__layer_average,
                                                     &quern__layer_maximum,
                                                     &quern__layer_minimum,
                                                     &quern__layer_softmax,
                                                     &quern__layer_re_lu,
                                                     &quern__layer_leaky_re_lu,
                                                     &quern__layer_elu,
                                                     &quern__layer_p_re_lu,
                                                     &quern__layer_identity,
                                                     &quern__layer_permute,
                                                     &quern__layer_repeat_vector,
                                                     &quern__layer_cropping1d,
                                                     &quern__layer_cropping2d,
                                                     &quern__layer_cropping3d,
                                                     &quern__layer_zero_padding1d,
                                                     &quern__layer_zero_padding2d,
                                                     &quern__layer_zero_padding3d,
                                                     &quern__layer_up_sampling1d,
                                                     &quern__layer_up_sampling2d,
                                                     &quern__layer_up_sampling3d,
                                                     &quern__layer_global_average_pooling1d,
                                                     &quern__layer_global_average_pooling2d,
                                                     &quern__layer_global_average_pooling3d,
                                                     &quern__layer_global_max_pooling1d,
                                                     &quern__layer_global_max_pooling2d,
                                                     &quern__layer_global_max_pooling3d,
                                                     &quern__layer_spatial_dropout1d,
                                                     &quern__layer_spatial_dropout2d,
                                                     &quern__layer_spatial_dropout3d,
                                                     &quern__layer_unit_normalization,
                                                     &quern__layer_activity_regularization,
                                                     &quern__layer_embedding,
                                                     &quern__layer_simple_rnn,
                                                     &quern__layer_lstm,
                                                     &quern__layer_gru,
                                                     &quern__layer_rnn,
                                                     &quern__layer_simple_rnn_cell,
                                                     &quern__layer_lstm_cell,
                                                     &quern__layer_gru_cell,
                                                     &quern__layer_stacked_rnn_cells,
                                                     &quern__layer_bidirectional,
                                                     &quern__layer_time_distributed,
                                                     &quern__layer_layer_normalization,
                                                     &quern__layer_rms_normalization,
                                                     &quern__layer_multi_head_attention,
                                                     &quern__layer_grouped_query_attention,
                                                     &quern__layer_attention,
                                                     &quern__layer_additive_attention,
                                                     &quern__layer_masking,
                                                     &quern__layer_einsum_dense,
                                                     &quern__layer_dot,
                                                     &quern__layer_conv1d,
                                                     &quern__layer_max_pooling1d,
                                                     &quern__layer_average_pooling1d,
                                                     &quern__layer_batch_normalization,
                                                     &quern__layer_group_normalization,
                                                     &quern__layer_spectral_normalization,
                                                     &quern__layer_conv2d,
                                                     &quern__layer_conv3d,
                                                     &quern__layer_conv1d_transpose,
                                                     &quern__layer_conv2d_transpose,
                                                     &quern__layer_conv3d_transpose,
                                                     &quern__layer_depthwise_conv1d,
                                                     &quern__layer_depthwise_conv2d,
                                                     &quern__layer_separable_conv1d,
                                                     &quern__layer_separable_conv2d,
                                                     &quern__layer_max_pooling2d,
                                                     &quern__layer_max_pooling3d,
                                                     &quern__layer_average_pooling2d,
                                                     &quern__layer_average_pooling3d,
                                                     &quern__layer_adaptive_max_pooling1d,
                                                     &quern__layer_adaptive_max_pooling2d,
                                                     &quern__layer_adaptive_max_pooling3d,
                                                     &quern__layer_adaptive_average_pooling1d,
                                                     &quern__layer_adaptive_average_pooling2d,
                                                     &quern__layer_adaptive_average_pooling3d,
                                                     &quern__layer_conv_lstm1d,
                                                     &quern__layer_conv_lstm2d,
                                                     &quern__layer_conv_lstm3d,
                                                     &quern__layer_random_flip,
                                                     &quern__layer_random_rotation,
                                                     &quern__layer_random_zoom,
                                                     &quern__layer_random_translation,
                                                     &quern__layer_random_crop,
                                                     &quern__layer_random_contrast,
                                                     &quern__layer_random_brightness,
                                                     &quern__layer_random_shear,
                                                     &quern__layer_random_perspective,
                                                     &quern__layer_random_elastic_transform,
                                                     &quern__layer_random_hue,
                                                     &quern__layer_random_saturation,
                                                     &quern__layer_random_sharpness,
                                                     &quern__layer_random_grayscale,
                                                     &quern__layer_random_invert,
                                                     &quern__layer_random_posterization,
                                                     &quern__layer_solarization,
                                                     &quern__layer_random_color_degeneration,
                                                     &quern__layer_random_gaussian_blur,
                                                     &quern__layer_random_erasing,
                                                     &quern__layer_auto_contrast,
                                                     &quern__layer_equalization,
                                                     &quern__layer_random_color_jitter,
                                                     &quern__layer_rand_augment,
                                                     &quern__layer_aug_mix,
                                                     &quern__layer_pipeline,
                                                     &quern__layer_stft_spectrogram,
                                                     &quern__layer_mel_spectrogram,
                                                     &quern__layer_resizing,
                                                     &quern__layer_center_crop,
                                                     &quern__layer_gaussian_noise,
                                                     &quern__layer_gaussian_dropout,
                                                     &quern__layer_alpha_dropout,
                                                     &quern__layer_category_encoding,
                                                     &quern__layer_hashing,
                                                     &quern__layer_hashed_crossing,
                                                     &quern__layer_discretization,
                                                     &quern__layer_text_vectorization,
                                                     &quern__layer_string_lookup,
                                                     &quern__layer_integer_lookup,
                                                     NULL };
