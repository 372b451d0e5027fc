/* einsum_dense: EinsumDense and Dot. Each is one matrix product with transposes before and after
 * it. https://keras.io/api/layers/core_layers/einsum_dense/ */
#include "keras/keras.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define ID quern__id

/* ---- EinsumDense ---- */

enum { most = QUERN_MAX_RANK };

/* An equation such as "ab,bc->ac": digits replace an ellipsis; `size` is by letter. */
typedef struct equation {
    char x[most + 1], w[most + 1], y[most + 1];
    int64_t size[256];
    bool left, right; /* where the ellipsis is */
    int elided;
} equation;

/* Reads one term; an ellipsis becomes `elided` digits. */
static bool read_term(equation *e, const char **at, const char *stop, char *out)
{
    int n = 0;
    for (; **at && !strchr(stop, **at); ++*at) {
        char c = **at;
        if (c == ' ')
            continue;
        if (!strncmp(*at, "...", 3)) {
            for (int i = 0; i < e->elided && n < most; i++)
                out[n++] = (char)('0' + i);
            *at += 2;
            continue;
        }
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) || n == most ||
            memchr(out, c, (size_t)n))
            return false;
        out[n++] = c;
    }
    out[n] = 0;
    return n > 0;
}

/* Sets the sizes of letters from the input and from output_shape. */
static bool read_sizes(equation *e, const quern_shape *in, json_t *shape)
{
    size_t n = strlen(e->y), k = 0;
    for (int i = 0; i < in->rank; i++)
        e->size[(unsigned char)e->x[i]] = in->dims[i];
    for (size_t i = 1; i < n; i++) {
        if (e->y[i] >= '0' && e->y[i] <= '9')
            continue;
        json_t *d = json_is_array(shape) ? json_array_get(shape, k) : k ? NULL : shape;
        int64_t *own = &e->size[(unsigned char)e->y[i]];
        k++;
        if (json_is_integer(d) && *own && *own != json_integer_value(d))
            return false;
        if (json_is_integer(d))
            *own = json_integer_value(d);
        if (*own < 1)
            return false;
    }
    return k == (json_is_array(shape) ? json_array_size(shape) : 1);
}

/* Parses and checks the equation, and sets the sizes of its letters. */
static int read_equation(const quern__layer *l, const quern_shape *in, equation *e,
                         quern_error *err)
{
    const char *text = quern__config_text(l->config, "equation"), *at = text ? text : "",
               *comma = strchr(at, ','), *dots = strstr(at, "...");
    int letters = 0;
    *e = (equation){ .left = dots && comma && !strncmp(at, "...", 3) };
    e->right = dots && !e->left;
    if (comma)
        for (const char *c = at; c < comma; c++)
            letters += *c != '.' && *c != ' ';
    e->elided = dots ? in->rank - letters : 0;
    /* three terms: input, kernel, result */
    bool fits = comma && e->elided >= 0 && read_term(e, &at, ",", e->x) && *at++ == ',' &&
                read_term(e, &at, "-", e->w) && !strncmp(at, "->", 2);
    at += fits ? 2 : 0;
    fits = fits && read_term(e, &at, "", e->y) && (int)strlen(e->x) == in->rank;
    if (!fits)
        return quern__fail(err, QUERN_INVALID, l->name,
                           "equation '%s' does not fit an input of %d axes", text ? text : "",
                           in->rank);
    if (e->x[0] != e->y[0] || strchr(e->w, e->x[0]))
        return quern__fail(err, QUERN_UNSUPPORTED, l->name,
                           "equation '%s' moves the batch axis, which is not in this version",
                           text);
    if (!read_sizes(e, in, json_object_get(l->config, "output_shape")))
        return quern__fail(err, QUERN_SHAPE, l->name, "output_shape does not fit the equation '%s'",
                           text);
    /* each letter of the kernel is in the input or in the result, and not in both */
    for (const char *c = e->w; *c; c++) {
        if (strchr(e->x, *c) && strchr(e->y, *c))
            return quern__fail(
                err, QUERN_UNSUPPORTED, l->name,
                "equation '%s': '%c' is in input, kernel and output, which is not in this version",
                text, *c);
        if (!strchr(e->x, *c) == !strchr(e->y, *c))
            return quern__fail(err, QUERN_UNSUPPORTED, l->name,
                               "equation '%s': '%c' is summed in one operand only, which "
                               "is not in this version",
                               text, *c);
    }
    for (const char *c = e->x; *c; c++)
        if (!strchr(e->w, *c) && !strchr(e->y, *c))
            return quern__fail(err, QUERN_UNSUPPORTED, l->name,
                               "equation '%s': '%c' is summed in one operand only, which "
                               "is not in this version",
                               text, *c);
    return QUERN_OK;
}

/* Appends the letters of `from` that are (or are not) in `of`; returns the product of their sizes.
 */
static int64_t gather(const equation *e, const char *from, const char *of, bool in, char *out)
{
    int64_t count = 1;
    size_t n = strlen(out);
    for (const char *c = from; *c; c++)
        if ((strchr(of, *c) != NULL) == in) {
            out[n++] = *c;
            out[n] = 0;
            count *= e->size[(unsigned char)*c];
        }
    return count;
}

static quern_shape shape_of(const equation *e, const char *letters)
{
    quern_shape s = { 0 };
    for (; *letters; letters++)
        s.dims[s.rank++] = e->size[(unsigned char)*letters];
    return s;
}

/* Transposes x; does nothing when the order is the same. */
static ID ordered(quern__graph *g, ID x, const char *from, const char *to)
{
    int order[most];
    if (!strcmp(from, to))
        return x;
    for (int i = 0; to[i]; i++)
        order[i] = (int)(strchr(from, to[i]) - from);
    return quern__transpose(g, x, order);
}

/* Inserts a number into a list at a place. */
static void insert(int *list, int *n, int place, int number)
{
    place = place < *n ? place : *n;
    memmove(list + place + 1, list + place, (size_t)(*n - place) * sizeof *list);
    list[place] = number;
    ++*n;
}

/* The axes of y that the operand `own` does not have. Returns their number. */
static int free_axes(const equation *e, const char *own, int *list)
{
    int n = 0;
    for (int i = 0; e->y[i]; i++)
        if (!strchr(own, e->y[i]))
            list[n++] = i;
    return n;
}

/* Whether axis i of the kernel is summed. */
static bool summed(const equation *e, int i) { return !strchr(e->y, e->w[i]); }

/* The shape and steps of int8's scales, by the steps of keras.src.layers.core.einsum_dense: the
 * kernel's axes in the order of the output; a summed axis has size 1 and takes the place of an axis
 * that only the input has, the first ones first. */
static void set_scales(const equation *e, quern__kernel_form *form)
{
    int order[2 * most], free[most], n = 0, used = 0, n_free = free_axes(e, e->x, free), place = 0;
    for (const char *c = e->x; *c; c++) /* Keras's last place of the input remains */
        if (!strchr(e->y, *c) && used < n_free)
            place = free[used++];
    n_free = free_axes(e, e->w, free);
    used = 0;
    for (const char *c = e->y; *c; c++)
        if (strchr(e->w, *c))
            order[n++] = (int)(strchr(e->w, *c) - e->w);
    for (int i = 0; e->w[i]; i++)
        if (summed(e, i)) {
            form->shared |= 1u << i;
            place = used < n_free ? free[used] : place;
            used++;
            insert(order, &n, place, i);
        }
    for (int k = used; k < n_free; k++)
        insert(order, &n, free[k], -1);
    for (int i = (int)strlen(e->w) - 1, k = used; i >= 0 && k > n_free; i--)
        if (summed(e, i) && i < n) { /* more summed axes than places: Keras removes the last ones */
            memmove(order + i, order + i + 1, (size_t)(--n - i) * sizeof *order);
            k--;
        }
    int64_t step = 1;
    for (int k = n - 1; k >= 0 && n <= QUERN_MAX_RANK; k--) {
        bool own = order[k] >= 0 && !summed(e, order[k]);
        form->scale.dims[k] = own ? form->shape.dims[order[k]] : 1;
        if (own)
            form->step[order[k]] = step;
        step *= form->scale.dims[k];
    }
    form->scale.rank = n <= QUERN_MAX_RANK ? n : 0;
}

/* Adds the kernel, whose initializer sees a matrix, and the bias. */
static int einsum_build(quern__layer *l, const quern_shape *in, int n, quern_error *err)
{
    equation e;
    const char *axes = quern__config_text(l->config, "bias_axes");
    char rows[2 * most + 1] = "", columns[2 * most + 1] = "";
    (void)n;
    int status = read_equation(l, in, &e, err);
    if (status < 0)
        return status;
    quern__kernel_form form = { .name = "kernel",
                                .shape = shape_of(&e, e.w),
                                .initial = { .rank = 2,
                                             .dims = { gather(&e, e.w, e.x, true, rows),
                                                       gather(&e, e.w, e.x, false, columns) } },
                                .alpha = true,
                                .rows = true };
    set_scales(&e, &form);
    for (const char *c = axes; c && *c; c++)
        if (!strchr(e.y, *c) || *c == e.y[0])
            return quern__fail(err, QUERN_INVALID, l->name,
                               "bias_axes '%s' are not all axes of the output", axes);
    for (const char *c = axes ? e.y + strcspn(e.y, axes) : ""; *c; c++)
        form.bias.dims[form.bias.rank++] = strchr(axes, *c) ? e.size[(unsigned char)*c] : 1;
    return quern__kernel_build(l, &form, err);
}

/* A value in the shape of the kernel as a matrix (summed axes, others); 0 for 0. */
static ID as_matrix(quern__graph *g, const equation *e, ID kernel)
{
    char w[2 * most + 1] = "";
    quern_shape matrix = { .rank = 2, .dims = { gather(e, e->w, e->x, true, w) } };
    matrix.dims[1] = gather(e, e->w, e->x, false, w);
    return kernel ? quern__reshape(g, ordered(g, kernel, e->w, w), &matrix) : 0;
}

/* The scales of int8, which have the order of the output, by column of that matrix; 0 for 0. */
static ID scale_columns(quern__graph *g, const equation *e, ID scales)
{
    char w[2 * most + 1] = "", y[2 * most + 1] = "";
    quern_shape columns = { .rank = 1, .dims = { gather(e, e->w, e->x, false, w) } };
    gather(e, e->y, e->w, true, y);
    quern_shape own = shape_of(e, y);
    return scales ? quern__reshape(g, ordered(g, quern__reshape(g, scales, &own), y, w), &columns)
                  : 0;
}

/* Transposes input and kernel to matrices, multiplies, and transposes the result. */
static ID einsum_call(quern__layer *l, quern__graph *g, const ID *in, int n, bool training)
{
    equation e;
    quern_error err = { 0 };
    quern_shape s = *quern__shape_of(g, in[0]);
    char x[2 * most + 1] = "", w[2 * most + 1] = "", y[2 * most + 1] = "";
    (void)n;
    if (read_equation(l, &s, &e, &err) < 0)
        return quern__graph_fail(g, err.code, "%s", err.text);
    if (l->context->stepping && (s.rank < 3 || strchr(e.w, e.x[1]) || e.y[1] != e.x[1]))
        l->context->stepping->refused = l->name; /* the layer mixes time steps */
    gather(&e, e.x, e.w, false, x);
    strcpy(y, x);
    int64_t inner = gather(&e, e.w, e.x, true, w);
    strcat(x, w);
    gather(&e, e.w, e.x, false, y);
    quern_shape rows = shape_of(&e, x), out = shape_of(&e, y);
    for (rows.rank = 0; strchr(e.y, x[rows.rank]) && x[rows.rank]; rows.rank++)
        ;
    rows.dims[rows.rank++] = inner;
    ID a = quern__reshape(g, ordered(g, in[0], e.x, x), &rows);
    ID product = quern__kernel_product(l, g, a, as_matrix(g, &e, quern__kernel_numbers(l, g)),
                                       scale_columns(g, &e, quern__kernel_scales(l, g)),
                                       as_matrix(g, &e, quern__kernel_delta(l, g)), training);
    ID result = ordered(g, quern__reshape(g, product, &out), y, e.y);
    return quern__activation(g, json_object_get(l->config, "activation"),
                             quern__layer_biased(l, g, result));
}

/* ---- Dot ---- */

/* Moves `axis` to the end and merges the axes between it and the batch axis: (B, others, axis). */
static ID with_last(quern__graph *g, ID x, int axis, quern_shape *others)
{
    quern_shape s = *quern__shape_of(g, x),
                to = { .rank = 3, .dims = { s.dims[0], 1, s.dims[axis] } };
    int order[most] = { 0 }, n = 1;
    *others = (quern_shape){ 0 };
    for (int i = 1; i < s.rank; i++)
        if (i != axis) {
            order[n++] = i;
            others->dims[others->rank++] = s.dims[i];
            to.dims[1] *= s.dims[i];
        }
    order[n] = axis;
    return quern__reshape(g, axis == s.rank - 1 ? x : quern__transpose(g, x, order), &to);
}

/* x / max(norm, 1e-7) along an axis. */
static ID of_length_one(quern__graph *g, ID x, int axis)
{
    ID squares = quern__reduce(g, QUERN__SUM, quern__square(g, x), 1u << axis, true);
    return quern__mul2(g, x,
                       quern__unary_of(g, QUERN__RSQRT,
                                       quern__unary(g, QUERN__CLIP, squares, 1e-14, INFINITY, 0)));
}

/* The dot product of two inputs along one axis each, normalised to unit length when
 * config.normalize is set. */
static ID dot_call(quern__layer *l, quern__graph *g, const ID *in, int n, bool training)
{
    json_t *axes = json_object_get(l->config, "axes");
    quern_shape others[2], out = { .rank = 1 };
    ID x[2];
    (void)training;
    if (n != 2)
        return quern__graph_fail(g, QUERN_INVALID, "needs two inputs");
    for (int k = 0; k < 2; k++) {
        int rank = quern__shape_of(g, in[k])->rank;
        int64_t axis =
            json_integer_value(json_is_array(axes) ? json_array_get(axes, (size_t)k) : axes);
        axis += axis < 0 ? rank : 0;
        if (axis < 1 || axis >= rank)
            return quern__graph_fail(g, QUERN_SHAPE,
                                     "axes: axis %lld does not exist or cannot be contracted",
                                     (long long)axis);
        x[k] =
            quern__config_bool(l->config, "normalize") ? of_length_one(g, in[k], (int)axis) : in[k];
        x[k] = with_last(g, x[k], (int)axis, &others[k]);
    }
    out.dims[0] = quern__shape_of(g, in[0])->dims[0];
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < others[k].rank && out.rank < most; i++)
            out.dims[out.rank++] = others[k].dims[i];
    if (out.rank == 1)
        out.dims[out.rank++] = 1;
    return quern__reshape(g, quern__batched_matmul(g, x[0], x[1], false, true), &out);
}

static const quern__field einsum_fields[] = { { "equation", QUERN__F_TEXT, NULL },
                                              { "output_shape", QUERN__F_ANY, NULL },
                                              { "activation", QUERN__F_ACTIVATION, "\"linear\"" },
                                              { "bias_axes", QUERN__F_TEXT, "null" },
                                              QUERN__KERNEL_AND_BIAS_FIELDS,
                                              QUERN__LORA_FIELDS,
                                              QUERN__QUANTIZATION_FIELD,
                                              { 0 } };
static const quern__field dot_fields[] = { { "axes", QUERN__F_ANY, NULL },
                                           { "normalize", QUERN__F_BOOL, "false" },
                                           { 0 } };

const quern__class quern__layer_einsum_dense = { .group = QUERN__LAYER,
                                                 .name = "EinsumDense",
                                                 .aliases = "",
                                                 .module = "keras.layers",
                                                 .fields = einsum_fields,
                                                 .build = einsum_build,
                                                 .call = einsum_call,
                                                 .masks = QUERN__MASK_ENDS,
                                                 .by_step = true };
const quern__class quern__layer_dot = { .group = QUERN__LAYER,
                                        .name = "Dot",
                                        .aliases = "",
                                        .module = "keras.layers",
                                        .fields = dot_fields,
                                        .call = dot_call,
                                        .list = true,
                                        .masks = QUERN__MASK_ENDS };
