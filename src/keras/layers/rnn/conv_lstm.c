/* conv_lstm: ConvLSTM1D, 2D, 3D: an LSTM with convolutions instead of matrix products (Shi et al.,
 * "Convolutional LSTM Network", 2015), unrolled over time. Gates are in Keras's order: input,
 * forget, candidate, output. */
#include "keras/layers/convolutional/spatial.h"
#include "rnn.h"

enum { gates = 4 };

/* The recurrent convolution has stride 1 and padding "same" over the states. */
static quern__frame recurrent_frame(const quern__frame *f)
{
    quern__frame r = *f;
    for (int a = 0; a < 3; a++) {
        r.stride[a] = r.dilation[a] = 1;
        r.before[a] = (r.kernel[a] - 1) / 2;
    }
    return r;
}

/* Adds kernel, recurrent kernel and bias; unit_forget_bias sets the bias of the forget gate to 1.
 */
static int conv_lstm_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    int axes = l->kind->extra;
    int64_t filters = quern__config_int(l->config, "filters");
    char text[96];
    (void)n;
    if (in->rank != axes + 3)
        return quern__fail(err, QUERN_SHAPE, l->name,
                           "inputs %s are not (records, steps, %d spatial axes, channels)",
                           quern_shape_text(in, text, sizeof text), axes);
    quern_shape own = { .rank = axes + 2 }, recurrent,
                bias = { .rank = 1, .dims = { gates * filters } };
    for (int a = 0; a < axes; a++)
        own.dims[a] = quern__by_axis(l, "kernel_size", a, 0);
    own.dims[axes] = in->dims[quern__channels_first(l) ? 2 : in->rank - 1];
    own.dims[axes + 1] = gates * filters;
    for (int a = 0; a <= axes + 1; a++)
        if (own.dims[a] < 1)
            return quern__fail(err, QUERN_INVALID, l->name,
                               "filters, kernel_size and channels must be at least 1");
    recurrent = own;
    recurrent.dims[axes] = filters;
    if (!quern__layer_weight(l, "kernel", &own, "kernel_initializer", err) ||
        !quern__layer_weight(l, "recurrent_kernel", &recurrent, "recurrent_initializer", err))
        return QUERN_NOMEM;
    quern__variable *b = NULL;
    if (quern__config_bool(l->config, "use_bias") &&
        !(b = quern__layer_weight(l, "bias", &bias, "bias_initializer", err)))
        return QUERN_NOMEM;
    if (b && quern__config_bool(l->config, "unit_forget_bias"))
        for (int64_t k = filters; k < 2 * filters; k++)
            ((float *)b->data)[k] = 1;
    quern__layer_place(l, l->n_weights, "cell");
    return QUERN_OK;
}

typedef struct cell {
    quern__layer *l;
    quern__frame input, recurrent;
    bool training;
} cell;

/* All gates of x. With dropout, each gate has its own dropout mask, which is the same for all
 * steps. */
static quern__id convolved(const cell *c, quern__graph *g, quern__id x, int weight,
                           const quern__frame *f, const char *dropout)
{
    quern__layer *l = c->l;
    quern__id w = quern__graph_variable(g, l->weights[weight]), parts[gates];
    int last = quern__shape_of(g, w)->rank - 1;
    double rate = c->training ? quern__config_number(l->config, dropout) : 0;
    uint64_t own = quern__config_seed(l->config, l->seed);
    if (!(rate > 0))
        return quern__convolve(g, x, w, f);
    int64_t filters = quern__shape_of(g, w)->dims[last] / gates;
    for (int k = 0; k < gates; k++)
        parts[k] =
            quern__convolve(g, quern__dropout(g, x, rate, own + (uint64_t)(2 * k + weight), 0),
                            quern__slice(g, w, last, k * filters, filters), f);
    return quern__concat(g, parts, gates, last);
}

/* Gate k of z (…, 4 * filters), through an activation of the config. */
static quern__id gate(const cell *c, quern__graph *g, quern__id z, int k, const char *activation)
{
    int last = quern__shape_of(g, z)->rank - 1;
    int64_t filters = quern__shape_of(g, z)->dims[last] / gates;
    return quern__activation(g, json_object_get(c->l->config, activation),
                             quern__slice(g, z, last, k * filters, filters));
}

/* One step. States have the layer's data format; the computation has channels last. */
static quern__id step(void *user, quern__graph *g, quern__id x, quern__id *states)
{
    const cell *c = user;
    quern__layer *l = c->l;
    quern__id h = quern__channels_last(l, g, states[0]),
              memory = quern__channels_last(l, g, states[1]);
    /* all gates: two convolutions and the bias */
    quern__id z = convolved(c, g, quern__channels_last(l, g, x), 0, &c->input, "dropout");
    if (l->n_weights > 2)
        z = quern__add2(g, z, quern__graph_variable(g, l->weights[2]));
    z = quern__add2(g, z, convolved(c, g, h, 1, &c->recurrent, "recurrent_dropout"));
    if (!z)
        return 0;
    /* c' = f c + i g; h' = o activation(c') */
    memory = quern__add2(
        g, quern__mul2(g, gate(c, g, z, 1, "recurrent_activation"), memory),
        quern__mul2(g, gate(c, g, z, 0, "recurrent_activation"), gate(c, g, z, 2, "activation")));
    h = quern__mul2(g, gate(c, g, z, 3, "recurrent_activation"),
                    quern__activation(g, json_object_get(l->config, "activation"), memory));
    states[1] = quern__channels_back(l, g, memory);
    return states[0] = quern__channels_back(l, g, h);
}

/* Unrolls the sequence step by step. */
static quern__id conv_lstm_call(quern__layer *l, quern__graph *g, const quern__id *in, int n,
                                bool training)
{
    int axes = l->kind->extra, first = quern__channels_first(l) ? 2 : 1;
    const quern_shape *s = quern__shape_of(g, in[0]);
    cell c = { .l = l, .training = training };
    quern__sequence sequence;
    if (!quern__layer_frame(l, g, "kernel_size", 1, axes, s->dims + 1 + first, &c.input))
        return 0;
    /* states have the spatial size of the output of the input convolution */
    c.recurrent = recurrent_frame(&c.input);
    quern_shape state = { .rank = axes + 2 };
    for (int a = 0; a < axes; a++)
        state.dims[first + a] = c.input.out[3 - axes + a];
    state.dims[first == 2 ? 1 : axes + 1] = quern__config_int(l->config, "filters");
    quern__sequence_begin(l, g, in, n, (quern_shape[]){ state, state }, 2, &sequence);
    quern__id y = quern__graph_status(g) ? 0 : quern__unrolled(l, g, &sequence, step, &c);
    return quern__sequence_end(l, g, &sequence, y);
}

static const quern__field fields[] = { { "filters", QUERN__F_INT, NULL },
                                       { "kernel_size", QUERN__F_SIZES, NULL },
                                       { "strides", QUERN__F_SIZES, "1" },
                                       { "padding", QUERN__F_TEXT, "\"valid\"" },
                                       { "data_format", QUERN__F_TEXT, "\"channels_last\"" },
                                       { "dilation_rate", QUERN__F_SIZES, "1" },
                                       { "activation", QUERN__F_ACTIVATION, "\"tanh\"" },
                                       QUERN__CELL_INNER,
                                       QUERN__CELL_WEIGHTS,
                                       { "unit_forget_bias", QUERN__F_BOOL, "true" },
                                       QUERN__CELL_LIMITS,
                                       QUERN__CELL_SEED,
                                       QUERN__SEQUENCE_FIELDS,
                                       QUERN__SEQUENCE_ZEROS,
                                       { 0 } };

#define LAYER(N)                                                                            \
    const quern__class quern__layer_conv_lstm##N##d = { .group = QUERN__LAYER,              \
                                                        .name = "ConvLSTM" #N "D",          \
                                                        .aliases = "",                      \
                                                        .module = "keras.layers",           \
                                                        .fields = fields,                   \
                                                        .build = conv_lstm_build,           \
                                                        .call = conv_lstm_call,             \
                                                        .call_args = quern__sequence_takes, \
                                                        .masks = QUERN__MASK_OWN,           \
                                                        .extra = N }
LAYER(1);
LAYER(2);
LAYER(3);
