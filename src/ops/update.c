/* update: ops that change variables: assign, append, and one step of each basic optimizer. The
 * first inputs are the old contents of the variables, the first outputs the new contents, in the
 * same memory. Formulas: keras-team/keras 3, keras.src.optimizers.
 *
 * The plan knows from `updates` of the row which inputs are written. It runs such a node after all
 * other readers of the old content. An optimizer step is one op, so that a weight and its slots are
 * read and written once. */
#include "build.h"

#include <math.h>
#include <string.h>

static int ways_elements(const quern__graph *g, const quern__node *node)
{
    (void)g, (void)node;
    return QUERN__WAY_ELEMENTS;
}

/* Adds a node that changes `n` variables (NULL entries are skipped); the other inputs follow. */
static quern__id change(quern__graph *g, const quern__op *op, quern__variable *const *variables,
                        int n, const quern__id *others, int n_others, const quern__attr *attr)
{
    quern__id in[8], out[4] = { 0 };
    quern_shape shapes[4];
    int dtypes[4], count = 0;
    for (int i = 0; i < n; i++)
        if (variables[i]) {
            in[count] = quern__graph_variable(g, variables[i]);
            shapes[count] = variables[i]->shape;
            dtypes[count++] = variables[i]->dtype;
        }
    for (int i = 0; i < n_others; i++)
        in[count + i] = others[i];
    if (!quern__graph_node(g, op, op->name, in, count + n_others, attr, shapes, dtypes, count, out))
        return 0;
    for (int i = 0, k = 0; i < n; i++)
        if (variables[i])
            quern__graph_value(g, out[k++])->variable = variables[i];
    return out[0];
}

/* ---- assign ---- */

static int assign_reference(const quern__call *c, int64_t begin, int64_t end)
{
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t o = 0; o < p.outer; o++)
        for (int64_t k = 0, i = o * p.stride + p.start; k < p.length; k++, i++)
            quern__set(&c->out[0], i, quern__get(&c->in[1], i));
    return 0;
}

const quern__op quern__op_assign = {
    .name = "assign", .ways = ways_elements, .reference = assign_reference, .updates = 1
};

quern__id quern__assigned(const quern__graph *g, const quern__variable *v)
{
    for (quern__id id = quern__graph_values(g); id > 0; id--)
        if (quern__graph_value(g, id)->kind == QUERN__VALUE_NODE &&
            quern__graph_value(g, id)->variable == v)
            return id;
    return 0;
}

quern__id quern__assign(quern__graph *g, quern__variable *v, quern__id x)
{
    quern__id before = quern__assigned(g, v), own = quern__reshape(g, x, &v->shape),
              in[2] = { before, own }, out;
    if (!own)
        return 0;
    /* a second assignment in the same step reads the result of the first one */
    if (!before)
        return change(g, &quern__op_assign, &v, 1, &own, 1, NULL);
    if (!quern__graph_node(g, &quern__op_assign, "assign", in, 2, NULL, &v->shape, &v->dtype, 1,
                           &out))
        return 0;
    quern__graph_value(g, out)->variable = v;
    return out;
}

/* ---- append: inputs v, position, x ---- */

static int append_reference(const quern__call *c, int64_t begin, int64_t end)
{
    const quern_shape *whole = &c->out[0].shape, *part = &c->in[2].shape;
    /* a decoder's states: `position` steps are filled, and x has `steps` more */
    double position = quern__get(&c->in[1], 0);
    int64_t room = whole->dims[1], steps = part->dims[1], first = c->axis < 0 ? 0 : begin,
            last = c->axis < 0 ? whole->dims[0] : end;
    if (part->dims[0] != whole->dims[0])
        return quern__call_fault(c, QUERN_SHAPE, 0, (double)part->dims[0], (double)whole->dims[0],
                                 "number of sequences");
    if (!(position >= 0) || position + (double)steps > (double)room)
        return quern__call_fault(c, QUERN_INVALID, 0, position + (double)steps - 1,
                                 (double)(room - 1), "step");
    int64_t inner = quern_shape_count(whole) / (whole->dims[0] * room);
    size_t size = quern_dtype_size(c->out[0].dtype);
    for (int64_t r = first; r < last; r++)
        memcpy((char *)c->out[0].data + (size_t)((r * room + (int64_t)position) * inner) * size,
               (const char *)c->in[2].data + (size_t)(r * steps * inner) * size,
               (size_t)(steps * inner) * size);
    return 0;
}

const quern__op quern__op_append = {
    .name = "append", .ways = quern__ways_rows, .reference = append_reference, .updates = 1
};

quern__id quern__append(quern__graph *g, quern__variable *v, quern__id position, quern__id x)
{
    if (!position || !x)
        return 0;
    const quern_shape *part = quern__shape_of(g, x);
    bool fits = part->rank == v->shape.rank && part->rank >= 2 && quern__dtype_of(g, x) == v->dtype;
    for (int i = 2; fits && i < part->rank; i++)
        fits = part->dims[i] == v->shape.dims[i];
    if (!fits)
        return quern__graph_fail(g, QUERN_SHAPE, "append: the steps exceed the capacity");
    return change(g, &quern__op_append, &v, 1, (quern__id[]){ position, x }, 2, NULL);
}

/* ---- SGD: inputs v, [momentum], gradient, rate ---- */

static int sgd_reference(const quern__call *c, int64_t begin, int64_t end)
{
    bool has = c->attr->i[QUERN__SGD_HAS_MOMENTUM], nesterov = c->attr->i[QUERN__SGD_NESTEROV];
    double mu = c->attr->f[QUERN__SGD_MOMENTUM], decay = c->attr->f[QUERN__SGD_DECAY],
           rate = quern__get(&c->in[c->n_in - 1], 0);
    const quern_tensor *gradient = &c->in[c->n_in - 2];
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t o = 0; o < p.outer; o++)
        for (int64_t k = 0, i = o * p.stride + p.start; k < p.length; k++, i++) {
            double v = quern__get(&c->in[0], i), d = quern__get(gradient, i), move = -rate * d;
            v -= v * decay * rate;
            if (has) {
                double m = mu * quern__get(&c->in[1], i) - rate * d;
                quern__set(&c->out[1], i, m);
                move = nesterov ? mu * m - rate * d : m;
            }
            quern__set(&c->out[0], i, v + move);
        }
    return 0;
}

const quern__op quern__op_sgd = {
    .name = "sgd", .ways = ways_elements, .reference = sgd_reference, .updates = 2
};

quern__id quern__sgd(quern__graph *g, quern__variable *v, quern__id gradient, quern__id rate,
                     quern__variable *momentum, double m, bool nesterov, double decay)
{
    quern__attr attr = {
        .i = { [QUERN__SGD_HAS_MOMENTUM] = momentum != NULL, [QUERN__SGD_NESTEROV] = nesterov },
        .f = { [QUERN__SGD_MOMENTUM] = m, [QUERN__SGD_DECAY] = decay }
    };
    return change(g, &quern__op_sgd, (quern__variable *[]){ v, momentum }, 2,
                  (quern__id[]){ gradient, rate }, 2, &attr);
}

/* ---- RMSprop: inputs v, velocity, [momentum], [average], gradient, rate, [squares] ---- */

static int rmsprop_reference(const quern__call *c, int64_t begin, int64_t end)
{
    int has = c->attr->i[QUERN__RMSPROP_HAS_MOMENTUM] != 0,
        centered = c->attr->i[QUERN__RMSPROP_CENTERED] != 0;
    const double *f = c->attr->f;
    double rho = f[QUERN__RMSPROP_RHO], mu = f[QUERN__RMSPROP_MOMENTUM],
           epsilon = f[QUERN__RMSPROP_EPSILON], decay = f[QUERN__RMSPROP_DECAY];
    int n = c->n_in - (c->attr->i[QUERN__RMSPROP_HAS_SQUARES] != 0);
    double rate = quern__get(&c->in[n - 1], 0);
    const quern_tensor *gradient = &c->in[n - 2],
                       *squares = c->attr->i[QUERN__RMSPROP_HAS_SQUARES] ? &c->in[n] : NULL;
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t o = 0; o < p.outer; o++)
        for (int64_t k = 0, i = o * p.stride + p.start; k < p.length; k++, i++) {
            double v = quern__get(&c->in[0], i), d = quern__get(gradient, i),
                   dd = squares ? quern__get(squares, i) : d * d;
            double velocity = rho * quern__get(&c->in[1], i) + (1 - rho) * dd,
                   denominator = velocity + epsilon;
            quern__set(&c->out[1], i, velocity);
            if (centered) {
                double average = rho * quern__get(&c->in[2 + has], i) + (1 - rho) * d;
                quern__set(&c->out[2 + has], i, average);
                denominator = velocity - average * average + epsilon;
            }
            double move = rate * d / sqrt(denominator);
            if (has) {
                move += mu * quern__get(&c->in[2], i);
                quern__set(&c->out[2], i, move);
            }
            quern__set(&c->out[0], i, v - v * decay * rate - move);
        }
    return 0;
}

const quern__op quern__op_rmsprop = {
    .name = "rmsprop", .ways = ways_elements, .reference = rmsprop_reference, .updates = 4
};

quern__id quern__rmsprop(quern__graph *g, quern__variable *v, quern__id gradient, quern__id squares,
                         quern__id rate, quern__variable *velocity, quern__variable *momentum,
                         quern__variable *average, double rho, double m, double epsilon,
                         double decay)
{
    quern__attr attr = { .i = { [QUERN__RMSPROP_HAS_MOMENTUM] = momentum != NULL,
                                [QUERN__RMSPROP_CENTERED] = average != NULL,
                                [QUERN__RMSPROP_HAS_SQUARES] = squares != 0 },
                         .f = { [QUERN__RMSPROP_RHO] = rho,
                                [QUERN__RMSPROP_MOMENTUM] = m,
                                [QUERN__RMSPROP_EPSILON] = epsilon,
                                [QUERN__RMSPROP_DECAY] = decay } };
    quern__variable *changed[] = { v, velocity, momentum, average };
    return change(g, &quern__op_rmsprop, changed, 4, (quern__id[]){ gradient, rate, squares },
                  squares ? 3 : 2, &attr);
}

/* ---- Adam: inputs v, m, velocity, [maximum], gradient, rate, iteration, [squares] ---- */

static int adam_reference(const quern__call *c, int64_t begin, int64_t end)
{
    bool amsgrad = c->attr->i[QUERN__ADAM_AMSGRAD];
    const double *f = c->attr->f;
    double beta_1 = f[QUERN__ADAM_BETA_1], beta_2 = f[QUERN__ADAM_BETA_2],
           epsilon = f[QUERN__ADAM_EPSILON], decay = f[QUERN__ADAM_DECAY];
    int n = c->n_in - (c->attr->i[QUERN__ADAM_HAS_SQUARES] != 0);
    double t = quern__get(&c->in[n - 1], 0) + 1, rate = quern__get(&c->in[n - 2], 0);
    /* both bias corrections as one factor of the rate (Kingma and Ba, 2015, section 2) */
    double alpha = rate * sqrt(1 - pow(beta_2, t)) / (1 - pow(beta_1, t));
    const quern_tensor *gradient = &c->in[n - 3],
                       *squares = c->attr->i[QUERN__ADAM_HAS_SQUARES] ? &c->in[n] : NULL;
    quern__part p = quern__call_part(c, &c->out[0].shape, begin, end);
    for (int64_t o = 0; o < p.outer; o++)
        for (int64_t k = 0, i = o * p.stride + p.start; k < p.length; k++, i++) {
            double v = quern__get(&c->in[0], i), d = quern__get(gradient, i);
            double m = quern__get(&c->in[1], i), s = quern__get(&c->in[2], i);
            m += (d - m) * (1 - beta_1);
            s += ((squares ? quern__get(squares, i) : d * d) - s) * (1 - beta_2);
            quern__set(&c->out[1], i, m);
            quern__set(&c->out[2], i, s);
            if (amsgrad) {
                s = fmax(s, quern__get(&c->in[3], i));
                quern__set(&c->out[3], i, s);
            }
            quern__set(&c->out[0], i, v - v * decay * rate - alpha * m / (sqrt(s) + epsilon));
        }
    return 0;
}

const quern__op quern__op_adam = {
    .name = "adam", .ways = ways_elements, .reference = adam_reference, .updates = 4
};

quern__id quern__adam(quern__graph *g, quern__variable *v, quern__id gradient, quern__id squares,
                      quern__id rate, quern__id iteration, quern__variable *m,
                      quern__variable *velocity, quern__variable *maximum, double beta_1,
                      double beta_2, double epsilon, double decay)
{
    quern__attr attr = {
        .i = { [QUERN__ADAM_AMSGRAD] = maximum != NULL, [QUERN__ADAM_HAS_SQUARES] = squares != 0 },
        .f = { [QUERN__ADAM_BETA_1] = beta_1,
               [QUERN__ADAM_BETA_2] = beta_2,
               [QUERN__ADAM_EPSILON] = epsilon,
               [QUERN__ADAM_DECAY] = decay }
    };
    quern__variable *changed[] = { v, m, velocity, maximum };
    return change(g, &quern__op_adam, changed, 4,
                  (quern__id[]){ gradient, rate, iteration, squares }, squares ? 4 : 3, &attr);
}
