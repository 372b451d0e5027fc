/* initializers: Keras's initializers and regularizers. Each random number is a function of the seed
 * and the element's index (counter-based), so a seed gives the same weights on every machine.
 * Formulas: https://keras.io/api/layers/initializers/ */
#include "keras/keras.h"

#include <math.h>
#include <string.h>

enum { UNIFORM, NORMAL, TRUNCATED, FAN_IN, FAN_OUT, FAN_AVG };

/* Inputs and outputs of a unit, as Keras computes them: the last two axes times the positions of a
 * kernel. */
static void fans(const quern_shape *s, double *in, double *out)
{
    double field = 1;
    for (int i = 0; i + 2 < s->rank; i++)
        field *= (double)s->dims[i];
    *in = s->rank == 0   ? 1
          : s->rank == 1 ? (double)s->dims[0]
                         : (double)s->dims[s->rank - 2] * field;
    *out = s->rank == 0 ? 1 : (double)s->dims[s->rank - 1] * field;
}

/* Fills the array: uniform in [a, b), or normal with mean a and deviation b. TRUNCATED repeats
 * draws of more than two deviations. */
static int draw(const quern_shape *shape, float *data, uint64_t seed, int distribution, double a,
                double b)
{
    quern__random_key key = quern__random_key_of(seed, QUERN__RANDOM_INIT, 0);
    for (int64_t i = 0; i < quern_shape_count(shape); i++) {
        double v = distribution == UNIFORM
                       ? a + (b - a) * quern__random_uniform(key, 0, (uint64_t)i)
                       : quern__random_normal(key, 0, (uint64_t)i);
        for (uint64_t again = 1; distribution == TRUNCATED && fabs(v) > 2; again++)
            v = quern__random_normal(key, again, (uint64_t)i);
        data[i] = (float)(distribution == UNIFORM ? v : a + b * v);
    }
    return QUERN_OK;
}

/* VarianceScaling: variance scale / n, where n is a fan or their mean. Dividing by 0.8796 restores
 * the deviation of a truncated normal distribution. */
static int scaled(const quern_shape *shape, float *data, uint64_t seed, double scale, int mode,
                  int distribution)
{
    double in, out, n;
    fans(shape, &in, &out);
    n = fmax(1, mode == FAN_IN ? in : mode == FAN_OUT ? out : (in + out) / 2);
    if (distribution == UNIFORM)
        return draw(shape, data, seed, UNIFORM, -sqrt(3 * scale / n), sqrt(3 * scale / n));
    return draw(shape, data, seed, distribution, 0,
                sqrt(scale / n) / (distribution == TRUNCATED ? 0.87962566103423978 : 1));
}

#define FILL(name)                                                                        \
    static int name(json_t *config, const quern_shape *shape, float *data, uint64_t seed, \
                    quern_error *err)
#define UNUSED (void)config, (void)shape, (void)data, (void)seed, (void)err
FILL(zeros)
{
    UNUSED;
    return draw(shape, data, 0, UNIFORM, 0, 0);
}
FILL(ones)
{
    UNUSED;
    return draw(shape, data, 0, UNIFORM, 1, 1);
}
/* Copies the numbers of nested lists in order, at most `most`. */
static bool copy_numbers(json_t *list, float *data, int64_t *at, int64_t most)
{
    json_t *v;
    size_t k;
    bool fits = true;
    json_array_foreach(list, k, v)
    {
        if (json_is_array(v))
            fits = fits && copy_numbers(v, data, at, most);
        else if (!json_is_number(v) || *at >= most)
            return false;
        else
            data[(*at)++] = (float)json_number_value(v);
    }
    return fits;
}

FILL(constant)
{
    UNUSED;
    json_t *value = json_object_get(config, "value"),
           *array = json_object_get(json_object_get(value, "config"), "value");
    int64_t at = 0;
    if (json_is_array(array))
        return copy_numbers(array, data, &at, quern_shape_count(shape)) &&
                       at == quern_shape_count(shape)
                   ? QUERN_OK
                   : quern__fail(err, QUERN_SHAPE, "Constant",
                                 "the array does not have the %lld elements of the weight",
                                 (long long)quern_shape_count(shape));
    double v = quern__config_number(config, "value");
    if (isnan(v))
        return quern__fail(err, QUERN_INVALID, "Constant", "value must be a number or an array");
    return draw(shape, data, 0, UNIFORM, v, v);
}
FILL(random_normal)
{
    UNUSED;
    return draw(shape, data, seed, NORMAL, quern__config_number(config, "mean"),
                quern__config_number(config, "stddev"));
}
FILL(truncated_normal)
{
    UNUSED;
    return draw(shape, data, seed, TRUNCATED, quern__config_number(config, "mean"),
                quern__config_number(config, "stddev"));
}
FILL(random_uniform)
{
    UNUSED;
    return draw(shape, data, seed, UNIFORM, quern__config_number(config, "minval"),
                quern__config_number(config, "maxval"));
}
FILL(glorot_uniform)
{
    UNUSED;
    return scaled(shape, data, seed, 1, FAN_AVG, UNIFORM);
}
FILL(glorot_normal)
{
    UNUSED;
    return scaled(shape, data, seed, 1, FAN_AVG, TRUNCATED);
}
FILL(he_uniform)
{
    UNUSED;
    return scaled(shape, data, seed, 2, FAN_IN, UNIFORM);
}
FILL(he_normal)
{
    UNUSED;
    return scaled(shape, data, seed, 2, FAN_IN, TRUNCATED);
}
FILL(lecun_uniform)
{
    UNUSED;
    return scaled(shape, data, seed, 1, FAN_IN, UNIFORM);
}
FILL(lecun_normal)
{
    UNUSED;
    return scaled(shape, data, seed, 1, FAN_IN, TRUNCATED);
}

FILL(variance_scaling)
{
    const char *mode = quern__config_text(config, "mode"),
               *kind = quern__config_text(config, "distribution");
    int distribution = !strcmp(kind ? kind : "", "uniform")              ? UNIFORM
                       : !strcmp(kind ? kind : "", "untruncated_normal") ? NORMAL
                                                                         : TRUNCATED;
    int fan = !strcmp(mode ? mode : "", "fan_out")   ? FAN_OUT
              : !strcmp(mode ? mode : "", "fan_avg") ? FAN_AVG
                                                     : FAN_IN;
    (void)err;
    return scaled(shape, data, seed, quern__config_number(config, "scale"), fan, distribution);
}

/* Orthonormalises n vectors of `length` elements, stored in sequence in `q`, by the Gram-Schmidt
 * method. The method runs twice so that the result is orthogonal up to rounding. */
static void orthonormalise(double *q, int64_t n, int64_t length)
{
    for (int64_t a = 0; a < n; a++) {
        double *v = q + a * length, norm = 0;
        for (int twice = 0; twice < 2; twice++)
            for (int64_t b = 0; b < a; b++) {
                const double *u = q + b * length;
                double dot = 0;
                for (int64_t k = 0; k < length; k++)
                    dot += u[k] * v[k];
                for (int64_t k = 0; k < length; k++)
                    v[k] -= dot * u[k];
            }
        for (int64_t k = 0; k < length; k++)
            norm += v[k] * v[k];
        for (int64_t k = 0; k < length; k++)
            v[k] /= sqrt(norm);
    }
}

/* Saxe et al., ICLR 2014, on the shape flattened to a matrix (all axes but the last, last axis). */
FILL(orthogonal)
{
    if (shape->rank < 2)
        return quern__fail(err, QUERN_SHAPE, "Orthogonal", "needs a shape with at least two axes");
    int64_t columns = shape->dims[shape->rank - 1], rows = quern_shape_count(shape) / columns;
    int64_t n = rows < columns ? rows : columns, length = rows < columns ? columns : rows;
    double *q = quern__alloc((size_t)(n * length) * sizeof *q),
           gain = quern__config_number(config, "gain");
    if (!q)
        return quern__fail_memory(err, (size_t)(n * length) * sizeof *q);
    quern__random_key key = quern__random_key_of(seed, QUERN__RANDOM_INIT, 0);
    for (int64_t i = 0; i < n * length; i++)
        q[i] = quern__random_normal(key, 0, (uint64_t)i);
    orthonormalise(q, n, length);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            data[r * columns + c] =
                (float)(gain * (rows < columns ? q[r * length + c] : q[c * length + r]));
    quern__free(q);
    return QUERN_OK;
}

FILL(identity)
{
    (void)seed;
    if (shape->rank != 2)
        return quern__fail(err, QUERN_SHAPE, "Identity", "needs a matrix");
    for (int64_t i = 0; i < quern_shape_count(shape); i++)
        data[i] = i / shape->dims[1] == i % shape->dims[1]
                      ? (float)quern__config_number(config, "gain")
                      : 0;
    return QUERN_OK;
}

#define SEED                         \
    {                                \
        "seed", QUERN__F_INT, "null" \
    }
static const quern__field seed_fields[] = { SEED, { 0 } };
static const quern__field constant_fields[] = { { "value", QUERN__F_ANY, "0.0" }, { 0 } };
static const quern__field normal_fields[] = {
    { "mean", QUERN__F_NUMBER, "0.0" }, { "stddev", QUERN__F_NUMBER, "0.05" }, SEED, { 0 }
};
static const quern__field uniform_fields[] = {
    { "minval", QUERN__F_NUMBER, "-0.05" }, { "maxval", QUERN__F_NUMBER, "0.05" }, SEED, { 0 }
};
static const quern__field orthogonal_fields[] = { { "gain", QUERN__F_NUMBER, "1.0" }, SEED, { 0 } };
static const quern__field identity_fields[] = { { "gain", QUERN__F_NUMBER, "1.0" }, { 0 } };
static const quern__field scaling_fields[] = { { "scale", QUERN__F_NUMBER, "1.0" },
                                               { "mode", QUERN__F_TEXT, "\"fan_in\"" },
                                               { "distribution", QUERN__F_TEXT,
                                                 "\"truncated_normal\"" },
                                               SEED,
                                               { 0 } };

extern const quern__class quern__stft;
#define INITIALIZER(NAME, ALIASES, FIELDS, FILLER)                       \
    &(const quern__class)                                                \
    {                                                                    \
        .group = QUERN__INITIALIZER, .name = NAME, .aliases = ALIASES,   \
        .module = "keras.initializers", .fields = FIELDS, .fill = FILLER \
    }
const quern__class *const quern__initializer_classes[] = {
    INITIALIZER("Zeros", "", NULL, zeros),
    INITIALIZER("Ones", "", NULL, ones),
    INITIALIZER("Constant", "", constant_fields, constant),
    INITIALIZER("RandomNormal", "normal", normal_fields, random_normal),
    INITIALIZER("RandomUniform", "uniform", uniform_fields, random_uniform),
    INITIALIZER("TruncatedNormal", "", normal_fields, truncated_normal),
    INITIALIZER("Orthogonal", "OrthogonalInitializer", orthogonal_fields, orthogonal),
    INITIALIZER("Identity", "IdentityInitializer", identity_fields, identity),
    INITIALIZER("VarianceScaling", "", scaling_fields, variance_scaling),
    INITIALIZER("GlorotUniform", "", seed_fields, glorot_uniform),
    INITIALIZER("GlorotNormal", "", seed_fields, glorot_normal),
    INITIALIZER("HeUniform", "", seed_fields, he_uniform),
    INITIALIZER("HeNormal", "", seed_fields, he_normal),
    INITIALIZER("LecunUniform", "", seed_fields, lecun_uniform),
    INITIALIZER("LecunNormal", "", seed_fields, lecun_normal),
    &quern__stft,
    NULL
};

int quern__initialize(json_t *spec, quern__variable *v, uint64_t seed, quern_error *err)
{
    json_t *config = NULL;
    const quern__class *c = quern__object(QUERN__INITIALIZER, spec, &config, err);
    if (!c)
        return err ? err->code : QUERN_NOTFOUND;
    int status = c->fill(config, &v->shape, v->data, quern__config_seed(config, seed), err);
    json_decref(config);
    return status;
}

/* ---- regularizers ---- */

static quern__id l1_l2(quern__graph *g, json_t *config, quern__id x)
{
    double l1 = quern__config_number(config, "l1"), l2 = quern__config_number(config, "l2");
    quern__id a =
        l1 > 0 ? quern__scale(
                     g, quern__reduce(g, QUERN__SUM, quern__unary_of(g, QUERN__ABS, x), ~0u, false),
                     l1)
               : 0;
    quern__id b =
        l2 > 0 ? quern__scale(g, quern__reduce(g, QUERN__SUM, quern__square(g, x), ~0u, false), l2)
               : 0;
    return a && b ? quern__add2(g, a, b) : a ? a : b;
}

/* factor * sum(|products of different rows or columns of length 1|) / 2 / (number of pairs) */
static quern__id orthogonal_penalty(quern__graph *g, json_t *config, quern__id x)
{
    const char *mode = quern__config_text(config, "mode");
    bool by_rows = !mode || !strcmp(mode, "rows");
    if (quern__shape_of(g, x)->rank != 2)
        return quern__graph_fail(g, QUERN_SHAPE, "OrthogonalRegularizer needs a matrix");
    int64_t n = quern__shape_of(g, x)->dims[by_rows ? 0 : 1];
    uint32_t along = by_rows ? 2u : 1u;
    quern_shape square = { .rank = 2, .dims = { n, n } };
    quern__id length = quern__unary_of(
        g, QUERN__RSQRT, quern__reduce(g, QUERN__SUM, quern__square(g, x), along, true));
    quern__id unit = quern__mul2(g, x, quern__unary(g, QUERN__CLIP, length, 0, 1e7, 0));
    quern__id products =
        quern__unary_of(g, QUERN__ABS, quern__matmul(g, unit, unit, !by_rows, by_rows));
    quern__id places = quern__iota(g, n),
              other = quern__reshape(g, places, &(quern_shape){ .rank = 2, .dims = { n, 1 } });
    quern__id off = quern__binary(g, QUERN__NOT_EQUAL, quern__broadcast(g, places, &square),
                                  quern__broadcast(g, other, &square));
    double pairs = (double)n * ((double)n - 1) / 2;
    quern__id sum = quern__reduce(g, QUERN__SUM, quern__mul2(g, products, off), ~0u, false);
    return quern__scale(g, sum, quern__config_number(config, "factor") * 0.5 / pairs);
}

static const quern__field orthogonal_penalty_fields[] = { { "factor", QUERN__F_NUMBER, "0.01" },
                                                          { "mode", QUERN__F_TEXT, "\"rows\"" },
                                                          { 0 } };
static const quern__field l1_fields[] = { { "l1", QUERN__F_NUMBER, "0.01" }, { 0 } };
static const quern__field l2_fields[] = { { "l2", QUERN__F_NUMBER, "0.01" }, { 0 } };
static const quern__field l1_l2_fields[] = { { "l1", QUERN__F_NUMBER, "0.0" },
                                             { "l2", QUERN__F_NUMBER, "0.0" },
                                             { 0 } };
#define REGULARIZER(NAME, FIELDS, PENALTY)                                                        \
    &(const quern__class)                                                                         \
    {                                                                                             \
        .group = QUERN__REGULARIZER, .name = NAME, .aliases = "", .module = "keras.regularizers", \
        .fields = FIELDS, .penalty = PENALTY                                                      \
    }
const quern__class *const quern__regularizer_classes[] = {
    REGULARIZER("L1", l1_fields, l1_l2), REGULARIZER("L2", l2_fields, l1_l2),
    REGULARIZER("L1L2", l1_l2_fields, l1_l2),
    REGULARIZER("OrthogonalRegularizer", orthogonal_penalty_fields, orthogonal_penalty), NULL
};

quern__id quern__penalty(quern__graph *g, json_t *spec, quern__id x)
{
    json_t *config = NULL;
    quern_error err = { 0 };
    if (!spec || json_is_null(spec))
        return 0;
    const quern__class *c = quern__object(QUERN__REGULARIZER, spec, &config, &err);
    if (!c)
        return quern__graph_fail(g, err.code, "%s", err.text);
    quern__id p = c->penalty(g, config, x);
    json_decref(config);
    return p;
}
