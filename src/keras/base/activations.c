/* activations: Keras's activations by name. Most are functions of one element; softmax and its
 * variants work along an axis. */
#include "keras/keras.h"

#include <math.h>
#include <string.h>

enum {
    SOFTMAX = -2,
    LOG_SOFTMAX = -3,
    GLU = -4,
    SPARSEMAX = -5,
    KERAS2_HARD_SIGMOID = -6,
    LINEAR = -1
};

/* Each row: name, aliases, function, and up to three arguments with defaults. */
static const struct row {
    const char *name, *alias;
    int function;
    struct {
        const char *name;
        double fallback;
    } a[3];
} rows[] = {
    { "linear", "", LINEAR, { { 0 } } },
    { "relu",
      "",
      QUERN__RELU,
      { { "negative_slope", 0 }, { "max_value", INFINITY }, { "threshold", 0 } } },
    { "relu6", "", QUERN__RELU6, { { 0 } } },
    { "leaky_relu", "", QUERN__LEAKY_RELU, { { "negative_slope", 0.2 } } },
    { "elu", "", QUERN__ELU, { { "alpha", 1 } } },
    { "selu", "", QUERN__SELU, { { 0 } } },
    { "celu", "", QUERN__CELU, { { "alpha", 1 } } },
    { "gelu", "", QUERN__GELU, { { "approximate", 0 } } },
    { "sigmoid", "", QUERN__SIGMOID, { { 0 } } },
    { "tanh", "", QUERN__TANH, { { 0 } } },
    { "exponential", "", QUERN__EXP, { { 0 } } },
    { "silu", "swish", QUERN__SILU, { { 0 } } },
    { "hard_sigmoid", "", QUERN__HARD_SIGMOID, { { 0 } } },
    { "keras2_hard_sigmoid", "", KERAS2_HARD_SIGMOID, { { 0 } } }, /* clip(0.2 x + 0.5, 0, 1) */
    { "hard_silu", "hard_swish", QUERN__HARD_SILU, { { 0 } } },
    { "softplus", "", QUERN__SOFTPLUS, { { 0 } } },
    { "softsign", "", QUERN__SOFTSIGN, { { 0 } } },
    { "log_sigmoid", "", QUERN__LOG_SIGMOID, { { 0 } } },
    { "mish", "", QUERN__MISH, { { 0 } } },
    { "squareplus", "", QUERN__SQUAREPLUS, { { "b", 4 } } },
    { "hard_tanh", "", QUERN__HARD_TANH, { { 0 } } },
    { "tanh_shrink", "", QUERN__TANH_SHRINK, { { 0 } } },
    { "hard_shrink", "", QUERN__HARD_SHRINK, { { "threshold", 0.5 } } },
    { "soft_shrink", "", QUERN__SOFT_SHRINK, { { "threshold", 0.5 } } },
    { "sparse_plus", "", QUERN__SPARSE_PLUS, { { 0 } } },
    { "sparse_sigmoid", "", QUERN__SPARSE_SIGMOID, { { 0 } } },
    { "threshold", "", QUERN__THRESHOLD, { { "threshold", NAN }, { "default_value", NAN } } },
    { "softmax", "", SOFTMAX, { { "axis", -1 } } },
    { "log_softmax", "", LOG_SOFTMAX, { { "axis", -1 } } },
    { "sparsemax", "", SPARSEMAX, { { "axis", -1 } } },
    { "glu", "", GLU, { { "axis", -1 } } },
};
enum { n_rows = sizeof rows / sizeof *rows };

static const struct row *find(const char *name)
{
    if (name)
        for (int i = 0; i < n_rows; i++)
            if (quern__same_name(rows[i].name, name) ||
                (*rows[i].alias && quern__same_name(rows[i].alias, name)))
                return &rows[i];
    return NULL;
}

bool quern__is_activation(const char *name) { return find(name) != NULL; }

static const char *name_of(json_t *spec)
{
    json_t *config = json_object_get(spec, "config");
    return json_is_string(spec)     ? json_string_value(spec)
           : json_is_string(config) ? json_string_value(config)
                                    : quern__config_text(spec, "class_name");
}

/* Checks the arguments of an activation object. An activation layer also has the arguments that all
 * layers have. */
static int check_arguments(const struct row *row, json_t *config, quern_error *err)
{
    const char *key;
    json_t *v;
    json_object_foreach(config, key, v)
    {
        bool known = !strcmp(key, "name") || !strcmp(key, "trainable") || !strcmp(key, "dtype");
        for (int i = 0; i < 3 && row->a[i].name; i++)
            known = known || !strcmp(key, row->a[i].name);
        if (!known)
            return quern__fail(err, QUERN_UNSUPPORTED, row->name,
                               "its argument '%.60s' is not in this version", key);
    }
    return QUERN_OK;
}

int quern__activation_check(json_t *spec, quern_error *err)
{
    if (json_is_null(spec))
        return QUERN_OK;
    const char *name = name_of(spec);
    const struct row *row = find(name);
    if (row)
        return check_arguments(row, json_object_get(spec, "config"), err);
    quern__fail(err, QUERN_NOTFOUND, NULL, "no activation is called '%s'", name ? name : "?");
    const char *near = name ? quern__nearest(name, rows, n_rows, sizeof *rows) : NULL;
    if (near)
        quern__hint(err, "did you mean '%s'?", near);
    return QUERN_NOTFOUND;
}

/* Applies softmax or a variant along any axis: the axis moves to the end and back. */
static quern__id over_axis(quern__graph *g, int function, quern__id x, int axis)
{
    int rank = quern__shape_of(g, x)->rank, swap[QUERN_MAX_RANK];
    axis = axis < 0 ? axis + rank : axis;
    if (axis < 0 || axis >= rank)
        return quern__graph_fail(g, QUERN_SHAPE, "axis %d of an array with %d axes", axis, rank);
    for (int k = 0; k < rank; k++)
        swap[k] = k == axis ? rank - 1 : k == rank - 1 ? axis : k;
    if (function == GLU) {
        int64_t half = quern__shape_of(g, x)->dims[axis] / 2;
        quern__id gate = quern__unary_of(g, QUERN__SIGMOID, quern__slice(g, x, axis, half, half));
        return quern__mul2(g, quern__slice(g, x, axis, 0, half), gate);
    }
    bool last = axis == rank - 1;
    quern__id moved = last ? x : quern__transpose(g, x, swap);
    quern__id y = function == SOFTMAX     ? quern__softmax(g, moved)
                  : function == SPARSEMAX ? quern__sparsemax(g, moved)
                                          : quern__log_softmax(g, moved);
    return last ? y : quern__transpose(g, y, swap);
}

quern__id quern__activation(quern__graph *g, json_t *spec, quern__id x)
{
    const struct row *row = json_is_null(spec) || !spec ? &rows[0] : find(name_of(spec));
    json_t *config = json_is_object(spec) ? json_object_get(spec, "config") : NULL;
    double a[3] = { 0 };
    if (!row || !x)
        return row ? 0 : quern__graph_fail(g, QUERN_NOTFOUND, "unknown activation");
    for (int i = 0; i < 3 && row->a[i].name; i++) {
        double given = json_is_object(config) ? quern__config_number(config, row->a[i].name) : NAN;
        a[i] = isnan(given) ? row->a[i].fallback : given;
        if (isnan(a[i]))
            return quern__graph_fail(g, QUERN_INVALID, "activation %s needs %s", row->name,
                                     row->a[i].name);
    }
    if (row->function == LINEAR)
        return x;
    if (row->function == KERAS2_HARD_SIGMOID) /* hard_sigmoid is clip(x / 6 + 0.5, 0, 1) */
        return quern__unary_of(g, QUERN__HARD_SIGMOID, quern__scale(g, x, 1.2));
    if (row->function < 0)
        return over_axis(g, row->function, x, (int)a[0]);
    if (row->function == QUERN__GELU && a[0] != 0)
        return quern__unary_of(g, QUERN__GELU_TANH, x);
    if (row->function == QUERN__RELU && a[0] == 0 && a[1] == INFINITY && a[2] == 0)
        return quern__unary_of(g, QUERN__RELU0, x);
    return quern__unary(g, row->function, x, a[0], a[1], a[2]);
}
